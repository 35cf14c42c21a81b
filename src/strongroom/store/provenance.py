"""Where instances came from, which came late from elsewhere, and what is flagged: on the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from strongroom.archive.door import ALERT_FROM
from strongroom.archive.model import Action, Added, Detail, Event, Flag, NewInstance, Outcome, Source
from strongroom.store.database import Sql
from strongroom.store.schema.tables import FLAGGED, INSTANCE, SERIES, SERIES_SOURCE

LATE = Flag("unverified", "high")
"""An instance that comes late, from elsewhere: somebody may be adding to what was read already."""


class Place(Protocol):
    """The series that an instance goes to (`places.SeriesPlace`)."""

    study: int
    series: int
    sources: set[str]


class Provenance:
    """The statements about sources and flags."""

    def __init__(self, dialect: Dialect) -> None:
        upsert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        of_study = SERIES.c.study == bindparam("a")
        self._sources = Sql(
            select(SERIES_SOURCE.c.series, SERIES_SOURCE.c.source).join_from(SERIES_SOURCE, SERIES).where(of_study),
            dialect,
        )
        last_us = func.max(INSTANCE.c.received_us)
        self._last = Sql(select(last_us).join_from(INSTANCE, SERIES).where(of_study), dialect)
        place: dict[str, Any] = {"series": bindparam("a"), "source": bindparam("b")}
        flag: dict[str, Any] = {name: bindparam(f"new_{name}") for name in FLAGGED.c.keys()}  # noqa: SIM118  # no mapping
        self._add_source = Sql(upsert(SERIES_SOURCE).values(place).on_conflict_do_nothing(), dialect)
        self._add_flag = Sql(upsert(FLAGGED).values(flag).on_conflict_do_nothing(), dialect)

    def is_late(self, cursor: Any, place: Place, source: Source) -> bool:
        """Whether the study was closed, and nothing of it ever came from this source; before its row is added."""
        if not source.words or source.words in place.sources:
            return False
        known = self._sources.run(cursor, a=place.study).fetchall()
        place.sources.update(words for series, words in known if series == place.series)
        if any(words in (source.words, "") for _, words in known):
            return False  # what was stored before sources were kept came from anywhere
        last_us = self._last.run(cursor, a=place.study).fetchone()[0]
        return bool(known) and last_us is not None and last_us < source.closed_before_us

    def note(self, cursor: Any, place: Place, source: Source) -> None:
        """Remember where an instance of the series came from."""
        if source.words not in place.sources:
            self._add_source.run(cursor, a=place.series, b=source.words)
            place.sources.add(source.words)

    def flag(self, cursor: Any, row: int, flag: Flag, now_us: int) -> None:
        """Flag an instance."""
        self._add_flag.run(
            cursor, new_id=row, new_reason=flag.reason, new_severity=flag.severity, new_findings=flag.findings,
            new_flagged_us=now_us,
        )  # fmt: skip


def as_late(event: Event) -> Event:
    """The event of an instance that was added late, from elsewhere."""
    more: Mapping[str, Detail] = {"verdict": LATE.reason, "severity": LATE.severity}
    return replace(event, outcome=Outcome.WARNING, details={**event.details, **more})


def alerts_of(new: NewInstance, added: Added, event: Event) -> list[Event]:
    """What somebody is told of an instance that was added with ``event``: of each flag that is bad enough."""
    flags = (new.flag, LATE if added is Added.UNVERIFIED else None)
    return [_alert(event, flag) for flag in flags if flag is not None and flag.severity in ALERT_FROM]


def _alert(event: Event, flag: Flag) -> Event:
    details = {name: value for name, value in event.details.items() if name not in ("verdict", "flagged")}
    details.update(reason=flag.reason, severity=flag.severity)
    if flag.rules:
        details["rules"] = flag.rules
    return replace(event, action=Action.ALERT, outcome=Outcome.WARNING, details=details)
