"""Query parameters of QIDO-RS: what they mean, and what is refused (PS3.18 8.3.4)."""

from __future__ import annotations

import pytest

from strongroom.archive import keys
from strongroom.archive.constraint import (
    AnyOf,
    Empty,
    InstantRange,
    Key,
    QueryLimits,
    Range,
    SequenceMatch,
    Single,
    UidList,
)
from strongroom.archive.model import Level
from strongroom.archive.qido import RETRIEVE_URL, Search, parse_search
from strongroom.errors import InvalidQuery, LimitExceeded

STUDY_UID, SERIES_UID = 0x0020000D, 0x0020000E
PATIENT_ID, MODALITY = 0x00100020, 0x00080060


def search(level: Level, *pairs: tuple[str, str], **above: str) -> Search:
    tags = {"study": STUDY_UID, "series": SERIES_UID}
    return parse_search(level, {tags[name]: uid for name, uid in above.items()}, pairs)


def keys_of(found: Search) -> dict[int, object]:
    return {key.tag: key.match for key in found.query.keys}


def returned(found: Search) -> set[int]:
    return {key.tag for key in found.query.returned}


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_an_attribute_is_named_by_keyword_or_tag(name: str) -> None:
    assert keys_of(search(Level.STUDY, (name, "P1"))) == {PATIENT_ID: Single("P1")}


@pytest.mark.parametrize("name", ["patientid", "0010002", "00100020x", "(0010,0020)", "", "x", "PatientID.x", "."])
def test_what_is_no_attribute_is_refused(name: str) -> None:
    with pytest.raises(InvalidQuery):
        search(Level.STUDY, (name, "P1"))


def test_the_path_is_a_key_like_any_other() -> None:
    found = search(Level.IMAGE, study="1.2", series="1.2.3")
    assert keys_of(found) == {STUDY_UID: Single("1.2"), SERIES_UID: Single("1.2.3")}
    with pytest.raises(InvalidQuery, match="path"):
        search(Level.SERIES, ("StudyInstanceUID", "1.3"), study="1.2")


@pytest.mark.parametrize("values", [["1.2,1.3"], ["1.2\\1.3"], ["1.2", "1.3"], [" 1.2 ,1.3,"]])
def test_uids_come_with_commas_with_backslashes_or_one_by_one(values: list[str]) -> None:
    found = search(Level.STUDY, *(("StudyInstanceUID", value) for value in values))
    assert keys_of(found) == {STUDY_UID: UidList(("1.2", "1.3"))}


def test_codes_may_have_commas_and_other_text_holds_them() -> None:
    assert keys_of(search(Level.SERIES, ("Modality", "CT,MR"))) == {MODALITY: AnyOf((Single("CT"), Single("MR")))}
    assert keys_of(search(Level.STUDY, ("PatientID", "a,b"))) == {PATIENT_ID: Single("a,b")}


def test_a_sequence_is_matched_by_a_path() -> None:
    found = search(
        Level.SERIES,
        ("RequestAttributesSequence.ScheduledProcedureStepID", "S1"),
        ("00400275.00401001", "R1"),
    )
    inner = (Key(0x00400009, "SH", Single("S1")), Key(0x00401001, "SH", Single("R1")))
    assert keys_of(found) == {0x00400275: SequenceMatch(inner)}


@pytest.mark.parametrize("name", ["RequestAttributesSequence", "PatientID.PatientName", "PatientID.StudyID.Modality"])
def test_a_path_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidQuery):
        search(Level.SERIES, ("PatientID", "P1"), (name, "x"))


def test_dates_are_ranges_and_go_together_with_their_times() -> None:
    days = Range("20240101", "20240131")
    assert keys_of(search(Level.STUDY, ("StudyDate", "20240101-20240131"))) == {0x00080020: days}
    both = keys_of(search(Level.STUDY, ("StudyDate", "20240101"), ("StudyTime", "10-11")))
    assert [type(match) for match in both.values()] == [InstantRange]


def test_a_time_zone_may_have_lost_its_plus_sign() -> None:
    zoned = search(Level.STUDY, ("StudyDate", "20240101"), ("StudyTime", "10"), ("TimezoneOffsetFromUTC", " 0100"))
    assert zoned.query.zone_us == 3_600_000_000


def test_an_empty_value_asks_for_the_attribute_only() -> None:
    found = search(Level.STUDY, ("StudyDescription", ""))
    assert not found.query.keys
    assert 0x00081030 in returned(found)


def test_a_constraint_below_the_level_would_widen_the_answer() -> None:
    with pytest.raises(InvalidQuery, match="below"):
        search(Level.STUDY, ("Modality", "CT"))


