"""Digital signatures (PS3.15 annex C) against DCMTK's ``dcmsign``: what it signs we verify, what it rejects we do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydicom.dataset import Dataset

from harness import archives
from harness.dcmsign import (
    Signer,
    checked,
    is_verified_by_dcmsign,
    needs_dcmsign,
    new_signer,
    run,
    sign,
    sign_item,
)
from harness.https import serving_https
from harness.revocation import revocation_list
from harness.samples import sample
from strongroom.admin.signatures import check_paths
from strongroom.archive.model import Action
from strongroom.config import Home
from strongroom.signatures.model import Trust, Validity

pytestmark = [pytest.mark.interop, needs_dcmsign]

SAMPLES = (
    "CT_small.dcm", "JPEG2000.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "UN_sequence.dcm",
    "examples_overlay.dcm", "examples_palette.dcm", "examples_ybr_color.dcm", "image_dfl.dcm", "liver_1frame.dcm",
    "liver_expb_1frame.dcm", "nested_priv_SQ.dcm", "reportsi.dcm", "rtdose_rle_1frame.dcm", "rtplan.dcm",
    "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm",
)  # fmt: skip
MACS = {"+mr": "RIPEMD160", "+mm": "MD5", "+ms": "SHA1", "+m2": "SHA256", "+m3": "SHA384", "+m5": "SHA512"}
WEAK = {"RIPEMD160", "MD5", "SHA1"}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("keys"), "Signer")


@pytest.mark.parametrize("name", SAMPLES)
def test_what_dcmsign_signs_is_valid(name: str, signer: Signer, tmp_path: Path) -> None:
    signed = sign(sample(name), tmp_path / "signed.dcm", signer, "+m2")
    report = checked(signed, signer)
    assert is_verified_by_dcmsign(signed) == [True]
    (found,) = report.signatures
    assert (found.validity, found.trust, found.reason) == (Validity.VALID, Trust.TRUSTED, "")
    assert found.missing == ()
    assert found.weak == ()


@pytest.mark.parametrize("kind", ["rsa", "rsa1024", "ec", "dsa"])
@pytest.mark.parametrize("option", MACS)
def test_every_mac_with_every_kind_of_key(kind: str, option: str, tmp_path: Path) -> None:
    signer = new_signer(tmp_path, "Signer", kind)
    signed = sign(sample("MR_small.dcm"), tmp_path / "signed.dcm", signer, option)
    (found,) = checked(signed, signer).signatures
    assert is_verified_by_dcmsign(signed) == [True]
    assert (found.validity, found.mac_algorithm) == (Validity.VALID, MACS[option])
    assert any("MAC algorithm" in each for each in found.weak) == (MACS[option] in WEAK)
    assert any("1024 bits" in each for each in found.weak) == (kind == "rsa1024")
    assert ("base" in found.profiles) == kind.startswith("rsa")


def test_weak_macs_are_valid_and_said_to_be_weak(signer: Signer, tmp_path: Path) -> None:
    signed = sign(sample("MR_small.dcm"), tmp_path / "signed.dcm", signer, "+mm")
    (found,) = checked(signed, signer).signatures
    assert found.weak == ("MAC algorithm MD5",)


@pytest.mark.parametrize("written", ["+te", "+tb", "+ti"])
@pytest.mark.parametrize("lengths", ["+e", "-e"])
def test_encodings_that_dcmsign_writes(written: str, lengths: str, signer: Signer, tmp_path: Path) -> None:
    for name in ("rtplan.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm", "test-SR.dcm"):
        signed = sign(sample(name), tmp_path / name, signer, "+m2", written, lengths)
        assert is_verified_by_dcmsign(signed) == [True]
        assert checked(signed).validity is Validity.VALID, name


@pytest.mark.parametrize(
    ("option", "name", "profile"),
    [
        ("+pb", "CT_small.dcm", "base"),
        ("+pc", "CT_small.dcm", "creator"),
        ("+pa", "CT_small.dcm", "authorization"),
        ("+pr", "test-SR.dcm", "sr"),
        ("+pv", "test-SR.dcm", "sr"),
    ],
)
def test_profiles(option: str, name: str, profile: str, signer: Signer, tmp_path: Path) -> None:
    options = [option, "+m2"] if option in ("+pr", "+pv") else [option, "+m2", "-t", "0010,0010"]
    purpose = ["+sp", "5"] if profile == "sr" else []
    signed = sign(sample(name), tmp_path / "signed.dcm", signer, *options, *purpose)
    (found,) = checked(signed, signer).signatures
    assert found.validity is Validity.VALID
    assert profile in found.profiles
    assert found.purpose == ("5" if purpose else "")
    if profile == "base":
        assert found.profiles == ("base",)
        assert found.signed == (0x00100010,)
        assert 0x7FE00010 in found.unsigned


def test_what_is_not_signed_is_said(signer: Signer, tmp_path: Path) -> None:
    signed = sign(sample("CT_small.dcm"), tmp_path / "signed.dcm", signer, "+m2", "+pc", "-t", "0018,0050")
    (found,) = checked(signed, signer).signatures
    assert 0x00100010 in found.unsigned
    assert 0x7FE00010 in found.signed
    changed = edited(signed, tmp_path / "changed.dcm", lambda ds: setattr(ds, "PatientName", "Somebody^Else"))
    assert is_verified_by_dcmsign(changed) == [True]
    assert checked(changed, signer).validity is Validity.VALID


def test_many_signatures_at_many_levels(signer: Signer, tmp_path: Path) -> None:
    other = new_signer(tmp_path, "Other", "ec")
    signed = sign_item(sample("CT_small.dcm"), tmp_path / "1.dcm", signer, "(0010,1002)[0]", "+m5")
    signed = sign(signed, tmp_path / "2.dcm", signer, "+m2")
    signed = sign(signed, tmp_path / "3.dcm", other, "+m3")
    signed = sign(signed, tmp_path / "4.dcm", signer, "+mr", "-t", "0010,0020")
    signed = sign_item(signed, tmp_path / "5.dcm", other, "(0010,1002)[1]", "+m2")
    report = checked(signed, signer)
    assert is_verified_by_dcmsign(signed) == [True] * 5
    assert [each.place for each in report.signatures] == ["", "", "", "(0010,1002)[1]", "(0010,1002)[2]"]
    assert report.validity is Validity.VALID
    assert report.trust is Trust.UNTRUSTED
    assert [each.trust is Trust.TRUSTED for each in report.signatures] == [True, False, True, True, False]


def test_items_of_reports_and_plans(signer: Signer, tmp_path: Path) -> None:
    for name, item in (
        ("test-SR.dcm", "(0040,A730)[0].(0040,A043)[0]"),
        ("rtplan.dcm", "(300A,00B0)[0]"),
        ("rtplan.dcm", "(300A,0010)[1]"),
    ):
        signed = sign_item(sample(name), tmp_path / name, signer, item, "+m2")
        assert is_verified_by_dcmsign(signed) == [True]
        (found,) = checked(signed, signer).signatures
        assert (found.validity, found.profiles) == (Validity.VALID, ("base",))


# -- whatever is changed


def edited(path: Path, target: Path, edit: Callable[[Dataset], object]) -> Path:
    with pydicom.dcmread(path) as dataset:
        edit(dataset)
        dataset.save_as(target)
    return target


def flipped(value: bytes, at: int = 0) -> bytes:
    return value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]


def _one_pixel(ds: Dataset) -> None:
    ds.PixelData = flipped(ds.PixelData, 4711)


def _signature(ds: Dataset) -> None:
    item = ds.DigitalSignaturesSequence[0]
    item.Signature = flipped(item.Signature, 40)


def _time_of_signature(ds: Dataset) -> None:
    ds.DigitalSignaturesSequence[0].DigitalSignatureDateTime = "20000101000000.000000+0000"


def _uid_of_signature(ds: Dataset) -> None:
    ds.DigitalSignaturesSequence[0].DigitalSignatureUID = "1.2.3"


def _mac_algorithm(ds: Dataset) -> None:
    ds.MACParametersSequence[0].MACAlgorithm = "SHA512"


def _fewer_listed(ds: Dataset) -> None:
    ds.MACParametersSequence[0].DataElementsSigned = list(ds.MACParametersSequence[0].DataElementsSigned)[:-1]


def _mac_id(ds: Dataset) -> None:
    ds.DigitalSignaturesSequence[0].MACIDNumber = 7


def _purpose_added(ds: Dataset) -> None:
    code = Dataset()
    code.CodeValue = "1"
    ds.DigitalSignaturesSequence[0].DigitalSignaturePurposeCodeSequence = [code]


def _item_added(ds: Dataset) -> None:
    ds.OtherPatientIDsSequence.append(Dataset())


EDITS: dict[str, Callable[[Dataset], object]] = {
    "one pixel": _one_pixel,
    "patient name": lambda ds: setattr(ds, "PatientName", "CompressedSamples^CT2"),
    "rescale slope": lambda ds: setattr(ds, "RescaleSlope", "2"),
    "value in an item": lambda ds: setattr(ds.OtherPatientIDsSequence[0], "PatientID", "ABCD1235"),
    "an item more": _item_added,
    "an item less": lambda ds: ds.OtherPatientIDsSequence.pop(),
    "an element less": lambda ds: ds.__delattr__("PatientBirthDate"),
    "signature": _signature,
    "time of the signature": _time_of_signature,
    "UID of the signature": _uid_of_signature,
    "purpose added": _purpose_added,
    "MAC algorithm": _mac_algorithm,
    "list of what is signed": _fewer_listed,
    "MAC ID": _mac_id,
}


@pytest.mark.parametrize("what", EDITS)
def test_every_change_of_what_is_signed_breaks_it(what: str, signer: Signer, tmp_path: Path) -> None:
    signed = sign(sample("CT_small.dcm"), tmp_path / "signed.dcm", signer, "+m2")
    changed = edited(signed, tmp_path / "changed.dcm", EDITS[what])
    assert not any(is_verified_by_dcmsign(changed))
    (found,) = checked(changed, signer).signatures
    assert found.validity is (Validity.UNCHECKED if what == "MAC ID" else Validity.INVALID)
    assert found.trust is not Trust.TRUSTED


def test_another_certificate_breaks_it(signer: Signer, tmp_path: Path) -> None:
    other = new_signer(tmp_path, "Other")
    signed = sign(sample("CT_small.dcm"), tmp_path / "signed.dcm", signer, "+m2")
    der = sign(sample("CT_small.dcm"), tmp_path / "other.dcm", other, "+m2")
    theirs = pydicom.dcmread(der).DigitalSignaturesSequence[0].CertificateOfSigner
    changed = edited(
        signed,
        tmp_path / "changed.dcm",
        lambda ds: setattr(ds.DigitalSignaturesSequence[0], "CertificateOfSigner", theirs),
    )
    assert is_verified_by_dcmsign(changed) == [False]
    assert checked(changed, signer, other).validity is Validity.INVALID


def test_an_element_added_that_is_not_listed_does_not_break_it(signer: Signer, tmp_path: Path) -> None:
    signed = sign(sample("CT_small.dcm"), tmp_path / "signed.dcm", signer, "+m2")
    changed = edited(signed, tmp_path / "changed.dcm", lambda ds: setattr(ds, "PatientComments", "added"))
    assert is_verified_by_dcmsign(changed) == [True]
    (found,) = checked(changed, signer).signatures
    assert (found.validity, found.unsigned) == (Validity.VALID, (0x00104000,))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_palette.dcm", "test-SR.dcm"])
@pytest.mark.parametrize("transcoding", ["dcmconv +te", "dcmconv +tb", "dcmconv +ti", "dcmconv -e", "dcmcrle"])
def test_transcoding_breaks_it_where_dcmsign_says_so(
    name: str, transcoding: str, signer: Signer, tmp_path: Path
) -> None:
    signed = sign(sample(name), tmp_path / "signed.dcm", signer, "+m2")
    again = tmp_path / "again.dcm"
    if subprocess.run([*transcoding.split(), signed, again], capture_output=True, check=False).returncode:
        pytest.skip("DCMTK does not transcode this one so")
    ours = checked(again, signer).validity is Validity.VALID
    theirs = is_verified_by_dcmsign(again) == [True]
    if (name, transcoding) == ("CT_small.dcm", "dcmconv +ti"):
        # DCMTK has a dictionary of GE's private elements. To us, what their VRs were is lost.
        assert [each.reason for each in checked(again, signer).signatures] == ["unknown-vr"]
    else:
        assert ours == theirs


# -- time stamps


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signer, Signer]:
    """A root, and a time stamp authority that it vouches for."""
    folder = tmp_path_factory.mktemp("tsa")
    root = new_signer(folder, "Root", is_ca=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    return root, new_signer(folder, "Authority", issuer=root, extension=usage)


def stamped(folder: Path, signer: Signer, authority: tuple[Signer, Signer], *options: str) -> Path:
    """A signed file with a certified timestamp that OpenSSL's ``ts`` has made."""
    root, tsa = authority
    query, answer, uid = folder / "q.tsq", folder / "a.tsr", folder / "uid.txt"
    config = folder / "tsa.cnf"
    config.write_text(
        f"[t]\nserial = {folder}/serial\ndefault_policy = 1.2.3.4\n"
        "digests = sha1, sha256, sha384, sha512\nsigner_digest = sha256\n"
    )
    (folder / "serial").write_text("01\n")
    plain = sign(sample("CT_small.dcm"), folder / "plain.dcm", signer, "+m2", *options, "+ts", str(query), str(uid))
    run(
        "openssl", "ts", "-reply", "-config", config, "-section", "t", "-queryfile", query, "-signer",
        tsa.certificate_file, "-inkey", tsa.key_file, "-chain", root.certificate_file, "-out", answer,
    )  # fmt: skip
    target = folder / "stamped.dcm"
    run("dcmsign", "+t", query, answer, uid, plain, target)
    return target


