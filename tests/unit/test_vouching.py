"""Signatures of stored objects: checked on receipt, kept, recorded, and told of; nothing is refused or changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness import archives
from harness.archives import trail_events
from harness.dcmsign import Signer, new_signer
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample, element
from harness.revocation import revocation_list
from harness.signing import mac_item, signature_item, signed
from strongroom.admin.deletion import delete_study
from strongroom.admin.signatures import check_paths, check_stored, kept_reports
from strongroom.app import Archive
from strongroom.archive.ingest import Arrival, Verdict
from strongroom.archive.model import Action, Event, Outcome
from strongroom.config import Home
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.part10 import encode_file_meta
from strongroom.errors import ConfigError, NotFound
from strongroom.types import Principal
from strongroom.vouching import AFTERWARDS, MAX_ANCHOR_FILE_BYTES, RECEIVED, SIGNATURE_INVALID, read_anchors, read_lists

SENDER = Principal("CT1")
LARGE = 200_000


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("keys"), "Signer")


@pytest.fixture
def archive(archive_home: Callable[..., Home], signer: Signer) -> Iterator[Archive]:
    home = archive_home(signatures={"trusted": [signer.certificate_file]}, limits={"max_signatures": 3})
    with archives.opened(home) as opened:
        yield opened


def signed_object(sample: Sample, signer: Signer, count: int = 1, *, changed: bool = False) -> bytes:
    """An instance with the patient's name and its pixels signed."""
    before, mark, pixels = sample.dataset.partition(b"\xe0\x7f\x10\x00OW")
    pixels = mark + pixels
    name = element(0x00100010, "PN", "Roe^John" if changed else sample.patient_name)
    items = [signature_item(name + pixels, signer)] * count
    return signed(before, pixels, [mac_item([0x00100010, 0x7FE00010])], items)


def store(archive: Archive, data: bytes, sample: Sample) -> Verdict:
    arrival = Arrival(CT_IMAGE_STORAGE, sample.sop_uid, TRANSFER_SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN], SENDER)
    ingest = archive.new_ingest(arrival)
    try:
        for start in range(0, len(data), 65_536):
            ingest.write(memoryview(data)[start : start + 65_536])
        return ingest.commit()
    finally:
        ingest.abort()


def of(archive: Archive, action: Action) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is action]


def stored_bytes(archive: Archive, sample: Sample) -> bytes:
    stored = archive.index.find_object(sample.sop_uid, None)
    assert stored is not None
    with closing(archive.reader.open(stored)) as reader:
        return b"".join(bytes(chunk) for chunk in reader.chunks())


@pytest.mark.parametrize("pixel_bytes", [600, LARGE], ids=["small", "large"])
def test_a_signed_object_is_checked_kept_and_recorded(pixel_bytes: int, archive: Archive, signer: Signer) -> None:
    sample = Sample(1, pixel_bytes=pixel_bytes)
    data = signed_object(sample, signer)
    assert store(archive, data, sample) is Verdict.STORED
    kept = archive.signatures.kept.of(sample.sop_uid)
    assert kept is not None
    assert (kept.validity, kept.trust) == ("valid", "trusted")
    (event,) = of(archive, Action.SIGNATURE)
    assert (event.outcome, event.principal.aet) == (Outcome.SUCCESS, "CT1")
    details = dict(event.details)
    assert details["occasion"] == RECEIVED
    assert (details["sop_uid"], details["study_uid"]) == (sample.sop_uid, sample.study_uid)
    assert (details["validity"], details["trust"], details["signatures"]) == ("valid", "trusted", 1)
    assert details["signers"] == (json.loads(kept.report)["signatures"][0]["signer"]["sha256"],)
    assert of(archive, Action.ALERT) == []
    assert stored_bytes(archive, sample) == data


