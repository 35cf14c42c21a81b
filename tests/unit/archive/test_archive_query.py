"""Identifiers of C-FIND, C-MOVE and C-GET: what they become, and what is refused (PS3.4 C.2.2.2, C.4)."""

import time
from typing import Any

import pytest

from strongroom.archive import keys
from strongroom.archive.constraint import AnyOf, InstantRange, QueryLimits, Range, SequenceMatch, Single, UidList
from strongroom.archive.constraint import Wildcard as W
from strongroom.archive.model import Level
from strongroom.archive.prefilter import sql_conditions
from strongroom.archive.query import (
    ExtendedNegotiation,
    Identifier,
    IdentifierElement,
    Model,
    Query,
    Retrieval,
    ReturnKey,
    identifier_from_json,
)
from strongroom.errors import InvalidQuery, LimitExceeded

NAME, PATIENT_ID, BIRTH_DATE = 0x00100010, 0x00100020, 0x00100030
STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS = 0x0020000D, 0x0020000E, 0x00080018, 0x00080016
DATE, TIME, ACCESSION, DESCRIPTION, MODALITY, MODALITIES = (
    0x00080020,
    0x00080030,
    0x00080050,
    0x00081030,
    0x00080060,
    0x00080061,
)
ACQUISITION, REQUEST, NUMBER, ZONE = 0x0008002A, 0x00400275, 0x00200013, 0x00080201
RELATIONAL = ExtendedNegotiation(relational=True)


def identifier(level: str | None, *elements: tuple[int, Any]) -> Identifier:
    """Return an identifier; a value is text with backslashes or a list of items."""
    made = {} if level is None else {0x00080052: IdentifierElement("CS", [level])}
    for tag, value in elements:
        vr = keys.VR_OF.get(tag, "LO")
        made[tag] = IdentifierElement(vr, value if isinstance(value, list) else value.split("\\") if value else [])
    return made


def study(*elements: tuple[int, Any], **negotiated: bool) -> Query:
    return Query.from_identifier(
        identifier("STUDY", *elements), model=Model.STUDY_ROOT, negotiated=ExtendedNegotiation(**negotiated)
    )


def match_of(tag: int, value: str) -> object:
    query = Query.from_identifier(identifier("IMAGE", (tag, value)), model=Model.PATIENT_ROOT, negotiated=RELATIONAL)
    return query.keys[0].match if query.keys else None


# --- level and unique keys ---


@pytest.mark.parametrize("level", [None, "", "PATIENTS", "study", "IMAGE\\STUDY"])
def test_a_level_is_required_and_one_of_the_model(level: str | None) -> None:
    with pytest.raises(InvalidQuery):
        Query.from_identifier(identifier(level, (STUDY_UID, "1.2")), model=Model.PATIENT_ROOT)


def test_the_study_root_has_no_patient_level() -> None:
    with pytest.raises(InvalidQuery):
        Query.from_identifier(identifier("PATIENT", (NAME, "A")), model=Model.STUDY_ROOT)
    assert Query.from_identifier(identifier("PATIENT", (NAME, "A")), model=Model.PATIENT_ROOT).level is Level.PATIENT


@pytest.mark.parametrize("above", ["", "1.2\\1.3"])
@pytest.mark.parametrize("model", Model)
def test_unique_keys_above_are_single(above: str, model: Model) -> None:
    asked = identifier("SERIES", (PATIENT_ID, "P"), (STUDY_UID, above))
    with pytest.raises(InvalidQuery):
        Query.from_identifier(asked, model=model)
    assert Query.from_identifier(asked, model=model, negotiated=RELATIONAL).relational


def test_a_patient_id_above_takes_no_wildcard_but_does_at_its_level() -> None:
    with pytest.raises(InvalidQuery):
        Query.from_identifier(identifier("STUDY", (PATIENT_ID, "P*")), model=Model.PATIENT_ROOT)
    query = Query.from_identifier(identifier("PATIENT", (PATIENT_ID, "P*")), model=Model.PATIENT_ROOT)
    assert query.keys[0].match == W("P*")


