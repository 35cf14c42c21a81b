"""Receipts for objects, by whatever way they came, verified by somebody who has the public key and nothing else."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from harness import media
from harness.archives import (
    AET,
    Credentials,
    add_peer,
    certificate_fingerprint,
    new_home,
    opened,
    serving_in_process,
    trail_events,
)
from harness.authority import Authority, answering, new_authority
from harness.https import LOG as HTTPS_LOG
from harness.https import serving_https
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, LARGE_PIXELS, Sample, store
from harness.quarantines import HELD_SENDER, add_officers, hold
from harness.shell import Ran, Shell, shell
from strongroom.admin import receipts
from strongroom.admin.deletion import delete_study
from strongroom.admin.offline import Verified, verify_receipt
from strongroom.admin.quarantine import release
from strongroom.admin.receipts import Place, make_receipt, place_of_object
from strongroom.admin.two_people import Order
from strongroom.app import LOCAL_LOG, PUBLIC_KEY_NAME, SERVE_LOG, Archive
from strongroom.archive.model import Action
from strongroom.config import Home
from strongroom.dicom.canonical import canonical_sha256
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import ConfigError, IntegrityError, NotFound, Quarantined
from strongroom.net.scu import Proposal, ScuConnection, Target
from strongroom.store.quarantine import What
from strongroom.trail.receipt import parse_receipt
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters

SMALL, LARGE = Sample(1), Sample(2, pixel_bytes=LARGE_PIXELS)
GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


@pytest.fixture
def archive(home: Home) -> Iterator[Archive]:
    with opened(home) as archive:
        yield archive


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    return shell(capsys, monkeypatch)


def send(port: int, credentials: Credentials, *samples: Sample) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(credentials.authority)
    tls.load_cert_chain(credentials.certificate, credentials.key)
    contexts = ((CT_IMAGE_STORAGE, (EXPLICIT_VR_LITTLE_ENDIAN,)),)
    local = LocalParameters(Uid("2.25.1"), "SENDER")
    proposal = Proposal(AeTitle.parse(AET), AeTitle.parse(credentials.aet), contexts, local)
    with ScuConnection.open(Target("127.0.0.1", port, tls), proposal) as connection:
        for sample in samples:
            sent = [sample.dataset]
            assert connection.store(CT_IMAGE_STORAGE, sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, sent).status == 0


def verified(archive: Archive, sample: Sample, folder: Path, **more: Path) -> Verified:
    """The receipt of an object, made here and verified by files alone, with the object beside it."""
    path = folder / f"{sample.number}.receipt"
    path.write_bytes(make_receipt(archive, place_of_object(archive, sample.sop_uid)))
    key = archive.home.root / PUBLIC_KEY_NAME
    found = verify_receipt(path, key, part10=media.write(folder / f"{sample.number}.dcm", sample), **more)
    details = found.proven.record.event.details
    assert details["sop_uid"] == sample.sop_uid
    assert details["sha256"] == sample.sha256.hex()
    assert found.compared is not None
    assert found.compared.is_same
    return found


def test_what_came_by_dicom_and_the_short_way(home: Home, tmp_path: Path) -> None:
    samples = [Sample(number) for number in range(20)] + [Sample(20, pixel_bytes=LARGE_PIXELS)]
    with serving_in_process(home) as running:
        credentials = running.add_peer("CT1")
        send(running.port, credentials, *samples)
        with opened(home) as archive:  # beside the server, with its journal
            for sample in (samples[0], samples[13], samples[20]):
                record = verified(archive, sample, tmp_path).proven.record
                assert (record.log, record.event.action) == (SERVE_LOG, Action.STORE)
                sender = record.event.principal
                fingerprint = certificate_fingerprint(credentials.certificate)
                assert (sender.aet, sender.fingerprint, sender.address) == ("CT1", fingerprint, "127.0.0.1")


def test_what_came_by_stow(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        add_peer(archive, "WEB")
    with serving_https(home) as running:
        with running.client("WEB") as client:
            assert client.store([media.part10(SMALL), media.part10(LARGE)]).status == 200
        for sample in (SMALL, LARGE):
            record = verified(running.archive, sample, tmp_path).proven.record
            assert (record.log, record.event.principal.aet) == (HTTPS_LOG, "WEB")


def test_what_was_imported(archive: Archive, tmp_path: Path) -> None:
    media.take_in(archive, media.write(tmp_path / "CD" / "1", SMALL))
    record = verified(archive, SMALL, tmp_path).proven.record
    assert (record.log, record.event.action) == (LOCAL_LOG, Action.IMPORT)


def test_many_records_stand_before_and_after_it(archive: Archive, tmp_path: Path) -> None:
    others = trail_events(archive)[:1] * 3000
    archive.index.record(*others)
    store(archive, SMALL)
    archive.index.record(*others)
    assert verified(archive, SMALL, tmp_path).proven.record.seq == 3001


def test_it_is_found_wherever_its_time_says(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set back puts the record where nobody would look first."""
    store(archive, SMALL)
    store(archive, LARGE)
    expected = place_of_object(archive, SMALL.sop_uid)
    monkeypatch.setattr(receipts, "_near", lambda *_: None)
    assert place_of_object(archive, SMALL.sop_uid) == expected


