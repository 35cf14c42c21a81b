"""``signatures`` as a shell sees it: exit codes, text, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.dcmsign import Signer, new_signer
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample, element
from harness.revocation import revocation_list
from harness.shell import Shell, shell
from harness.signing import mac_item, signature_item, signed
from strongroom.config import Home
from strongroom.dicom.part10 import encode_file_meta

GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2
SAMPLE = Sample(1, patient_name="Planted^Name")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    return shell(capsys, monkeypatch)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return new_signer(tmp_path / "keys", "Signer")


def file_of(path: Path, signer: Signer | None, *, changed: bool = False) -> Path:
    """A DICOM file, its patient's name signed if there is a signer."""
    before, mark, pixels = SAMPLE.dataset.partition(b"\xe0\x7f\x10\x00OW")
    name = element(0x00100010, "PN", "Other^Name" if changed else SAMPLE.patient_name)
    data = SAMPLE.dataset
    if signer is not None:
        data = signed(before, mark + pixels, [mac_item([0x00100010])], [signature_item(name, signer)])
    path.write_bytes(encode_file_meta(CT_IMAGE_STORAGE, SAMPLE.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, "1.2", "X") + data)
    return path


def test_files(run: Shell, signer: Signer, tmp_path: Path) -> None:
    good = file_of(tmp_path / "good.dcm", signer)
    bad = file_of(tmp_path / "bad.dcm", signer, changed=True)
    none = file_of(tmp_path / "none.dcm", None)
    ran = run("signatures", good)
    assert ran.code == GOOD
    assert "valid     " in ran.out
    assert "by CN=Signer, RSA 2048" in ran.out
    assert "signs 1 element and not these 8" in ran.out
    assert "(0010,0020) PatientID" in ran.out
    assert "no certificate to trust is configured" in ran.out
    assert run("signatures", none).out.strip() == "1 object: no signatures"
    ran = run("signatures", good, bad, none)
    assert ran.code == BAD_NEWS
    assert "invalid (changed)" in ran.out
    assert "3 objects: 1 valid, 1 invalid" in ran.out
    assert "Planted" not in ran.out + ran.err


def test_revoked(run: Shell, signer: Signer, tmp_path: Path) -> None:
    good = file_of(tmp_path / "good.dcm", signer)
    (tmp_path / "signer.crl").write_bytes(revocation_list(signer, (signer, -2)))
    ran = run("signatures", good, "--trusted", signer.certificate_file, "--revoked", tmp_path / "signer.crl")
    assert ran.code == BAD_NEWS
    assert "the certificate was revoked before" in ran.out
    assert run("signatures", good, "--revoked", tmp_path / "none.crl").code == COULD_NOT_RUN


def test_trusted(run: Shell, signer: Signer, tmp_path: Path) -> None:
    good = file_of(tmp_path / "good.dcm", signer)
    other = new_signer(tmp_path / "keys", "Other")
    assert run("signatures", good, "--trusted", signer.certificate_file).code == GOOD
    ran = run("signatures", good, "--trusted", other.certificate_file)
    assert ran.code == BAD_NEWS
    assert "1 untrusted" in ran.out
    assert run("signatures", good, "--trusted", tmp_path / "none.pem").code == COULD_NOT_RUN


def test_json(run: Shell, signer: Signer, tmp_path: Path) -> None:
    good = file_of(tmp_path / "good.dcm", signer)
    ran = run("signatures", good, "--trusted", signer.certificate_file, "--format", "json")
    said = json.loads(ran.out)
    assert said["summary"] == {
        "objects": 1, "valid": 1, "invalid": 0, "unchecked": 0, "none": 0, "untrusted": 0, "good": True,
    }  # fmt: skip
    (one,) = said["results"]
    assert (one["name"], one["validity"], one["trust"]) == (str(good), "valid", "trusted")
    assert one["signatures"][0]["signed"] == ["(0010,0010) PatientName"]
    assert json.loads(run("signatures", tmp_path / "keys", "--format", "json").out)["results"] == []


def test_what_is_stored(run: Shell, signer: Signer, tmp_path: Path, archive_home: Callable[..., Home]) -> None:
    home = archive_home(signatures={"trusted": [signer.certificate_file]})
    assert run("import", "--home", home.root, file_of(tmp_path / "good.dcm", signer)).code == GOOD
    where = ("--home", home.root)
    for more in ((), ("--sop", SAMPLE.sop_uid), ("--study", SAMPLE.study_uid)):
        ran = run("signatures", *where, *more)
        assert (ran.code, ran.out.splitlines()[-1]) == (GOOD, "1 object: 1 valid"), more
        assert SAMPLE.sop_uid in ran.out
    assert run("signatures", *where, "--study", "1.2.3").code == COULD_NOT_RUN
    said = json.loads(run("signatures", *where, "--format", "json").out)
    assert said["results"][0]["checked"].startswith("20")


def test_what_does_not_go_together(
    run: Shell, signer: Signer, tmp_path: Path, archive_home: Callable[..., Home]
) -> None:
    home = archive_home()
    good = file_of(tmp_path / "good.dcm", signer)
    for arguments in (
        (good, "--sop", "1.2"),
        ("--home", home.root, "--trusted", signer.certificate_file),
        ("--home", home.root, "--revoked", signer.certificate_file),
        (),
        (tmp_path / "none.dcm",),
        ("--home", home.root, "--sop", "no uid"),
    ):
        assert run("signatures", *arguments).code == COULD_NOT_RUN, arguments
