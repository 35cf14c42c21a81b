"""People who have signed in to a running archive."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

from harness import archives, web
from harness.archives import RunningArchive
from harness.web import WebClient
from strongroom.admin import users
from strongroom.app import Archive
from strongroom.archive.access import parse_scope
from strongroom.archive.people import Session, State, digest_of, new_secret
from strongroom.archive.roles import Role
from strongroom.store.accounts import hash_passcode
from strongroom.store.people import PeopleTable

PASSCODE = "correct horse battery"


@cache
def _hashed() -> str:
    """The hash of ``PASSCODE``, made once: to make it takes as long as all else that signing in does."""
    return hash_passcode(PASSCODE)


@contextmanager
def looked_into(running: RunningArchive) -> Iterator[Archive]:
    """The archive of a server, opened beside it."""
    with archives.opened(running.home) as archive:
        yield archive


def add_person(running: RunningArchive, name: str, *roles: Role, scope: Sequence[str] = ()) -> None:
    """Somebody with ``PASSCODE``."""
    with looked_into(running) as archive:
        users.add(archive, name, PASSCODE, *roles, scope=parse_scope(scope) if scope else None)


def signed_in(
    running: RunningArchive, name: str, *roles: Role, scope: Sequence[str] = (), proved_s_ago: float = 0.0
) -> WebClient:
    """A browser of somebody who has signed in, with whatever that takes."""
    now_us, secret = int(time.time() * 1e6), new_secret(secrets.token_bytes(32))
    session = Session(
        digest_of(secret), name, State.OPEN, "", "127.0.0.1", "test", now_us, now_us, now_us + 3_600_000_000,
        proved_us=now_us - int(proved_s_ago * 1e6),
    )  # fmt: skip
    words = ",".join(roles)
    limited = parse_scope(scope) if scope else None
    with looked_into(running) as archive:
        table, registry = PeopleTable(archive.backend.dialect), archive.index.registry

        def work(transaction: object) -> None:
            cursor = transaction.cursor  # type: ignore[attr-defined]
            registry.put_account(cursor, name, _hashed(), words, now_us, limited)
            table.add_session(cursor, session)

        archive.index.database.write(work)
    return replace(web.client_of(running), session=secret)