def test_an_object_that_was_deleted_and_came_again(archive: Archive, tmp_path: Path) -> None:
    store(archive, SMALL)
    first = place_of_object(archive, SMALL.sop_uid)
    delete_study(archive, SMALL.study_uid, "test", lambda *_: None)
    assert place_of_object(archive, SMALL.sop_uid) == first  # it was received, and that stays true
    verified(archive, SMALL, tmp_path)
    (tmp_path / "1.dcm").unlink()
    store(archive, SMALL)
    assert place_of_object(archive, SMALL.sop_uid).seq > first.seq


def test_what_is_in_quarantine_was_received_all_the_same(archive: Archive, tmp_path: Path) -> None:
    add_officers(archive, "ann", "bob")
    hold(archive, SMALL)
    at = place_of_object(archive, SMALL.sop_uid)
    record = verified(archive, SMALL, tmp_path).proven.record
    assert (record.event.action, record.event.details["held"]) == (Action.QUARANTINE, "new")
    assert record.event.principal.aet == HELD_SENDER.aet
    for who in ("ann", "bob"):
        release(archive, Order(What.RELEASE, 1, who, "looked at", 10 * 86_400_000_000))
    assert archive.index.find_object(SMALL.sop_uid) is not None
    assert place_of_object(archive, SMALL.sop_uid) == at  # it came then, and not when it was released


def test_another_object_of_that_uid_is_held_and_the_receipt_is_of_the_first(archive: Archive, tmp_path: Path) -> None:
    store(archive, SMALL)
    with pytest.raises(Quarantined):
        store(archive, replace(SMALL, pixel_bytes=700))
    verified(archive, SMALL, tmp_path)


def test_nothing_was_stored_under_that_uid(archive: Archive) -> None:
    with pytest.raises(NotFound, match="no record"):
        place_of_object(archive, "1.2.3")
    with pytest.raises(NotFound, match="no record 999"):
        make_receipt(archive, Place(LOCAL_LOG, 999))


def test_the_earliest_checkpoint_that_covers_it_is_taken(archive: Archive, tmp_path: Path) -> None:
    store(archive, SMALL)
    archive.checkpoint()
    size = place_of_object(archive, SMALL.sop_uid).seq + 1
    store(archive, LARGE)
    archive.checkpoint()
    assert verified(archive, SMALL, tmp_path).proven.note.checkpoint.size == size
    assert verified(archive, LARGE, tmp_path).proven.note.checkpoint.size > size


def test_that_a_receipt_was_made_is_recorded(archive: Archive) -> None:
    store(archive, SMALL)
    make_receipt(archive, place_of_object(archive, SMALL.sop_uid))
    made = [event for event in trail_events(archive) if event.action is Action.TRAIL_EXPORT]
    assert [event.details["format"] for event in made] == ["receipt"]


def test_no_receipt_of_a_trail_that_was_rewritten(archive: Archive) -> None:
    store(archive, SMALL)
    at = place_of_object(archive, SMALL.sop_uid)
    connection = archive.backend.connect()
    connection.execute("UPDATE trail_record SET record = replace(record, 'CT1', 'CT2')")
    connection.close()
    with pytest.raises(IntegrityError):
        make_receipt(archive, at)


# -- another file than what was received


def test_one_bit_of_the_object_differs(archive: Archive, tmp_path: Path) -> None:
    store(archive, LARGE)
    (tmp_path / "receipt").write_bytes(make_receipt(archive, place_of_object(archive, LARGE.sop_uid)))
    path = media.write(tmp_path / "file.dcm", LARGE)
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 1
    path.write_bytes(raw)
    found = verify_receipt(tmp_path / "receipt", archive.home.root / PUBLIC_KEY_NAME, part10=path)
    assert found.compared is not None
    assert not found.compared.is_same


