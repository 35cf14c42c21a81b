"""What a disarmed copy says of itself, held against pydicom's reading of it."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO

import pydicom
import pytest

from harness import hidden, payloads
from strongroom import __version__
from strongroom.screen.contributing import describe
from strongroom.screen.disarm import disarm

WHEN = datetime(2026, 11, 22, 7, 8, 9, 123456, tzinfo=UTC)
PRIVATE = {0x00290010: ("LO", b"VENDOR"), 0x00291010: ("OB", b"\x7fELF" + bytes(60))}
INFECTED = hidden.BINARY_SURFACES["private OB"](payloads.pe())


def copy_of(data: bytes, when: datetime | None = WHEN) -> pydicom.Dataset:
    made = disarm(lambda offset, length: data[offset : offset + length], len(data), when)
    return pydicom.dcmread(BytesIO(b"".join(made.pieces())))


def test_a_copy_names_what_made_it_when_and_of_what() -> None:
    data = INFECTED + b"behind"
    (item,) = copy_of(data).ContributingEquipmentSequence
    (purpose,) = item.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109103", "DCM")
    assert (item.Manufacturer, item.SoftwareVersions) == ("Strongroom", __version__)
    assert item.ContributionDateTime == "20261122070809.123456+0000"
    assert sha256(data).hexdigest() in item.ContributionDescription
    assert "(0029,1010)" in item.ContributionDescription
    assert "trailing" in item.ContributionDescription


def test_it_is_said_once_however_many_rounds_it_took() -> None:
    """What is in the comment is found when the copy is looked at again, so that there are two rounds."""
    data = hidden.file_of(
        hidden.encode(hidden.image() | {0x00204000: ("LT", b"a <script>alert(1)</script> b")}) + b"zz"
    )
    assert len(copy_of(data).ContributingEquipmentSequence) == 1


def test_without_a_clock_no_time_is_said() -> None:
    (item,) = copy_of(INFECTED, None).ContributingEquipmentSequence
    assert "ContributionDateTime" not in item


@pytest.mark.parametrize("syntax", [hidden.EXPLICIT, hidden.IMPLICIT, hidden.DEFLATED])
def test_what_others_have_contributed_stays(syntax: str) -> None:
    """Also what this program said of an earlier copy."""
    earlier = pydicom.dcmread(BytesIO(INFECTED))
    item = pydicom.Dataset()
    item.Manufacturer = "Somebody"
    item.ContributionDescription = "before"
    earlier.ContributingEquipmentSequence = [item]
    earlier.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    earlier.save_as(buffer, implicit_vr=syntax == hidden.IMPLICIT)
    copy = copy_of(buffer.getvalue() + b"\0\1\2\3behind it")
    assert [each.Manufacturer for each in copy.ContributingEquipmentSequence] == ["Somebody", "Strongroom"]
    assert copy.ContributingEquipmentSequence[0] == item


def test_a_copy_that_lacks_nothing_says_nothing() -> None:
    data = hidden.file_of(hidden.encode(hidden.image()))
    assert "ContributingEquipmentSequence" not in copy_of(data)


def test_as_much_is_named_as_there_is_room_for() -> None:
    words = describe([(f"(0029,10{number:02X})", "SR-PE-001 Windows program (PE)") for number in range(200)], "0" * 64)
    assert 990 < len(words) <= 1024
    assert words.startswith("Disarmed. 200 parts removed")
    assert words.endswith("SR-PE-001 ...")
