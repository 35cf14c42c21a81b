"""One archive, one answer: what C-FIND says to some keys, QIDO-RS says to the same, over the same records."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import archives
from harness.ingesting import CT_IMAGE_STORAGE, element
from strongroom.app import Archive
from strongroom.archive import keys
from strongroom.archive.encoded import compile_encoder
from strongroom.archive.ingest import Arrival
from strongroom.archive.model import Level
from strongroom.archive.qido import RETRIEVE_URL, parse_search
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, keyword_of
from strongroom.errors import InvalidQuery, LimitExceeded
from strongroom.types import Principal, Right, Uid
from strongroom.web.parameters import parse_query

RECORDS = 80
CALLER = Principal("ASKER", rights=frozenset(Right))
EXPLICIT = TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"]
BASE = "https://localhost/dicomweb"
LEVELS = [Level.STUDY, Level.SERIES, Level.IMAGE]

NAMES = ["Muster^Max", "MUSTER^ERIKA", "Müller^Jörg", "山田^太郎", "O'Neil^A B", ""]
WORDS = ["A", "a", "HEAD", "head scan", "50%_!", "", "ÄÖ", "x,y", "a+b", "a&b=c"]
DATES = ["20231231", "20240101", "20240229", ""]
TIMES = ["10", "103015.5", "235959", ""]
CODES = ["CT", "MR", "SR", ""]
VALUES: dict[str, list[str]] = {
    "PN": NAMES, "LO": WORDS, "SH": WORDS, "LT": WORDS, "ST": WORDS, "DA": DATES, "TM": TIMES, "CS": CODES,
    "IS": ["1", "01", "20", ""], "DS": ["1.5", "2", ""], "AS": ["012Y", ""],
}  # fmt: skip
TAGS = [
    0x00080020, 0x00080030, 0x00080050, 0x00080060, 0x00080090, 0x00081030, 0x0008103E, 0x00100010, 0x00100020,
    0x00100030, 0x00100040, 0x00101010, 0x00180015, 0x00200010, 0x00200011, 0x00200013, 0x00204000, 0x00400244,
]  # fmt: skip
UIDS = [f"2.25.9.{number}" for number in range(4)]


def dataset(number: int, chance: random.Random) -> tuple[Uid, bytes]:
    study = UIDS[number] if number < len(UIDS) else f"2.25.9.{number}"
    values = {tag: chance.choice(VALUES[keys.VR_OF[tag]]) for tag in TAGS}
    values[0x00100020] = f"P{number % 20}"
    item = element(0x00400009, "SH", chance.choice(WORDS)) + element(0x00401001, "SH", chance.choice(WORDS))
    elements = {tag: element(tag, keys.VR_OF[tag], value) for tag, value in values.items()}
    elements |= {
        0x00080005: element(0x00080005, "CS", "ISO_IR 192"),
        0x00080016: element(0x00080016, "UI", CT_IMAGE_STORAGE),
        0x00080018: element(0x00080018, "UI", f"{study}.1.{number}"),
        0x0020000D: element(0x0020000D, "UI", study),
        0x0020000E: element(0x0020000E, "UI", f"{study}.1"),
        0x00400275: element(0x00400275, "SQ", b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item),
    }
    return Uid(f"{study}.1.{number}"), b"".join(elements[tag] for tag in sorted(elements))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    chance = random.Random(20250208)
    with archives.opened(archives.new_home(tmp_path_factory.mktemp("qido") / "home")) as archive:
        for number in range(RECORDS):
            sop_uid, data = dataset(number, chance)
            ingest = archive.new_ingest(Arrival(CT_IMAGE_STORAGE, sop_uid, EXPLICIT, Principal("CT1")))
            ingest.write(data)
            ingest.commit()
        yield archive


def key_values(tag: int) -> st.SearchStrategy[str]:
    vr = keys.VR_OF[tag]
    plain = st.sampled_from(VALUES[vr])
    if vr in ("DA", "TM"):
        return st.one_of(plain, st.builds("{}-{}".format, plain, plain), plain.map("-{}".format))
    if vr in ("IS", "DS", "AS"):
        return plain
    return st.one_of(plain, plain.map(lambda text: text[:3] + "*"), plain.map(lambda text: text.replace("a", "?")))


asked_keys = st.lists(st.sampled_from(TAGS), max_size=4, unique=True).flatmap(
    lambda tags: st.fixed_dictionaries({tag: key_values(tag) for tag in tags})
)


def by_dimse(archive: Archive, level: Level, asked: dict[int, str], inner: str, fuzzy: bool) -> list[dict[str, Any]]:
    """What C-FIND answers to the keys, in a relational query with combined date-time matching."""
    identifier = {
        tag: IdentifierElement(keys.VR_OF[tag], [text] if keys.VR_OF[tag] in ("LT", "ST") else text.split("\\"))
        for tag, text in asked.items()
    }
    identifier[keys.QUERY_RETRIEVE_LEVEL] = IdentifierElement("CS", [level.name])
    identifier.setdefault(0x0020000D, IdentifierElement("UI", []))
    if inner:
        identifier[0x00400275] = IdentifierElement("SQ", [{0x00400009: IdentifierElement("SH", [inner])}])
    negotiated = ExtendedNegotiation(relational=True, combined_datetime=True, fuzzy=fuzzy, timezone=True)
    query = Query.from_identifier(identifier, model=Model.PATIENT_ROOT, negotiated=negotiated)
    return list(archive.reader.search(CALLER, query))


def by_http(archive: Archive, level: Level, asked: dict[int, str], inner: str, fuzzy: bool) -> list[dict[str, Any]]:
    """What QIDO-RS answers to them, from the bytes of the query to those of the answer."""
    pairs = [f"{keyword_of(tag)}={quote(text, safe='')}" for tag, text in asked.items()]
    if inner:
        pairs.append(f"RequestAttributesSequence.ScheduledProcedureStepID={quote(inner)}")
    if fuzzy:
        pairs.append("fuzzymatching=true")
    search = parse_search(level, {}, parse_query("&".join(pairs).encode(), 1000))
    encode = compile_encoder(search, archive.reader.about, BASE)
    return [json.loads(encode(row)) for row in archive.reader.find(CALLER, search.query).rows]


def outcome(answers: Any, *asked: Any) -> Any:
    try:
        return answers(*asked)
    except (InvalidQuery, LimitExceeded) as error:
        return type(error)


@given(
    level=st.sampled_from(LEVELS), asked=asked_keys, inner=st.sampled_from(["", "", "A", "HEAD*"]), fuzzy=st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_c_find_and_qido_give_one_answer(
    filled: Archive, level: Level, asked: dict[int, str], inner: str, fuzzy: bool
) -> None:
    if inner and level is Level.STUDY:
        inner = ""
    expected = outcome(by_dimse, filled, level, asked, inner, fuzzy)
    found = outcome(by_http, filled, level, asked, inner, fuzzy)
    if isinstance(expected, type):
        assert found is expected
        return
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in other.keys() - {"00080005", "00080052", "00400275"}:
            assert one[name] == other[name]


@pytest.mark.parametrize("level", LEVELS)
def test_all_attributes_are_those_of_the_index_with_the_retrieve_url(filled: Archive, level: Level) -> None:
    search = parse_search(level, {}, [("includefield", "all")])
    encode = compile_encoder(search, filled.reader.about, BASE)
    plain = list(filled.reader.search(CALLER, search.query))
    rows = filled.reader.find(CALLER, search.query).rows
    assert len(rows) == len(plain) == RECORDS
    for row, expected in zip(rows, plain, strict=True):
        found = json.loads(encode(row))
        assert list(found) == sorted(found)
        url = found.pop(f"{RETRIEVE_URL:08X}")["Value"][0]
        uids = [expected[name]["Value"][0] for name in ("0020000D", "0020000E", "00080018")[:level]]
        below = "".join(f"/{part}/{uid}" for part, uid in zip(("studies", "series", "instances"), uids, strict=False))
        assert url == BASE + below
        missing = {name: each for name, each in expected.items() if name not in found}
        assert all("Value" not in each and int(name, 16) in search.optional for name, each in missing.items())
        assert found == {name: each for name, each in expected.items() if name in found}


@given(offset=st.integers(0, RECORDS + 5), limit=st.integers(0, RECORDS + 5), name=st.sampled_from(["", "Muster*"]))
@settings(max_examples=60, deadline=None)
def test_pages_put_together_are_the_whole(filled: Archive, offset: int, limit: int, name: str) -> None:
    def page(**more: int) -> Any:
        pairs = [("PatientName", name)] if name else []
        pairs += [(key, str(value)) for key, value in more.items()]
        return filled.reader.find(CALLER, parse_search(Level.IMAGE, {}, pairs).query)

    whole = page().rows
    found = page(offset=offset, limit=limit)
    assert list(found.rows) == list(whole[offset : offset + limit])
    beyond = max(0, len(whole) - offset - limit)
    assert found.truncated is (beyond > 0)
    assert found.remaining in (beyond, None)
    if not name:  # where the index decides alone, it counts as well
        assert found.remaining == beyond