def test_the_same_content_in_another_encoding(archive: Archive, tmp_path: Path) -> None:
    """Where the record has a digest of the content: after the archive has compared two copies."""
    sample, syntax = replace(SMALL, pixel_bytes=0), TRANSFER_SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN]
    raw = sample.dataset
    canonical = canonical_sha256(lambda offset, length: raw[offset : offset + length], len(raw), syntax)
    digests = {"sha256": sample.sha256.hex(), "canonical_sha256": canonical.hex(), "bytes": len(raw)}
    archive.record(Action.STORE, {"sop_uid": sample.sop_uid, "verdict": "stored", **digests})
    (tmp_path / "receipt").write_bytes(make_receipt(archive, Place(LOCAL_LOG, 1)))
    dataset = pydicom.dcmread(media.write(tmp_path / "explicit.dcm", sample))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(tmp_path / "implicit.dcm", implicit_vr=True, little_endian=True)
    dataset.PatientID = "somebody else"
    dataset.save_as(tmp_path / "altered.dcm", implicit_vr=True, little_endian=True)
    key = archive.home.root / PUBLIC_KEY_NAME
    for name, is_same, words in (
        ("explicit.dcm", True, "byte for byte"),
        ("implicit.dcm", True, "in another encoding"),
        ("altered.dcm", False, "NOT what was received"),
    ):
        compared = verify_receipt(tmp_path / "receipt", key, part10=tmp_path / name).compared
        assert compared is not None
        assert (compared.is_same, words in compared.words) == (is_same, True)


def test_a_file_that_cannot_be_compared(archive: Archive, tmp_path: Path) -> None:
    store(archive, SMALL)
    (tmp_path / "receipt").write_bytes(make_receipt(archive, place_of_object(archive, SMALL.sop_uid)))
    (tmp_path / "text").write_text("no image")
    key = archive.home.root / PUBLIC_KEY_NAME
    for path in (tmp_path / "text", tmp_path / "absent", tmp_path):
        with pytest.raises(ConfigError):
            verify_receipt(tmp_path / "receipt", key, part10=path)
    (tmp_path / "other").write_bytes(make_receipt(archive, Place(LOCAL_LOG, 0)))
    with pytest.raises(IntegrityError, match="not about an object"):
        verify_receipt(tmp_path / "other", key, part10=media.write(tmp_path / "1.dcm", SMALL))


# -- time stamps


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with answering(new_authority(tmp_path_factory.mktemp("authority") / "tsa")) as authority:
        yield authority


@pytest.fixture
def stamped(tmp_path: Path, authority: Authority) -> Iterator[Archive]:
    settings = {"trail": {"timestamp_url": authority.url, "timestamp_cert": str(authority.root)}}
    with opened(new_home(tmp_path / "stamped", settings)) as archive:
        yield archive


def test_a_receipt_has_a_time_stamp(stamped: Archive, authority: Authority, tmp_path: Path) -> None:
    store(stamped, SMALL)
    found = verified(stamped, SMALL, tmp_path, authority=authority.root)
    assert found.stamp is not None
    assert found.stamp_is_trusted
    asked = len(authority.asked)
    # The stamp that is there is taken again.
    (tmp_path / "1.dcm").unlink()
    assert verified(stamped, SMALL, tmp_path, authority=authority.root).stamp == found.stamp
    assert len(authority.asked) == asked
    # Without the authority's certificates it is said, and not vouched for.
    (tmp_path / "1.dcm").unlink()
    assert not verified(stamped, SMALL, tmp_path).stamp_is_trusted


def test_a_stamp_of_another_authority_or_text(stamped: Archive, authority: Authority, tmp_path: Path) -> None:
    store(stamped, SMALL)
    written = make_receipt(stamped, place_of_object(stamped, SMALL.sop_uid))
    (tmp_path / "receipt").write_bytes(written)
    key, other = stamped.home.root / PUBLIC_KEY_NAME, new_authority(tmp_path / "other")
    with pytest.raises(IntegrityError, match="not signed by the authority"):
        verify_receipt(tmp_path / "receipt", key, other.root)
    store(stamped, LARGE)
    line, later = json.loads(written), json.loads(make_receipt(stamped, place_of_object(stamped, LARGE.sop_uid)))
    assert later["note"] != line["note"]
    for changed in (line | {"timestamp": later["timestamp"]}, line | {"timestamp": "AAAA"}):
        (tmp_path / "receipt").write_text(json.dumps(changed))
        for trusted in (None, authority.root):
            with pytest.raises(IntegrityError):
                verify_receipt(tmp_path / "receipt", key, trusted)
    (tmp_path / "receipt").write_text(json.dumps({name: value for name, value in line.items() if name != "timestamp"}))
    with pytest.raises(IntegrityError, match="no time stamp"):
        verify_receipt(tmp_path / "receipt", key, authority.root)


