"""People of identity providers, in the index's database: which account is whose, and what it is now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.access import encode_scope
from strongroom.archive.roles import Role, encode_roles
from strongroom.store.database import Sql
from strongroom.store.schema.tables import ACCOUNT, IDENTITY, SESSION
from strongroom.types import Scope


class IdentityTable:
    """Statements on identities; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        of_subject = (IDENTITY.c.issuer == bindparam("a"), IDENTITY.c.subject == bindparam("b"))
        self._find = Sql(select(IDENTITY.c.person).where(*of_subject), dialect)
        self._add = Sql(insert(IDENTITY), dialect)
        self._drop = Sql(delete(IDENTITY).where(IDENTITY.c.person == bindparam("a")), dialect)
        self._prove = Sql(
            update(SESSION).where(SESSION.c.digest == bindparam("a")).values(proved_us=bindparam("b")), dialect
        )
        self._change = Sql(
            update(ACCOUNT).where(ACCOUNT.c.name == bindparam("a")).values(role=bindparam("b"), scope=bindparam("c")),
            dialect,
        )

    def find(self, cursor: Any, issuer: str, subject: str) -> str:
        """The account of somebody, \"\" if he has none."""
        row = self._find.run(cursor, a=issuer, b=subject).fetchone()
        return str(row[0]) if row else ""

    def add(self, cursor: Any, issuer: str, subject: str, person: str, now_us: int) -> None:
        """Make an account somebody's."""
        self._add.run(cursor, issuer=issuer, subject=subject, person=person, added_us=now_us)

    def drop(self, cursor: Any, person: str) -> bool:
        """Make an account nobody's; False if it was."""
        return bool(self._drop.run(cursor, a=person).rowcount)

    def change(self, cursor: Any, person: str, roles: Iterable[Role], scope: Scope | None) -> None:
        """Give an account other roles and another scope, and leave the rest of it as it is."""
        self._change.run(cursor, a=person, b=encode_roles(roles), c=encode_scope(scope))

    def put_proof(self, cursor: Any, digest: str, proved_us: int) -> None:
        """Say when the owner of a session last proved who he is."""
        self._prove.run(cursor, a=digest, b=proved_us)
