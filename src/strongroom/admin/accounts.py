"""Accounts that are there already: other roles, another scope, enabled again; and the sessions of everybody."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from strongroom.admin.standing import acting
from strongroom.app import Archive
from strongroom.archive.access import NONE, scope_details
from strongroom.archive.administration import OpenSession
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import Person
from strongroom.archive.roles import Role, encode_roles
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.people import PeopleTable
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.store.transaction import Transaction
from strongroom.types import Principal, Scope

MAX_SESSIONS: Final = 1000
"""Sessions that are listed; all can be ended."""


def change(
    archive: Archive, name: str, roles: Sequence[Role], scope: Scope | None, by: Principal | None = None
) -> None:
    """Give an account other roles and another scope; passcode and factors stay.

    Its sessions end when the roles change, since another role may need a second factor; a scope holds in them at once.
    Raises ConfigError without a role, NotFound, Denied for who is no administrator (any more), or means himself.
    """
    if not roles:
        raise ConfigError("an account has a role")
    roles = tuple(role for role in Role if role in roles)
    table = PeopleTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by, on=name)
        cursor, known = transaction.cursor, _person(table, transaction, name)
        if scope is None and known.groups:
            raise ConfigError(f"{name} is in groups, which add to a scope: write {NONE} to leave all of it to them")
        _require_sound(replace(known, own_scope=scope))
        table.set_roles(cursor, name, encode_roles(roles), scope)
        if roles != known.roles:
            table.end_sessions(cursor, name, _now_us())
        archive.index.registry.touch(cursor, REGISTRY_VERSION)
        details: dict[str, Detail] = {
            "what": "change",
            "user": name,
            "role": encode_roles(roles),
            "scope": scope_details(scope),
            "role_before": encode_roles(known.roles),
            "scope_before": scope_details(known.own_scope),
        }
        transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, who, details))

    archive.index.database.write(work)


def enable(archive: Archive, name: str, by: Principal | None = None) -> None:
    """Let an account in again that was disabled. Raises NotFound, Denied for who is no administrator (any more)."""
    table = PeopleTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by, on=name)
        person = _person(table, transaction, name)
        archive.index.registry.disable_account(transaction.cursor, name, 0)
        details: dict[str, Detail] = {"what": "enable", "user": name, "role": encode_roles(person.roles)}
        transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, who, details))

    archive.index.database.write(work)


def sessions(archive: Archive) -> list[OpenSession]:
    """The open sessions of everybody, those that were used last first, at most ``MAX_SESSIONS``."""
    table, now_us = PeopleTable(archive.backend.dialect), _now_us()
    idle_us = int(archive.config.sessions.idle_timeout_s * 1e6)
    with archive.index.database.reading() as cursor:
        found = table.open_sessions(cursor, now_us)
    return [
        OpenSession(each.number, each.person, each.state, each.address, each.agent, each.created_us, each.used_us)
        for each in found
        if each.is_alive(now_us, idle_us)
    ][:MAX_SESSIONS]


def end_session(archive: Archive, number: str, by: Principal | None = None) -> None:
    """End a session by its number. Raises NotFound, Denied for who is no administrator (any more)."""
    table, now_us = PeopleTable(archive.backend.dialect), _now_us()

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by)
        found = [each for each in table.open_sessions(transaction.cursor, now_us) if each.number == number]
        if not found:
            raise NotFound("no such session")
        table.end_session(transaction.cursor, found[0].digest, now_us)
        details: dict[str, Detail] = {"user": found[0].person, "session": number}
        transaction.record(Event(Action.SESSION_END, Outcome.SUCCESS, who, details))

    archive.index.database.write(work)


def end_sessions(archive: Archive, name: str, by: Principal | None = None) -> int:
    """End all sessions of somebody, or of everybody if ``name`` is "", but not the one of ``by``; returns how many.

    Raises Denied for who is no administrator (any more).
    """
    table, now_us = PeopleTable(archive.backend.dialect), _now_us()

    def work(transaction: Transaction) -> int:
        who = acting(archive, transaction, by)
        ended = 0
        for each in table.open_sessions(transaction.cursor, now_us):
            if name in ("", each.person) and (by is None or each.digest != by.fingerprint):
                ended += table.end_session(transaction.cursor, each.digest, now_us)
        details: dict[str, Detail] = {"user": name or "everybody", "sessions": ended}
        transaction.record(Event(Action.SESSION_END, Outcome.SUCCESS, who, details))
        return ended

    return archive.index.database.write(work)


def _require_sound(person: Person) -> None:
    """Return if somebody's scope and groups can be put together. Raises ConfigError."""
    try:
        _ = person.scope  # put together when somebody asks
    except Denied:
        raise ConfigError("this scope and those of the groups would be too many together") from None


def _person(table: PeopleTable, transaction: Transaction, name: str) -> Person:
    person = table.person(transaction.cursor, name)
    if person is None:
        raise NotFound("no user has that name")
    return person


def _now_us() -> int:
    return int(time.time() * 1e6)
