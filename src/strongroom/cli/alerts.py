"""``alerts``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from strongroom.admin.alerts import Alert, parse_place, parse_since, see_to
from strongroom.admin.alerts import alerts as read_alerts
from strongroom.admin.two_people import now_us, verified
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.oversight import Seen
from strongroom.archive.reasons import parse_reason
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import (
    WHO_MAY_NOT,
    Format,
    FormatOption,
    HomeOption,
    asked_passcode,
    home_of,
    minute_text,
    time_text,
)
from strongroom.cli.progress import counted, printable
from strongroom.errors import ConfigError, Denied, StrongroomError
from strongroom.trail.record import format_time

_SEVERITIES = ("critical", "high", "medium", "low")


def alerts(
    home: HomeOption = None,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="From then on: ISO 8601 (UTC unless it says), or 30m, 24h, 7d ago.", show_default=False
        ),
    ] = "",
    output: FormatOption = Format.TEXT,
    acknowledge: Annotated[
        str, typer.Option(metavar="LOG:NUMBER", help="Note that this alert was seen to, and list none.")
    ] = "",
    by: Annotated[str, typer.Option(help="With --acknowledge: your account; the passcode comes as everywhere.")] = "",
    remark: Annotated[str, typer.Option(help="With --acknowledge: what came of it, in a line.")] = "",
) -> None:
    """List the alerts of the trail: when, what, from whom, about which object, and what to do; exit 1 if one is open.

    An alert is open until a security officer or an administrator, whom it is not about, has seen to it.
    """
    start = parse_since(since, datetime.now(UTC)) if since else None
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        if acknowledge:
            _acknowledge(archive, acknowledge, by, remark)
            return
        is_open = (_print_json if output is Format.JSON else _print_text)(read_alerts(archive, start))
    finally:
        archive.close()
    if is_open:
        raise typer.Exit(BAD_NEWS)


def _acknowledge(archive: Archive, place: str, by: str, remark: str) -> None:
    if not by or not remark:
        raise ConfigError("--acknowledge takes --by and --remark: who has seen to it, and what came of it")
    at = parse_place(place)
    said = parse_reason(remark)
    try:
        name = verified(archive, by, asked_passcode())
    except Denied as refusal:
        raise StrongroomError(WHO_MAY_NOT.get(refusal.reason, str(refusal))) from None
    see_to(archive, at, Seen(name, said, now_us()), replace(archive.principal, user=name))
    print(f"alert {place} was seen to by {name}")


def _print_json(found: Iterable[tuple[Alert, Seen | None]]) -> bool:
    """Whether one of them is open."""
    is_open, before = False, "["
    for alert, seen in found:
        print(before + "\n  " + json.dumps(_as_json(alert, seen)), end="")
        is_open, before = is_open or seen is None, ","
    print("[]" if before == "[" else "\n]")
    return is_open


def _print_text(found: Iterable[tuple[Alert, Seen | None]]) -> bool:
    """Whether one of them is open."""
    count: Counter[str] = Counter()
    seen_to = 0
    for alert, seen in found:
        for line in _lines(alert, seen):
            print(printable(line))
        count[alert.severity] += 1
        seen_to += seen is not None
    kinds = ", ".join(f"{count[severity]} {severity}" for severity in _SEVERITIES if count[severity])
    said = counted(count.total(), "alert") + (f": {kinds}" if kinds else "")
    print(said + (f"; {seen_to} seen to" if seen_to else ""))
    return count.total() > seen_to


def _lines(alert: Alert, seen: Seen | None) -> list[str]:
    objects = [
        f"{word} {alert.detail(name)}"
        for word, name in (("SOP instance", "sop_uid"), ("of study", "study_uid"), ("quarantine", "quarantine"))
        if alert.detail(name)
    ]
    lines = [
        f"{_minute(alert)}  {alert.severity or '-':<8}  {alert.kind}",
        f"  what    {alert.what}" + (f" ({alert.detail('rules')})" if alert.detail("rules") else ""),
        f"  from    {_sender(alert)}",
    ]
    if objects:
        lines.append(f"  object  {', '.join(objects)}")
    if other := alert.detail("other_sop_uid"):
        lines.append(f"  other   SOP instance {other}, of study {alert.detail('other_study_uid')}")
    if seen is None:
        lines.append(f"  do      {alert.do}; then --acknowledge {alert.log}:{alert.seq}")
    else:
        lines.append(f"  seen    by {seen.person}, {minute_text(seen.seen_us)}: {seen.remark}")
    return [*lines, f"  more    {'; '.join(alert.more)}", ""]


def _minute(alert: Alert) -> str:
    return minute_text(round(alert.time.timestamp() * 1e6))


def _sender(alert: Alert) -> str:
    by = alert.event.principal
    words = [by.aet or "this archive", by.address]
    if by.user:
        words.append(f"user {by.user}")
    if by.fingerprint:
        words.append(f"{by.via or 'certificate'} {by.fingerprint[:16]}")
    return ", ".join(filter(None, words))


def _as_json(alert: Alert, seen: Seen | None) -> dict[str, object]:
    event = alert.event
    by = event.principal
    return {
        "time": format_time(alert.time),
        "severity": alert.severity,
        "reason": alert.kind,
        "what": alert.what,
        "do": alert.do,
        "more": alert.more,
        "sender": {
            "aet": by.aet, "user": by.user, "address": by.address, "via": by.via, "certificate_sha256": by.fingerprint,
        },
        "log": alert.log,
        "seq": alert.seq,
        "outcome": event.outcome.value,
        "seen": None if seen is None else {"by": seen.person, "remark": seen.remark, "time": time_text(seen.seen_us)},
        "details": dict(event.details),
    }  # fmt: skip