@pytest.mark.parametrize("option", ["+tm2", "+tm3", "+tm5", "+tms"])
def test_certified_timestamps(option: str, signer: Signer, authority: tuple[Signer, Signer], tmp_path: Path) -> None:
    path = stamped(tmp_path, signer, authority, option)
    root, _ = authority
    (found,) = checked(path, signer, root).signatures
    assert (found.validity, found.trust) == (Validity.VALID, Trust.TRUSTED)
    assert found.time is not None
    assert found.time.trust is Trust.TRUSTED
    assert found.time.time is not None
    assert abs(found.time.time - datetime.now(UTC)) < timedelta(minutes=5)
    assert "base" in found.profiles
    (unvouched,) = checked(path, signer).signatures
    assert unvouched.validity is Validity.VALID
    assert unvouched.time is not None
    assert (unvouched.time.time, unvouched.time.trust) == (None, Trust.UNTRUSTED)


def test_a_timestamp_proves_a_signature_of_a_certificate_that_has_expired(
    signer: Signer, authority: tuple[Signer, Signer], tmp_path: Path
) -> None:
    path = stamped(tmp_path, signer, authority)
    root, _ = authority
    later = datetime.now(UTC) + timedelta(days=4000)
    (with_time,) = checked(path, signer, root, proven_at=later).signatures
    (without,) = checked(path, signer, proven_at=later).signatures
    assert (with_time.trust, without.trust) == (Trust.TRUSTED, Trust.UNTRUSTED)


