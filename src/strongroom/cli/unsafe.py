"""``unsafe list|approve``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from strongroom.admin.exceptions import Exceptional, approve, exceptions
from strongroom.admin.two_people import authenticated, now_us
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.proposals import Stage
from strongroom.cli import BAD_NEWS, new_group
from strongroom.cli.options import (
    WHO_MAY_NOT,
    ByOption,
    Format,
    FormatOption,
    HomeOption,
    asked_passcode,
    home_of,
    minute_text,
)
from strongroom.cli.progress import counted, printable
from strongroom.errors import Denied, StrongroomError

group = new_group("Exceptions in config.toml that weaken the archive: two administrators agree to each.")

REFUSALS = WHO_MAY_NOT | {
    "same-person": "you have proposed this yourself; it takes another person to do it",
    "request-lapsed": "what was proposed lapsed, or was decided, meanwhile: propose it again",
    "role-may-not": "your role may not",
}


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every exception in config.toml, and who has agreed to it; exit 1 if one is not agreed to."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        found = exceptions(archive)
    finally:
        archive.close()
    now = now_us()
    if output is Format.JSON:
        print(json.dumps([_as_json(each, now) for each in found], indent=2))
    else:
        for each in found:
            said = each.said
            print(
                printable(
                    f"{each.digest[:16]}  {each.kind} {said.peer} {said.addresses} port {said.port} until "
                    f"{said.expires.isoformat()}: {said.reason}  {_state(each, now)}"
                )
            )
        print(counted(len(found), "exception"))
    if not all(each.is_agreed for each in found):
        raise typer.Exit(BAD_NEWS)


@group.command("approve")
def approve_(
    digest: Annotated[str, typer.Argument(help="What `strongroom unsafe list` shows first; 8 characters are enough.")],
    by: ByOption,
    home: HomeOption = None,
) -> None:
    """Propose that an exception takes effect, or agree to it where another administrator has proposed it.

    It holds from the next start of the server on, as long as no word of it changes.
    """
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        proposal = approve(archive, digest, authenticated(archive, by, asked_passcode()), now_us())
    except Denied as refusal:
        raise StrongroomError(REFUSALS.get(refusal.reason, str(refusal))) from None
    finally:
        archive.close()
    if proposal.decision:
        print(f"{proposal.subject[:16]} agreed to by {proposal.proposer} and {proposal.decided_by}: restart the server")
        return
    print(f"{proposal.subject[:16]} proposed: another administrator has to run the same command")
    print(f"{'':<16} it lapses {minute_text(proposal.lapses_us)}")


def _state(each: Exceptional, now: int) -> str:
    if each.is_agreed:
        agreed = next(found for found in each.proposals if found.decision == Stage.AGREED)
        return f"agreed to by {agreed.proposer} and {agreed.decided_by}"
    waiting = each.waiting(now)
    return f"NOT IN EFFECT: proposed by {waiting.proposer}" if waiting else "NOT IN EFFECT: nobody has proposed it"


def _as_json(each: Exceptional, now: int) -> dict[str, object]:
    waiting = each.waiting(now)
    return {
        "digest": each.digest,
        "kind": each.kind,
        "peer": each.said.peer,
        "addresses": each.said.addresses,
        "port": each.said.port,
        "expires": each.said.expires.isoformat(),
        "reason": each.said.reason,
        "agreed": each.is_agreed,
        "proposed_by": waiting.proposer if waiting else "",
    }
