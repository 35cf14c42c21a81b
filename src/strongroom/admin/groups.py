"""Groups of people: what each sees, and who is in it, with a record in the trail for every change.

Whatever is changed here holds from the next request of an open session on, and ends associations that it overtakes.
Without ``by`` this machine's operator does it. An administrator who does it with a page changes no group that he is in,
and puts himself into none; all raise Denied for that, and for who is no administrator (any more).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from strongroom.admin.standing import OWN_ACCOUNT, acting
from strongroom.app import Archive
from strongroom.archive.access import parse_scope, scope_details
from strongroom.archive.administration import GroupShown as GroupShown
from strongroom.archive.groups import MAX_GROUPS_OF_PERSON, Group, parse_group_name
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import Person
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.membership import GroupTable
from strongroom.store.people import PeopleTable
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.store.transaction import Transaction
from strongroom.types import NOTHING, Principal, Scope


def add(archive: Archive, name: str, scope: Scope | None, by: Principal | None = None) -> Group:
    """Make a group, which nobody is in. Raises ConfigError for a name or a scope that cannot be, or is there."""
    group = Group(parse_group_name(name), _limited(scope), int(time.time() * 1e6))
    table = GroupTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by)
        if table.group(transaction.cursor, name) is not None:
            raise ConfigError("there is a group of that name: change it, or choose another name")
        table.add(transaction.cursor, group)
        _record(archive, transaction, "add", group, who)

    archive.index.database.write(work)
    return group


def change(archive: Archive, name: str, scope: Scope | None, by: Principal | None = None) -> Group:
    """Give a group another scope. Raises NotFound, or ConfigError for a scope that cannot be."""
    limited, table = _limited(scope), GroupTable(archive.backend.dialect)
    people = PeopleTable(archive.backend.dialect)

    def work(transaction: Transaction) -> Group:
        who = acting(archive, transaction, by)
        group = replace(_require_group(table, transaction, name), scope=limited)
        members = table.members(transaction.cursor, name)
        _require_others(by, members)
        for member in members:
            person = _require_person(people, transaction, member)
            others = tuple(each for each in person.groups if each.name != name)
            _require_sound(replace(person, groups=(*others, group)))
        table.set_scope(transaction.cursor, name, limited)
        _record(archive, transaction, "change", group, who)
        return group

    return archive.index.database.write(work)


def remove(archive: Archive, name: str, by: Principal | None = None) -> None:
    """Remove a group; whoever was in it sees what is left to him. Raises NotFound."""
    table = GroupTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by)
        group = _require_group(table, transaction, name)
        members = tuple(table.members(transaction.cursor, name))
        _require_others(by, members)
        table.remove(transaction.cursor, name)
        _record(archive, transaction, "remove", group, who, members)

    archive.index.database.write(work)


def join(archive: Archive, name: str, people: Sequence[str], by: Principal | None = None) -> None:
    """Put people into a group; who is in it already stays.

    Raises NotFound for a group or a person that is not there, ConfigError for somebody whom no scope limits, or who
    would be in too many groups: nobody is put into it then.
    """
    table, persons = GroupTable(archive.backend.dialect), PeopleTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by)
        group = _require_group(table, transaction, name)
        present = set(table.members(transaction.cursor, name))
        joining = [each for each in dict.fromkeys(people) if each not in present]
        _require_others(by, joining)
        for each in joining:
            person = _require_person(persons, transaction, each)
            _require_limited(person)
            _require_sound(replace(person, groups=(*person.groups, group)))
        for each in joining:
            table.join(transaction.cursor, name, each)
        if joining:
            _record(archive, transaction, "join", group, who, tuple(joining))

    archive.index.database.write(work)


def leave(archive: Archive, name: str, people: Sequence[str], by: Principal | None = None) -> None:
    """Take people out of a group. Raises NotFound for a group that is not there, or somebody who is not in it."""
    table = GroupTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by)
        group = _require_group(table, transaction, name)
        leaving, present = tuple(dict.fromkeys(people)), table.members(transaction.cursor, name)
        _require_others(by, leaving)
        for each in leaving:
            if each not in present:
                raise NotFound("not everybody named is in that group")
        for each in leaving:
            table.leave(transaction.cursor, name, each)
        _record(archive, transaction, "leave", group, who, leaving)

    archive.index.database.write(work)


def own_scope(archive: Archive, name: str, scope: Sequence[str], joins: Sequence[str]) -> Scope | None:
    """The own scope of an account that is to be in these groups, and in those that it is in already.

    ``scope`` are terms of ``archive.access.parse_scope``. Without any, who is in no group is not limited, and who is
    sees what the groups do. Raises NotFound for a group that is not there, ConfigError for terms that are none.
    """
    table = GroupTable(archive.backend.dialect)
    with archive.index.database.read() as cursor:
        there = {each.name for each in table.groups(cursor)}
        is_in_one = bool(joins or table.groups_of(cursor, name))
    if not there.issuperset(joins):
        raise NotFound("no group has that name")
    if scope:
        return parse_scope(scope)
    return NOTHING if is_in_one else None


def groups(archive: Archive) -> list[GroupShown]:
    """Every group, by name, and who is in it."""
    table = GroupTable(archive.backend.dialect)
    with archive.index.database.read() as cursor:
        return [GroupShown(each, tuple(table.members(cursor, each.name))) for each in table.groups(cursor)]


def _limited(scope: Scope | None) -> Scope:
    if scope is None or not scope.parts:
        raise ConfigError("a group has some part of the archive: who is to see all of it needs no group")
    return scope


def _require_group(table: GroupTable, transaction: Transaction, name: str) -> Group:
    group = table.group(transaction.cursor, name)
    if group is None:
        raise NotFound("no group has that name")
    return group


def _require_person(people: PeopleTable, transaction: Transaction, name: str) -> Person:
    person = people.person(transaction.cursor, name)
    if person is None:
        raise NotFound("no user has that name")
    return person


def _require_limited(person: Person) -> None:
    if person.own_scope is None:
        raise ConfigError(f"{person.name} sees the whole archive, and a group takes nothing away: limit him first")


def _require_sound(person: Person) -> None:
    """Return if somebody's groups can be what they would be. Raises ConfigError."""
    if len(person.groups) > MAX_GROUPS_OF_PERSON:
        raise ConfigError(f"{person.name} would be in more than {MAX_GROUPS_OF_PERSON} groups")
    try:
        _ = person.scope  # put together when somebody asks
    except Denied:
        raise ConfigError(f"the scopes of {person.name} would be too many together") from None


def _require_others(by: Principal | None, people: Sequence[str]) -> None:
    """Return if it is not about who asks. Raises Denied."""
    if by is not None and by.user.casefold() in {each.casefold() for each in people}:
        raise Denied(OWN_ACCOUNT)


def _record(
    archive: Archive, transaction: Transaction, what: str, group: Group, who: Principal, members: tuple[str, ...] = ()
) -> None:
    details: dict[str, Detail] = {"what": what, "group": group.name, "scope": scope_details(group.scope)}
    if members:
        details["users"] = members
    archive.index.registry.touch(transaction.cursor, REGISTRY_VERSION)
    transaction.record(Event(Action.GROUP_CHANGE, Outcome.SUCCESS, who, details))
