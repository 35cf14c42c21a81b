"""Accounts of people: a name, roles, a scope, the hash of a passcode, and links to sign in with for the first time."""

from __future__ import annotations

import secrets
import time
from typing import Final

from strongroom.admin.standing import acting
from strongroom.app import Archive
from strongroom.archive.access import scope_details
from strongroom.archive.administration import NewLink as NewLink
from strongroom.archive.administration import User as User
from strongroom.archive.federation import is_of_provider
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.passcodes import check_passcode
from strongroom.archive.people import (
    PASSKEY,
    SECRET_BYTES,
    UNCONFIRMED,
    Link,
    Person,
    digest_of,
    new_secret,
    parse_person_name,
)
from strongroom.archive.roles import Role, encode_roles
from strongroom.errors import ConfigError, NotFound
from strongroom.store.accounts import hash_passcode
from strongroom.store.passkeys import PasskeyTable
from strongroom.store.people import PeopleTable
from strongroom.store.transaction import Transaction
from strongroom.types import Principal, Scope

_GENERATED_BYTES = 18
SIGN_IN: Final = "/sign-in"
NO_PASSCODE: Final = ""
"""The hash of no passcode."""

FIRST_NAMES: Final = ("admin", "administrator", "first-administrator")
"""Of these, the first that is nobody else's is the first administrator's."""


