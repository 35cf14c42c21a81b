"""What somebody changes of how he signs in: passcode, authenticator app, recovery codes. Each takes a fresh proof of
who he is, ends every other session of his, and is recorded."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from strongroom.archive.addresses import group_of
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.passcodes import check_passcode
from strongroom.archive.people import OFFERED_TOTP, RECOVERY, TOTP, Session, State, Where
from strongroom.archive.recovery import CODE_BYTES, CODES, parse_recovery_code, recovery_code
from strongroom.errors import ConfigError, Denied, NotFound, Unauthenticated
from strongroom.people.guessing import passcode_buckets
from strongroom.people.steps import Steps, visitor
from strongroom.store.accounts import hash_passcode

ACCOUNT: Final = "/account"


class OwnAccount:
    """``archive.ports.OwnAccount`` on the index. Thread-safe; every call blocks."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def change_passcode(self, secret: str, current: str, fresh: str, where: Where) -> None:
        """Give whoever has this session another passcode, if he knows the one of now.

        Raises Unauthenticated, Throttled, ProofNeeded; ConfigError for a passcode that cannot be.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, "/account/passcode", State.OPEN)
        if wrong := check_passcode(fresh, person.name):
            raise ConfigError(wrong)
        if fresh == current:
            raise ConfigError("that is the passcode that you have")
        buckets = passcode_buckets(steps.ports.key, person.name, where, group_of(where.address))
        steps.require_allowance(buckets, where, person.name)
        if not steps.accounts.verify(person.name, current.encode("utf-8", "surrogatepass")):
            steps.failed(buckets, where, "passcode-wrong", person.name)
            raise Unauthenticated("passcode-wrong")
        hashed = hash_passcode(fresh)

        def work(transaction: Any) -> None:
            steps.table.set_passcode(transaction.cursor, person.name, hashed)
            steps.table.drop_links(transaction.cursor, person.name)
            details: dict[str, Detail] = {"what": "passcode", "user": person.name}
            transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, visitor(where, person.name), details))

        self._change(before, work)

    def remove_totp(self, secret: str, where: Where) -> None:
        """Take the authenticator app from whoever has this session.

        Raises Unauthenticated, ProofNeeded, NotFound, Denied for the last factor of somebody who needs one.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, ACCOUNT, State.OPEN)

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            steps.require_second_factor(person, steps.ways_in(cursor, person.name)._replace(totp=False))
            steps.table.drop_factor(cursor, person.name, OFFERED_TOTP)
            if not steps.table.drop_factor(cursor, person.name, TOTP):
                raise NotFound("there is no authenticator app")
            steps.record_change(transaction, where, person.name, {"what": "remove", "factor": TOTP})

        self._change(before, work)

    def new_recovery_codes(self, secret: str, where: Where) -> tuple[str, ...]:
        """New recovery codes for whoever has this session: those before are void, and these are seen now only.

        Raises Unauthenticated, ProofNeeded, Denied for who has no second factor that they could stand in for.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, ACCOUNT, State.OPEN)
        codes = tuple(recovery_code(secrets.token_bytes(CODE_BYTES)) for _ in range(CODES))
        digests = [steps.ports.key.digest_of_code(person.name, parse_recovery_code(code)) for code in codes]
        now_us = steps.now_us()

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            if not steps.ways_in(cursor, person.name).has_second_factor:
                raise Denied("no-second-factor")
            steps.passkeys.put_recovery_codes(cursor, person.name, digests, now_us)
            steps.record_change(transaction, where, person.name, {"what": "add", "factor": RECOVERY})

        self._change(before, work)
        return codes

    def _change(self, before: Session, work: Callable[[Any], None]) -> None:
        now_us = self._steps.now_us()

        def change(transaction: Any) -> None:
            self._steps.require_still(transaction.cursor, before)
            work(transaction)
            self._steps.table.end_other_sessions(transaction.cursor, before.person, before.digest, now_us)

        self._steps.ports.database.write(change)
