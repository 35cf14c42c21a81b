"""Matching of single records, rule by rule (PS3.4 C.2.2.2)."""

import time
from typing import Any

import pytest

from strongroom.archive import keys
from strongroom.archive.matching import compile_matcher, compile_pattern, matches
from strongroom.archive.model import Level
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query

NAME, DATE, TIME, ZONE, DESCRIPTION = 0x00100010, 0x00080020, 0x00080030, 0x00080201, 0x00081030
ACQUISITION, REQUEST, COMMENTS = 0x0008002A, 0x00400275, 0x00204000


def record(**values: Any) -> dict[str, Any]:
    """Return a record from keywords; one value or a list."""
    tags = {a.keyword: a for level in Level for a in (*keys.ATTRIBUTES[level], *keys.COMPUTED[level])}
    made = {}
    for keyword, value in values.items():
        attribute = tags[keyword]
        made[f"{attribute.tag:08X}"] = {
            "vr": attribute.vr,
            "Value": value if isinstance(value, list) else [value],
        }
    return made


def name(alphabetic: str = "", ideographic: str = "", phonetic: str = "") -> dict[str, Any]:
    groups = {"Alphabetic": alphabetic, "Ideographic": ideographic, "Phonetic": phonetic}
    return record(PatientName={group: text for group, text in groups.items() if text})


def asks(*elements: tuple[int, Any], **negotiated: bool) -> Query:
    made = {0x00080052: IdentifierElement("CS", ["IMAGE"])}
    for tag, value in elements:
        made[tag] = IdentifierElement(keys.VR_OF[tag], value if isinstance(value, list) else value.split("\\"))
    return Query.from_identifier(
        made, model=Model.STUDY_ROOT, negotiated=ExtendedNegotiation(relational=True, **negotiated)
    )


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({}, True),
        (record(StudyDescription=[]), True),
        (record(StudyDescription=[""]), True),
        (record(StudyDescription=[None, ""]), True),
        (record(StudyDescription="x"), False),
        (record(StudyDescription=["", "x"]), False),
    ],
)
def test_empty_value_matching(stored: dict[str, Any], found: bool) -> None:
    assert matches(asks((DESCRIPTION, '""'), empty_values=True), stored) is found
    assert matches(asks((NAME, '""'), empty_values=True), name())
    assert not matches(asks((NAME, '""'), empty_values=True), name("Doe"))


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("SMITH^JOHN", "Smith^John", True),
        ("smith^john^^", "Smith^John", True),
        ("Smith^John", "Smith^John^^^", True),
        ("Smith", "Smith^John", True),
        ("Smith", "Smithson^John", False),
        ("Smith^John", "Smith", False),
        ("Smith^^Dr", "Smith^John^Dr", True),
        ("Smith^^Dr", "Smith^John^X^Dr", False),
        ("^John", "Smith^John", True),
        ("^John", "Smith^A^John", False),
        ("Müller^Änne", "MULLER^ANNE", True),
        ("muller", "Müller", True),
        ("GROSS", "Groß", True),
        ("Ａｂｅ", "Abe", True),
        ("Smi*", "Smith^John", True),
        ("*th", "Smith^John", True),
        ("*John", "Smith^John", True),
        ("Smith^*", "Smith", True),
        ("Smith^*", "Smithson", False),
        ("Smith^?*", "Smith", False),
        ("Smith^?*", "Smith^J", True),
        ("Sm?th", "Smith^John", True),
        ("Smith?", "Smith^John", False),
        ("Smith??", "Smith", False),
        ("Smith?John", "Smith^John", False),
        ("*^J*", "Smith^John", True),
        ("S*^*^Dr", "Smith^^Dr", True),
        ("Smith , John", "Smith^John", False),
        ("Smith", "", False),
        (" Smith ^ John ", "Smith^John", True),
        ("a.b", "axb", False),
        ("a[b]*", "A[B]c", True),
    ],
)
def test_person_names(key: str, stored: str, found: bool) -> None:
    assert matches(asks((NAME, key)), name(stored)) is found


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("Yamada", True),
        ("山田", True),
        ("山*", True),
        ("やまだ^たろう", True),
        ("Yamada=山田", True),
        ("Yamada=やまだ", False),
        ("=山田", True),
        ("==やまだ", True),
        ("==山田", False),
        ("?*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ],
)
def test_component_groups(key: str, found: bool) -> None:
    assert matches(asks((NAME, key)), name("Yamada^Tarou", "山田^太郎", "やまだ^たろう")) is found


