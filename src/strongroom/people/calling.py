"""Who calls over DICOM with a user name and a passcode (user identity type 2, PS3.7 D.3.3.7.1), by the rules of signing
in: guesses are counted, slowed down, and lock nobody out at other peers that he has called from.

A peer, which has shown its certificate, stands for what an address and a browser are there: it has few guesses at one
account, and few at all, but for somebody who has called from it lately: guesses at his name from there count by
themselves, and together, whoever makes them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import Person
from strongroom.errors import StorageUnavailable, Throttled
from strongroom.people.guessing import caller_buckets, count_failure, is_known_caller, remember_caller, wait_s
from strongroom.store.accounts import Accounts
from strongroom.store.database import Database
from strongroom.store.people import PeopleTable
from strongroom.types import Principal

WRONG: Final = "user-or-passcode-wrong"
TOO_MANY: Final = "too-many-failures"
MAX_WAIT_S: Final = 30.0
"""For the passcodes of others, which are verified one at a time."""


class CallingPeople:
    """The people of an archive, as associations know them. Thread-safe; every call blocks."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """``clock`` is seconds since 1970."""
        self._database, self._clock = database, clock
        self._table = PeopleTable(database.dialect)
        self._accounts = Accounts(self._hash_of)
        self._one_at_a_time = threading.Lock()
        """From the look at what was counted until the next count: else many guesses at once would be one. It is
        that of one process: each other one of ``dicom.workers`` may take a guess beyond the burst, which counts too."""

    def person(self, name: str) -> Person | None:
        """The account of that name, disabled ones too."""
        if "\0" in name:  # which PostgreSQL cannot even be asked for
            return None
        with self._database.reading() as cursor:
            return self._table.person(cursor, name)

    def verify(self, name: str, passcode: bytes, caller: Principal) -> Person | None:
        """The enabled account with that passcode, None if there is none, which is counted and recorded.

        ``caller`` is the peer, as its certificate has shown. Raises Throttled if too many were wrong.
        """
        self._require_allowance(name, caller)  # before the wait: whoever guesses keeps nobody else waiting
        if not self._one_at_a_time.acquire(timeout=MAX_WAIT_S):
            raise StorageUnavailable("passcodes of others are being verified for too long")
        try:
            self._require_allowance(name, caller)
            is_right = self._accounts.verify(name, passcode)
            person = self.person(name)
            if not is_right or person is None:
                self._count(name, person, caller)
                return None
            self._remember(name, caller)
            return person
        finally:
            self._one_at_a_time.release()

    def _require_allowance(self, name: str, caller: Principal) -> None:
        now_us = self._now_us()
        with self._database.reading() as cursor:
            is_known = is_known_caller(self._table, cursor, name, caller.aet, now_us)
            wait = wait_s(self._table, cursor, caller_buckets(name, caller.aet, is_known=is_known), now_us)
        if wait:
            raise Throttled(TOO_MANY, wait)

    def _count(self, name: str, person: Person | None, caller: Principal) -> None:
        """Count a failure, and record whose passcode it was not: of an account only if there is one, since people type
        passcodes into the wrong field."""
        now_us = self._now_us()
        details: dict[str, Detail] = {"reason": WRONG}
        if person is not None:
            details["user"] = person.name

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            is_known = is_known_caller(self._table, cursor, name, caller.aet, now_us)
            count_failure(self._table, cursor, caller_buckets(name, caller.aet, is_known=is_known), now_us)
            transaction.record(Event(Action.SIGN_IN, Outcome.REFUSED, caller, details))

        self._database.write(work)

    def _remember(self, name: str, caller: Principal) -> None:
        now_us = self._now_us()
        with self._database.reading() as cursor:
            if is_known_caller(self._table, cursor, name, caller.aet, now_us, is_fresh=True):
                return
        self._database.write(
            lambda transaction: remember_caller(self._table, transaction.cursor, name, caller.aet, now_us)
        )

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)

    def _hash_of(self, name: str) -> tuple[str, bool] | None:
        person = self.person(name)
        return (person.passcode_hash, not person.disabled_us) if person else None