def test_patient_attributes_are_study_attributes_in_the_study_root() -> None:
    query = study((PATIENT_ID, "P*"), (NAME, "Smith"))
    assert [key.tag for key in query.keys] == [NAME, PATIENT_ID]


@pytest.mark.parametrize("tag", [MODALITY, SERIES_UID, SOP_CLASS])
def test_a_constraint_below_the_level_is_refused_and_a_free_key_is_unsupported(tag: int) -> None:
    value = "1.2" if keys.VR_OF[tag] == "UI" else "CT"
    with pytest.raises(InvalidQuery):
        study((tag, value))
    query = study((tag, ""))
    assert (query.unsupported, query.returned) == ((tag,), (ReturnKey(0x00080052, "CS"),))


def test_what_is_not_kept_is_unsupported_and_constrains_nothing() -> None:
    private = 0x00091001
    query = study((private, "X"), (0x00081190, "http://x"), (0x00080000, "4"), (STUDY_UID, ""))
    assert query.unsupported == (0x00081190, private)
    assert query.keys == ()


# --- values ---


@pytest.mark.parametrize(
    ("tag", "value", "match"),
    [
        (STUDY_UID, "1.2", Single("1.2")),
        (STUDY_UID, "1.2\\1.3\\1.2\\", UidList(("1.2", "1.3"))),
        (SOP_CLASS, " \0", None),
        (ACCESSION, "a b ", Single("a b")),
        (ACCESSION, " \\ ", None),
        (ACCESSION, "**", None),
        (ACCESSION, "A**B?", W("A*B?")),
        (MODALITY, "CT\\MR\\CT", AnyOf((Single("CT"), Single("MR")))),
        (MODALITY, "CT\\*", None),
        (DATE, "20240229", Range("20240229", "20240229")),
        (DATE, "2024.02.29", Range("20240229", "20240229")),
        (DATE, "2024-02-29", Range("20240229", "20240229")),
        (DATE, "20240101-", Range("20240101", None)),
        (DATE, "-20240101", Range(None, "20240101")),
        (DATE, "20240101 - 20250101", Range("20240101", "20250101")),
        (TIME, "10", Range("100000000000", "105959999999")),
        (TIME, "10:30", Range("103000000000", "103059999999")),
        (TIME, "103000.5", Range("103000500000", "103000599999")),
        (TIME, "0900-1030", Range("090000000000", "103059999999")),
        (TIME, "-1030", Range(None, "103059999999")),
        (NUMBER, "007", Single("7")),
        (NUMBER, "+7.0", Single("7")),
        (NAME, "Smith^John^^", Single("smith^john")),
        (NAME, "SMITH^*^*", Single("smith")),
        (NAME, "*^*", None),
        (NAME, "^^", None),
        (NAME, "=*=", None),
        (NAME, "Mü*=山田", W("mu*=山田")),
        (0x00101010, "045Y", Single("045Y")),
        (0x00101010, "*", Single("*")),
    ],
)
def test_a_value_becomes_a_match(tag: int, value: str, match: object) -> None:
    assert match_of(tag, value) == match


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        *((tag, "*") for tag in (STUDY_UID, DATE, TIME, ACQUISITION, NUMBER)),
        (STUDY_UID, "1.2*"),
        (STUDY_UID, "1.2.x"),
        (DATE, "2024"),
        (DATE, "202401"),
        (DATE, "20241301"),
        (DATE, "20240100-20240131"),
        (DATE, "-"),
        (DATE, "20240101-20240102-20240103"),
        (DATE, "２０２４０１０１"),
        (DATE, "20240101\\20240102"),
        (TIME, "24"),
        (ACQUISITION, "20241301-"),
        (ACQUISITION, "00000101"),
        (TIME, "1060"),
        (TIME, "10-1"),
        (TIME, "-"),
        (TIME, "1030+0100"),
        (ACQUISITION, "20240230"),
        (ACQUISITION, "-"),
        (ACQUISITION, "202401011060"),
        (NUMBER, "nan"),
        (NUMBER, "1e99999"),
        (NUMBER, "1_0"),
    ],
)
def test_a_value_that_cannot_be_matched_is_refused(tag: int, value: str) -> None:
    with pytest.raises(InvalidQuery):
        match_of(tag, value)