def test_voicing_marks_and_vowel_signs_make_another_name() -> None:
    assert not matches(asks((NAME, "やまた")), name("", "", "やまだ"))
    assert not matches(asks((NAME, "กน")), name("กิน"))


def test_a_group_asked_for_but_absent_does_not_match() -> None:
    assert not matches(asks((NAME, "Yamada=山田")), name("Yamada"))
    assert not matches(asks((NAME, "=*山")), name("Yamada"))


@pytest.mark.parametrize(
    ("key", "found"),
    [("john smi", True), ("Smi^Jo", True), ("jo", True), ("Smith", True), ("ohn", False), ("john smithx", False)],
)
def test_fuzzy_names_match_words_by_their_beginning(key: str, found: bool) -> None:
    assert matches(asks((NAME, key), fuzzy=True), name("Smith-Jones^John")) is found


def test_fuzzy_leaves_wildcards_alone_and_finds_all_that_regular_matching_finds() -> None:
    assert matches(asks((NAME, "*ohn"), fuzzy=True), name("Smith^John"))
    assert matches(asks((NAME, "-"), fuzzy=True), name("-"))
    assert not matches(asks((NAME, "-"), fuzzy=True), name("Smith"))


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("CT Head", "CT Head ", True),
        ("ct head", "CT Head", False),
        ("ct*", "CT Head", False),
        ("CT*d", "CT Head", True),
        ("CT?Head", "CT Head", True),
        ("CT?Head", "CTHead", False),
        ("*e*a*", "CT Head", True),
        ("*a*e*", "CT Head", False),
        ("*ab", "aab", True),
        ("a*b*b", "ab", False),
        ("Kopf (nativ)+*", "Kopf (nativ)+KM", True),
        ("x*", None, False),
        ("?", "", False),
    ],
)
def test_text(key: str, stored: str | None, found: bool) -> None:
    assert matches(asks((DESCRIPTION, key)), record(StudyDescription=stored)) is found


def test_long_text_keeps_its_leading_spaces_and_its_lines() -> None:
    comment = record(ImageComments=" two\r\nlines ")
    assert matches(asks((COMMENTS, " two*lines")), comment)
    assert matches(asks((COMMENTS, " two\r\nlines  ")), comment)
    assert not matches(asks((COMMENTS, "two*")), comment)


def test_any_value_of_several_matches_but_a_column_has_one() -> None:
    assert matches(asks((0x00080008, "PRIMARY")), record(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]))
    assert matches(asks((0x00080061, "SR\\CT")), record(ModalitiesInStudy=["MR", "CT"]))
    assert not matches(asks((0x00080061, "C")), record(ModalitiesInStudy=["MR", "CT"]))
    assert not matches(asks((DESCRIPTION, "B")), record(StudyDescription=["A", "B"]))


def test_a_key_does_not_match_an_absent_or_empty_value_and_a_free_key_matches_all() -> None:
    for absent in ({}, {"00081030": {"vr": "LO"}}, record(StudyDescription=[]), record(StudyDescription=[None])):
        assert not matches(asks((DESCRIPTION, "A")), absent)
        assert matches(asks((DESCRIPTION, "")), absent)
        assert matches(asks((DESCRIPTION, "*")), absent)