def test_a_constraint_above_the_level_narrows_it() -> None:
    assert keys_of(search(Level.IMAGE, ("PatientID", "P1"))) == {PATIENT_ID: Single("P1")}


def test_what_is_not_kept_is_named_in_a_warning_without_its_value() -> None:
    found = search(Level.IMAGE, ("KVP", "120"), ("includefield", "ExposureTime"), ("PatientName", "X"))
    assert found.warnings == ("The archive does not keep KVP, ExposureTime: not matched and not returned.",)
    assert 0x00100010 in keys_of(found)


def test_attributes_are_included_one_by_one_in_lists_or_all() -> None:
    plain, listed = search(Level.STUDY), search(Level.STUDY, ("includefield", "StudyDescription,00081070"))
    assert returned(listed) - returned(plain) == {0x00081030}  # the operator is of a series, and not answered here
    twice = search(Level.SERIES, ("includefield", "OperatorsName"), ("includefield", "StudyDescription"))
    assert {0x00081070, 0x00081030} <= returned(twice)
    whole = returned(search(Level.STUDY, ("includefield", "all")))
    assert whole >= {a.tag for level in (Level.STUDY, Level.PATIENT) for a in keys.ATTRIBUTES[level]}


@pytest.mark.parametrize(
    ("level", "above", "there", "absent"),
    [
        (Level.STUDY, {}, {0x00100010, 0x00201208, 0x0020000D}, {MODALITY}),
        (Level.SERIES, {}, {MODALITY, 0x00100010, 0x00201209, STUDY_UID}, {0x00080018}),
        (Level.SERIES, {"study": "1.2"}, {MODALITY, STUDY_UID}, {0x00100010}),
        (Level.IMAGE, {}, {0x00080018, MODALITY, 0x00100010}, set()),
        (Level.IMAGE, {"study": "1.2"}, {0x00080018, MODALITY, SERIES_UID}, {0x00100010}),
        (Level.IMAGE, {"study": "1.2", "series": "1.3"}, {0x00080018, SERIES_UID, STUDY_UID}, {MODALITY, 0x00100010}),
    ],
)
def test_each_resource_is_answered_with_its_levels(
    level: Level, above: dict[str, str], there: set[int], absent: set[int]
) -> None:
    found = returned(search(level, **above))
    assert there <= found
    assert not absent & found
    assert RETRIEVE_URL not in found  # made when the answer is encoded


def test_pages_are_asked_for_by_limit_and_offset() -> None:
    query = search(Level.STUDY, ("limit", "10"), ("offset", "20")).query
    assert (query.limit, query.offset) == (10, 20)
    assert search(Level.STUDY).query.limit is None


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize("value", ["", "-1", "1.0", " 1", "٣", "1" * 17, "all"])
def test_a_number_that_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidQuery):
        search(Level.STUDY, (name, value))


@pytest.mark.parametrize("name", ["limit", "offset", "fuzzymatching", "accept", "charset"])
def test_what_can_be_said_once_is_not_said_twice(name: str) -> None:
    value = "true" if name == "fuzzymatching" else "1"
    with pytest.raises(InvalidQuery, match="twice"):
        search(Level.STUDY, (name, value), (name, value))


def test_fuzzy_matching_is_asked_for_in_words() -> None:
    assert search(Level.STUDY, ("fuzzymatching", "true")).query.fuzzy
    assert not search(Level.STUDY, ("fuzzymatching", "false")).query.fuzzy
    with pytest.raises(InvalidQuery):
        search(Level.STUDY, ("fuzzymatching", "1"))


def test_two_quotes_ask_for_no_value_where_that_is_asked_for() -> None:
    asked = search(Level.STUDY, ("AccessionNumber", '""'), ("emptyvaluematching", "true"))
    assert asked.warnings == ()
    assert [key.match for key in asked.query.keys] == [Empty()]
    literal = search(Level.STUDY, ("AccessionNumber", '""'), ("emptyvaluematching", "false"))
    assert [key.match for key in literal.query.keys] == [Single('""')]
    assert not search(Level.STUDY, ("multiplevaluematching", "true")).warnings


@pytest.mark.parametrize(
    "pairs",
    [
        [("PatientID", "1")] * 4,
        [("includefield", "PatientID,PatientName,StudyID,StudyDate")],
    ],
)
def test_max_query_keys_counts_all_parameters(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(LimitExceeded, match="max_query_keys"):
        parse_search(Level.STUDY, {}, pairs, QueryLimits(max_query_keys=3))
