"""Whatever is stored, every query is answered: objects with any VR and any bytes in what the archive keeps."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from harness import archives, wire
from harness.ingesting import CT_IMAGE_STORAGE, element
from strongroom.app import Archive
from strongroom.archive import keys
from strongroom.archive.ingest import Arrival
from strongroom.archive.model import Level
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import LONG_VRS, SHORT_VRS
from strongroom.dicom.encode import encode_answer
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import LimitExceeded, MalformedDataset, Refused
from strongroom.types import Principal, Right, Uid

OBJECTS = 300
IDENTITY = {0x00080016, 0x00080018, 0x00100020, 0x0020000D, 0x0020000E}
CALLER = Principal("ASKER", rights=frozenset(Right))
EXPLICIT = TRANSFER_SYNTAXES[wire.EXPLICIT]
VRS = sorted(SHORT_VRS | LONG_VRS)
VALUES = (
    b"", b"\0", b"\xc4", b"\xff\xfe\xfd", b"M\\\xc4", b"\x1b$B\x3b\x33", b"A=B=C^D", b"12\\x\\", b"20240101", b"nan",
    b"9" * 40, b"\xfe\xff\x00\xe0\x04\x00\x00\x00abcd", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", bytes(9),
)  # fmt: skip


def element_as(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG_VRS else struct.pack("<H", len(value))) + value


def hostile_dataset(number: int, chance: random.Random) -> tuple[Uid, bytes]:
    """An instance of its own patient, study and series, of which half a dozen attributes are anything at all."""
    study = f"2.25.500.{number}"
    elements = {
        0x00080005: element_as(0x00080005, b"CS", chance.choice((b"", b"ISO_IR 100", b"ISO_IR 192", b"\xff"))),
        0x00080016: element(0x00080016, "UI", CT_IMAGE_STORAGE),
        0x00080018: element(0x00080018, "UI", f"{study}.1.1"),
        0x00100020: element(0x00100020, "LO", f"P{number}"),
        0x0020000D: element(0x0020000D, "UI", study),
        0x0020000E: element(0x0020000E, "UI", f"{study}.1"),
    }
    for tag in chance.sample(sorted(keys.WANTED - IDENTITY), 6):
        value = chance.choice(VALUES) if chance.random() < 0.8 else chance.randbytes(chance.randrange(24))
        written = keys.VR_OF[tag].encode() if chance.random() < 0.3 else chance.choice(VRS)
        elements[tag] = element_as(tag, written, value)
    return Uid(f"{study}.1.1"), b"".join(elements[tag] for tag in sorted(elements))


def store(archive: Archive, sop_uid: Uid, dataset: bytes) -> bool:
    ingest = archive.new_ingest(Arrival(CT_IMAGE_STORAGE, sop_uid, EXPLICIT, Principal("CT1")))
    try:
        ingest.write(dataset)
        ingest.commit()
    except (Refused, MalformedDataset, LimitExceeded):
        return False
    finally:
        ingest.abort()
    return True


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, int]]:
    """An archive that took in what it would of the hostile objects, and how many they are."""
    chance = random.Random(20240607)
    with archives.opened(archives.new_home(tmp_path_factory.mktemp("any") / "home")) as archive:
        stored = sum(store(archive, *hostile_dataset(number, chance)) for number in range(OBJECTS))
        assert stored > OBJECTS // 2
        yield archive, stored


def asks_for_everything(level: Level) -> Query:
    tags = [tag for tag, of in keys.LEVEL_OF.items() if of <= level]
    asked = {tag: IdentifierElement(keys.VR_OF[tag], []) for tag in tags}
    asked[keys.QUERY_RETRIEVE_LEVEL] = IdentifierElement("CS", [level.name])
    return Query.from_identifier(asked, model=Model.PATIENT_ROOT, negotiated=ExtendedNegotiation(relational=True))


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("charsets", [(), ("ISO_IR 100",), ("", "ISO 2022 IR 87")])
def test_every_record_is_answered_with_every_attribute(
    filled: tuple[Archive, int], level: Level, charsets: tuple[str, ...]
) -> None:
    archive, stored = filled
    answers = archive.reader.search(CALLER, asks_for_everything(level))
    assert len(answers) == stored
    for answer in answers:
        encoded = encode_answer(answer, EXPLICIT, charsets)
        assert {read.tag for read in parse_dataset(encoded, EXPLICIT)} - {0x00080005} == {
            int(name, 16) for name in answer if name != "00080005"
        }
