"""Passkeys, the challenges that were answered with them, and recovery codes, in the index's database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.people import Passkey
from strongroom.store.database import Sql
from strongroom.store.schema.tables import PASSKEY, RECOVERY_CODE, SPENT_CHALLENGE


class PasskeyTable:
    """Statements on passkeys and recovery codes; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        of_id, of_person = PASSKEY.c.credential == bindparam("a"), PASSKEY.c.person == bindparam("a")
        self._find = Sql(select(PASSKEY).where(of_id), dialect)
        self._of_person = Sql(select(PASSKEY).where(of_person).order_by(PASSKEY.c.added_us), dialect)
        self._add = Sql(insert(PASSKEY), dialect)
        self._use = Sql(
            update(PASSKEY)
            .where(of_id)
            .values(counter=bindparam("b"), is_synced=bindparam("c"), used_us=bindparam("d")),
            dialect,
        )
        self._drop = Sql(delete(PASSKEY).where(of_id, PASSKEY.c.person == bindparam("b")), dialect)
        self._spent = Sql(select(SPENT_CHALLENGE.c.digest).where(SPENT_CHALLENGE.c.digest == bindparam("a")), dialect)
        self._spend = Sql(insert(SPENT_CHALLENGE), dialect)
        self._forget_spent = Sql(delete(SPENT_CHALLENGE).where(SPENT_CHALLENGE.c.ends_us < bindparam("a")), dialect)
        self._prepare_codes(dialect)

    def _prepare_codes(self, dialect: Dialect) -> None:
        of_person, is_left = RECOVERY_CODE.c.person == bindparam("a"), RECOVERY_CODE.c.used_us == 0
        self._left = Sql(select(func.count()).select_from(RECOVERY_CODE).where(of_person, is_left), dialect)
        self._drop_codes = Sql(delete(RECOVERY_CODE).where(of_person), dialect)
        self._add_code = Sql(insert(RECOVERY_CODE), dialect)
        self._use_code = Sql(
            update(RECOVERY_CODE)
            .where(of_person, RECOVERY_CODE.c.digest == bindparam("b"), is_left)
            .values(used_us=bindparam("c")),
            dialect,
        )

    def find(self, cursor: Any, credential: str) -> Passkey | None:
        """The passkey of that credential id."""
        row = self._find.run(cursor, a=credential).fetchone()
        return _passkey(row) if row else None

    def of_person(self, cursor: Any, person: str) -> list[Passkey]:
        """Somebody's passkeys, the oldest first."""
        return [_passkey(row) for row in self._of_person.run(cursor, a=person).fetchall()]

    def add(self, cursor: Any, passkey: Passkey) -> None:
        """Add a passkey whose credential id nobody has."""
        self._add.run(
            cursor,
            credential=passkey.credential,
            person=passkey.person,
            name=passkey.name,
            rp_id=passkey.rp_id,
            public_key=passkey.public_key,
            counter=passkey.counter,
            is_synced=int(passkey.is_synced),
            added_us=passkey.added_us,
            used_us=passkey.used_us,
        )

    def use(self, cursor: Any, used: Passkey) -> None:
        """Say that a passkey was used: its counter, when, and whether it has copies by now."""
        self._use.run(cursor, a=used.credential, b=used.counter, c=int(used.is_synced), d=used.used_us)

    def drop(self, cursor: Any, credential: str, person: str) -> bool:
        """Forget a passkey of somebody; False if he has none of that id."""
        return bool(self._drop.run(cursor, a=credential, b=person).rowcount)

    def spend(self, cursor: Any, digest: str, ends_us: int, now_us: int) -> bool:
        """Say that a challenge, which ends then by itself, was answered; False if it was before."""
        self._forget_spent.run(cursor, a=now_us)
        if self._spent.run(cursor, a=digest).fetchone() is not None:
            return False
        self._spend.run(cursor, digest=digest, ends_us=ends_us)
        return True

    def recovery_codes_left(self, cursor: Any, person: str) -> int:
        """How many recovery codes somebody has not used."""
        return int(self._left.run(cursor, a=person).fetchone()[0])

    def put_recovery_codes(self, cursor: Any, person: str, digests: Iterable[str], now_us: int) -> None:
        """Give somebody these recovery codes, and no others."""
        self._drop_codes.run(cursor, a=person)
        for digest in digests:
            self._add_code.run(cursor, person=person, digest=digest, added_us=now_us, used_us=0)

    def use_recovery_code(self, cursor: Any, person: str, digest: str, now_us: int) -> bool:
        """Use a recovery code up; False if it is none of somebody's, or was used."""
        return bool(self._use_code.run(cursor, a=person, b=digest, c=now_us).rowcount)


def _passkey(row: Any) -> Passkey:
    credential, person, name, rp_id, public_key, counter, is_synced, added_us, used_us = row
    return Passkey(credential, person, name, rp_id, bytes(public_key), counter, bool(is_synced), added_us, used_us)
