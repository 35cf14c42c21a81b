"""``probe``: what a DICOM or DICOMweb server lets a stranger do. It needs no archive."""

from __future__ import annotations

import datetime as dt
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from strongroom.cli import BAD_NEWS, new_group, probereports
from strongroom.cli.options import Format, FormatOption
from strongroom.cli.progress import State, Work, counted
from strongroom.config import environment
from strongroom.errors import ConfigError, OutOfScope
from strongroom.probe.dimse.canary import cleanup
from strongroom.probe.engine import COMPLETE, Engine, Outcome
from strongroom.probe.judging.judge import judge
from strongroom.probe.permits.briefing import describe, plan_json, planned_steps
from strongroom.probe.permits.permit import Permit, require_inside, require_open, require_permitted
from strongroom.probe.permits.scopefile import parse_scope
from strongroom.probe.permits.scopetemplate import scope_template
from strongroom.probe.permits.signing import (
    SigningKey,
    add_signer,
    head_signature_holds,
    load_key,
    read_public_key,
    read_scope,
    read_signers,
    require_signed,
    sign_scope,
    write_new_key,
    write_signature,
)
from strongroom.probe.reporting.reports import facts_of, reports
from strongroom.probe.reporting.wording import visible
from strongroom.probe.run import OpenRun, end_run, open_run, ran_of, write_report
from strongroom.probe.runlog import Verified, verify_log
from strongroom.probe.session import Run

group = new_group(
    "Find out what a DICOM or DICOMweb server lets a stranger do, within a signed scope.\n\n"
    "Prints a report and leaves it, with a log of all that was sent, in a directory of its own. Exit status 0: good;"
    " 1: something is open, or weak, or was not tested to the end; 2: it could not run, and no server was asked."
)
group.command("diff")(probereports.diff)
group.command("noticed")(probereports.noticed)


