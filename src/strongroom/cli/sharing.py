"""``share list|revoke`` and ``break-glass list|review``."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from strongroom.admin.access import emergencies_of, shares_of
from strongroom.admin.two_people import verified
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.emergencies import Opening
from strongroom.archive.sharing import Share
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
    time_text,
)
from strongroom.cli.progress import counted, printable
from strongroom.errors import Denied, StrongroomError

shares = new_group("Studies shown to people without an account.")
emergencies = new_group("Patients seen outside a scope in an emergency.")

_REFUSALS = WHO_MAY_NOT | {"same-person": "it was you: somebody else has to look at it"}


@shares.command("list")
def list_shares(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show what is shared, the newest first: with whom, by whom, until when, and how often it was opened."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        found = shares_of(archive).every_share()
    finally:
        archive.close()
    now_us = time.time_ns() // 1000
    if output is Format.JSON:
        print(json.dumps([_share_json(each, now_us) for each in found], indent=2))
        return
    for each in found:
        opened = f"opened {each.openings} times" if each.openings else "never opened"
        standing = each.standing(now_us).value
        print(
            printable(
                f"{each.number:<6} {standing:<8} until {minute_text(each.expires_us)}  by {each.maker}  "
                f"for {each.recipient}  {opened}  study {each.study_uid}  {each.reason}"
            )
        )
    print(counted(len(found), "share"))


@shares.command()
def revoke(
    number: Annotated[int, typer.Argument(help="Number of the share, as `strongroom share list` shows it.")],
    home: HomeOption = None,
) -> None:
    """End a share, and every session that was opened by it, at once."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        shares_of(archive).end(archive.principal, number)
    finally:
        archive.close()
    print(f"share {number} is revoked")


@emergencies.command("list")
def list_emergencies(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every time that somebody broke the glass, the newest first; exit 1 if one is over and not reviewed."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        found = emergencies_of(archive).openings(None)
    finally:
        archive.close()
    now_us = time.time_ns() // 1000
    waiting = [each for each in found if not each.reviewed_us and not each.stands(now_us)]
    if output is Format.JSON:
        print(json.dumps([_opening_json(each, now_us) for each in found], indent=2))
    else:
        for each in found:
            print(printable(_opening_line(each, now_us)))
        noun = "emergency" if len(found) == 1 else "emergencies"
        print(f"{len(found)} {noun}, {len(waiting)} to be reviewed")
    if waiting:
        raise typer.Exit(BAD_NEWS)


@emergencies.command()
def review(
    number: Annotated[int, typer.Argument(help="Number of the emergency.")],
    by: ByOption,
    remark: Annotated[str, typer.Option(help="What you have found, in a line. It stays in the trail for ever.")],
    home: HomeOption = None,
) -> None:
    """Sign off an emergency of somebody else that is over."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        emergencies_of(archive).sign_off(archive.principal, verified(archive, by, asked_passcode()), number, remark)
    except Denied as refusal:
        raise StrongroomError(_REFUSALS.get(refusal.reason, str(refusal))) from None
    finally:
        archive.close()
    print(f"emergency {number} is reviewed by {by}")


def _share_json(each: Share, now_us: int) -> dict[str, object]:
    return {
        "number": each.number,
        "standing": each.standing(now_us).value,
        "study": each.study_uid,
        "maker": each.maker,
        "recipient": each.recipient,
        "reason": each.reason,
        "made": time_text(each.made_us),
        "expires": time_text(each.expires_us),
        "revoked": time_text(each.revoked_us),
        "revoked_by": each.revoked_by,
        "wrong_codes": each.wrong_codes,
        "openings": each.openings,
        "opened": time_text(each.opened_us),
    }


def _state(each: Opening, now_us: int) -> str:
    if each.reviewed_us:
        return f"reviewed by {each.reviewed_by}: {each.remark}"
    return "stands now" if each.stands(now_us) else "TO BE REVIEWED"


def _opening_line(each: Opening, now_us: int) -> str:
    times = f"{minute_text(each.opened_us)} until {minute_text(each.ends_us)}"
    return f"{each.number:<6} {times}  {each.person}: {each.reason}  {_state(each, now_us)}"


def _opening_json(each: Opening, now_us: int) -> dict[str, object]:
    return {
        "number": each.number,
        "person": each.person,
        "reason": each.reason,
        "opened": time_text(each.opened_us),
        "ends": time_text(each.ends_us),
        "stands": each.stands(now_us),
        "reviewed": time_text(each.reviewed_us),
        "reviewed_by": each.reviewed_by,
        "remark": each.remark,
    }