@pytest.mark.parametrize("pixel_bytes", [600, LARGE], ids=["small", "large"])
def test_what_a_crash_left_unchecked_is_checked_with_the_digests(
    pixel_bytes: int, archive: Archive, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, unsigned = Sample(1, pixel_bytes=pixel_bytes), Sample(2)
    # Where the process dies:
    monkeypatch.setattr(archive, "_ingest_ports", replace(archive._ingest_ports, check_signatures=None))
    store(archive, signed_object(sample, signer, changed=True), sample)
    store(archive, unsigned.dataset, unsigned)
    assert archive.signatures.kept.of(sample.sop_uid) is None
    told: list[Event] = []
    archive.index.announce = told.append
    digesting = archive.digesting()
    while digesting.step():
        pass
    kept = archive.signatures.kept.of(sample.sop_uid)
    assert kept is not None
    assert kept.validity == "invalid"
    (event,) = of(archive, Action.SIGNATURE)
    assert (event.details["sop_uid"], event.details["occasion"]) == (sample.sop_uid, AFTERWARDS)
    assert of(archive, Action.ALERT) == told != []


def test_what_was_checked_when_it_came_is_not_checked_again(archive: Archive, signer: Signer) -> None:
    sample = Sample(1)
    store(archive, signed_object(sample, signer), sample)
    digesting = archive.digesting()
    while digesting.step():
        pass
    (event,) = of(archive, Action.SIGNATURE)
    assert event.details["occasion"] == RECEIVED


def test_a_certificate_that_was_taken_back_is_not_trusted(
    archive_home: Callable[..., Home], signer: Signer, tmp_path: Path
) -> None:
    """The list is in a folder, which may get others at any time."""
    (folder := tmp_path / "lists").mkdir()
    files = {"trusted": [signer.certificate_file], "revocation_lists": [folder]}
    with archives.opened(archive_home(signatures=files)) as archive:
        before, after = Sample(1), Sample(2)
        store(archive, signed_object(before, signer), before)
        (folder / "root.crl").write_bytes(revocation_list(signer, (signer, -2)))
        store(archive, signed_object(after, signer), after)
        kept = [archive.signatures.kept.of(each.sop_uid) for each in (before, after)]
    assert [each and (each.validity, each.trust) for each in kept] == [("valid", "trusted"), ("valid", "untrusted")]


def test_lists_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.crl").write_bytes(b"none")
    with pytest.raises(ConfigError, match=r"a\.crl: a file of revocation lists holds none"):
        read_lists((str(tmp_path),))
    with pytest.raises(ConfigError, match="cannot read"):
        read_lists((str(tmp_path / "missing"),))
    monkeypatch.setattr("strongroom.vouching.MAX_LIST_FILE_BYTES", 3)
    with pytest.raises(ConfigError, match="more than 3 bytes"):
        read_lists((str(tmp_path),))
    monkeypatch.setattr("strongroom.vouching.MAX_LIST_FILES", 0)
    with pytest.raises(ConfigError, match="more than 0 files"):
        read_lists((str(tmp_path),))


def test_one_that_does_not_hold_is_stored_and_somebody_is_told(archive: Archive, signer: Signer) -> None:
    sample = Sample(2)
    data = signed_object(sample, signer, changed=True)
    assert store(archive, data, sample) is Verdict.STORED
    kept = archive.signatures.kept.of(sample.sop_uid)
    assert kept is not None
    assert kept.validity == "invalid"
    (event,) = of(archive, Action.SIGNATURE)
    assert (event.outcome, event.details["reasons"]) == (Outcome.WARNING, ("changed",))
    (alert,) = of(archive, Action.ALERT)
    assert (alert.details["reason"], alert.details["severity"]) == (SIGNATURE_INVALID, "high")
    assert stored_bytes(archive, sample) == data
    assert "Doe" not in kept.report.decode() + str(trail_events(archive))


def test_objects_without_signatures_leave_no_trace(archive: Archive) -> None:
    sample = Sample(3)
    store(archive, sample.dataset, sample)
    looks_signed = Sample(4, patient_name="\xfe\x4f\x01")
    store(archive, looks_signed.dataset.replace(b"\xc3\xbeO\x01", b"\xfe\x4f\x01\x00"), looks_signed)
    assert of(archive, Action.SIGNATURE) == []
    assert list(kept_reports(archive)) == []


def test_max_signatures(archive: Archive, signer: Signer) -> None:
    sample = Sample(5)
    assert store(archive, signed_object(sample, signer, 4), sample) is Verdict.STORED
    kept = archive.signatures.kept.of(sample.sop_uid)
    assert kept is not None
    assert kept.validity == "unchecked"
    (event,) = of(archive, Action.SIGNATURE)
    assert "max_signatures" in str(event.details["problem"])


def test_trusted_files_that_are_not_there_refuse_nothing(
    archive_home: Callable[..., Home], signer: Signer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = archive_home(signatures={"trusted": [tmp_path / "gone.pem"]})
    with archives.opened(home) as archive, caplog.at_level(logging.ERROR):
        sample = Sample(6)
        assert store(archive, signed_object(sample, signer), sample) is Verdict.STORED
        assert archive.signatures.kept.of(sample.sop_uid) is None
        assert "not checked" in caplog.text
        with pytest.raises(ConfigError):
            list(check_stored(archive, sample.sop_uid, ""))


def test_files_of_trusted_certificates(tmp_path: Path, signer: Signer) -> None:
    path = str(signer.certificate_file)
    assert len(read_anchors((path, path))) == 2
    large = tmp_path / "large.pem"
    large.write_bytes(b"x" * (MAX_ANCHOR_FILE_BYTES + 1))
    for bad in (str(large), str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(ConfigError):
            read_anchors((bad,))


def test_checked_again_when_somebody_asks(archive: Archive, signer: Signer) -> None:
    samples = [Sample(number, study=1) for number in (1, 2)]
    store(archive, signed_object(samples[0], signer), samples[0])
    store(archive, samples[1].dataset, samples[1])
    found = list(check_stored(archive, "", samples[0].study_uid))
    assert [bool(each.report and each.report.signatures) for each in found] == [True, False]
    assert [each.name for each in check_stored(archive, samples[0].sop_uid, "")] == [samples[0].sop_uid]
    assert [name for name, _ in kept_reports(archive)] == [samples[0].sop_uid]
    occasions = [event.details["occasion"] for event in of(archive, Action.SIGNATURE)]
    assert occasions == ["received", "asked", "asked", "asked", "asked"]
    for sop_uid, study_uid in (("1.2.3", ""), ("", "1.2.3"), (samples[0].sop_uid, "1.2.3")):
        with pytest.raises(NotFound):
            list(check_stored(archive, sop_uid, study_uid))


def test_a_report_goes_with_its_study(archive: Archive, signer: Signer) -> None:
    sample = Sample(7, study=7)
    store(archive, signed_object(sample, signer), sample)
    delete_study(archive, sample.study_uid, "test", lambda done, total: None)
    assert archive.signatures.kept.of(sample.sop_uid) is None
    with archive.index.database.read() as cursor:
        assert cursor.execute("SELECT count(*) FROM signature").fetchone()[0] == 0


def test_files(tmp_path: Path, signer: Signer) -> None:
    sample = Sample(8)
    meta = encode_file_meta(CT_IMAGE_STORAGE, sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, "1.2", "X")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(meta + signed_object(sample, signer))
    (folder / "b.txt").write_text("nothing")
    (folder / "c.dcm").write_bytes(meta.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0") + sample.dataset)
    found = list(check_paths([folder], [signer.certificate_file]))
    assert [Path(each.name).name for each in found] == ["a.dcm", "b.txt", "c.dcm"]
    assert found[0].report is not None
    assert found[0].report.validity == "valid"
    assert (found[1].report, found[1].reason) == (None, "")
    assert found[2].reason == "an unknown transfer syntax"
    (named,) = check_paths([folder / "b.txt"], [])
    assert named.reason
    with pytest.raises(ConfigError):
        list(check_paths([folder / "none"], []))
