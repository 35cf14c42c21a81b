"""``alerts``."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer

from strongroom.admin.alerts import Alert, parse_since
from strongroom.admin.alerts import alerts as read_alerts
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import counted, printable
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
) -> None:
    """List the alerts of the trail: when, what, from whom, about which object, and what to do; exit 1 if any."""
    start = parse_since(since, datetime.now(UTC)) if since else None
    found: Counter[str] = Counter()
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        if output is Format.JSON:
            print("[", end="")
        for alert in read_alerts(archive, start):
            if output is Format.JSON:
                print(("," if found else "") + "\n  " + json.dumps(_as_json(alert)), end="")
            else:
                for line in _lines(alert):
                    print(printable(line))
            found[alert.severity] += 1
    finally:
        archive.close()
    if output is Format.JSON:
        print("\n]" if found else "]")
    else:
        kinds = ", ".join(f"{found[severity]} {severity}" for severity in _SEVERITIES if found[severity])
        print(counted(found.total(), "alert") + (f": {kinds}" if kinds else ""))
    if found:
        raise typer.Exit(BAD_NEWS)


def _lines(alert: Alert) -> list[str]:
    objects = [
        f"{word} {alert.detail(name)}"
        for word, name in (("SOP instance", "sop_uid"), ("of study", "study_uid"), ("quarantine", "quarantine"))
        if alert.detail(name)
    ]
    lines = [
        f"{_seconds(alert)}  {alert.severity or '-':<8}  {alert.kind}",
        f"  what    {alert.what}" + (f" ({alert.detail('rules')})" if alert.detail("rules") else ""),
        f"  from    {_sender(alert)}",
    ]
    if objects:
        lines.append(f"  object  {', '.join(objects)}")
    if other := alert.detail("other_sop_uid"):
        lines.append(f"  other   SOP instance {other}, of study {alert.detail('other_study_uid')}")
    lines += [f"  do      {alert.do}", f"  more    {'; '.join(alert.more)}", ""]
    return lines


def _seconds(alert: Alert) -> str:
    return alert.time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _sender(alert: Alert) -> str:
    by = alert.event.principal
    words = [by.aet or "this archive", by.address]
    if by.user:
        words.append(f"user {by.user}")
    if by.fingerprint:
        words.append(f"{by.via or 'certificate'} {by.fingerprint[:16]}")
    return ", ".join(filter(None, words))


def _as_json(alert: Alert) -> dict[str, object]:
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
        "details": dict(event.details),
    }  # fmt: skip