def test_a_time_stamp_authority_that_was_taken_back_proves_no_time(
    signer: Signer, authority: tuple[Signer, Signer], tmp_path: Path
) -> None:
    path = stamped(tmp_path, signer, authority)
    root, tsa = authority
    lists = {name: tmp_path / f"{name}.crl" for name in ("before", "after", "signer")}
    lists["before"].write_bytes(revocation_list(root, (tsa, -2)))
    lists["after"].write_bytes(revocation_list(root, (tsa, 2)))
    lists["signer"].write_bytes(revocation_list(signer, (signer, -2)))

    def found(name: str) -> tuple[Trust, Trust | None]:
        trusted = [signer.certificate_file, root.certificate_file]
        (looked,) = check_paths([path], trusted, [lists[name]])
        assert looked.report is not None
        (one,) = looked.report.signatures
        return one.trust, one.time and one.time.trust

    assert found("before") == (Trust.TRUSTED, Trust.UNTRUSTED)
    assert found("after") == (Trust.TRUSTED, Trust.TRUSTED)
    assert found("signer") == (Trust.UNTRUSTED, Trust.TRUSTED)


def test_a_timestamp_of_another_signature_proves_nothing(
    signer: Signer, authority: tuple[Signer, Signer], tmp_path: Path
) -> None:
    path = stamped(tmp_path, signer, authority)
    token = pydicom.dcmread(path).DigitalSignaturesSequence[0].CertifiedTimestamp

    def moved(ds: Dataset) -> None:
        ds.DigitalSignaturesSequence[0].CertifiedTimestampType = "CMS_TSP"
        ds.DigitalSignaturesSequence[0].CertifiedTimestamp = token

    other = sign(sample("CT_small.dcm"), tmp_path / "other.dcm", signer, "+m2")
    (found,) = checked(edited(other, tmp_path / "moved.dcm", moved), signer, authority[0]).signatures
    assert found.validity is Validity.VALID
    assert found.time is not None
    assert (found.time.time, found.time.reason) == (None, "the timestamp is of something else")


