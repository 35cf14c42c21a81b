"""The commitment reports that are owed, in the index's own database: a restart forgets none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update

from strongroom.archive.commitment import Commitment, Reference
from strongroom.archive.model import Event
from strongroom.errors import LimitExceeded, Refused
from strongroom.store.database import Database, Sql
from strongroom.store.schema.tables import COMMITMENT
from strongroom.store.transaction import Transaction

_encode = msgspec.json.Encoder(enc_hook=str).encode  # a Uid is a text
_decode = msgspec.json.Decoder(tuple[Reference, ...]).decode


class CommitmentLedger:
    """The adapter of ``archive.commitment.Ledger``. The column ``report`` holds the references asked for, as JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect, row = database.dialect, COMMITMENT.c
        this = (row.id == bindparam("a"), row.next_try_us == bindparam("b"))
        self._of_peer = Sql(select(row.transaction_uid).where(row.peer == bindparam("a")), dialect)
        self._add = Sql(insert(COMMITMENT).returning(row.id), dialect)
        self._due = Sql(
            select(row.id, row.peer, row.transaction_uid, row.report, row.next_try_us, row.tries)
            .where(row.next_try_us <= bindparam("a"))
            .order_by(row.next_try_us, row.id)
            .limit(bindparam("b")),
            dialect,
        )
        self._count = Sql(select(func.count()).select_from(COMMITMENT), dialect)
        self._next = Sql(select(func.min(row.next_try_us)), dialect)
        self._reschedule = Sql(
            update(COMMITMENT).where(*this).values(next_try_us=bindparam("c"), tries=bindparam("d")), dialect
        )
        self._drop = Sql(delete(COMMITMENT).where(row.id == bindparam("a")), dialect)

    def pending(self) -> int:
        """How many reports are owed."""
        with self._database.reading() as cursor:
            return int(self._count.run(cursor).fetchone()[0])

    def add(self, new: Commitment, max_pending: int, event: Event) -> Commitment:
        """Note a new one. Raises Refused ("duplicate-transaction-uid"), LimitExceeded."""

        def work(transaction: Transaction) -> int:
            cursor = transaction.cursor
            pending = [uid for (uid,) in self._of_peer.run(cursor, a=new.peer).fetchall()]
            if new.transaction_uid in pending:
                raise Refused("duplicate-transaction-uid")
            if len(pending) >= max_pending:
                raise LimitExceeded("max_pending_commitments_per_peer", max_pending)
            row = self._add.run(
                cursor,
                peer=new.peer,
                transaction_uid=new.transaction_uid,
                report=_encode(new.references).decode(),
                next_try_us=new.next_try_us,
                tries=new.tries,
            ).fetchone()
            transaction.record(event)
            return int(row[0])

        return replace(new, number=self._database.write(work))

    def due(self, now_us: int, limit: int) -> Sequence[Commitment]:
        """Those whose next try is not after ``now_us``, longest overdue first."""
        with self._database.read() as cursor:
            rows = self._due.run(cursor, a=now_us, b=limit).fetchall()
        return [_commitment(*row) for row in rows]

    def next_due_us(self) -> int | None:
        """When the next one is due, None if there is none."""
        with self._database.read() as cursor:
            (next_try_us,) = self._next.run(cursor).fetchone()
        return None if next_try_us is None else int(next_try_us)

    def reschedule(self, commitment: Commitment, next_try_us: int, tries: int) -> bool:
        """Set time and count; False if it is gone or somebody else did since ``commitment`` was read."""

        def work(transaction: Transaction) -> bool:
            self._reschedule.run(
                transaction.cursor, a=commitment.number, b=commitment.next_try_us, c=next_try_us, d=tries
            )
            return bool(transaction.cursor.rowcount == 1)

        return self._database.write(work)

    def settle(self, commitment: Commitment, event: Event) -> bool:
        """Forget one, recording why; False, with nothing recorded, if it is gone already."""

        def work(transaction: Transaction) -> bool:
            self._drop.run(transaction.cursor, a=commitment.number)
            if transaction.cursor.rowcount != 1:
                return False
            transaction.record(event)
            return True

        return self._database.write(work)


def _commitment(number: int, peer: str, transaction_uid: str, report: str, next_try_us: int, tries: int) -> Commitment:
    return Commitment(int(number), peer, transaction_uid, _decode(report), int(next_try_us), int(tries))
