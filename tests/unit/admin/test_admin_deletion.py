"""A deleted study: gone from every answer, unopenable for good, and proved."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness import media
from harness.archives import AET, Credentials, opened, trail_events
from harness.ingesting import (
    CT_IMAGE_STORAGE,
    EXPLICIT_VR_LITTLE_ENDIAN,
    LARGE_PIXELS,
    Sample,
    store,
    stored_digest,
    visible_sop_uids,
)
from harness.wire import identifier
from strongroom.admin import deletion as module
from strongroom.admin.check import check
from strongroom.admin.deletion import Deletion, delete_study, parse_reason
from strongroom.admin.exporting import export_study
from strongroom.admin.keys import rotate
from strongroom.admin.manifest import manifest_sha256
from strongroom.admin.recovery import recover
from strongroom.app import PUBLIC_KEY_NAME, Archive, signer_name
from strongroom.archive.ingest import Arrival, Verdict
from strongroom.archive.model import Action
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import ConfigError, Denied, IntegrityError, NotFound, StorageUnavailable, StrongroomError
from strongroom.net.scu import Proposal, ScuConnection, Target
from strongroom.store.blobs import SealedBlobStore
from strongroom.store.transaction import Transaction
from strongroom.trail.note import Verifier
from strongroom.trail.receipt import Trust, check_receipt, parse_receipt
from strongroom.trail.tree import leaf_hash
from strongroom.types import AeTitle, Part, Principal, Right, Scope, Uid
from strongroom.ul import LocalParameters

STUDY_ROOT_FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
DOOMED = [
    Sample(number, study=1, series=number % 2, pixel_bytes=LARGE_PIXELS if number % 2 else 600) for number in range(6)
]
KEPT = [Sample(number, study=2) for number in range(3)]


@pytest.fixture
def archive(archive_home) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        for sample in (*DOOMED, *KEPT):
            store(found, sample)
        yield found


def arrival(sample: Sample) -> Arrival:
    return Arrival(CT_IMAGE_STORAGE, sample.sop_uid, TRANSFER_SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN], Principal("CT1"))


def delete(archive: Archive, study_uid: str = DOOMED[0].study_uid) -> Deletion:
    return delete_study(archive, study_uid, "asked for", lambda *_: None)


def rows(archive: Archive, table: str) -> int:
    with archive.index.database.read() as cursor:
        return int(cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def is_clean(archive: Archive) -> bool:
    return check(archive, lambda *_: None).findings == ()


def test_a_deleted_study_is_gone_and_everything_else_is_not(archive: Archive) -> None:
    deletion = delete(archive)
    assert deletion.problems == ()
    assert deletion.objects == len(DOOMED)
    assert deletion.data_bytes == sum(len(sample.dataset) for sample in DOOMED)
    assert visible_sop_uids(archive) == {sample.sop_uid for sample in KEPT}
    assert all(stored_digest(archive, sample.sop_uid) == sample.sha256 for sample in KEPT)
    assert [rows(archive, table) for table in ("patient", "study", "series", "instance")] == [1, 1, 1, 3]
    assert rows(archive, "small_object") == 3
    assert list(archive.blobs.ids()) == []
    assert is_clean(archive)


def test_a_patient_stays_while_there_is_another_study(archive: Archive) -> None:
    other = Sample(1, study=3)
    raw = other.dataset.replace(b"PID-3", b"PID-1")
    ingest = archive.new_ingest(arrival(other))
    ingest.write(raw)
    ingest.commit()
    assert rows(archive, "patient") == 2
    delete(archive)
    assert rows(archive, "patient") == 2
    delete(archive, other.study_uid)
    assert rows(archive, "patient") == 1


def test_no_key_that_is_left_opens_what_was_sealed(archive: Archive, tmp_path: Path) -> None:
    copied = shutil.copytree(archive.home.objects, tmp_path / "copied")
    store_of_copies = SealedBlobStore(copied)
    stored = [archive.index.find_object(sample.sop_uid) for sample in DOOMED]
    in_files = [found for found in stored if found is not None and not found.small_row]
    assert len(in_files) == 3
    before = in_files[0].key
    reader = store_of_copies.open(in_files[0].object_id, before.key)
    assert reader.read(0, 10)
    reader.close()
    delete(archive)
    # Everything that could be a wrapped key, under everything that could have wrapped it.
    for path in archive.home.root.rglob("*"):
        if path.is_file():
            assert before.wrapped not in path.read_bytes(), path
    with archive.index.database.read() as cursor:
        left = cursor.execute("SELECT key_id, wrapped, master_id FROM data_key").fetchall()
    assert before.wrapped not in [bytes(wrapped) for _, wrapped, _ in left]
    keys = []
    for key_id, wrapped, master_id in left:
        try:
            keys.append(archive.ring.unwrap(bytes(key_id), bytes(wrapped), master_id))
        except IntegrityError:
            assert bytes(wrapped) == bytes(60)  # the place where a key was
    with pytest.raises(IntegrityError):
        archive.ring.unwrap(before.key_id, bytes(60), before.master_id)
    assert len(keys) == 1
    for found in in_files:
        for key in keys:
            with pytest.raises(IntegrityError):
                store_of_copies.open(found.object_id, key).read(0, 10)


def test_the_process_that_deleted_forgets_the_key(archive: Archive) -> None:
    before = archive.index.study_key(DOOMED[0].study_uid)
    assert before is not None
    assert before.key_id in archive.ring._data_keys
    delete(archive)
    assert before.key_id not in archive.ring._data_keys


def test_another_process_forgets_all_keys_when_it_next_looks(archive: Archive) -> None:
    with opened(archive.home, "serve") as other:
        other.forget_deleted()
        store(other, Sample(50, study=1))
        key = other.index.study_key(DOOMED[0].study_uid)
        assert key is not None
        delete(archive)
        assert key.key_id in other.ring._data_keys
        other.forget_deleted()
        assert other.ring._data_keys == {}
        assert store(other, Sample(51, study=1)) is Verdict.STORED


@pytest.mark.parametrize("pixel_bytes", [600, LARGE_PIXELS])
def test_stored_again_a_study_has_a_new_key_whoever_stores_it(archive: Archive, pixel_bytes: int) -> None:
    """Also where a process still holds the old one, and where the object was under way when its study went."""
    again = [Sample(number, study=1, pixel_bytes=pixel_bytes) for number in (100, 101, 102)]
    with opened(archive.home, "serve") as server:
        store(server, again[0])
        before = server.index.study_key(again[0].study_uid)
        ingest = server.new_ingest(arrival(again[1]))
        ingest.write(again[1].dataset)
        delete(archive)
        assert ingest.commit() is Verdict.STORED
        assert store(server, again[2]) is Verdict.STORED
        assert store(server, again[2]) is Verdict.RESENT
        after = server.index.study_key(again[0].study_uid)
        assert before is not None
        assert after is not None
        assert after.key_id != before.key_id
        assert after.key != before.key
    assert visible_sop_uids(archive) == {sample.sop_uid for sample in (*KEPT, *again[1:])}
    for sample in again[1:]:
        found = archive.index.find_object(sample.sop_uid)
        assert found is not None
        assert found.key.key == after.key
        assert stored_digest(archive, sample.sop_uid) == sample.sha256
    assert is_clean(archive)


def test_the_destroyed_key_can_never_come_back(archive: Archive) -> None:
    stored = archive.index.find_object(DOOMED[0].sop_uid)
    assert stored is not None
    delete(archive)
    with archive.index.database.read() as cursor:
        assert cursor.execute("SELECT key_id FROM destroyed_key").fetchall() == [(stored.key.key_id,)]


def test_what_was_imported_is_imported_again(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for sample in (*DOOMED, *KEPT):
        media.write(folder / sample.sop_uid, sample)
    media.take_in(archive, folder)
    delete(archive)
    tally, _ = media.take_in(archive, folder)
    assert tally.counts["stored"] == len(DOOMED)
    assert tally.counts["already_here"] == len(KEPT)
    assert rows(archive, "imported") == len(DOOMED) + len(KEPT)


# -- the proof


def test_the_trail_says_what_was_deleted_and_never_who_it_was(archive: Archive) -> None:
    key = archive.index.study_key(DOOMED[0].study_uid)
    assert key is not None
    deletion = delete(archive)
    event = [event for event in trail_events(archive) if event.action is Action.DELETE][-1]
    assert event.details == {
        "study": DOOMED[0].study_uid,
        "reason": "asked for",
        "objects": len(DOOMED),
        "bytes": sum(len(sample.dataset) for sample in DOOMED),
        "manifest_sha256": manifest_sha256((sample.sop_uid, sample.sha256) for sample in DOOMED),
        "destroyed_keys": (key.key_id.hex(),),
    }
    assert deletion.key_ids == (key.key_id,)
    assert "Doe" not in repr(event)


def test_the_receipt_is_proof_without_the_archive(archive: Archive) -> None:
    proof = delete(archive).proof
    assert proof is not None
    assert proof.receipt is not None
    config = archive.config
    pem = (archive.home.root / PUBLIC_KEY_NAME).read_bytes()
    trust = Trust(config.archive.id, (Verifier.from_pem(signer_name(config), pem),))
    record, findings = check_receipt(parse_receipt(proof.receipt), trust)
    assert findings == []
    assert record is not None
    assert record.event.details["study"] == DOOMED[0].study_uid
    assert (record.log, record.seq) == (proof.log, proof.seq)
    forged = proof.receipt.replace(DOOMED[0].study_uid.encode(), KEPT[0].study_uid.encode())
    assert forged != proof.receipt
    with pytest.raises(IntegrityError, match="leaf hash"):
        parse_receipt(forged)
    forged = forged.replace(proof.leaf.hex().encode(), leaf_hash(json.loads(forged)["record"].encode()).hex().encode())
    assert check_receipt(parse_receipt(forged), trust)[1]


def test_the_record_is_found_among_those_of_other_commands(archive: Archive, monkeypatch) -> None:
    real = module._log_size

    def interleaved(of: Archive) -> int:
        size = real(of)
        for number in range(5):
            of.record(Action.CHECK, {"number": number})
        return size

    monkeypatch.setattr(module, "_log_size", interleaved)
    proof = delete(archive).proof
    assert proof is not None
    assert b'"action":"delete"' in proof.record


def test_a_deletion_without_a_place_for_its_checkpoint_is_one_all_the_same(archive: Archive, monkeypatch) -> None:
    def fail() -> str:
        raise StorageUnavailable("read-only")

    monkeypatch.setattr(archive, "checkpoint", fail)
    deletion = delete(archive)
    assert deletion.proof is not None
    assert deletion.proof.receipt is None
    assert deletion.problems == ("no checkpoint could be written: run `strongroom trail checkpoint`",)
    assert DOOMED[0].sop_uid not in visible_sop_uids(archive)


# -- what cannot be, and what goes wrong


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "\x1b[2J", "x" * 201])
def test_a_reason_is_one_line_of_words(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_reason(text)


@pytest.mark.parametrize("study_uid", ["1.2.3", "2.25.77.1.0", "not a UID", "", "2.25.77.1' OR '1'='1"])
def test_what_is_not_there_is_not_deleted(archive: Archive, study_uid: str) -> None:
    with pytest.raises(StrongroomError):
        delete(archive, study_uid)
    assert len(visible_sop_uids(archive)) == len(DOOMED) + len(KEPT)


def test_it_is_deleted_once(archive: Archive) -> None:
    delete(archive)
    with pytest.raises(NotFound):
        delete(archive)


class Killed(BaseException):
    """The process is gone: nothing that comes after runs."""


@pytest.mark.parametrize("step", ["clear_log", "_remove_files", "_proof"])
def test_killed_after_its_transaction_the_next_start_ends_it(archive: Archive, monkeypatch, step: str) -> None:
    recover(archive)
    archive.writers.release()

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, step, die)
        with pytest.raises(Killed):
            delete(archive)
    archive.close()
    with opened(archive.home) as again:
        assert visible_sop_uids(again) == {sample.sop_uid for sample in KEPT}
        recover(again)
        assert list(again.blobs.ids()) == []
        assert is_clean(again)


def test_killed_within_its_transaction_nothing_happened(archive: Archive, monkeypatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(archive.trail, "append", die)
        with pytest.raises(Killed):
            delete(archive)
    with opened(archive.home) as again:
        assert len(visible_sop_uids(again)) == len(DOOMED) + len(KEPT)
        assert all(stored_digest(again, sample.sop_uid) == sample.sha256 for sample in DOOMED)
        assert is_clean(again)


def test_files_that_cannot_be_removed_are_a_problem_and_nothing_more(archive: Archive, monkeypatch) -> None:
    def fail(object_id: bytes) -> None:
        raise StorageUnavailable("EIO")

    monkeypatch.setattr(archive.blobs, "delete", fail)
    deletion = delete(archive)
    assert [problem.partition(":")[0] for problem in deletion.problems] == ["3 sealed files are still there"]
    assert deletion.proof is not None


def test_a_deletion_and_stores_may_share_one_transaction(archive: Archive) -> None:
    """Row ids are used again at once: neither counters nor remembered places may follow them."""
    statements = module.StudyDeletion(archive.backend.dialect, archive.index.registry)
    fresh = [Sample(number, study=number) for number in (7, 8, 9)]
    store(archive, fresh[0])
    with opened(archive.home, "serve") as other:
        made = [other.new_ingest(arrival(sample)) for sample in fresh[1:]]
        for ingest, sample in zip(made, fresh[1:], strict=True):
            ingest.write(sample.dataset)
        described = [ingest._described() for ingest in made]
        sealed = [ingest._writer.commit() for ingest in made if ingest._writer is not None]
        news = [replace(new, sealed=raw) for new, raw in zip(described, sealed, strict=True)]

        def work(unit: Transaction) -> None:
            assert unit.store(news[0])
            statements.run(unit, fresh[1].study_uid)
            assert unit.store(news[1])

        other.index.database.write(work)
    with archive.index.database.read() as cursor:
        counted = cursor.execute("SELECT study_uid, num_series, num_instances FROM study ORDER BY id").fetchall()
    assert (fresh[2].study_uid, 1, 1) in counted
    assert fresh[1].study_uid not in [row[0] for row in counted]


# -- beside a server


@contextmanager
def association(port: int, credentials: Credentials) -> Iterator[ScuConnection]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(credentials.authority)
    tls.load_cert_chain(credentials.certificate, credentials.key)
    contexts = (
        (CT_IMAGE_STORAGE, (EXPLICIT_VR_LITTLE_ENDIAN,)),
        (STUDY_ROOT_FIND, (Uid("1.2.840.10008.1.2"),)),
    )
    proposal = Proposal(
        AeTitle.parse(AET), AeTitle.parse(credentials.aet), contexts, LocalParameters(Uid("2.25.1"), "TEST")
    )
    with ScuConnection.open(Target("127.0.0.1", port, tls), proposal) as connection:
        yield connection


def found_studies(connection: ScuConnection) -> int:
    asked = identifier("STUDY", {0x0020000D: b""})
    return sum(1 for response, _ in connection.find(STUDY_ROOT_FIND, asked) if response.status == 0xFF00)


def send(connection: ScuConnection, sample: Sample) -> int:
    response = connection.store(CT_IMAGE_STORAGE, sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, [sample.dataset])
    return int(response.status)


def test_a_running_server_no_longer_finds_it_and_stores_it_anew(running_archive) -> None:
    server = running_archive({"CT1": "store,find"})
    with association(server.port, server.credentials("CT1")) as peer, opened(server.home) as archive:
        for sample in (*DOOMED, *KEPT):
            assert send(peer, sample) == 0
        assert found_studies(peer) == 2
        before = archive.index.study_key(DOOMED[0].study_uid)
        deletion = delete(archive)
        assert deletion.problems == ()
        assert found_studies(peer) == 1
        # The same association goes on with the same study, which its process still knows the old key of.
        assert send(peer, DOOMED[0]) == 0
        assert send(peer, DOOMED[1]) == 0
        assert found_studies(peer) == 2
        after = archive.index.study_key(DOOMED[0].study_uid)
        assert before is not None
        assert after is not None
        assert after.key != before.key
        assert is_clean(archive)
    assert server.stop() == 0, server.output


@pytest.mark.interop
def test_on_postgresql_everything_goes_the_same_way(archive_home, new_postgres_url, tmp_path: Path) -> None:
    home = archive_home(index={"url": new_postgres_url()})
    folder = tmp_path / "files"
    for sample in (*DOOMED, *KEPT):
        media.write(folder / sample.sop_uid, sample)
    with opened(home) as archive:
        assert media.take_in(archive, folder)[0].counts["stored"] == len(DOOMED) + len(KEPT)
        assert media.take_in(archive, folder)[0].counts["resumed"] == len(DOOMED) + len(KEPT)
        exported = export_study(archive, DOOMED[0].study_uid, tmp_path / "out", lambda *_: None)
        deletion = delete(archive)
        assert deletion.problems == ()
        assert any("PostgreSQL" in note for note in deletion.notes)
        assert deletion.manifest == exported.manifest
        assert visible_sop_uids(archive) == {sample.sop_uid for sample in KEPT}
        assert rotate(archive, "", lambda *_: None).data_keys == 1
        assert media.take_in(archive, folder)[0].counts["stored"] == len(DOOMED)
        assert is_clean(archive)


# --- who else may delete


def caller(*rights: Right, scope: Scope | None = None) -> Principal:
    return Principal("remover", rights=frozenset(rights), scope=scope)


@pytest.mark.parametrize(
    ("who", "error"),
    [
        (caller(*set(Right) - {Right.DELETE}), Denied),
        (caller(Right.DELETE, scope=Scope((Part(patients=(("PID-9", None),)),))), NotFound),
        (caller(Right.DELETE, scope=Scope((Part(studies=(KEPT[0].study_uid,)),))), NotFound),
        (caller(Right.DELETE, scope=Scope((Part(modalities=("MR",)),))), NotFound),
        # Such a scope may have only a part of a study, so it can never delete one: whatever the study holds.
        (caller(Right.DELETE, scope=Scope((Part(modalities=("CT",)),))), Denied),
    ],
)
def test_nothing_changes_for_a_caller_who_may_not(archive: Archive, who: Principal, error: type[Exception]) -> None:
    with pytest.raises(error):
        delete_study(archive, DOOMED[0].study_uid, "asked for", lambda *_: None, who)
    assert visible_sop_uids(archive) == {sample.sop_uid for sample in (*DOOMED, *KEPT)}


def test_a_caller_deletes_within_its_scope_and_the_trail_names_it(archive: Archive) -> None:
    who = caller(Right.DELETE, scope=Scope((Part(patients=(("PID-1", None),)),)))
    deletion = delete_study(archive, DOOMED[0].study_uid, "asked for", lambda *_: None, who)
    assert deletion.objects == len(DOOMED)
    assert visible_sop_uids(archive) == {sample.sop_uid for sample in KEPT}
    (event,) = [event for event in trail_events(archive) if event.action is Action.DELETE]
    assert event.principal.aet == "remover"
