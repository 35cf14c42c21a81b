"""Shapes of identifying values: what is an SSN, what is nobody's, and that no value survives the look."""

from __future__ import annotations

import pytest

from harness.probe_planted import PLANTED, dicom_json, leaks, study
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.dicom.encode import encode_values
from strongroom.dicom.tree import parse_dataset
from strongroom.probe.shapes import (
    LOOKED_AT_TAGS,
    MAX_LOOKED_AT,
    Answered,
    has_nine_digit_number,
    is_birth_date,
    is_itin,
    is_ssn,
    kind_of,
    looked_at,
)

NAME, PATIENT_ID, OTHER_IDS, BIRTH_DATE = 0x00100010, 0x00100020, 0x00101000, 0x00100030
ACCESSION, DESCRIPTION, COMMENTS, PHONES, STUDY = 0x00080050, 0x00081030, 0x00104000, 0x00102154, 0x0020000D


def answer(**values: str) -> Answered:
    tags = {
        "name": NAME, "id": PATIENT_ID, "other": OTHER_IDS, "born": BIRTH_DATE, "accession": ACCESSION,
        "description": DESCRIPTION, "comments": COMMENTS, "phones": PHONES, "study": STUDY,
    }  # fmt: skip
    return Answered({tags[key]: value for key, value in values.items()})


@pytest.mark.parametrize("digits", ["001010001", "734121234", "749011234", "773121234", "899999999", "219374581"])
def test_numbers_that_can_be_issued(digits: str) -> None:
    assert is_ssn(digits)
    assert not is_itin(digits)


@pytest.mark.parametrize(
    "digits",
    ["000121234", "666121234", "900121234", "999999999", "123001234", "123450000", "078051120", "219099999",
     "123456789", "111111111"],
)  # fmt: skip
def test_numbers_that_nobody_has(digits: str) -> None:
    assert not is_ssn(digits)


@pytest.mark.parametrize(
    ("group", "is_one"),
    [("49", False), ("50", True), ("65", True), ("66", False), ("70", True), ("88", True), ("89", False), ("90", True),
     ("92", True), ("93", False), ("94", True), ("99", True)],
)  # fmt: skip
def test_taxpayer_numbers_are_told_by_their_group(group: str, is_one: bool) -> None:
    assert is_itin(f"912{group}4321") is is_one
    assert not is_itin(f"812{group}4321")


@pytest.mark.parametrize(
    "values",
    [
        {"id": "219-37-4581"},
        {"id": "219374581"},
        {"id": "219 37 4581"},
        {"id": "MRN77\\219374581"},
        {"other": "219374581"},
        {"name": "DOE^JANE^^^219374581"},
        {"comments": "called; ssn 219-37-4581 on file"},
        {"comments": "219-37-4581A"},
        {"accession": "219-37-4581"},
        {"id": "219\u201337\u20134581"},
        {"id": "219\u00a037\u00a04581"},
        {"id": "\uff12\uff11\uff19\uff0d\uff13\uff17\uff0d\uff14\uff15\uff18\uff11"},
        {"id": "21\u00ad937458\u00ad1"},
    ],
)
def test_a_number_is_found_however_it_is_written(values: dict[str, str]) -> None:
    assert has_nine_digit_number(answer(**values), is_ssn)


@pytest.mark.parametrize(
    "values",
    [
        {"id": "219-374581"},
        {"id": "219-37 4581"},
        {"id": "2193745810"},
        {"id": "A219374581"},
        {"id": "219374581B"},
        {"accession": "219374581"},
        {"comments": "order 219374581"},
        {"description": "1.2.219.37.4581.6"},
        {"born": "219374581"},
        {"study": "2.25.219374581"},
    ],
)
def test_a_number_of_another_kind_is_none(values: dict[str, str]) -> None:
    assert not has_nine_digit_number(answer(**values), is_ssn)


def test_nine_digits_in_a_row_are_told_apart_from_a_written_number() -> None:
    told = looked_at([answer(id="219374581"), answer(id="219-37-4582"), answer(id="MR70000")])
    assert (told["ssn_shaped"], told["ssn_bare"], told["looked_at"]) == (2, 1, 3)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("19800229", True), ("19810229", False), ("1980.02.29", True), ("18501231", False), ("00000000", False),
     ("19801", False), ("", False), ("\u0661\u0669\u0668\u0660\u0660\u0661\u0660\u0661", False)],
)  # fmt: skip
def test_a_birth_date_is_a_day_on_which_a_patient_can_be_born(text: str, is_one: bool) -> None:
    assert is_birth_date(text) is is_one


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ({"comments": "mail jane.doe@clinic.example.org"}, "email_shaped"),
        ({"id": "a@b.example"}, "email_shaped"),
        ({"comments": "call (212) 555-0143"}, "phone_shaped"),
        ({"comments": "+44 20 7946 0958"}, "phone_shaped"),
        ({"phones": "5550143"}, "phone_shaped"),
    ],
)
def test_addresses_and_telephone_numbers(values: dict[str, str], shape: str) -> None:
    assert looked_at([answer(**values)])[shape] == 1


