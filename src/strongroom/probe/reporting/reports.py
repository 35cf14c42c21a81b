"""All reports of a run, by the name of the file that each becomes. Pure: who writes them decides where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strongroom import __version__
from strongroom.probe.judging.findings import Judgement, RunFacts
from strongroom.probe.permits.scope import Scope, Window
from strongroom.probe.reporting.report_html import report_html
from strongroom.probe.reporting.report_json import report_json
from strongroom.probe.reporting.report_sarif import report_sarif
from strongroom.probe.reporting.report_text import report_text


@dataclass(frozen=True, slots=True)
class Ran:
    """What is known of a run beside its scope. Times are microseconds since 1970; ``stopped`` is empty if complete."""

    started_us: int
    ended_us: int
    stopped: str
    scope_sha256: str
    scope_key: str
    log_head: str
    log_entries: int
    addresses: int = 0
    silent: int = 0


def facts_of(scope: Scope, ran: Ran) -> RunFacts:
    """Return the head of the reports on a run of ``scope``."""
    return RunFacts(
        version=__version__,
        level=scope.level,
        vantage=str(scope.vantage),
        authoriser=scope.authorised_by,
        contact=scope.contact,
        purpose=scope.name + (f" ({scope.reference})" if scope.reference else ""),
        window=_window(scope.window),
        started_us=ran.started_us,
        ended_us=ran.ended_us,
        stopped=ran.stopped,
        scope_sha256=ran.scope_sha256,
        scope_key=ran.scope_key,
        log_head=ran.log_head,
        log_entries=ran.log_entries,
        addresses=ran.addresses,
        silent=ran.silent,
        postures={target.name: str(target.posture) for target in scope.targets if target.posture},
        calling={target.name: target.calling for target in scope.targets},
    )


def _window(window: Window) -> str:
    daily = ""
    if window.daily_from is not None and window.daily_until is not None:
        daily = f", daily {window.daily_from:%H:%M} to {window.daily_until:%H:%M}"
    return f"{window.start.isoformat(' ', 'minutes')} to {window.end.isoformat(' ', 'minutes')}{daily}"


def reports(judgement: Judgement) -> Mapping[str, str]:
    """Return file name to text, of every report."""
    return {
        "report.txt": report_text(judgement),
        "report.json": report_json(judgement),
        "report.sarif": report_sarif(judgement),
        "report.html": report_html(judgement),
    }
