"""Proposals, in the index's database."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.proposals import Matter, Proposal, Stage
from strongroom.store.database import Sql
from strongroom.store.schema.tables import PROPOSAL

_NAMES = tuple(each.name for each in fields(Proposal))


class ProposalTable:
    """Statements on proposals; every call works on the caller's cursor and transaction. No row is ever deleted."""

    def __init__(self, dialect: Dialect) -> None:
        of_number, columns = PROPOSAL.c.number == bindparam("a"), [PROPOSAL.c[name] for name in _NAMES]
        newest = select(*columns).order_by(PROPOSAL.c.number.desc())
        of_subject = [PROPOSAL.c.matter == bindparam("a"), PROPOSAL.c.subject == bindparam("b")]
        self._last = Sql(select(func.max(PROPOSAL.c.number)), dialect)
        self._add = Sql(insert(PROPOSAL), dialect)
        self._one = Sql(select(*columns).where(of_number), dialect)
        self._all = Sql(newest.limit(bindparam("z")), dialect)
        self._of_subject = Sql(newest.where(*of_subject).limit(bindparam("z")), dialect)
        decided = update(PROPOSAL).where(of_number, PROPOSAL.c.decision == "")
        self._decide = Sql(
            decided.values(
                decided_us=bindparam("b"), decided_by=bindparam("c"), decision=bindparam("d"), remark=bindparam("e")
            ),
            dialect,
        )

    def next_number(self, cursor: Any) -> int:
        """The number of the next proposal."""
        row = self._last.run(cursor).fetchone()
        return int(row[0] or 0) + 1

    def add(self, cursor: Any, proposal: Proposal) -> None:
        """Add one."""
        values = {name: getattr(proposal, name) for name in _NAMES}
        self._add.run(cursor, **{**values, "matter": proposal.matter.value})

    def proposal(self, cursor: Any, number: int) -> Proposal | None:
        """The one of that number."""
        row = self._one.run(cursor, a=number).fetchone()
        return _proposal(row) if row else None

    def proposals(self, cursor: Any, limit: int) -> list[Proposal]:
        """The newest ones."""
        return [_proposal(row) for row in self._all.run(cursor, z=limit).fetchall()]

    def of_subject(self, cursor: Any, matter: Matter, subject: str, limit: int = 100) -> list[Proposal]:
        """The newest ones of one subject."""
        found = self._of_subject.run(cursor, a=matter.value, b=subject, z=limit)
        return [_proposal(row) for row in found.fetchall()]

    def decide(self, cursor: Any, decided: Proposal) -> bool:
        """Say how one was decided; False if it was before."""
        found = self._decide.run(
            cursor, a=decided.number, b=decided.decided_us, c=decided.decided_by, d=decided.decision, e=decided.remark
        )
        return bool(found.rowcount)

    def is_agreed(self, cursor: Any, matter: Matter, subject: str) -> bool:
        """Whether the newest decision of two people on a subject was to agree."""
        decided = [each for each in self.of_subject(cursor, matter, subject) if each.decision]
        return bool(decided) and decided[0].decision == Stage.AGREED


def _proposal(row: Any) -> Proposal:
    number, matter, *rest = row
    return Proposal(number, Matter(matter), *rest)