def test_a_hyphen_in_a_date_time_is_an_offset_where_it_can_be_one() -> None:
    single, ranged = match_of(ACQUISITION, "20240101-0500"), match_of(ACQUISITION, "20240101-2025")
    assert isinstance(single, InstantRange)
    assert isinstance(ranged, InstantRange)
    assert single.lo_zone_us == single.hi_zone_us == -5 * 3_600_000_000
    assert single.lo_us is not None
    assert single.hi_us == single.lo_us + 86_400_000_000 - 1
    assert (ranged.lo_zone_us, ranged.hi_zone_us) == (None, None)
    both = match_of(ACQUISITION, "20240101-0500-20240102+0130")
    assert isinstance(both, InstantRange)
    assert (both.lo_zone_us, both.hi_zone_us) == (-5 * 3_600_000_000, 90 * 60_000_000)
    assert match_of(ACQUISITION, "99991231235960.9-") is not None


def test_the_zone_counts_only_when_agreed_on() -> None:
    assert study((ZONE, "+0100")).zone_us is None
    assert study((ZONE, "+0100"), timezone=True).zone_us == 3_600_000_000
    assert study((ZONE, "+0100"), timezone=True).keys == ()
    with pytest.raises(InvalidQuery):
        study((ZONE, "CET"), timezone=True)


def test_date_and_time_are_joined_only_when_agreed_on() -> None:
    asked = ((DATE, "20240101-20240102"), (TIME, "2200-0600"))
    assert [key.tag for key in study(*asked).keys] == [DATE, TIME]
    joined = study(*asked, combined_datetime=True).keys
    assert [key.tag for key in joined] == [DATE]
    assert isinstance(joined[0].match, InstantRange)
    assert joined[0].match.time_tag == TIME
    only_time = study((TIME, "2200-"), combined_datetime=True).keys
    assert [key.tag for key in only_time] == [TIME]
    with pytest.raises(InvalidQuery):
        study((DATE, "20240231"), (TIME, "10"), combined_datetime=True)


# --- sequences ---


def test_a_sequence_has_one_item_whose_keys_are_matched_and_returned() -> None:
    item = {0x00401001: IdentifierElement("SH", ["RP1"]), 0x00400009: IdentifierElement("SH", [])}
    query = Query.from_identifier(identifier("SERIES", (STUDY_UID, "1.2"), (REQUEST, [item])), model=Model.STUDY_ROOT)
    match = query.keys[-1].match
    assert isinstance(match, SequenceMatch)
    assert [(key.tag, key.match) for key in match.keys] == [(0x00401001, Single("RP1"))]
    nested = (ReturnKey(0x00400009, "SH"), ReturnKey(0x00401001, "SH"))
    assert ReturnKey(REQUEST, "SQ", nested) in query.returned


@pytest.mark.parametrize("items", [[], [{}]])
def test_a_sequence_without_keys_is_universal(items: list[Identifier]) -> None:
    assert study((0x00081032, items)).keys == ()


@pytest.mark.parametrize(
    "elements",
    [
        {0x00081032: IdentifierElement("SQ", [{}, {}])},
        {0x00081032: IdentifierElement("LO", ["x"])},
        {PATIENT_ID: IdentifierElement("SQ", [{}])},
        {0x00081032: IdentifierElement("SQ", [{0x00080100: IdentifierElement("OB", ["x"])}])},
    ],
)
def test_values_and_items_are_not_confused(elements: dict[int, IdentifierElement]) -> None:
    with pytest.raises(InvalidQuery):
        Query.from_identifier({**identifier("STUDY"), **elements}, model=Model.STUDY_ROOT)


# --- caps ---


def nested(depth: int) -> list[Any]:
    items: list[Any] = []
    for _ in range(depth):
        items = [{0x00081032: IdentifierElement("SQ", items)}]
    return items


