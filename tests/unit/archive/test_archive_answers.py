"""Answers hold exactly what was asked for."""

from typing import Any

from strongroom.archive.answers import AboutArchive, answer
from strongroom.archive.query import IdentifierElement, Model, Query

ABOUT = AboutArchive("STRONGROOM")
RECORD: dict[str, Any] = {
    "00080020": {"vr": "DA", "Value": ["20240101"]},
    "00080050": {"vr": "SH"},
    "00081032": {
        "vr": "SQ",
        "Value": [
            {"00080100": {"vr": "SH", "Value": ["C1"]}, "00080104": {"vr": "LO", "Value": ["Kopf"]}},
            {"00080104": {"vr": "LO", "Value": ["Fuß"]}, "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}},
        ],
    },
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Smith^John"}]},
    "00100020": {"vr": "LO", "Value": ["Ä1"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
}


def asks(*elements: tuple[int, str, list[Any]]) -> Query:
    made = {tag: IdentifierElement(vr, values) for tag, vr, values in elements}
    return Query.from_identifier({**made, 0x00080052: IdentifierElement("CS", ["STUDY"])}, model=Model.STUDY_ROOT)


def test_an_answer_has_what_was_asked_for_in_the_order_of_tags() -> None:
    query = asks((0x0020000D, "UI", []), (0x00100010, "PN", ["Smith"]), (0x00080050, "SH", []), (0x00081030, "LO", []))
    given = answer(query, RECORD, ABOUT)
    assert given == {
        "00080050": {"vr": "SH"},
        "00080052": {"vr": "CS", "Value": ["STUDY"]},
        "00081030": {"vr": "LO"},
        "00100010": RECORD["00100010"],
        "0020000D": RECORD["0020000D"],
    }
    assert list(given) == sorted(given)


def test_unsupported_keys_are_left_out() -> None:
    query = asks((0x00091001, "LO", ["x"]), (0x00080060, "CS", []))
    assert list(answer(query, RECORD, ABOUT)) == ["00080052"]


def test_the_archive_answers_for_itself_whatever_was_asked() -> None:
    query = asks((0x00080054, "AE", ["OTHER"]), (0x00080056, "CS", ["OFFLINE"]))
    given = answer(query, RECORD | {"00080054": {"vr": "AE", "Value": ["STORED"]}}, ABOUT)
    assert given["00080054"]["Value"] == ["STRONGROOM"]
    assert given["00080056"]["Value"] == ["ONLINE"]


def test_the_character_set_is_named_only_where_it_is_needed() -> None:
    asked = (0x00080005, "CS", ["ISO_IR 100"])
    assert "00080005" not in answer(asks(asked, (0x00100010, "PN", [])), RECORD, ABOUT)
    given = answer(asks((0x00100020, "LO", [])), RECORD, ABOUT)
    assert next(iter(given.items())) == ("00080005", {"vr": "CS", "Value": ["ISO_IR 192"]})
    kanji = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A", "Ideographic": "山田"}]}}
    assert "00080005" in answer(asks((0x00100010, "PN", [])), kanji, ABOUT)
    assert "00080005" in answer(asks((0x00081032, "SQ", [])), RECORD, ABOUT)


def test_a_sequence_comes_whole_or_with_the_keys_asked_for() -> None:
    whole = answer(asks((0x00081032, "SQ", [])), RECORD, ABOUT)["00081032"]
    assert [sorted(item) for item in whole["Value"]] == [["00080100", "00080104"], ["00080104"]]
    item = {0x00080100: IdentifierElement("SH", ["C1"]), 0x00080005: IdentifierElement("CS", ["ISO_IR 6"])}
    part = answer(asks((0x00081032, "SQ", [item])), RECORD, ABOUT)["00081032"]
    assert part == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["C1"]}}, {"00080100": {"vr": "SH"}}]}


def test_the_zone_of_the_record_is_returned() -> None:
    zone = {"00080201": {"vr": "SH", "Value": ["+0100"]}}
    assert answer(asks((0x00080201, "SH", [])), zone, ABOUT)["00080201"] == zone["00080201"]
