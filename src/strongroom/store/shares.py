"""Shares of studies, in the index's database."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.sharing import Share
from strongroom.store.database import Sql
from strongroom.store.schema.tables import SHARE

_NAMES = tuple(each.name for each in fields(Share))


class ShareTable:
    """Statements on shares; every call works on the caller's cursor and transaction. No row is ever deleted: whom
    something was shown to has to be known for as long as the archive is there (45 CFR 164.528)."""

    def __init__(self, dialect: Dialect) -> None:
        of_number = SHARE.c.number == bindparam("a")
        columns = [SHARE.c[name] for name in _NAMES]
        self._last = Sql(select(func.max(SHARE.c.number)), dialect)
        self._add = Sql(insert(SHARE), dialect)
        self._by_number = Sql(select(*columns).where(of_number), dialect)
        self._by_digest = Sql(select(*columns).where(SHARE.c.digest == bindparam("a")), dialect)
        newest = select(*columns).order_by(SHARE.c.number.desc()).limit(bindparam("z"))
        self._all = Sql(newest, dialect)
        self._of_maker = Sql(newest.where(SHARE.c.maker == bindparam("a")), dialect)
        ended: dict[str, Any] = {"revoked_us": bindparam("b"), "revoked_by": bindparam("c")}
        self._revoke = Sql(update(SHARE).where(of_number, SHARE.c.revoked_us == 0).values(**ended), dialect)
        wrong = SHARE.c.wrong_codes + 1
        self._count_wrong = Sql(update(SHARE).where(of_number).values(wrong_codes=wrong), dialect)
        opened = {"openings": SHARE.c.openings + 1, "opened_us": bindparam("b")}
        self._count_opening = Sql(update(SHARE).where(of_number).values(**opened), dialect)

    def next_number(self, cursor: Any) -> int:
        """The number of the next share."""
        row = self._last.run(cursor).fetchone()
        return int(row[0] or 0) + 1

    def add(self, cursor: Any, share: Share) -> None:
        """Add a share."""
        self._add.run(cursor, **dict(zip(_NAMES, astuple(share), strict=True)))

    def share(self, cursor: Any, number: int) -> Share | None:
        """The share of that number, ended ones too."""
        row = self._by_number.run(cursor, a=number).fetchone()
        return Share(*row) if row else None

    def by_digest(self, cursor: Any, digest: str) -> Share | None:
        """The share of that link, ended ones too."""
        row = self._by_digest.run(cursor, a=digest).fetchone()
        return Share(*row) if row else None

    def shares(self, cursor: Any, limit: int, maker: str | None = None) -> list[Share]:
        """The newest shares, of everybody or of one maker, ended ones too."""
        found = self._all.run(cursor, z=limit) if maker is None else self._of_maker.run(cursor, a=maker, z=limit)
        return [Share(*row) for row in found.fetchall()]

    def revoke(self, cursor: Any, number: int, now_us: int, by: str) -> bool:
        """End a share; False if it was revoked before."""
        return bool(self._revoke.run(cursor, a=number, b=now_us, c=by).rowcount)

    def count_wrong_code(self, cursor: Any, number: int) -> None:
        """Count a wrong code."""
        self._count_wrong.run(cursor, a=number)

    def count_opening(self, cursor: Any, number: int, now_us: int) -> None:
        """Count an opening."""
        self._count_opening.run(cursor, a=number, b=now_us)