# -- on receipt: over C-STORE, STOW-RS and import


def sent(home: Home, aet: str, path: Path) -> None:
    """Sent by ``storescu`` over TLS to the server of a home, and stored."""
    with archives.serving(home) as running:
        port = str(running.port)
        credentials = running.credentials(aet)
        tls = [*credentials.dcmtk, "-aet", aet, "-aec", archives.AET, "127.0.0.1", port]
        said = run("storescu", "-v", *tls, path)
        assert "Received Store Response (Success)" in said
        assert running.stop() == 0


@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS", "import"])
@pytest.mark.parametrize("is_changed", [False, True], ids=["valid", "changed"])
def test_on_receipt(
    way: str, is_changed: bool, signer: Signer, archive_home: Callable[..., Home], tmp_path: Path
) -> None:
    path = sign(sample("CT_small.dcm"), tmp_path / "signed.dcm", signer, "+m2")
    if is_changed:
        path = edited(path, tmp_path / "changed.dcm", _one_pixel)
    home = archive_home(signatures={"trusted": [signer.certificate_file]})
    with archives.opened(home) as archive:
        archives.add_peer(archive, "SCU")
    if way == "C-STORE":
        sent(home, "SCU", path)
    elif way == "STOW-RS":
        with serving_https(home) as running, running.client("SCU") as client:
            assert client.store([path.read_bytes()]).status == 200
    else:
        run(*archives.strongroom_command("import", "--home", home.root, path))
    dataset = pydicom.dcmread(path)
    with archives.opened(home) as archive:
        kept = archive.signatures.kept.of(dataset.SOPInstanceUID)
        assert kept is not None
        assert (kept.validity, kept.trust) == (("invalid", "unknown") if is_changed else ("valid", "trusted"))
        events = archives.trail_events(archive)
    (event,) = [event for event in events if event.action is Action.SIGNATURE]
    assert event.details["occasion"] == "received"
    assert any(event.action is Action.ALERT for event in events) == is_changed
    out = tmp_path / "out"
    run(*archives.strongroom_command("export", "--home", home.root, "--study", dataset.StudyInstanceUID, "--out", out))
    (exported,) = [each for each in out.rglob("*") if each.is_file() and each.name != "DICOMDIR"]
    assert is_verified_by_dcmsign(exported) == [not is_changed]
    assert pydicom.dcmread(exported).DigitalSignaturesSequence == dataset.DigitalSignaturesSequence