@pytest.mark.parametrize(
    ("elements", "limit_name"),
    [
        (tuple((0x00091000 + i, "") for i in range(300)), "max_query_keys"),
        (((0x00081032, [{i: IdentifierElement("LO") for i in range(1, 300)}]),), "max_query_keys"),
        (((0x00081032, nested(9)),), "max_query_depth"),
        (((STUDY_UID, "\\".join(["1.2"] * 2001)),), "max_query_uids"),
        (((STUDY_UID, ["1\\" * 2_000_000]),), "max_query_uids"),
        (((ACCESSION, "\\".join(["A"] * 65)),), "max_query_values"),
        (((ACCESSION, "A" * 10_241),), "max_query_value_chars"),
        (((ACCESSION, "*a" * 300),), "max_query_pattern_chars"),
        (((NAME, "*\ufdfa" * 200),), "max_query_pattern_chars"),
    ],
)
def test_what_is_too_much_is_refused(elements: tuple[tuple[int, Any], ...], limit_name: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        study(*elements)
    assert caught.value.limit_name == limit_name


def test_ten_thousand_stars_are_one() -> None:
    assert study((ACCESSION, "*" * 10_000)).keys == study((NAME, "*" * 10_000)).keys == ()
    assert study((ACCESSION, "A" + "*" * 9_000)).keys[0].match == W("A*")


def test_hostile_text_is_parsed_in_no_time() -> None:
    hostile = ["-" * 10_240, "1" * 10_240, " " * 10_239 + "-", "20240101" + " " * 10_000 + "x", "1:" * 5000]
    started = time.perf_counter()
    for text in hostile:
        for tag in (DATE, TIME, ACQUISITION, NUMBER):
            try:
                match_of(tag, text)
            except InvalidQuery:
                continue
    for group in ("^" * 10_240, "^*" * 250, "=" * 10_240):
        assert match_of(NAME, group) is None
    assert time.perf_counter() - started < 2


def test_nothing_of_a_patient_is_in_a_repr_or_an_error() -> None:
    query = study((NAME, "Canary*"), (PATIENT_ID, "Canary"), (DATE, "19991231-"), (ACCESSION, "Canary\\B"))
    assert "anary" not in repr(query) + repr(sql_conditions(query)) + repr(identifier("STUDY", (NAME, "Canary")))
    assert "19991231" not in repr(query) + repr(sql_conditions(query))
    for tag in (DATE, TIME, STUDY_UID, NUMBER, ACQUISITION):
        with pytest.raises(InvalidQuery) as caught:
            match_of(tag, "Canary")
        assert "Canary" not in str(caught.value)
        assert caught.value.__cause__ is None


# --- from JSON ---


def test_an_identifier_is_read_from_dicom_json() -> None:
    query = Query.from_identifier(
        identifier_from_json(
            {
                "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
                "00080052": {"vr": "CS", "Value": ["IMAGE"]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A", "Phonetic": "B"}]},
                "00200013": {"vr": "IS", "Value": [3]},
                "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["R", None]}}]},
                "00091001": {"vr": "UN", "InlineBinary": "AAAA"},
            }
        ),
        model=Model.PATIENT_ROOT,
        negotiated=RELATIONAL,
    )
    assert {key.tag: key.match for key in query.keys if key.tag != REQUEST} == {
        NAME: Single("a==b"),
        NUMBER: Single("3"),
    }
    assert query.unsupported == (0x00091001,)
    assert [key.tag for key in query.returned] == [0x00080005, 0x00080052, NAME, NUMBER, REQUEST]


@pytest.mark.parametrize(
    "attributes",
    [
        {"0010001": {"vr": "PN"}},
        {"0010_010": {"vr": "PN"}},
        {"PatientN": {"vr": "PN"}},
        {"00100010": []},
        {"00100010": {}},
        {"00100010": {"vr": "PN", "Value": "A"}},
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": 7}]}},
        {"00100010": {"vr": "PN", "Value": [["A"]]}},
        {"00100020": {"vr": "UN", "InlineBinary": "AAAA"}},
        {"00100020": {"vr": "LO", "BulkDataURI": "x"}},
        {"00081032": {"vr": "SQ", "Value": ["x"]}},
        [],
    ],
)
def test_what_is_no_identifier_in_json_is_refused(attributes: Any) -> None:
    with pytest.raises(InvalidQuery):
        identifier_from_json(attributes)


def test_json_is_capped_too() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"00081032": {"vr": "SQ", "Value": [deep]}}
    wide = {f"{tag:08X}": {"vr": "LO"} for tag in range(300)}
    long = {"0020000D": {"vr": "UI", "Value": ["1"] * 3000}}
    for hostile in (deep, wide, long):
        with pytest.raises(LimitExceeded):
            identifier_from_json(hostile)
    with pytest.raises(LimitExceeded):
        identifier_from_json({"00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH"}}] * 300}})
    assert QueryLimits().max_query_keys < 300


