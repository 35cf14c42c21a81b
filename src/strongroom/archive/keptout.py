"""What must not come into the archive: refused, or held in the quarantine, and whoever has to know is told.

The alert is in the transaction of what it is about: a trail that says what became of an object has its alert too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from strongroom.archive.door import ALERT_FROM, SCREENING, Door, Screened
from strongroom.archive.integrity import Judgement
from strongroom.archive.model import Action, Detail, Event, Held, NewInstance, Outcome
from strongroom.archive.ports import BlobStore, Index
from strongroom.archive.resealing import sealed_under
from strongroom.errors import LimitExceeded, Quarantined, Refused, StorageUnavailable


class Ports(Protocol):
    """What keeping out needs of ``ingest.IngestPorts``."""

    @property
    def blobs(self) -> BlobStore: ...
    @property
    def index(self) -> Index: ...
    @property
    def door(self) -> Door: ...
    @property
    def new_object_id(self) -> Callable[[], bytes]: ...


Told = Callable[[Outcome, Mapping[str, Detail]], Event]
"""The event of the object that is under way, with these details."""


class KeptOut:
    """One object that is under way, if it is kept out. Owned by its ingest."""

    def __init__(self, ports: Ports, told: Told, *, is_released: bool) -> None:
        """``is_released``: two people have released it, so that it is never held again."""
        self._ports, self._told, self._is_released = ports, told, is_released
        self.is_recorded = False
        """Whether the trail says already what became of it."""

    def refused(self, study_uid: str, screened: Screened) -> Refused:
        """Record that nothing of the object is kept, for what was found in it, and return what says so."""
        more: dict[str, Detail] = {"rules": screened.rules}
        alerts = self._alerts(SCREENING, screened.severity, study_uid, more)
        self._record(*alerts, self._told(Outcome.REFUSED, {"reason": SCREENING}))
        return Refused(SCREENING)

    def copy(self, copy: NewInstance, judgement: Judgement, details: Mapping[str, Detail]) -> Refused:
        """Hold or only refuse a copy of what is stored, and return what says so."""
        severity = judgement.severity.value
        if self._ports.door.holds_altered and not self._is_released:
            return self._held(copy, judgement.reason, severity, b"[]", details)
        more = {"verdict": judgement.reason, "severity": severity}
        alerts = self._alerts(judgement.reason, severity, copy.stored.study_uid, details)
        self._record(*alerts, self._told(Outcome.REFUSED, {**details, **more}))
        return Refused(judgement.reason)

    def held(self, new: NewInstance, screened: Screened) -> Quarantined:
        """Put an object into the quarantine for what was found in it, and return what says so."""
        return self._held(new, SCREENING, screened.severity, screened.findings, {"rules": screened.rules})

    def _held(
        self, new: NewInstance, reason: str, severity: str, findings: bytes, more: Mapping[str, Detail]
    ) -> Quarantined:
        """Seal it again, under a key of its own, and hold that."""
        stored, ports = new.stored, self._ports
        key = ports.door.keys.new_data_key()
        object_id, sealed, writer = sealed_under(ports.blobs, ports.new_object_id(), key, new)
        held = Held(
            object_id, stored.sop_class, stored.sop_uid, stored.series_uid, stored.study_uid, stored.transfer_syntax,
            stored.data_bytes, stored.sha256, key, stored.received_us, reason, severity, findings, sealed,
        )  # fmt: skip
        details = {"reason": reason, "severity": severity, "study_uid": stored.study_uid, **more}
        event = replace(self._told(Outcome.SUCCESS, details), action=Action.QUARANTINE)
        alerts = self._alerts(reason, severity, stored.study_uid, more)
        try:
            quarantine_id = ports.door.quarantine.hold(held, event, *alerts)
        except BaseException as failure:
            if not isinstance(failure, StorageUnavailable):  # else it may be held: if not, the next start removes it
                writer.abort()
            if isinstance(failure, LimitExceeded) and alerts:  # no room: that it came is told all the same
                ports.index.record(*alerts)
            raise
        self.is_recorded = True
        return Quarantined(reason, quarantine_id)

    def _alerts(self, reason: str, severity: str, study_uid: str, more: Mapping[str, Detail]) -> list[Event]:
        """What tells whoever watches the trail, if it is bad enough."""
        if severity not in ALERT_FROM:
            return []
        details = {"reason": reason, "severity": severity, "study_uid": study_uid, **more}
        return [replace(self._told(Outcome.WARNING, details), action=Action.ALERT)]

    def _record(self, *events: Event) -> None:
        self._ports.index.record(*events)
        self.is_recorded = True
