"""Signatures made to hurt whoever checks them: numbers, sizes, depths and DER of no sense. Nothing here may raise."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness.dcmsign import Signer, checked_bytes, new_signer
from harness.ingesting import element
from harness.signing import (
    DELIMITER,
    EXPLICIT,
    ITEM,
    item,
    mac_item,
    rsa_certificate,
    sequence,
    signature_item,
    signed,
)
from strongroom.signatures.model import Report, Trust, Validity

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NAME = element(0x00100010, "PN", "Doe^Jane")
MOST_S = 4.0


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("keys"), "Signer")


def soon(work: Callable[[], Report]) -> Report:
    """What ``work`` says, which has to be soon."""
    begun = time.process_time()
    report = work()
    assert time.process_time() - begun < MOST_S
    return report


def plain(signer: Signer, der: bytes | None = None) -> bytes:
    return signed(NAME, b"", [mac_item([0x00100010])], [signature_item(NAME, signer, der=der)])


def test_the_plain_one_is_valid(signer: Signer) -> None:
    report = checked_bytes(plain(signer), EXPLICIT, signer)
    assert [(each.validity, each.trust) for each in report.signatures] == [(Validity.VALID, Trust.TRUSTED)]


@pytest.mark.parametrize("count", [65, 2000, 100_000])
def test_max_signatures(count: int, signer: Signer) -> None:
    one = signature_item(NAME, signer)
    data = signed(NAME, b"", [mac_item([0x00100010])], [one] * count)
    report = soon(lambda: checked_bytes(data, EXPLICIT, signer))
    assert report.validity is Validity.UNCHECKED
    assert len(report.signatures) == (64 if count < 20_000 else 0)
    assert report.problem.startswith("over the limit max_")


def test_max_signatures_counts_parameters_and_levels(signer: Signer) -> None:
    macs = [mac_item([0x00100010], number) for number in range(65)]
    report = soon(lambda: checked_bytes(signed(NAME, b"", macs, []), EXPLICIT, signer))
    assert "max_signatures" in report.problem
    inner = item(plain(signer))
    report = soon(lambda: checked_bytes(sequence(0x00081115, *[inner] * 65), EXPLICIT, signer))
    assert "max_signatures" in report.problem


def test_signatures_over_many_different_things_of_a_large_object(signer: Signer) -> None:
    pixels = element(0x7FE00010, "OW", bytes(4 << 20))
    macs = [mac_item([0x00100010 + number, 0x7FE00010], number) for number in range(40)]
    signatures = [signature_item(b"", signer, number=number) for number in range(40)]
    report = soon(lambda: checked_bytes(signed(NAME, pixels, macs, signatures), EXPLICIT, signer))
    assert "max_signature_passes" in report.problem
    assert len(report.signatures) == 8
    assert {each.validity for each in report.signatures} == {Validity.INVALID}


def test_a_list_of_a_million_elements(signer: Signer) -> None:
    def implicit(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value

    body = implicit(0x04000005, b"\0\0") + implicit(0x04000020, bytes(4_000_000))
    mac = ITEM + struct.pack("<L", len(body)) + body
    signature = ITEM + struct.pack("<L", 10) + implicit(0x04000005, b"\0\0")
    data = implicit(0x4FFE0001, mac) + implicit(0xFFFAFFFA, signature)
    report = soon(lambda: checked_bytes(data, IMPLICIT, signer))
    assert "max_element_value_bytes" in report.problem


def test_a_list_as_long_as_explicit_vr_allows(signer: Signer) -> None:
    listed = range(0x00100000, 0x00100000 + 16_383)
    data = signed(NAME, b"", [mac_item(list(listed))], [signature_item(NAME, signer)])
    (found,) = soon(lambda: checked_bytes(data, EXPLICIT, signer)).signatures
    assert found.validity is Validity.VALID
    assert found.signed == (0x00100010,)
    assert len(found.missing) == 16_382


def test_deep_items(signer: Signer) -> None:
    data = plain(signer)
    for _ in range(31):
        data = sequence(0x00081115, item(data))
    report = checked_bytes(data, EXPLICIT, signer)
    assert report.validity is Validity.VALID
    assert report.signatures[0].place.count("(0008,1115)[1]") == 31
    opened = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + ITEM + struct.pack("<L", 0xFFFFFFFF)
    report = soon(lambda: checked_bytes(opened * 100_000, EXPLICIT, signer))
    assert "max_element_depth" in report.problem


def test_signatures_within_signatures_are_not_looked_for(signer: Signer) -> None:
    data = sequence(0xFFFAFFFA, item(sequence(0xFFFAFFFA, item(plain(signer)))))
    report = checked_bytes(data, EXPLICIT, signer)
    assert [each.reason for each in report.signatures] == ["no-mac-parameters"]


@pytest.mark.parametrize(
    "listed", [0xFFFAFFFA, 0x4FFE0001, 0x00100000, 0x00080001], ids=["signatures", "parameters", "group", "to end"]
)
def test_what_may_not_be_signed_is_listed(listed: int, signer: Signer) -> None:
    lengths = element(0x00080001, "UL", bytes(4)) + element(0x00100000, "UL", bytes(4))
    data = signed(lengths + NAME, b"", [mac_item([listed, 0x00100010])], [signature_item(NAME, signer)])
    (found,) = checked_bytes(data, EXPLICIT, signer).signatures
    assert (found.validity, found.reason) == (Validity.UNCHECKED, "unsignable-listed")


@pytest.mark.parametrize(
    ("bits", "exponent", "reason"),
    [
        (16, 65537, "key-unsupported"),
        (512, 3, "changed"),
        (16_384, 65537, "changed"),
        (16_384, 0, "changed"),  # 0: an exponent as long as the modulus
        (16_392, 65537, "key-unsupported"),
        (200_000, 65537, "key-unsupported"),
    ],
)
def test_keys_of_every_size(bits: int, exponent: int, reason: str, signer: Signer) -> None:
    modulus = random.Random(bits).getrandbits(bits) | 1 | 1 << (bits - 1)
    data = plain(signer, rsa_certificate(modulus, exponent or modulus >> 1 | 1))
    (found,) = soon(lambda: checked_bytes(data, EXPLICIT, signer)).signatures
    assert found.validity is not Validity.VALID
    assert found.reason in (reason, "key-unsupported", "certificate-unreadable")


def test_der_of_no_sense(signer: Signer) -> None:
    good = signer.certificate.public_bytes(Encoding.DER)
    chance = random.Random(5)
    certificates = [good[:length] for length in range(1, len(good), 9)]
    certificates += [chance.randbytes(chance.randrange(1, 300)) for _ in range(100)]
    certificates += [b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"\x30\x88" + b"\xff" * 8, b"\0" * 70_000, b"0"]
    for _ in range(400):
        changed = bytearray(good)
        changed[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        certificates.append(bytes(changed))
    for der in certificates:
        (found,) = checked_bytes(plain(signer, der), EXPLICIT, signer).signatures
        assert found.trust is not Trust.TRUSTED


def test_bytes_changed_anywhere(signer: Signer) -> None:
    data = plain(signer)
    changed_name = slice(data.index(b"Doe^Jane"), data.index(b"Doe^Jane") + 8)
    chance = random.Random(6)
    for at in [*range(len(data)), *range(changed_name.start, changed_name.stop)]:
        changed = bytearray(data)
        changed[at] ^= 1 << chance.randrange(8)
        report = checked_bytes(bytes(changed), EXPLICIT, signer)
        if changed_name.start <= at < changed_name.stop:
            assert report.validity is not Validity.VALID


def test_bytes_of_no_sense(signer: Signer) -> None:
    chance = random.Random(7)
    data = plain(signer)
    for syntax in (EXPLICIT, IMPLICIT, DEFLATED, "1.2.840.10008.1.2.2"):
        for _ in range(100):
            start, stop = sorted(chance.choices(range(len(data)), k=2))
            report = checked_bytes(data[:start] + chance.randbytes(8) + data[stop:], syntax, signer)
            assert report.validity is not Validity.VALID or b"Doe^Jane" in data[:start] + data[stop:]
        checked_bytes(data[: chance.randrange(len(data))], syntax, signer)


def test_timestamps_of_no_sense(signer: Signer) -> None:
    chance = random.Random(8)
    one = signature_item(NAME, signer)[8:]
    for token in (b"", b"\0" * 70_000, b"\x30\x80", *[chance.randbytes(chance.randrange(2, 400)) for _ in range(100)]):
        stamped = item(one, element(0x04000305, "CS", "CMS_TSP"), element(0x04000310, "OB", token))
        data = signed(NAME, b"", [mac_item([0x00100010])], [stamped])
        (found,) = checked_bytes(data, EXPLICIT, signer).signatures
        assert found.validity is Validity.VALID
        assert found.time is not None
        assert found.time.time is None


def test_a_second_patient_name_breaks_it(signer: Signer) -> None:
    other = element(0x00100010, "PN", "Roe^John")
    for data in (NAME + other, other + NAME):
        both = signed(data, b"", [mac_item([0x00100010])], [signature_item(NAME, signer)])
        (found,) = checked_bytes(both, EXPLICIT, signer).signatures
        assert found.validity is Validity.INVALID


def test_fragments_without_number(signer: Signer) -> None:
    fragments = (ITEM + struct.pack("<L", 2) + b"ab") * 50_000
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    pixels = head + fragments + DELIMITER + bytes(4)
    covered = NAME + head[:8] + (ITEM + b"ab") * 50_000 + DELIMITER
    syntax = "1.2.840.10008.1.2.5"
    macs = [mac_item([0x00100010, 0x7FE00010], syntax=syntax)]
    data = signed(NAME, pixels, macs, [signature_item(covered, signer)])
    tracemalloc.start()
    try:
        report = checked_bytes(data, syntax, signer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.validity is Validity.VALID
    assert peak < 16 << 20


def test_names_of_signers_are_fit_to_be_printed(tmp_path: Path) -> None:
    hostile = new_signer(tmp_path, "Evil")
    name = hostile.certificate.subject.public_bytes().replace(b"Evil", b"E\x1b[m")
    der = hostile.certificate.public_bytes(Encoding.DER).replace(hostile.certificate.subject.public_bytes(), name)
    data = plain(hostile, der).replace(b"1.2.3.4\0", b"1\x1b[2J\n4\0")
    (found,) = checked_bytes(data, EXPLICIT).signatures
    assert found.signer is not None
    words = (found.uid, found.signed_at, found.purpose, found.signer.subject, found.signer.issuer)
    assert all(each.isprintable() for each in words)


def test_a_valid_signature_of_very_many_elements(signer: Signer) -> None:
    """Its key is the attacker's own: what is done for a valid one has to be bounded as well."""
    data = b"".join(struct.pack("<HH2sH", 0x0009 + 2 * (at >> 15), at & 0x7FFF, b"LO", 0) for at in range(1, 150_000))
    listed = [0x00090001 + at for at in range(16_000)]
    covered = b"".join(struct.pack("<HH2sH", 0x0009, tag & 0xFFFF, b"LO", 0) for tag in listed)
    macs = [mac_item(listed, number) for number in range(6)]
    items = [signature_item(covered, signer, number=number) for number in range(6)]
    report = soon(lambda: checked_bytes(signed(data, b"", macs, items), EXPLICIT, signer))
    assert (report.validity, report.problem) == (Validity.VALID, "")
    assert {each.unsigned_count for each in report.signatures} == {150_000 - 1 - 4 - 16_000}
    assert all(len(each.unsigned) == 1000 for each in report.signatures)
