"""Whose account an account is at an identity provider: what an operator says of it."""

from __future__ import annotations

import time

from strongroom.app import Archive
from strongroom.archive.federation import is_of_provider
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.errors import ConfigError, NotFound
from strongroom.store.identities import IdentityTable
from strongroom.store.people import PeopleTable
from strongroom.store.transaction import Transaction

MAX_SUBJECT_CHARS = 255


def link(archive: Archive, name: str, provider: str, subject: str) -> None:
    """Have somebody of a provider sign in as this account, which stays what it is: its roles are ours to give.

    Raises NotFound if there is no such account, ConfigError for a provider that is not configured, an account that a
    provider has made, and a subject that is somebody's already.
    """
    issuers = {each.name: each.issuer for each in archive.config.oidc}
    if provider not in issuers:
        raise ConfigError(f"no [[oidc]] has the name {provider}")
    if not 0 < len(subject) <= MAX_SUBJECT_CHARS or not subject.isprintable():
        raise ConfigError("a subject is what the provider's claim `sub` is for this person")
    if is_of_provider(name):
        raise ConfigError("this account was made for somebody of a provider: it stays his")
    people, identities = PeopleTable(archive.backend.dialect), IdentityTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        cursor = transaction.cursor
        if people.person(cursor, name) is None:
            raise NotFound("no user has that name")
        if identities.find(cursor, issuers[provider], subject):
            raise ConfigError("that subject has an account already")
        identities.add(cursor, issuers[provider], subject, name, int(time.time() * 1e6))
        transaction.record(_event(archive, {"what": "linked", "user": name, "provider": provider}))

    archive.index.database.write(work)


def unlink(archive: Archive, name: str) -> None:
    """Have nobody of any provider sign in as this account any more, and end its sessions.

    Raises NotFound if nobody does; ConfigError for an account that a provider has made.
    """
    if is_of_provider(name):
        raise ConfigError("this account was made for somebody of a provider: disable it")
    people, identities = PeopleTable(archive.backend.dialect), IdentityTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        if not identities.drop(transaction.cursor, name):
            raise NotFound("nobody of a provider has that account")
        people.end_sessions(transaction.cursor, name, int(time.time() * 1e6))
        transaction.record(_event(archive, {"what": "unlinked", "user": name}))

    archive.index.database.write(work)


def _event(archive: Archive, details: dict[str, Detail]) -> Event:
    return Event(Action.USER_CHANGE, Outcome.SUCCESS, archive.principal, details)
