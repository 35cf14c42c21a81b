"""Broken glass, in the index's database, and the patients that somebody may break it for."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.emergencies import Candidate, Opening
from strongroom.store.database import Sql
from strongroom.store.schema.tables import EMERGENCY, PATIENT, STUDY

MAX_CANDIDATES = 20
_NAMES = tuple(each.name for each in fields(Opening))


class EmergencyTable:
    """Statements on emergencies; every call works on the caller's cursor and transaction. No row is ever deleted."""

    def __init__(self, dialect: Dialect) -> None:
        of_number, columns = EMERGENCY.c.number == bindparam("a"), [EMERGENCY.c[name] for name in _NAMES]
        is_standing = [EMERGENCY.c.person == bindparam("a"), EMERGENCY.c.ends_us > bindparam("b")]
        by_number = select(*columns).order_by(EMERGENCY.c.number)
        newest = select(*columns).order_by(EMERGENCY.c.number.desc()).limit(bindparam("z"))
        self._last = Sql(select(func.max(EMERGENCY.c.number)), dialect)
        self._add = Sql(insert(EMERGENCY), dialect)
        self._one = Sql(select(*columns).where(of_number), dialect)
        self._standing = Sql(by_number.where(*is_standing), dialect)
        self._all = Sql(newest, dialect)
        self._end = Sql(update(EMERGENCY).where(of_number).values(ends_us=bindparam("b")), dialect)
        review: dict[str, Any] = {
            "reviewed_by": bindparam("b"),
            "reviewed_us": bindparam("c"),
            "remark": bindparam("d"),
        }
        self._review = Sql(update(EMERGENCY).where(of_number).values(**review), dialect)
        of_text = or_(PATIENT.c.patient_id == bindparam("a"), STUDY.c.accession == bindparam("a"))
        meant = select(PATIENT.c.id).select_from(PATIENT.join(STUDY)).where(of_text, PATIENT.c.patient_id != "")
        counted = (
            select(PATIENT.c.patient_id, PATIENT.c.issuer, func.count())
            .select_from(PATIENT.join(STUDY))
            .where(PATIENT.c.id.in_(meant))
            .group_by(PATIENT.c.patient_id, PATIENT.c.issuer)
            .order_by(PATIENT.c.patient_id, PATIENT.c.issuer)
        )
        self._candidates = Sql(counted.limit(bindparam("z")), dialect)
        of_patient = [PATIENT.c.patient_id == bindparam("a"), PATIENT.c.issuer == bindparam("b")]
        studies = select(STUDY.c.study_uid).select_from(PATIENT.join(STUDY)).where(*of_patient)
        self._studies = Sql(studies, dialect)

    def next_number(self, cursor: Any) -> int:
        """The number of the next emergency."""
        row = self._last.run(cursor).fetchone()
        return int(row[0] or 0) + 1

    def add(self, cursor: Any, opening: Opening) -> None:
        """Add one."""
        self._add.run(cursor, **dict(zip(_NAMES, astuple(opening), strict=True)))

    def opening(self, cursor: Any, number: int) -> Opening | None:
        """The one of that number."""
        row = self._one.run(cursor, a=number).fetchone()
        return Opening(*row) if row else None

    def standing(self, cursor: Any, person: str, now_us: int) -> list[Opening]:
        """Those of somebody that hold now, the oldest first."""
        return [Opening(*row) for row in self._standing.run(cursor, a=person, b=now_us).fetchall()]

    def openings(self, cursor: Any, limit: int) -> list[Opening]:
        """The newest ones of everybody."""
        return [Opening(*row) for row in self._all.run(cursor, z=limit).fetchall()]

    def end(self, cursor: Any, number: int, now_us: int) -> None:
        """End one now."""
        self._end.run(cursor, a=number, b=now_us)

    def review(self, cursor: Any, number: int, by: str, now_us: int, remark: str) -> None:
        """Say that somebody has looked at one."""
        self._review.run(cursor, a=number, b=by, c=now_us, d=remark)

    def candidates(self, cursor: Any, text: str) -> list[Candidate]:
        """The patients with this very Patient ID, or with a study of this very accession number."""
        return [Candidate(*row) for row in self._candidates.run(cursor, a=text, z=MAX_CANDIDATES).fetchall()]

    def studies(self, cursor: Any, patient_id: str, issuer: str) -> set[str]:
        """The Study Instance UIDs of a patient."""
        return {row[0] for row in self._studies.run(cursor, a=patient_id, b=issuer).fetchall()}
