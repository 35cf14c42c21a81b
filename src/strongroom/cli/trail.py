"""``trail verify|checkpoint|export``; receipts are in ``receipts``."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin import trail as administration
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS, new_group, receipts
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import State, Work, printable

group = new_group("The audit trail: verified, checkpointed, exported.")


class TrailFormat(StrEnum):
    """How the trail is exported."""

    JSONL = "jsonl"


@group.command()
def verify(
    home: HomeOption = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint file kept elsewhere; may be repeated.", show_default=False)
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Recompute the whole trail and hold it against every checkpoint; exit 1 if anything was rewritten or cut."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        with Work("verifying", "trail records") as work:
            verified = administration.verify_trail(
                archive, against or (), lambda done, total: work.show(State(done, total))
            )
    finally:
        archive.close()
    if output is Format.JSON:
        findings = [{"log": found.log, "seq": found.seq, "what": found.what} for found in verified.findings]
        answer = {
            "clean": not findings,
            "logs": verified.logs,
            "records": verified.records,
            "compared_with": verified.compared_with,
            "findings": findings,
        }
        print(json.dumps(answer, indent=2))
    else:
        for found in verified.findings:
            where = f"log {found.log}" if found.log else "trail"
            print(printable(f"{where}{'' if found.seq is None else f' record {found.seq}'}: {found.what}"))
        said = f"{len(verified.findings)} FINDINGS" if verified.findings else "clean"
        print(f"verified {verified.records} records of {verified.logs} logs: {said}")
        for path in verified.compared_with:
            print(f"compared with {printable(path)}")
        if not verified.compared_with:
            print("not compared with any checkpoint outside the index: name one with --against")
    if verified.findings:
        raise typer.Exit(BAD_NEWS)


@group.command()
def checkpoint(
    home: HomeOption = None,
    out: Annotated[Path | None, typer.Option(help="Write it to this new file.", show_default=False)] = None,
    key_out: Annotated[
        Path | None, typer.Option(help="Write the public key, as PEM, to this new file.", show_default=False)
    ] = None,
) -> None:
    """Sign the present state of the trail, have it time stamped, and write it to every checkpoint directory."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        text, problem = administration.checkpoint(archive)
        public_key = archive.signer().verifier.to_pem()
    finally:
        archive.close()
    if problem:
        print(f"no time stamp: {printable(problem)}", file=sys.stderr)
    if key_out is not None:
        administration.write_new_file(key_out, iter([public_key]))
    if out is None:
        print(text, end="")
        return
    administration.write_new_file(out, iter([text.encode()]))
    print(f"checkpoint written to {out}; keep it where nobody who can write to the archive can write")


@group.command()
def export(
    out: Annotated[Path, typer.Option(help="The new file.", show_default=False)],
    home: HomeOption = None,
    form: Annotated[TrailFormat, typer.Option("--format", help="How to write it.")] = TrailFormat.JSONL,
) -> None:
    """Write every record of the trail to a new file that only its owner can read."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        written = administration.export(archive, out)
    finally:
        archive.close()
    print(f"{written} bytes of {form.value} written to {out}")


group.command()(receipts.receipt)
group.command("verify-receipt")(receipts.verify_receipt)