class ReportFormat(StrEnum):
    """How the report is printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


_MANY: Final = 16
"""Addresses after which it can be told how long the others take."""

_REPORTS: Final = {
    ReportFormat.TEXT: "report.txt",
    ReportFormat.JSON: "report.json",
    ReportFormat.SARIF: "report.sarif",
}

TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        help="List of those whose signature counts; by default ~/.config/strongroom/probe-signers.",
        show_default=False,
    ),
]


@group.callback(invoke_without_command=True)
def probe(
    chosen: typer.Context,
    scope: Annotated[
        Path | None, typer.Option(help="The signed scope: what may be tested.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for report and run log; one that holds a run that was broken off continues it."),
    ] = None,
    trust: TrustOption = None,
    key: Annotated[Path | None, typer.Option(help="Key that signs the end of the run log.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A target or an address of the scope; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent to whom, and send nothing.")
    ] = False,
    output: Annotated[ReportFormat, typer.Option("--format", help="How to print the report.")] = ReportFormat.TEXT,
) -> None:
    """Run a scope, or say what it would do."""
    if chosen.invoked_subcommand is not None:
        return
    if scope is None:
        raise ConfigError("name the scope with --scope FILE; strongroom probe init-scope prints one to begin with")
    if dry_run:
        _print_plan(scope, tuple(only or ()), output)
        return
    signing_key = load_key(key, _passphrase()) if key else None
    signed = require_signed(scope, read_signers(trust or default_signers()))
    permit = require_permitted(signed, dt.datetime.now(dt.UTC), tuple(only or ()))
    folder = out or Path(f"strongroom-probe-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}")
    opened = open_run(permit, folder)
    raise typer.Exit(_carry_out(permit, opened, signing_key, output))


def _carry_out(permit: Permit, opened: OpenRun, signing_key: SigningKey | None, output: ReportFormat) -> int:
    """Probe everything, leave and print the report, and return the exit status.

    Ctrl-C, SIGTERM and SIGHUP end the probing early and in order; the report is written whatever comes then.
    """
    total = sum(1 for _ in permit.addresses())
    # One step of one address takes no time, and another one most of the run.
    with Work("probe", "steps", is_even=total >= _MANY) as work:

        def show(outcome: Outcome) -> None:
            work.show(State(outcome.stages, total * engine.stages_per_address))

        engine = Engine(Run(permit.scope, opened.log), opened.before, show)
        with _on_signals(engine.stop):
            outcome = engine.probe(permit.addresses(), total)
            end_run(opened, outcome, signing_key)
            judgement = judge(outcome.observations, facts_of(permit.scope, ran_of(opened, permit, outcome)))
            texts, left = reports(judgement), cleanup(outcome.observations)
            for name, text in texts.items():
                write_report(opened.folder, name, text)
            if left:
                write_report(opened.folder, "cleanup.txt", "\n".join(left) + "\n")
    print(texts[_REPORTS[output]], end="")
    for line in (*left, *_closing(opened, outcome)):
        print(line, file=sys.stderr)
    return BAD_NEWS if judgement.exit_status or outcome.how != COMPLETE or outcome.faults else 0


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within, what would end the process calls ``stop``."""
    before = {each: signal.signal(each, lambda *_: stop()) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _closing(opened: OpenRun, outcome: Outcome) -> Iterator[str]:
    """What a reader of the report has to know of the run itself, and where everything lies."""
    addresses = "address" if outcome.addresses == 1 else "addresses"
    silent = f", of which {outcome.silent} of ranges answered at no port" if outcome.silent else ""
    yield f"{counted(outcome.connections, 'connection')} to {outcome.addresses} {addresses}{silent}"
    if outcome.how != COMPLETE:
        yield f"NOT COMPLETE ({outcome.how}): the same command with --out {opened.folder} goes on where it stopped"
    for address, step in outcome.faults:
        yield f"NOT FINISHED by a fault of the probe: {step} at {address}"
    yield f"report and run log: {opened.folder}   head of the log: {opened.log.head}"


def default_signers() -> Path:
    """The list of signers of whoever runs the probe."""
    folder = environment("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "strongroom" / "probe-signers"


def _passphrase() -> str:
    return environment("STRONGROOM_PASSPHRASE") or ""


def _print_plan(path: Path, only: tuple[str, ...], output: ReportFormat) -> None:
    """Print what a run would do; nothing is sent, not even to a name server."""
    scope = parse_scope(read_scope(path))
    steps = planned_steps(scope)
    meant = tuple(require_inside(scope, only))
    if output is not ReportFormat.TEXT:
        print(json.dumps(plan_json(scope, meant), indent=2))
        return
    for line in describe(scope):
        print(line)
    print("\nwould be sent to each address that answers, in this order:")
    for planned in steps:
        left_out = f"   LEFT OUT: consent.{planned.missing} is not true" if planned.missing else ""
        print(f"  {planned.step.level} {planned.step.name:<26} {planned.step.sends}{left_out}")
    print("\nnothing was sent")


@group.command("init-scope")
def init_scope() -> None:
    """Print a scope to begin with: every key, what it means, and this host as the only target."""
    print(scope_template(dt.datetime.now().astimezone()), end="")


@group.command("new-key")
def new_key(
    key: Annotated[Path, typer.Argument(help="File for the private key; the public one is KEY.pub.")],
    comment: Annotated[str, typer.Option(help="Whose key it is, for the list of signers.")] = "",
) -> None:
    """Make a key that signs scopes, protected by STRONGROOM_PASSPHRASE if that is set."""
    passphrase = _passphrase()
    signer = write_new_key(key, passphrase, comment)
    print(
        f"private key {key}" + ("" if passphrase else "   (no passphrase: whoever has this file can authorise tests)")
    )
    print(f"public key  {key}.pub   {signer.fingerprint}")
    print(f"where the probe runs, let it count: strongroom probe trust {key}.pub")


@group.command("trust")
def trust_key(
    public_key: Annotated[Path, typer.Argument(help="The .pub file of somebody who may authorise tests.")],
    trust: TrustOption = None,
) -> None:
    """Add somebody to the list of those whose signature on a scope counts here."""
    signer = read_public_key(public_key)
    listed = trust or default_signers()
    add_signer(listed, signer)
    print(f"{signer.fingerprint} {signer.comment}".rstrip() + f" may authorise tests ({listed})")


@group.command("sign")
def sign(
    scope: Annotated[Path, typer.Argument(help="The scope to authorise.")],
    key: Annotated[Path, typer.Option(help="Private key, as new-key makes it.", show_default=False)],
) -> None:
    """Authorise a scope: sign it, so that the probe may run it. Prints what it allows."""
    signing_key = load_key(key, _passphrase())
    raw = read_scope(scope)
    parsed = parse_scope(raw)
    written = write_signature(scope, sign_scope(raw, signing_key, dt.datetime.now(dt.UTC)))
    for line in describe(parsed):
        print(line)
    print(f"signed: {written}")
    # By day it is no news that a scope is for the night.
    whole_days = replace(parsed, window=replace(parsed.window, daily_from=None, daily_until=None))
    try:
        require_open(whole_days, dt.datetime.now(dt.UTC))
    except OutOfScope as error:
        print(f"NOTE: nothing can be probed with it now: {error}", file=sys.stderr)


@group.command("verify-log")
def verify_run_log(
    folder: Annotated[Path, typer.Argument(help="The directory of a run.")],
    trust: TrustOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Compute the chain of a run log again, and check the signature under its end if there is one."""
    found = verify_log(folder)
    signer = ""
    if found.signature and not found.problem:
        signers = read_signers(trust or default_signers())
        signer = next(
            (s.fingerprint for s in signers if head_signature_holds(s, found.run, found.signed_head, found.signature)),
            "",
        )
    good = not found.problem and bool(found.ended) and bool(signer or not found.signature)
    if output is Format.JSON:
        print(json.dumps({"good": good, "signer": signer, **asdict(found)}, indent=2))
    else:
        for line in _log_lines(found, signer):
            print(visible(line))  # whoever altered the log chose its words
    if not good:
        raise typer.Exit(BAD_NEWS)


def _log_lines(found: Verified, signer: str) -> Iterator[str]:
    if found.problem:
        yield f"BAD: {found.problem}; {found.entries} entries before it hold"
        return
    yield f"the chain holds: {found.entries} entries, run {found.run}, scope sha256 {found.scope_digest}"
    if not found.ended:
        yield "BAD: the log has no end: the run was killed, or goes on"
    else:
        yield f"the run ended: {found.ended}"
    if signer:
        yield f"its end is signed by {signer}"
    elif found.signature:
        yield "BAD: its end is signed, but by nobody in the list of signers"
    else:
        yield "its end is not signed: compare the head with the one that was printed then"
    yield f"head {found.head}"
