"""Access tokens in the index's database: one look by digest for each request, so that a revocation holds at once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.access import decode_scope, encode_scope
from strongroom.archive.peers import parse_rights
from strongroom.archive.tokens import Token
from strongroom.store.database import Sql
from strongroom.store.schema.tables import TOKEN


class TokenTable:
    """Statements on the table of tokens; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        self._by_digest = Sql(select(TOKEN).where(TOKEN.c.digest == bindparam("a")), dialect)
        self._all = Sql(select(TOKEN).order_by(TOKEN.c.name), dialect)
        self._drop = Sql(delete(TOKEN).where(TOKEN.c.name == bindparam("a")), dialect)
        self._add = Sql(insert(TOKEN), dialect)
        self._revoke = Sql(
            update(TOKEN).where(TOKEN.c.name == bindparam("a")).values(revoked_us=bindparam("b")), dialect
        )

    def find(self, cursor: Any, digest: str) -> Token | None:
        """The token of that digest, expired and revoked ones too. Raises IntegrityError if its row cannot be read."""
        row = self._by_digest.run(cursor, a=digest).fetchone()
        return _token(row) if row else None

    def tokens(self, cursor: Any) -> dict[str, Token]:
        """Every token by name."""
        return {token.name: token for token in map(_token, self._all.run(cursor).fetchall())}

    def put(self, cursor: Any, token: Token) -> None:
        """Add a token, or let it take the place of one of its name."""
        self._drop.run(cursor, a=token.name)
        self._add.run(
            cursor,
            name=token.name,
            digest=token.digest,
            rights=",".join(sorted(token.rights)),
            scope=encode_scope(token.scope),
            added_us=token.added_us,
            expires_us=token.expires_us,
            revoked_us=token.revoked_us,
        )

    def revoke(self, cursor: Any, name: str, now_us: int) -> None:
        """Refuse a token from now on."""
        self._revoke.run(cursor, a=name, b=now_us)


def _token(row: Any) -> Token:
    name, digest, rights, scope, added_us, expires_us, revoked_us = row
    return Token(name, digest, parse_rights(rights), decode_scope(scope), added_us, expires_us, revoked_us)
