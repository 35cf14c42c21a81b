"""What each event of the trail counts as. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.metrics.tally import Key, Tally

MALFORMED: Final = "malformed"
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
MAX_REMEMBERED: Final = 256

Details = Mapping[str, Detail]
Counts = Iterator[tuple[Key, float]]


def count_event(tally: Tally, event: Event) -> None:
    """Count an event that is in the trail. Of its details only words of ours and numbers are looked at."""
    action, outcome = event.action, event.outcome
    counts: list[tuple[Key, float]] = [(("events_total", (action, outcome)), 1)]
    if outcome is Outcome.REFUSED:
        reason = _word(event.details.get("reason", ""))
        counts.append((("refusals_total", (action, reason)), _number(event.details, "associations", 1)))
    elif (more := _MORE.get(action)) is not None:
        counts += more(event.details)
        if action is Action.ASSOCIATION and event.details.get("phase") == "begin":
            counts.append((("peer_associations_total", (str(event.principal.aet),)), 1))
    tally.add_all(counts)


def _taken_in(details: Details) -> Counts:
    if "verdict" in details:
        yield ("stored_objects_total", (_word(details["verdict"]),)), 1
        yield ("stored_bytes_total", ()), _number(details, "bytes")


def _alert(details: Details) -> Counts:
    yield ("alerts_total", (_word(details.get("reason", "")), _word(details.get("severity", "")))), 1


def _query(details: Details) -> Counts:
    if "results" in details:
        yield ("queries_total", ()), 1
        yield ("query_results_total", ()), _number(details, "results")


def _sent(details: Details) -> Counts:
    if details.get("phase") == "end":
        yield ("sent_objects_total", ()), _number(details, "objects") or _number(details, "completed")
        yield ("sent_bytes_total", ()), _number(details, "bytes")


def _association(details: Details) -> Counts:
    if details.get("phase") == "begin":
        yield ("associations_total", ()), 1


def _held(details: Details) -> Counts:
    if "what" not in details:
        yield ("quarantined_objects_total", (_word(details.get("reason", "")),)), 1


_MORE: Final[Mapping[Action, Callable[[Details], Counts]]] = {
    Action.STORE: _taken_in,
    Action.IMPORT: _taken_in,
    Action.ALERT: _alert,
    Action.QUERY: _query,
    Action.RETRIEVE: _sent,
    Action.MOVE: _sent,
    Action.EXPORT: _sent,
    Action.ASSOCIATION: _association,
    Action.QUARANTINE: _held,
}


@lru_cache(MAX_REMEMBERED)
def _word(value: Detail) -> str:
    """A word of ours. What is malformed in a data set is said in a sentence, and with a number for each byte of it."""
    text = str(value)
    return text if _WORD.fullmatch(text) else MALFORMED


def _number(details: Details, name: str, default: int = 0) -> int:
    value = details.get(name, default)
    return value if isinstance(value, int) else default