@pytest.mark.parametrize(
    "tag", [0x0020000D, DATE, TIME, ACQUISITION, 0x00200013, NAME, REQUEST, DESCRIPTION, COMMENTS, 0x00280010]
)
@pytest.mark.parametrize(
    "odd", [None, 7, 1.5, True, "", "x" * 9, {}, [], {"Alphabetic": 7}, float("nan"), float("inf")]
)
def test_a_stored_value_of_the_wrong_form_is_no_match_and_no_error(tag: int, odd: object) -> None:
    value: dict[int, Any] = {
        0x0020000D: "1.2",
        DATE: "20240101-20240131",
        TIME: "10-11",
        ACQUISITION: "2024",
        0x00200013: "3",
        0x00280010: "512",
        NAME: "A",
        REQUEST: [{0x00401001: IdentifierElement("SH", ["R"])}],
        DESCRIPTION: "A*",
        COMMENTS: "A",
    }
    assert not matches(asks((tag, value[tag])), {f"{tag:08X}": {"vr": keys.VR_OF[tag], "Value": [odd]}})


def test_numbers_compare_as_numbers() -> None:
    for stored in (7, "007", "7.0 ", 7.0):
        assert matches(asks((0x00200013, "7")), record(InstanceNumber=stored))
    assert matches(asks((0x00280010, "512")), record(Rows=512))
    assert matches(asks((0x00201041, "-1.50")), record(SliceLocation=-1.5))
    assert matches(asks((0x00201041, "0")), record(SliceLocation=-0.0))
    assert not matches(asks((0x00201041, "1")), record(SliceLocation=1.0000001))


def test_uids_compare_whole_and_lists_match_any() -> None:
    stored = record(StudyInstanceUID="1.2.3\0")
    assert matches(asks((0x0020000D, "1.2.3")), stored)
    assert matches(asks((0x0020000D, "1.9\\1.2.3")), stored)
    assert not matches(asks((0x0020000D, "1.2")), stored)
    strange: tuple[object, ...] = ({}, [], None, 1.2)
    for odd in strange:
        assert not matches(asks((0x0020000D, "1.2\\1.3")), record(StudyInstanceUID=[odd]))


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("20240101-20240131", "20240101", True),
        ("20240101-20240131", "2024.01.31", True),
        ("20240101-20240131", "20240201", False),
        ("-20240131", "19991231", True),
        ("20240131-20240101", "20240115", False),
        ("20240131-", "", False),
        ("20240131-", "99991231", True),
        ("20240131-", "2025", False),
        ("-20240131", "unknown!", False),
    ],
)
def test_dates(key: str, stored: str, found: bool) -> None:
    assert matches(asks((DATE, key)), record(StudyDate=stored)) is found


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("1030", "103059.999999", True),
        ("103000", "1030", True),
        ("1030-", "10", False),
        ("10-1030", "10:30:59", True),
        ("10-1030", "103100", False),
        ("235960", "235960.5", True),
        ("22-06", "23", False),
        ("-10", "000000", True),
        ("10", "", False),
    ],
)
def test_times(key: str, stored: str, found: bool) -> None:
    assert matches(asks((TIME, key)), record(StudyTime=stored)) is found


@pytest.mark.parametrize(
    ("key", "stored", "zone", "found"),
    [
        ("202401", "20240131235959", None, True),
        ("202401-202402", "20240229", None, True),
        ("202401-202402", "20240301", None, False),
        ("20240101120000+0000", "20240101130000+0100", None, True),
        ("20240101120000+0000", "20240101120000+0100", None, False),
        ("20240101120000+0000", "20240101120000", None, True),
        ("20240101120000+0000", "20240101130000", "+0100", True),
        ("20240101120000+0000", "20240101130000", "bad", False),
        ("20240101000000-0500-", "20240101045959+0000", None, False),
        ("20240101000000-0500-", "20240101050000+0000", None, True),
        ("-2023", "2024", None, False),
        ("2024", "20240230", None, False),
    ],
)
def test_date_times_and_their_zones(key: str, stored: str, zone: str | None, found: bool) -> None:
    stored_record = record(AcquisitionDateTime=stored)
    if zone is not None:
        stored_record |= record(TimezoneOffsetFromUTC=zone)
    assert matches(asks((ACQUISITION, key)), stored_record) is found


