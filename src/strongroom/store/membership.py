"""Groups of people and who is in them, in the index's database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.access import decode_scope, encode_scope
from strongroom.archive.groups import Group
from strongroom.errors import IntegrityError
from strongroom.store.database import Sql
from strongroom.store.schema.tables import MEMBERSHIP, PERSON_GROUP
from strongroom.types import Scope


class GroupTable:
    """Statements on groups; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        group, member = PERSON_GROUP.c, MEMBERSHIP.c
        columns, by_name = (group.name, group.scope, group.added_us), group.name == bindparam("a")
        member_of = member.person_group == bindparam("a")
        one = (member.person == bindparam("b"), member_of)
        joined = MEMBERSHIP.join(PERSON_GROUP, member.person_group == group.name)
        everybody = select(*columns, member.person).select_from(joined).order_by(group.name)
        self._groups = Sql(select(*columns).order_by(group.name), dialect)
        self._group = Sql(select(*columns).where(by_name), dialect)
        self._of = Sql(everybody.where(member.person == bindparam("a")), dialect)
        self._of_all = Sql(everybody, dialect)
        self._members = Sql(select(member.person).where(member_of).order_by(member.person), dialect)
        self._add = Sql(insert(PERSON_GROUP), dialect)
        self._set_scope = Sql(update(PERSON_GROUP).where(by_name).values(scope=bindparam("b")), dialect)
        self._drop = Sql(delete(PERSON_GROUP).where(by_name), dialect)
        self._drop_members = Sql(delete(MEMBERSHIP).where(member_of), dialect)
        self._join = Sql(insert(MEMBERSHIP), dialect)
        self._leave = Sql(delete(MEMBERSHIP).where(*one), dialect)

    def groups(self, cursor: Any) -> list[Group]:
        """Every group, by name. Raises IntegrityError if a scope cannot be read, as all that give groups do."""
        return [_group(*row) for row in self._groups.run(cursor).fetchall()]

    def group(self, cursor: Any, name: str) -> Group | None:
        """The group of that name."""
        row = self._group.run(cursor, a=name).fetchone()
        return _group(*row) if row else None

    def groups_of(self, cursor: Any, person: str) -> tuple[Group, ...]:
        """The groups that somebody is in, by name."""
        return tuple([_group(*row[:3]) for row in self._of.run(cursor, a=person).fetchall()])

    def groups_of_all(self, cursor: Any) -> dict[str, tuple[Group, ...]]:
        """The groups, by name, of everybody who is in one."""
        found: dict[str, tuple[Group, ...]] = {}
        for *row, person in self._of_all.run(cursor).fetchall():
            found[person] = (*found.get(person, ()), _group(*row))
        return found

    def members(self, cursor: Any, name: str) -> list[str]:
        """Who is in a group."""
        return [person for (person,) in self._members.run(cursor, a=name).fetchall()]

    def add(self, cursor: Any, group: Group) -> None:
        """Add a group, which nobody is in."""
        self._add.run(cursor, name=group.name, scope=encode_scope(group.scope), added_us=group.added_us)

    def set_scope(self, cursor: Any, name: str, scope: Scope) -> None:
        """Give a group another scope."""
        self._set_scope.run(cursor, a=name, b=encode_scope(scope))

    def remove(self, cursor: Any, name: str) -> None:
        """Remove a group; nobody is in it any more."""
        self._drop_members.run(cursor, a=name)
        self._drop.run(cursor, a=name)

    def join(self, cursor: Any, name: str, person: str) -> None:
        """Put somebody into a group who is not in it."""
        self._join.run(cursor, person=person, person_group=name)

    def leave(self, cursor: Any, name: str, person: str) -> bool:
        """Take somebody out of a group; False if he is not in it."""
        return bool(self._leave.run(cursor, a=name, b=person).rowcount)


def _group(name: str, scope: str, added_us: int) -> Group:
    decoded = decode_scope(scope)
    if decoded is None:
        raise IntegrityError("a stored group limits nothing")
    return Group(name, decoded, added_us)