def test_an_authority_that_is_away_is_no_reason_for_no_receipt(
    stamped: Archive, authority: Authority, tmp_path
) -> None:
    store(stamped, SMALL)
    authority.status = 503
    try:
        assert verified(stamped, SMALL, tmp_path).stamp is None
    finally:
        authority.status = 200


# -- the commands


def test_the_commands(run: Shell, home: Home, tmp_path: Path) -> None:
    path = media.write(tmp_path / "1.dcm", SMALL)
    run("import", "--home", home.root, path)
    out, key = tmp_path / "receipt.json", tmp_path / "key.pem"
    assert run("trail", "receipt", "--home", home.root, "--sop", SMALL.sop_uid, "--out", out).code == GOOD
    assert run("trail", "checkpoint", "--home", home.root, "--key-out", key).code == GOOD
    home.root.rename(tmp_path / "gone")
    ran = run("trail", "verify-receipt", out, "--key", key, "--object", path)
    assert ran.code == GOOD, ran.err
    for said in ("VERIFIED", SMALL.sop_uid, "CT Image Storage", SMALL.sha256.hex(), "byte for byte", "not proven"):
        assert said in ran.out
    answer = json.loads(run("trail", "verify-receipt", out, "--key", key, "--format", "json").out)
    assert (answer["verified"], answer["record"]["action"], answer["timestamp"]) == (True, "import", None)
    other = media.write(tmp_path / "2.dcm", LARGE)
    refused = run("trail", "verify-receipt", out, "--key", key, "--object", other)
    assert (refused.code, "NOT what was received" in refused.out) == (BAD_NEWS, True)
    out.write_bytes(out.read_bytes().replace(b"success", b"refused"))
    refused = run("trail", "verify-receipt", out, "--key", key)
    assert (refused.code, refused.out.startswith("NOT VERIFIED")) == (BAD_NEWS, True)
    refused = run("trail", "verify-receipt", out, "--key", key, "--format", "json")
    assert (refused.code, json.loads(refused.out)["verified"]) == (BAD_NEWS, False)


def test_the_command_verifies_the_time_stamp(
    run: Shell, stamped: Archive, authority: Authority, tmp_path: Path
) -> None:
    store(stamped, SMALL)
    out, key = tmp_path / "receipt", stamped.home.root / PUBLIC_KEY_NAME
    out.write_bytes(make_receipt(stamped, place_of_object(stamped, SMALL.sop_uid)))
    ran = run("trail", "verify-receipt", out, "--key", key, "--tsa-cert", authority.root)
    assert (ran.code, "by CN=tsa" in ran.out, "it was no later than" in ran.out) == (GOOD, True, True)
    assert "NOT verified, name" in run("trail", "verify-receipt", out, "--key", key).out
    said = json.loads(run("trail", "verify-receipt", out, "--key", key, "--format", "json").out)
    assert said["timestamp"]["verified"] is False
    other = new_authority(tmp_path / "other").root
    assert run("trail", "verify-receipt", out, "--key", key, "--tsa-cert", other).code == BAD_NEWS
    assert run("trail", "verify-receipt", out, "--key", key, "--tsa-cert", key).code == COULD_NOT_RUN


def test_receipts_of_other_records(run: Shell, home: Home, tmp_path: Path) -> None:
    ran = run("trail", "receipt", "--home", home.root, "--log", LOCAL_LOG, "--seq", "0")
    assert ran.code == GOOD
    assert parse_receipt(ran.out.encode()).seq == 0
    (tmp_path / "receipt").write_text(ran.out)
    told = run("trail", "verify-receipt", tmp_path / "receipt", "--key", home.root / PUBLIC_KEY_NAME)
    assert "config.change, success" in told.out


@pytest.mark.parametrize("options", [(), ("--sop", "1.2", "--seq", "0"), ("--sop", "../x"), ("--sop", "1.2.3")])
def test_a_receipt_of_nothing(run: Shell, home: Home, options: tuple[str, ...]) -> None:
    assert run("trail", "receipt", "--home", home.root, *options).code == COULD_NOT_RUN


def test_what_verifying_needs(run: Shell, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "receipt"
    run("trail", "receipt", "--home", home.root, "--seq", "0", "--out", out)
    missing: Ran = run("trail", "verify-receipt", out)
    assert (missing.code, "--key" in missing.err) == (COULD_NOT_RUN, True)
    assert (
        run("trail", "verify-receipt", tmp_path / "absent", "--key", home.root / PUBLIC_KEY_NAME).code == COULD_NOT_RUN
    )
    assert run("trail", "verify-receipt", out, "--key", out).code == COULD_NOT_RUN
    monkeypatch.setenv("STRONGROOM_HOME", str(home.root))
    assert run("trail", "verify-receipt", out).code == GOOD