def test_the_queriers_zone_stands_in_for_a_missing_one() -> None:
    query = asks((ZONE, "+0200"), (ACQUISITION, "20240101120000"), timezone=True)
    assert matches(query, record(AcquisitionDateTime="20240101100000+0000"))
    assert not matches(query, record(AcquisitionDateTime="20240101120000+0000"))
    assert matches(query, record(AcquisitionDateTime="20240101120000"))


@pytest.mark.parametrize(
    ("day", "at", "apart", "joined"),
    [
        ("20240101", "2300", False, True),
        ("20240102", "0500", False, True),
        ("20240101", "0500", False, False),
        ("20240102", "2300", False, False),
        ("20240101", "", False, False),
    ],
)
def test_a_date_and_its_time_are_one_instant_when_agreed(day: str, at: str, apart: bool, joined: bool) -> None:
    stored = record(StudyDate=day, StudyTime=at)
    asked = ((DATE, "20240101-20240102"), (TIME, "22-06"))
    assert matches(asks(*asked), stored) is apart
    assert matches(asks(*asked, combined_datetime=True), stored) is joined


def test_a_leap_second_stays_on_its_day() -> None:
    stored = record(StudyDate="20241231", StudyTime="235960")
    assert matches(asks((DATE, "20241231"), (TIME, "23-"), combined_datetime=True), stored)
    assert not matches(asks((DATE, "20250101"), (TIME, "-01"), combined_datetime=True), stored)


def test_a_combined_instant_moves_with_the_zones() -> None:
    query = asks((ZONE, "-0500"), (DATE, "20240101"), (TIME, "2300"), timezone=True, combined_datetime=True)
    assert matches(query, record(StudyDate="20240102", StudyTime="0400", TimezoneOffsetFromUTC="+0000"))
    assert not matches(query, record(StudyDate="20240101", StudyTime="2300", TimezoneOffsetFromUTC="+0000"))
    assert matches(query, record(StudyDate="20240101", StudyTime="2300"))


def test_all_keys_of_a_sequence_meet_in_one_item() -> None:
    def item(step: str, procedure: str) -> dict[str, Any]:
        return {"00400009": {"vr": "SH", "Value": [step]}, "00401001": {"vr": "SH", "Value": [procedure]}}

    wanted = {0x00400009: IdentifierElement("SH", ["S1"]), 0x00401001: IdentifierElement("SH", ["P*"])}
    query = asks((REQUEST, [wanted]))
    assert matches(query, record(RequestAttributesSequence=[item("S0", "X"), item("S1", "P7")]))
    assert not matches(query, record(RequestAttributesSequence=[item("S1", "X"), item("S0", "P7")]))
    assert not matches(query, {"00400275": {"vr": "SQ"}})


def test_sequences_nest_and_a_kept_tag_inside_an_item_is_not_a_column() -> None:
    code = {0x00080100: IdentifierElement("SH", ["C1"]), DESCRIPTION: IdentifierElement("LO", ["B"])}
    query = asks((REQUEST, [{0x00400008: IdentifierElement("SQ", [code])}]))
    inner = {
        "00080100": {"vr": "SH", "Value": ["C1"]},
        "00081030": {"vr": "LO", "Value": ["A", "B"]},
    }
    assert matches(query, record(RequestAttributesSequence=[{"00400008": {"vr": "SQ", "Value": [inner]}}]))


def test_no_pattern_is_slow() -> None:
    started = time.perf_counter()
    for pattern in ("*a" * 5_000 + "b", "a*" * 255 + "b", "*" * 10_000, "?*" * 250, "*" + "a" * 500 + "*b"):
        assert compile_pattern(pattern).fullmatch("a" * 10_240 + "c") is None or pattern.endswith("*")
    for pattern in ("*a" * 250 + "b", "^" * 400 + "b", "*^" * 250 + "b", "a^^*" * 120 + "b", "?*^" * 160 + "b"):
        matcher = compile_matcher(asks((NAME, pattern)))
        for stored in ("a" * 512, "^" * 511 + "c", "a^" * 256, "a" * 100_000):
            assert not matcher(name(stored))
    assert time.perf_counter() - started < 3
