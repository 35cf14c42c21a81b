"""``delete``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin.agreeing import Wish
from strongroom.admin.deleting import propose_or_delete
from strongroom.admin.deletion import Deletion
from strongroom.admin.receipts import ReservedFile
from strongroom.admin.two_people import authenticated, now_us
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.proposals import Matter, Proposal
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import (
    ByOption,
    Format,
    FormatOption,
    HomeOption,
    asked_passcode,
    home_of,
    minute_text,
    time_text,
)
from strongroom.cli.progress import State, Work, counted, size
from strongroom.cli.unsafe import REFUSALS
from strongroom.errors import Denied, StrongroomError


def delete(
    study: Annotated[str, typer.Option(help="Study Instance UID.")],
    reason: Annotated[str, typer.Option(help="Why, in a line. It stays in the trail for ever: no names of patients.")],
    by: ByOption,
    home: HomeOption = None,
    receipt: Annotated[Path | None, typer.Option(help="A new file for the signed proof that it was deleted.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Propose that a study be deleted, or, where somebody else has, delete it for good: destroy its keys, remove its
    objects, and print the proof. Whoever deletes is a security officer or an administrator."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        name = authenticated(archive, by, asked_passcode())
        wish = Wish(Matter.DELETE_STUDY, study, name, reason, archive.principal, now_us())
        # Before the keys are destroyed: a proof that has no place to go is noticed while all is still there.
        reserved = None if receipt is None else ReservedFile(receipt)
        deletion = _delete(archive, wish, reserved)
    except Denied as refusal:
        raise StrongroomError(REFUSALS.get(refusal.reason, str(refusal))) from None
    finally:
        archive.close()
    if isinstance(deletion, Proposal):
        if reserved is not None:
            reserved.discard()
        print(_proposed_json(deletion) if output is Format.JSON else _proposed_text(deletion))
        return
    problems = [*deletion.problems, *_write_receipt(reserved, deletion)]
    print(_as_json(deletion, problems) if output is Format.JSON else _as_text(deletion, problems))
    if problems:
        raise typer.Exit(BAD_NEWS)


def _delete(archive: Archive, wish: Wish, reserved: ReservedFile | None) -> Deletion | Proposal:
    try:
        with Work("delete", "files") as work:
            return propose_or_delete(archive, wish, lambda done, total: work.show(State(done, total)))
    except BaseException:
        if reserved is not None:
            reserved.discard()
        raise


def _write_receipt(reserved: ReservedFile | None, deletion: Deletion) -> list[str]:
    """Write the receipt where one is wanted and could be made; returns the problems."""
    if reserved is None:
        return []
    proof = deletion.proof
    if proof is None or proof.receipt is None:
        reserved.discard()
        return ["there is no receipt: make it later with `strongroom trail receipt`"]
    try:
        reserved.write(proof.receipt)
    except StrongroomError as error:
        again = f"`strongroom trail receipt --log {proof.log} --seq {proof.seq} --out FILE` makes it again"
        return [f"the receipt could not be written: {error}; {again}"]
    return []


def _proposed_text(proposal: Proposal) -> str:
    return (
        f"proposed       study {proposal.subject}: somebody else has to run the same command, or agree on the page\n"
        f"lapses         {minute_text(proposal.lapses_us)}"
    )


def _proposed_json(proposal: Proposal) -> str:
    named = {"study": proposal.subject, "proposal": proposal.number, "proposed_by": proposal.proposer}
    return json.dumps({**named, "lapses": time_text(proposal.lapses_us)}, indent=2)


def _as_text(deletion: Deletion, problems: list[str]) -> str:
    objects = counted(deletion.objects, "object")
    lines = [
        f"deleted        study {deletion.study_uid}: {objects}, {size(deletion.data_bytes)}",
        f"manifest       SHA-256 {deletion.manifest}",
        *(f"destroyed key  {key_id.hex()}" for key_id in deletion.key_ids),
    ]
    if (proof := deletion.proof) is not None:
        lines += [
            f"trail          log {proof.log}, record {proof.seq}, leaf {proof.leaf.hex()}",
            f"record         {proof.record.decode()}",
        ]
    lines += [f"problem        {problem}" for problem in problems]
    lines += [f"note           {note}" for note in deletion.notes]
    return "\n".join(lines)


def _as_json(deletion: Deletion, problems: list[str]) -> str:
    report: dict[str, object] = {
        "study": deletion.study_uid,
        "objects": deletion.objects,
        "bytes": deletion.data_bytes,
        "manifest_sha256": deletion.manifest,
        "destroyed_keys": [key_id.hex() for key_id in deletion.key_ids],
        "proof": None,
        "problems": problems,
        "notes": deletion.notes,
    }
    if (proof := deletion.proof) is not None:
        report["proof"] = {
            "log": proof.log,
            "seq": proof.seq,
            "leaf": proof.leaf.hex(),
            "record": proof.record.decode(),
            "receipt": None if proof.receipt is None else json.loads(proof.receipt),
        }
    return json.dumps(report, indent=2)
