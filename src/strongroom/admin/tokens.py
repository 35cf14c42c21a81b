"""Access tokens for HTTPS: adding, listing and revoking them, each with its record in the trail."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Final

from strongroom.admin.standing import acting
from strongroom.app import Archive
from strongroom.archive.access import parse_scope, scope_details
from strongroom.archive.administration import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS
from strongroom.archive.administration import NewToken as NewToken
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.tokens import SECRET_BYTES, Token, digest_of, new_secret, parse_name, rights_in_words
from strongroom.errors import ConfigError, NotFound
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.store.tokens import TokenTable
from strongroom.store.transaction import Transaction
from strongroom.types import Principal

DEFAULT_DAYS: Final = DEFAULT_TOKEN_DAYS
MAX_DAYS: Final = MAX_TOKEN_DAYS
_DAY_US: Final = 86_400_000_000


def add(archive: Archive, new: NewToken, by: Principal | None = None) -> tuple[Token, str]:
    """Make a token; returns it and its secret, which is kept nowhere.

    Without ``by`` this machine's operator does it. Raises ConfigError for what a token cannot be, and while another
    that is still good has its name; Denied for who is no administrator (any more).
    """
    if not 1 <= new.days <= MAX_DAYS:
        raise ConfigError(f"a token is good for 1 to {MAX_DAYS} days")
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    now_us = int(time.time() * 1e6)
    token = Token(
        name=parse_name(new.name),
        digest=digest_of(secret),
        rights=new.rights,
        scope=parse_scope(new.scope) if new.scope else None,
        added_us=now_us,
        expires_us=now_us + new.days * _DAY_US,
    )
    table = TokenTable(archive.backend.dialect)

    def work(transaction: Transaction) -> None:
        who = acting(archive, transaction, by)
        known = table.tokens(transaction.cursor).get(token.name)
        if known is not None and known.is_good(now_us):
            raise ConfigError(f"there is a token {token.name}: revoke it first, or choose another name")
        table.put(transaction.cursor, token)
        _changed(archive, transaction, "add", token, who)

    archive.index.database.write(work)
    return token, secret


def revoke(archive: Archive, name: str, by: Principal | None = None) -> Token:
    """Refuse a token from now on, in every process. Raises NotFound, Denied for who is no administrator (any more)."""
    table = TokenTable(archive.backend.dialect)
    now_us = int(time.time() * 1e6)

    def work(transaction: Transaction) -> Token:
        who = acting(archive, transaction, by)
        token = table.tokens(transaction.cursor).get(name)
        if token is None:
            raise NotFound("no token has that name")
        token = replace(token, revoked_us=token.revoked_us or now_us)
        table.revoke(transaction.cursor, name, token.revoked_us)
        _changed(archive, transaction, "revoke", token, who)
        return token

    return archive.index.database.write(work)


def tokens(archive: Archive) -> list[Token]:
    """Every token, by name."""
    with archive.index.database.read() as cursor:
        return list(TokenTable(archive.backend.dialect).tokens(cursor).values())


def _changed(archive: Archive, transaction: Transaction, what: str, token: Token, who: Principal) -> None:
    details: dict[str, Detail] = {
        "what": what,
        "token": token.name,
        "sha256": token.digest,
        "rights": rights_in_words(token.rights),
        "scope": scope_details(token.scope),
        "expires_us": token.expires_us,
    }
    archive.index.registry.touch(transaction.cursor, REGISTRY_VERSION)
    transaction.record(Event(Action.TOKEN_CHANGE, Outcome.SUCCESS, who, details))
