"""What a running server says on standard error of what it refused: one line each, for whoever looks after senders.

The trail has all of it; a line is for the moment when a modality does not get its images in. It holds words of ours and
who it was, nothing of a data set or a query, and what a stranger calls itself only as far as it is plain text.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.serving.logs import FIELDS

WINDOW_S = 60.0
LINES_OF_A_KIND = 5
"""So many of one action, reason and address in a window; the rest are a number in the first line of the next one."""
LINES = 120
"""So many of all kinds in a window, alerts apart."""
KINDS = 1024
"""Watched at a time."""

_DETAILS = ("calling", "called", "tls", "sop_uid", "other_sop_uid", "quarantine", "severity", "rules", "what")
"""The details that a line may hold, besides the reason."""
_MAX_CHARS = 64
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._:/+,\-]+")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kind:
    """Refusals of one action, reason and address."""

    window: int
    said: int = 0
    unsaid: int = 0
    """Since the last line."""


class Announcer:
    """Says what was refused, and every alert. Thread-safe."""

    def __init__(self, clock: Callable[[], float], say: Callable[[str, Mapping[str, str]], None] | None = None) -> None:
        """``clock`` gives seconds that only go forward; ``say`` is told each line, and its parts by their names."""
        self._clock = clock
        self._say = say or _say
        self._lock = threading.Lock()
        self._window = 0
        self._lines = 0
        self._kinds: OrderedDict[tuple[str, str, str], _Kind] = OrderedDict()

    def __call__(self, event: Event) -> None:
        """Say it, if it is a refusal or an alert, and there were not too many of its kind."""
        is_alert = event.action is Action.ALERT
        if not is_alert and event.outcome is not Outcome.REFUSED:
            return
        before = self._unsaid(event)
        if before >= 0:
            fields = {} if is_alert else {"action": str(event.action)}
            fields.update(_fields(event))
            if before:
                fields["unsaid"] = str(before)
            kind = "alert" if is_alert else "refused"
            self._say(" ".join((kind, *(f"{name}={said}" for name, said in fields.items()))), {"event": kind, **fields})

    def _unsaid(self, event: Event) -> int:
        """How many of its kind were not said before it; -1 if it is not to be said either."""
        key = (str(event.action), _plain(_reason(event.details)), event.principal.address)
        with self._lock:
            window = int(self._clock() // WINDOW_S)
            if window != self._window:
                self._window, self._lines = window, 0
            kind = self._kinds.setdefault(key, _Kind(window))
            self._kinds.move_to_end(key)
            if len(self._kinds) > KINDS:
                self._kinds.popitem(last=False)
            if kind.window != window:
                kind.window, kind.said = window, 0
            is_full = self._lines >= LINES and event.action is not Action.ALERT
            if kind.said >= LINES_OF_A_KIND or is_full:
                kind.unsaid += 1
                return -1
            kind.said += 1
            self._lines += 1
            before, kind.unsaid = kind.unsaid, 0
            return before


def _say(line: str, fields: Mapping[str, str]) -> None:
    log.warning("%s", line, extra={FIELDS: fields})


def _fields(event: Event) -> Iterator[tuple[str, str]]:
    by, details = event.principal, event.details
    yield "reason", _plain(_reason(details) or details.get("why") or "")
    for name, value in (("aet", by.aet), ("user", by.user), ("address", by.address), ("via", by.via)):
        if value:
            yield name, _plain(value)
    for name in _DETAILS:
        if details.get(name):
            yield name, _plain(details[name])


def _reason(details: Mapping[str, Detail]) -> Detail:
    """The word of a refusal; of a request with many objects all words that its record has, of a copy what it is."""
    return details.get("reason") or details.get("reasons") or details.get("verdict") or ""


def _plain(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return _NOT_PLAIN.sub("_", text)[:_MAX_CHARS]
