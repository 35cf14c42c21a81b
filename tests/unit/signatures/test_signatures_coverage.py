"""The bytes that a signature is of: PS3.3 C.12.1.1.3.1, case by case."""

from __future__ import annotations

import struct

import pytest

from harness.ingesting import element
from harness.signing import DELIMITER, ITEM, item, sequence
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import DEFAULT_LIMITS
from strongroom.errors import MalformedDataset, Refused
from strongroom.signatures.contents import contents_of
from strongroom.signatures.coverage import Coverage, is_content, is_signable

IMPLICIT, EXPLICIT, BIG, RLE = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
)  # fmt: skip
SQ_HEAD = b"\x08\x00\x15\x11SQ\0\0"
NAME = element(0x00100010, "PN", "Doe^Jane")


def covered(data: bytes, encoded: str = EXPLICIT, mac: str = EXPLICIT, *only: int) -> bytes:
    """What is fed to the MAC of a data set; of all that is signable, or of these tags."""
    syntax = TRANSFER_SYNTAXES[encoded]
    contents = contents_of(lambda at, length: data[at : at + length], len(data), syntax, DEFAULT_LIMITS)
    coverage = Coverage(contents, TRANSFER_SYNTAXES[mac], big_endian=not syntax.little_endian)
    fed = bytearray()
    chosen = [node for node in contents.elements if (node.tag in only if only else is_signable(node))]
    coverage.add(chosen, contents.elements, fed.extend)
    return bytes(fed)


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def big(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OW", b"OB", b"SQ", b"UN"):
        return struct.pack(">HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack(">HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def test_an_element_goes_in_with_tag_vr_length_and_value() -> None:
    pixels = element(0x7FE00010, "OW", b"\1\2\3\4")
    assert covered(NAME + pixels) == NAME + pixels


def test_a_sequence_goes_in_without_lengths_however_it_is_encoded() -> None:
    expected = SQ_HEAD + ITEM + NAME + ITEM + DELIMITER
    undefined = struct.pack("<L", 0xFFFFFFFF)
    open_item = ITEM + undefined + NAME + b"\xfe\xff\x0d\xe0" + bytes(4)
    assert covered(sequence(0x00081115, item(NAME), item())) == expected
    assert covered(SQ_HEAD + undefined + open_item + item() + DELIMITER + bytes(4)) == expected
    assert covered(sequence(0x00081115)) == SQ_HEAD + DELIMITER


def test_sequences_within_sequences() -> None:
    inner = sequence(0x00081199, item(NAME))
    expected = SQ_HEAD + ITEM + b"\x08\x00\x99\x11SQ\0\0" + ITEM + NAME + DELIMITER + DELIMITER
    assert covered(sequence(0x00081115, item(inner))) == expected


def test_what_is_never_signed_is_left_out_at_every_depth() -> None:
    never = b"".join(
        (
            element(0x00080000, "UL", bytes(4)),
            element(0x00080001, "UL", bytes(4)),
            element(0x4FFE0001, "SQ", b""),
            element(0xFFFAFFFA, "SQ", b""),
            element(0xFFFCFFFC, "OB", b"\0\0"),
        )
    )
    assert covered(never + NAME) == NAME
    assert covered(sequence(0x00081115, item(never, NAME))) == SQ_HEAD + ITEM + NAME + DELIMITER


def test_fragments_go_in_without_lengths() -> None:
    head = b"\xe0\x7f\x10\x00OB\0\0"
    fragments = ITEM + bytes(4) + ITEM + struct.pack("<L", 4) + b"abcd"
    data = head + struct.pack("<L", 0xFFFFFFFF) + fragments + DELIMITER + bytes(4)
    assert covered(data, RLE, RLE) == head + ITEM + ITEM + b"abcd" + DELIMITER


@pytest.mark.parametrize(("encoded", "mac"), [(RLE, EXPLICIT), (EXPLICIT, RLE)])
def test_pixel_data_in_another_form_cannot_be_checked(encoded: str, mac: str) -> None:
    fragments = struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + ITEM + bytes(4) + DELIMITER + bytes(4)
    data = fragments if encoded == RLE else element(0x7FE00010, "OW", b"\0\0")
    with pytest.raises(Refused) as caught:
        covered(data, encoded, mac)
    assert caught.value.reason == "transcoded"


def test_an_icon_stays_native_beside_fragments() -> None:
    icon = item(element(0x7FE00010, "OW", b"\1\2"))
    fed = covered(sequence(0x00880200, icon), RLE, RLE)
    assert fed.endswith(ITEM + element(0x7FE00010, "OW", b"\1\2") + DELIMITER)


def test_big_endian_and_back() -> None:
    little = (
        element(0x00280010, "US", b"\1\2") + element(0x00280030, "DS", "1\\2 ") + element(0x7FE00010, "OW", b"\1\2\3\4")
    )
    large = big(0x00280010, b"US", b"\2\1") + big(0x00280030, b"DS", b"1\\2 ") + big(0x7FE00010, b"OW", b"\2\1\4\3")
    assert covered(large, BIG, EXPLICIT) == little
    assert covered(little, EXPLICIT, BIG) == large
    assert covered(large, BIG, BIG) == large
    in_item = big(0x00081115, b"SQ", struct.pack(">HHL", 0xFFFE, 0xE000, len(large)) + large)
    assert covered(in_item, BIG, EXPLICIT) == SQ_HEAD + ITEM + little + DELIMITER
    with pytest.raises(MalformedDataset):
        covered(big(0x7FE00010, b"OW", b"\1\2\3"), BIG, EXPLICIT)


def test_implicit_vr_gets_the_vrs_of_the_dictionary() -> None:
    signed_pixels = implicit(0x00280103, b"\1\0")
    data = signed_pixels + implicit(0x00280106, b"\xff\xff") + implicit(0x7FE00010, b"\1\2")
    expected = (
        element(0x00280103, "US", b"\1\0") + element(0x00280106, "SS", b"\xff\xff") + element(0x7FE00010, "OW", b"\1\2")
    )
    assert covered(data, IMPLICIT) == expected
    assert covered(data, IMPLICIT, EXPLICIT, 0x00280106) == element(0x00280106, "SS", b"\xff\xff")
    assert covered(implicit(0x00280106, b"\xff\xff"), IMPLICIT) == element(0x00280106, "US", b"\xff\xff")
    body = implicit(0x00280103, b"\0\0") + implicit(0x00280106, b"\xff\xff")
    within = implicit(0x00081115, ITEM + struct.pack("<L", len(body)) + body)
    assert element(0x00280106, "US", b"\xff\xff") in covered(signed_pixels + within, IMPLICIT)


def test_what_has_lost_its_vr_cannot_be_checked() -> None:
    unknown = element(0x00091001, "UN", b"ab")
    for data, tag in ((unknown, 0x00091001), (sequence(0x00081115, item(unknown)), 0x00081115)):
        with pytest.raises(Refused) as caught:
            covered(data, EXPLICIT, EXPLICIT, tag)
        assert caught.value.reason == "unknown-vr"
    with pytest.raises(Refused):
        covered(implicit(0x00091001, b"ab"), IMPLICIT, EXPLICIT, 0x00091001)


def test_a_value_too_long_for_explicit_vr() -> None:
    with pytest.raises(Refused) as caught:
        covered(implicit(0x00204000, bytes(70_000)), IMPLICIT)
    assert caught.value.reason == "value-too-long"


def test_out_of_order_elements_are_read_where_they_stand() -> None:
    first, second = element(0x00100020, "LO", "1"), element(0x00080060, "CS", "CT")
    assert covered(first + second) == first + second


def test_what_is_content() -> None:
    data = NAME + element(0x00091001, "UN", b"ab") + element(0xFFFCFFFC, "OB", b"\0\0")
    contents = contents_of(
        lambda at, length: data[at : at + length], len(data), TRANSFER_SYNTAXES[EXPLICIT], DEFAULT_LIMITS
    )
    assert [is_content(node) for node in contents.elements] == [True, True, False]
    assert [is_signable(node) for node in contents.elements] == [True, False, False]