# --- retrieval ---


def retrieve(level: str, *elements: tuple[int, Any], model: Model = Model.STUDY_ROOT) -> Retrieval:
    return Retrieval.from_identifier(identifier(level, *elements), model=model)


def test_a_retrieval_takes_unique_keys_and_lists_at_its_level() -> None:
    asked = retrieve("SERIES", (STUDY_UID, "1.2"), (SERIES_UID, "1.3\\1.4"), (0x00100010, ""), (0x00080054, "X"))
    assert [key.match for key in asked.keys] == [Single("1.2"), UidList(("1.3", "1.4"))]
    assert sql_conditions(asked.query).exact
    assert retrieve("PATIENT", (PATIENT_ID, "P"), model=Model.PATIENT_ROOT).keys[0].match == Single("P")


@pytest.mark.parametrize(
    ("level", "model", "elements"),
    [
        ("STUDY", Model.STUDY_ROOT, ()),
        ("STUDY", Model.STUDY_ROOT, ((STUDY_UID, ""),)),
        ("STUDY", Model.STUDY_ROOT, ((STUDY_UID, "*"),)),
        ("STUDY", Model.STUDY_ROOT, ((STUDY_UID, "1.2"), (NAME, "A"))),
        ("STUDY", Model.STUDY_ROOT, ((STUDY_UID, "1.2"), (PATIENT_ID, "A"))),
        ("STUDY", Model.STUDY_ROOT, ((STUDY_UID, "1.2"), (SERIES_UID, "1.3"))),
        ("STUDY", Model.STUDY_ROOT, ((STUDY_UID, "1.2"), (0x00081032, [{}, {}]), (0x00091001, "x"))),
        ("STUDY", Model.PATIENT_ROOT, ((STUDY_UID, "1.2"),)),
        ("SERIES", Model.STUDY_ROOT, ((STUDY_UID, "1.2\\1.3"), (SERIES_UID, "1.3"))),
        ("IMAGE", Model.STUDY_ROOT, ((STUDY_UID, "1.2"), (SOP_UID, "1.3"))),
        ("PATIENT", Model.PATIENT_ROOT, ((PATIENT_ID, "*"),)),
        ("PATIENT", Model.PATIENT_ROOT, ((PATIENT_ID, "A*"),)),
        ("PATIENT", Model.PATIENT_ROOT, ((PATIENT_ID, "A\\B"),)),
        ("PATIENT", Model.STUDY_ROOT, ((PATIENT_ID, "A"),)),
    ],
)
def test_a_retrieval_of_anything_else_is_refused(
    level: str, model: Model, elements: tuple[tuple[int, Any], ...]
) -> None:
    with pytest.raises(InvalidQuery):
        retrieve(level, *elements, model=model)


def test_a_relational_retrieval_needs_only_its_own_key() -> None:
    asked = Retrieval.from_identifier(
        identifier("IMAGE", (SOP_UID, "1.2")), model=Model.STUDY_ROOT, negotiated=RELATIONAL
    )
    assert asked.query.relational
