"""Reports: what they say of data sets with no, good, bad and odd signatures."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from harness.dcmsign import Signer, checked_bytes, new_signer
from harness.ingesting import element
from harness.signing import EXPLICIT, item, mac_item, sequence, signature_item, signed
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import DEFAULT_LIMITS
from strongroom.errors import LimitExceeded
from strongroom.signatures import verify as module
from strongroom.signatures.contents import contents_of, signed_levels
from strongroom.signatures.model import Trust, Validity
from strongroom.signatures.report_json import MOST_TAGS, report_json, tag_name
from strongroom.signatures.timestamp import check_timestamp

NAME = element(0x00100010, "PN", "Doe^Jane")
MORE = element(0x00100020, "LO", "PID-1")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("keys"), "Signer")


def test_no_signatures() -> None:
    report = checked_bytes(NAME, EXPLICIT)
    assert (report.signatures, report.problem, report.validity, report.trust) == ((), "", None, Trust.UNKNOWN)


def test_a_data_set_that_breaks_off() -> None:
    report = checked_bytes(NAME[:-1], EXPLICIT)
    assert report.validity is Validity.UNCHECKED
    assert report.problem


def test_what_is_signed_and_what_is_not(signer: Signer) -> None:
    data = signed(NAME + MORE, b"", [mac_item([0x00100010, 0x00101010])], [signature_item(NAME, signer)])
    (found,) = checked_bytes(data, EXPLICIT, signer).signatures
    assert (found.validity, found.trust) == (Validity.VALID, Trust.TRUSTED)
    assert (found.signed, found.unsigned, found.missing) == ((0x00100010,), (0x00100020,), (0x00101010,))
    assert (found.uid, found.mac_algorithm, found.transfer_syntax) == ("1.2.3.4", "SHA256", EXPLICIT)
    assert found.signer is not None
    assert found.signer.key == "RSA 2048"
    assert found.profiles == ("base",)


def test_the_worst_counts(signer: Signer) -> None:
    good, bad = signature_item(NAME, signer), signature_item(MORE, signer)
    odd = signature_item(NAME, signer, number=9)
    macs = [mac_item([0x00100010])]
    for items, worst in (
        ([good], Validity.VALID),
        ([good, odd], Validity.UNCHECKED),
        ([good, odd, bad], Validity.INVALID),
    ):
        assert checked_bytes(signed(NAME, b"", macs, items), EXPLICIT, signer).validity is worst


@pytest.mark.parametrize(
    ("mac", "reason"),
    [
        (mac_item([0x00100010], algorithm="SHA3"), "mac-algorithm-unknown"),
        (mac_item([0x00100010], syntax="1.2.840.10008.1.2"), "mac-transfer-syntax-unknown"),
        (mac_item([0x00100010], syntax="1.2.3"), "mac-transfer-syntax-unknown"),
        (mac_item([0x00100010], number=3), "no-mac-parameters"),
    ],
)
def test_macs_that_cannot_be_computed(mac: bytes, reason: str, signer: Signer) -> None:
    (found,) = checked_bytes(signed(NAME, b"", [mac], [signature_item(NAME, signer)]), EXPLICIT).signatures
    assert (found.validity, found.reason) == (Validity.UNCHECKED, reason)


def test_certificates_of_other_types(signer: Signer) -> None:
    data = signed(NAME, b"", [mac_item([0x00100010])], [signature_item(NAME, signer)])
    (found,) = checked_bytes(data.replace(b"X509_1993_SIG", b"X509_2099_SIG"), EXPLICIT).signatures
    assert (found.validity, found.reason) == (Validity.UNCHECKED, "certificate-type-unknown")


def test_timestamps_of_other_types(signer: Signer) -> None:
    one = signature_item(NAME, signer)[8:]
    stamped = item(one, element(0x04000305, "CS", "OTHER"), element(0x04000310, "OB", b"ab"))
    (found,) = checked_bytes(signed(NAME, b"", [mac_item([0x00100010])], [stamped]), EXPLICIT).signatures
    assert found.validity is Validity.VALID
    assert found.time is not None
    assert (found.time.time, found.profiles) == (None, ())
    assert check_timestamp(b"\x30\x00", b"", ()).reason == "no token of RFC 3161"


def test_levels_are_named_from_one(signer: Signer) -> None:
    inner = signed(NAME, b"", [mac_item([0x00100010])], [signature_item(NAME, signer)])
    data = sequence(0x00081115, item(NAME), item(sequence(0x00081199, item(inner))))
    contents = contents_of(
        lambda at, length: data[at : at + length], len(data), TRANSFER_SYNTAXES[EXPLICIT], DEFAULT_LIMITS
    )
    assert [level.place for level in signed_levels(contents.elements)] == ["(0008,1115)[2].(0008,1199)[1]"]
    with pytest.raises(LimitExceeded):
        contents.value(contents.elements[0], 3)
    (found,) = checked_bytes(data, EXPLICIT, signer).signatures
    assert (found.place, found.validity) == ("(0008,1115)[2].(0008,1199)[1]", Validity.VALID)


def test_deflated_data_sets(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    data = signed(NAME, b"", [mac_item([0x00100010])], [signature_item(NAME, signer)])
    packer = zlib.compressobj(wbits=-15)
    deflated = packer.compress(data) + packer.flush()
    syntax = "1.2.840.10008.1.2.1.99"
    assert checked_bytes(deflated, syntax, signer).validity is Validity.VALID
    monkeypatch.setattr(module, "MAX_INFLATED_BYTES", 100)
    assert "max_inflated_bytes" in checked_bytes(deflated, syntax, signer).problem


def test_as_json(signer: Signer, tmp_path: Path) -> None:
    listed = list(range(0x00101000, 0x00101000 + MOST_TAGS + 5))
    data = signed(NAME + MORE, b"", [mac_item([0x00100010, *listed])], [signature_item(NAME, signer)])
    said = json.loads(json.dumps(report_json(checked_bytes(data, EXPLICIT, signer))))
    assert (said["validity"], said["trust"], said["problem"]) == ("valid", "trusted", "")
    (one,) = said["signatures"]
    assert one["signed"] == ["(0010,0010) PatientName"]
    assert one["unsigned"] == ["(0010,0020) PatientID"]
    assert (one["missing_count"], len(one["missing"])) == (MOST_TAGS + 5, MOST_TAGS)
    assert one["signer"]["subject"] == "CN=Signer"
    assert "Doe" not in json.dumps(said)
    assert report_json(checked_bytes(NAME, EXPLICIT))["validity"] == "none"
    assert tag_name(0x00091001) == "(0009,1001)"
