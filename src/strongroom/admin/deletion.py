"""Deletion of a study: its keys are destroyed, the trail proves it, and then the sealed bytes are removed as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from strongroom.admin.agreeing import Agreement
from strongroom.admin.manifest import manifest_sha256
from strongroom.admin.proofs import Proof, prove_event
from strongroom.admin.proofs import log_size as _log_size
from strongroom.admin.recovery import expect_orphans, orphans_gone
from strongroom.app import Archive
from strongroom.archive.access import require
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.reasons import parse_reason
from strongroom.errors import StorageUnavailable, StrongroomError
from strongroom.store.deletion import DeletedStudy, StudyDeletion, clear_log
from strongroom.store.transaction import Transaction
from strongroom.types import Principal, Right, Uid


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion did. ``problems`` are things that are left to do; each says what."""

    study_uid: str
    objects: int
    data_bytes: int
    manifest: str
    key_ids: tuple[bytes, ...]
    proof: Proof | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


Watch = Callable[[int, int], None]
"""Told how many files are removed, of how many."""


def delete_study(
    archive: Archive,
    study_uid: str,
    reason: str,
    watch: Watch,
    caller: Principal | None = None,
    agreement: Agreement | None = None,
) -> Deletion:
    """Delete a study for good. When this returns, or is killed after its transaction, nothing can open its objects.

    Without a ``caller`` this machine's operator does it; any other needs the right, or that two people have an
    ``agreement``, which the transaction looks at again, and the study in its scope.
    Raises Denied, NotFound, ConfigError or StorageUnavailable with nothing changed; what fails later is in
    ``problems``.
    """
    if caller is not None and agreement is None:
        require(caller, Right.DELETE)
    principal = caller or archive.principal
    uid, reason = Uid.parse(study_uid), parse_reason(reason)
    first_seq = _log_size(archive)
    deleted, event, mark = _take_out(archive, principal, uid, reason, agreement)
    archive.forget_study(uid, deleted.key_ids)
    problems, notes = clear_traces(archive)
    if caller is None and (held := archive.quarantine.of_study(uid)):
        notes.append(f"{held} of its objects are in quarantine, and stay there: `strongroom quarantine list`")
    proof = None
    try:
        if left := _remove_files(archive, deleted, watch):
            problems.append(f"{left} sealed files are still there: nothing opens them, and the next start removes them")
        else:
            orphans_gone(archive, mark)
        proof = _proof(archive, event, first_seq)
        if proof.receipt is None:
            problems.append("no checkpoint could be written: run `strongroom trail checkpoint`")
    except StrongroomError as error:
        problems.append(f"no proof could be made: {error}")
    return Deletion(
        study_uid=uid,
        objects=len(deleted.objects),
        data_bytes=sum(each.data_bytes for each in deleted.objects),
        manifest=_manifest(deleted),
        key_ids=deleted.key_ids,
        proof=proof,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _take_out(
    archive: Archive, principal: Principal, uid: str, reason: str, agreement: Agreement | None
) -> tuple[DeletedStudy, Event, str]:
    """What was deleted in one transaction, its record, and the mark of the files that are still there."""
    statements = StudyDeletion(archive.backend.dialect, archive.index.registry)

    def work(transaction: Transaction) -> tuple[DeletedStudy, Event, str]:
        proposal = agreement.require(transaction) if agreement is not None else None
        deleted = statements.run(transaction, uid, principal.scope)
        details = _details(uid, reason, deleted)
        if agreement is not None and proposal is not None:
            agreement.carry_out(transaction, proposal)
            details |= {"user": agreement.wish.name, "proposed_by": proposal.proposer, "proposal": proposal.number}
        event = Event(Action.DELETE, Outcome.SUCCESS, principal, details)
        transaction.record(event)
        files = [each.object_id for each in deleted.objects if each.in_file]
        return deleted, event, expect_orphans(archive, transaction, files)

    return archive.index.database.write(work)


def clear_traces(archive: Archive) -> tuple[list[str], list[str]]:
    """Clear the index's log of the wrapped key; returns problems, and notes on where else it may be."""
    problems, notes = [], []
    if not archive.backend.is_sqlite:
        notes.append("PostgreSQL keeps the wrapped key in its files and its log until it reuses them")
    elif not archive.index.erase_journal() or not clear_log(archive.backend):
        problems.append("the index was in use: its log holds the wrapped key until the server is restarted")
    notes.append("backups keep the wrapped key: rotate the master key, and destroy the old one with the last of them")
    return problems, notes


def _manifest(deleted: DeletedStudy) -> str:
    return manifest_sha256((each.sop_uid, each.sha256) for each in deleted.objects)


def _details(uid: str, reason: str, deleted: DeletedStudy) -> dict[str, Detail]:
    return {
        "study": str(uid),
        "reason": reason,
        "objects": len(deleted.objects),
        "bytes": sum(each.data_bytes for each in deleted.objects),
        "manifest_sha256": _manifest(deleted),
        "destroyed_keys": tuple(key_id.hex() for key_id in deleted.key_ids),
    }


def _remove_files(archive: Archive, deleted: DeletedStudy, watch: Watch) -> int:
    """Remove the sealed files; returns how many could not be."""
    files = [each for each in deleted.objects if each.in_file]
    left = 0
    for number, each in enumerate(files, 1):
        try:
            archive.blobs.delete(each.object_id)
        except StorageUnavailable:
            left += 1
        watch(number, len(files))
    return left


def _proof(archive: Archive, event: Event, first_seq: int) -> Proof:
    return prove_event(archive, event, first_seq, ("study", "manifest_sha256"))