def test_a_written_social_security_number_is_no_telephone_number() -> None:
    told = looked_at([answer(id="219-37-4581", comments="10:15:00 2024-01-15")])
    assert told["phone_shaped"] == told["email_shaped"] == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"name": "PHANTOM^WATER"}, "phantom"),
        ({"id": "QA-0012"}, "phantom"),
        ({"description": "Daily QC"}, "phantom"),
        ({"name": "TEACHING^CASE 12"}, "teaching"),
        ({"name": "Test^Patient"}, "synthetic"),
        ({"id": "ANON4711"}, "synthetic"),
        ({"name": "CompressedSamples^CT1"}, "synthetic"),
        ({"description": "Teaching file"}, "teaching"),
    ],
)
def test_data_that_says_it_is_of_nobody(values: dict[str, str], kind: str) -> None:
    assert kind_of(answer(**values)) == kind


@pytest.mark.parametrize(
    "values",
    [
        {"name": "TESTA^MARIO"},
        {"name": "UNKNOWN^JOHN"},
        {"name": "QARI^AMINA"},
        {"description": "CARDIAC STRESS TEST"},
        {"description": "EXERCISE ECHO"},
        {"description": "TISSUE SAMPLE"},
    ],
)
def test_people_whose_data_only_sounds_like_it(values: dict[str, str]) -> None:
    assert kind_of(answer(**values)) == ""


def test_the_same_person_in_all_answers_is_noted() -> None:
    one = answer(name="ALDERBROOK^MARLA", id="MR1")
    assert looked_at([one, one, one])["identical"] is True
    assert looked_at([one, one])["identical"] is False
    assert looked_at([one, one, answer(name="BYWATERS^ODETTE", id="MR2")])["identical"] is False
    nobody = answer(study="1.2.3")
    assert looked_at([nobody, nobody, nobody])["identical"] is False


def test_no_more_is_looked_at_than_the_cap() -> None:
    read = []

    def answers() -> object:
        for number in range(10 * MAX_LOOKED_AT):
            read.append(number)
            yield answer(id=f"MR{number}")

    assert looked_at(answers())["looked_at"] == MAX_LOOKED_AT  # type: ignore[arg-type]
    assert len(read) <= MAX_LOOKED_AT + 1


def test_both_protocols_show_the_same() -> None:
    studies = [study(number) for number in range(5)]
    by_json = looked_at(Answered.of_json(dicom_json(each)) for each in studies)
    raws = [
        encode_values({tag: value.decode() for tag, value in each.items()}, EXPLICIT_VR_LITTLE_ENDIAN)
        for each in studies
    ]
    by_dimse = looked_at(Answered.of_elements(parse_dataset(raw, EXPLICIT_VR_LITTLE_ENDIAN)) for raw in raws)
    assert by_json == by_dimse
    assert by_json["ssn_shaped"] == 5


def test_names_in_other_scripts_are_read_in_their_character_set() -> None:
    values = {0x00080005: "ISO_IR 192", NAME: "\u5c71\u7530^\u592a\u90ce", PATIENT_ID: "\uff11\uff12"}
    raw = encode_values(values, EXPLICIT_VR_LITTLE_ENDIAN)
    read = Answered.of_elements(parse_dataset(raw, EXPLICIT_VR_LITTLE_ENDIAN))
    assert read.text_of(PATIENT_ID) == "12"
    assert looked_at([read])["has_name"] == 1


@pytest.mark.parametrize(
    "odd",
    [None, [], "text", {"00100010": None}, {"00100010": {"Value": "x"}}, {"00100010": {"Value": [None, [], 1.5]}},
     {"00100010": {"Value": [{"Alphabetic": ["x"]}]}}],
)  # fmt: skip
def test_any_json_is_looked_at_without_an_error(odd: object) -> None:
    assert looked_at([Answered.of_json(odd)])["looked_at"] == 1


def test_nothing_of_a_planted_person_is_in_what_comes_out() -> None:
    answers = [Answered.of_json(dicom_json(study(number))) for number in range(5)]
    told = looked_at(answers)
    assert told["has_name"] == told["has_birth_date"] == told["has_patient_id"] == told["has_physician"] == 5
    assert leaks(repr((told, answers)).encode()) == []
    assert PLANTED  # the control: the same test finds what is there
    assert leaks(repr(answers[0].values).encode())


def test_the_query_for_shapes_asks_for_no_more_than_is_looked_at() -> None:
    assert set(LOOKED_AT_TAGS) == {
        0x00080005, 0x00080050, 0x00080090, 0x00081030, 0x00100010, 0x00100020, 0x00100030, 0x00101000, 0x00102154,
        0x00104000, 0x0020000D,
    }  # fmt: skip
