"""Accounts of people: a name, a role, and the hash of a passcode."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum

from strongroom.app import Archive
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.errors import ConfigError, NotFound
from strongroom.store.accounts import MIN_PASSCODE_CHARS, hash_passcode
from strongroom.store.transaction import Transaction

MAX_PASSCODE_CHARS = 1024
_GENERATED_BYTES = 18
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Role(StrEnum):
    """What somebody is to the archive."""

    VIEWER = "viewer"
    TECHNOLOGIST = "technologist"
    PHYSICIAN = "physician"
    RESEARCHER = "researcher"
    SECURITY_OFFICER = "security-officer"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class User:
    """One account, without its passcode. Times are microseconds since 1970; ``disabled_us`` 0 = enabled."""

    name: str
    role: str
    added_us: int
    disabled_us: int


def new_passcode() -> str:
    """A random passcode."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def check_passcode(passcode: str) -> str:
    """What is wrong with a passcode, "" if it is good. Length is what counts; nobody is told to use a digit."""
    if len(passcode) < MIN_PASSCODE_CHARS:
        return f"a passcode has at least {MIN_PASSCODE_CHARS} characters"
    if len(passcode) > MAX_PASSCODE_CHARS:
        return f"a passcode has at most {MAX_PASSCODE_CHARS} characters"
    return ""


def add(archive: Archive, name: str, passcode: str, role: Role) -> bool:
    """Add an account, or give one that is there a new passcode and role and enable it; returns whether it is new.

    Raises ConfigError for a name or a passcode that cannot be.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError("a user name is a letter or digit, and up to 63 more of these, dots, dashes, underscores, @")
    if wrong := check_passcode(passcode):
        raise ConfigError(wrong)
    hashed = hash_passcode(passcode)
    registry, now_us = archive.index.registry, int(time.time() * 1e6)

    def work(transaction: Transaction) -> bool:
        is_new = all(known != name for known, *_ in registry.accounts(transaction.cursor))
        registry.put_account(transaction.cursor, name, hashed, role.value, now_us)
        transaction.record(_event(archive, "add" if is_new else "change", name, role.value))
        return is_new

    return archive.index.database.write(work)


def disable(archive: Archive, name: str) -> None:
    """Refuse an account from now on. Raises NotFound."""
    registry, now_us = archive.index.registry, int(time.time() * 1e6)

    def work(transaction: Transaction) -> None:
        roles = {known: role for known, _, role, *_ in registry.accounts(transaction.cursor)}
        if name not in roles:
            raise NotFound("no user has that name")
        registry.disable_account(transaction.cursor, name, now_us)
        transaction.record(_event(archive, "disable", name, roles[name]))

    archive.index.database.write(work)


def users(archive: Archive) -> list[User]:
    """Every account, by name."""
    with archive.index.database.read() as cursor:
        return [
            User(name, role, added_us, disabled_us)
            for name, _, role, added_us, disabled_us in archive.index.registry.accounts(cursor)
        ]


def _event(archive: Archive, what: str, name: str, role: str) -> Event:
    details: dict[str, Detail] = {"what": what, "user": name, "role": role}
    return Event(Action.USER_CHANGE, Outcome.SUCCESS, archive.principal, details)