def new_passcode() -> str:
    """A random passcode."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def add(archive: Archive, name: str, passcode: str, *roles: Role, scope: Scope | None = None) -> bool:
    """Add an account, or give one that is there a new passcode, roles and scope and enable it; returns whether it is
    new. Every session that it had ends.

    Raises ConfigError for a name or a passcode that cannot be.
    """
    parse_person_name(name)
    if wrong := check_passcode(passcode, name):
        raise ConfigError(wrong)
    hashed = hash_passcode(passcode)
    person = _person(name, hashed, roles, scope)
    return archive.index.database.write(lambda transaction: _put(archive, transaction, person, archive.principal))


def invite(
    archive: Archive, name: str, *roles: Role, scope: Scope | None = None, by: Principal | None = None
) -> NewLink:
    """Add an account, or change one, as ``add`` does, with a sign-in link in place of a passcode.

    Without ``by`` this machine's operator does it; anybody else changes no account in this way. Raises ConfigError for
    a name that cannot be, Denied for who is no administrator (any more).
    """
    parse_person_name(name)
    table = PeopleTable(archive.backend.dialect)

    def work(transaction: Transaction) -> NewLink:
        who = acting(archive, transaction, by)
        if by is not None:
            _require_new_name(table, transaction, name)
        _put(archive, transaction, _person(name, NO_PASSCODE, roles, scope), who)
        return _new_link(archive, transaction, name, who)

    return archive.index.database.write(work)


def reset(archive: Archive, name: str, by: Principal | None = None) -> NewLink:
    """Take passcode, second factors and sessions from an account, and give it a sign-in link.

    Whoever comes from an identity provider gets no link, and no passcode: he signs in there, and not behind its back.
    Raises NotFound, Denied for who is no administrator (any more), or means himself.
    """
    table, now_us = PeopleTable(archive.backend.dialect), _now_us()

    def work(transaction: Transaction) -> NewLink:
        who = acting(archive, transaction, by, on=name)
        person = _require_person(table, transaction, name)
        table.set_passcode(transaction.cursor, name, NO_PASSCODE)
        table.drop_factors(transaction.cursor, name)
        table.end_sessions(transaction.cursor, name, now_us)
        transaction.record(_event("reset", person, who))
        if is_of_provider(name):
            return NewLink(name, SIGN_IN, 0)
        return _new_link(archive, transaction, name, who)

    return archive.index.database.write(work)


def disable(archive: Archive, name: str, by: Principal | None = None) -> None:
    """Refuse an account from now on, and end its sessions.

    Raises NotFound, Denied for who is no administrator (any more), or means himself.
    """
    table, registry, now_us = PeopleTable(archive.backend.dialect), archive.index.registry, _now_us()

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by, on=name)
        person = _require_person(table, transaction, name)
        registry.disable_account(transaction.cursor, name, now_us)
        table.end_sessions(transaction.cursor, name, now_us)
        table.drop_links(transaction.cursor, name)
        transaction.record(_event("disable", person, who))

    archive.index.database.write(work)


def users(archive: Archive) -> list[User]:
    """Every account, by name."""
    table = PeopleTable(archive.backend.dialect)
    with archive.index.database.read() as cursor:
        return [_user(each, _factors(archive, cursor, each.name)) for each in table.people(cursor)]


def first_link(archive: Archive) -> NewLink | None:
    """A sign-in link for the first administrator; None once one can sign in without. Links before it are void."""
    table = PeopleTable(archive.backend.dialect)

    def work(transaction: Transaction) -> NewLink | None:
        people = {each.name: each for each in table.people(transaction.cursor)}
        administrators = [each for each in people.values() if Role.ADMINISTRATOR in each.roles]
        enabled = [each for each in administrators if not each.disabled_us]
        if any(each.passcode_hash or is_of_provider(each.name) for each in enabled):
            return None
        waiting = [each.name for each in enabled]
        if waiting:
            return _new_link(archive, transaction, waiting[0], archive.principal)
        name = next((name for name in FIRST_NAMES if name not in people), "")
        if not name:
            return None
        first = _person(name, NO_PASSCODE, (Role.ADMINISTRATOR,), None)
        _put(archive, transaction, first, archive.principal)
        return _new_link(archive, transaction, name, archive.principal)

    return archive.index.database.write(work)


def _person(name: str, hashed: str, roles: tuple[Role, ...], scope: Scope | None) -> Person:
    if not roles:
        raise ConfigError("an account has a role")
    return Person(name, hashed, roles, scope, _now_us(), 0)


def _put(archive: Archive, transaction: Transaction, person: Person, who: Principal) -> bool:
    table, name, now_us = PeopleTable(archive.backend.dialect), person.name, person.added_us
    is_new = table.person(transaction.cursor, name) is None
    roles = encode_roles(person.roles)
    archive.index.registry.put_account(transaction.cursor, name, person.passcode_hash, roles, now_us, person.own_scope)
    table.end_sessions(transaction.cursor, name, now_us)
    table.drop_links(transaction.cursor, name)
    transaction.record(_event("add" if is_new else "change", person, who))
    return is_new


def _new_link(archive: Archive, transaction: Transaction, name: str, who: Principal) -> NewLink:
    table, now_us = PeopleTable(archive.backend.dialect), _now_us()
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    expires_us = now_us + int(archive.config.sessions.link_expires_s * 1e6)
    table.put_link(transaction.cursor, Link(digest_of(secret), name, now_us, expires_us))
    details: dict[str, Detail] = {"what": "sign-in link", "user": name, "expires_us": expires_us}
    transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, who, details))
    return NewLink(name, f"/welcome/{secret}", expires_us)


def _require_new_name(table: PeopleTable, transaction: Transaction, name: str) -> None:
    """Names that differ in case only are taken for one: so people read them."""
    if any(each.name.casefold() == name.casefold() for each in table.people(transaction.cursor)):
        raise ConfigError("somebody has that name: change that account, or reset it")


def _require_person(table: PeopleTable, transaction: Transaction, name: str) -> Person:
    person = table.person(transaction.cursor, name)
    if person is None:
        raise NotFound("no user has that name")
    return person


def _factors(archive: Archive, cursor: object, name: str) -> tuple[str, ...]:
    dialect = archive.backend.dialect
    kinds = [kind for kind, each in PeopleTable(dialect).factors(cursor, name).items() if each.step != UNCONFIRMED]
    return (*kinds, *([PASSKEY] if PasskeyTable(dialect).of_person(cursor, name) else []))


def _user(person: Person, factors: tuple[str, ...]) -> User:
    return User(
        person.name,
        person.roles,
        person.own_scope,
        bool(person.passcode_hash),
        factors,
        person.added_us,
        person.disabled_us,
        tuple(group.name for group in person.groups),
    )


def _now_us() -> int:
    return int(time.time() * 1e6)


def _event(what: str, person: Person, who: Principal) -> Event:
    details: dict[str, Detail] = {
        "what": what,
        "user": person.name,
        "role": encode_roles(person.roles),
        "scope": scope_details(person.own_scope),
    }
    return Event(Action.USER_CHANGE, Outcome.SUCCESS, who, details)
