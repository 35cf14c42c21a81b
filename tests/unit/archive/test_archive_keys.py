"""The tables of attributes and columns, and the text that columns hold."""

from typing import Any

from pydicom.datadict import dictionary_keyword, dictionary_VR

from strongroom.archive import keys
from strongroom.archive.model import Level


def test_the_tables_agree_with_the_dictionary() -> None:
    tables = [*keys.ATTRIBUTES.values(), *keys.COMPUTED.values(), keys.ANSWERED]
    rows = [attribute for table in tables for attribute in table]
    assert [(a.tag, a.keyword, a.vr) for a in rows] == [
        (a.tag, dictionary_keyword(a.tag), dictionary_VR(a.tag)) for a in rows
    ]
    assert len({a.tag for a in rows}) == len(rows), "an attribute belongs to one level"
    for table in keys.ATTRIBUTES.values():
        assert [a.tag for a in table] == sorted(a.tag for a in table)


def test_every_column_is_an_attribute_of_its_level() -> None:
    for level, columns in keys.COLUMNS.items():
        for column in columns:
            assert (column.level, keys.LEVEL_OF[column.tag], keys.VR_OF[column.tag]) == (level, level, column.vr)
        assert keys.UNIQUE_KEYS[level] in {column.tag for column in columns}
    assert all(keys.LEVEL_OF[date] == keys.LEVEL_OF[time] for date, time in keys.DATE_TIME_PAIRS.items())


def test_column_values_are_canonical_and_in_column_order() -> None:
    record = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": " Müller ^Änne^^", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO", "Value": [" 12\0"]},
        "00100030": {"vr": "DA", "Value": ["1970.01.31"]},
        "00100021": {"vr": "LO"},
    }
    assert keys.column_values(Level.PATIENT, record) == ("12", "", "muller^anne=山田^太郎", "19700131")
    study_record = {"00080030": {"vr": "TM", "Value": ["10:30"]}, "00080050": {"vr": "SH", "Value": [None]}}
    assert keys.column_values(Level.STUDY, study_record) == ("", "", "103000000000", "", "", "", "")
    image = {"00200013": {"vr": "IS", "Value": [7]}, "00080018": {"vr": "UI", "Value": ["1.2\0"]}}
    assert keys.column_values(Level.IMAGE, image) == ("1.2", "", "7")


def test_no_column_is_longer_than_an_index_page_takes_or_holds_what_a_database_refuses() -> None:
    hostile = "A\0\ud800" + "é" * 100_000 + "\ufdfa" * 100
    record: dict[str, Any] = {f"{c.tag:08X}": {"vr": c.vr, "Value": [hostile]} for c in keys.COLUMNS[Level.STUDY]}
    record["00080090"] = {"vr": "PN", "Value": [{"Alphabetic": "\ufdfa" * 5000, "Phonetic": 7}]}
    for text in keys.column_values(Level.STUDY, record):
        assert len(text) <= 512
        assert "\0" not in text
        text.encode()


def test_modalities_stand_between_backslashes() -> None:
    assert keys.modalities_text(["CT", " SR "]) == "\\CT\\SR\\"
    assert keys.modalities_text([]) == keys.modalities_text([" "]) == ""
