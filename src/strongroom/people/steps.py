"""What the steps of signing in have in common: whose session it is, what is counted against guessing, which second
factors there are, and the session that a step ends with.

Every step ends the session of the step before and begins another one under another secret. What is recorded names the
account only if there is one: people type passcodes into the wrong field.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from strongroom.archive.federation import PROVIDER
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import (
    RECOVERY,
    SECRET_BYTES,
    TOTP,
    UNCONFIRMED,
    VIA_SESSION,
    Entered,
    Person,
    Session,
    State,
    Ways,
    Where,
    digest_of,
    is_secret,
    new_secret,
    require_alive,
    shown_agent,
)
from strongroom.archive.recovery import parse_recovery_code
from strongroom.archive.totp import find_step
from strongroom.errors import Denied, ProofNeeded, Throttled, Unauthenticated
from strongroom.people.guessing import Bucket, count_failure, wait_s
from strongroom.people.sealing import PeopleKey
from strongroom.store.accounts import Accounts
from strongroom.store.database import Database
from strongroom.store.passkeys import PasskeyTable
from strongroom.store.people import PeopleTable
from strongroom.types import Principal

STEP_US: Final = 600_000_000
"""For a step of signing in to be followed by the next."""

FORGET_AFTER_US: Final = 7 * 86_400_000_000
"""A session that has been over for so long leaves its row."""

CODE_WRONG: Final = "code-wrong"
TOO_MANY: Final = "too-many-failures"


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long sessions, and proofs of who somebody is, are good for, in microseconds, and what the archive is called
    in people's apps."""

    idle_us: int
    max_age_us: int
    archive_name: str
    proof_max_age_us: int = 600_000_000


@dataclass(frozen=True, slots=True)
class SignInPorts:
    """What signing in needs. ``record_refusal`` writes a refusal to the trail, or the sum of many, and does not block;
    ``alert`` writes what somebody is to be told of. ``clock`` is seconds since 1970."""

    database: Database
    key: PeopleKey
    clock: Callable[[], float]
    record_refusal: Callable[[Event], None]
    alert: Callable[[Event], None]


class Steps:
    """What each step is made of. Thread-safe; every call blocks."""

    def __init__(self, ports: SignInPorts, rules: SessionRules) -> None:
        self.ports, self.rules = ports, rules
        self.table = PeopleTable(ports.database.dialect)
        self.passkeys = PasskeyTable(ports.database.dialect)
        self.accounts = Accounts(self._hash_of)

    def now_us(self) -> int:
        """Now."""
        return int(self.ports.clock() * 1e6)

    # --- who it is

    def whoever(self, secret: str, where: Where) -> tuple[Session, Person]:
        """Whose session this is, in whatever state. Raises Unauthenticated."""
        if not is_secret(secret):
            raise Unauthenticated("no-session")
        with self.ports.database.reading() as cursor:
            session = self.table.session(cursor, digest_of(secret))
            person = self.table.person(cursor, session.person) if session else None
        try:
            session = require_alive(session, self.now_us(), self.rules.idle_us, where.bound)
        except Denied as error:
            raise Unauthenticated(error.reason) from None
        if person is None or person.disabled_us:
            raise Unauthenticated("user-disabled")
        return session, person

    def in_state(self, secret: str, where: Where, *states: State) -> tuple[Session, Person]:
        """Whose session this is, which has come so far and no further. Raises Unauthenticated."""
        session, person = self.whoever(secret, where)
        if session.state not in states:
            raise Unauthenticated("not-this-step")
        return session, person

    def require_fresh(self, secret: str, where: Where, resume: str, *states: State) -> tuple[Session, Person]:
        """Whose session this is, who may change what he signs in with: who has just proved who he is, or has still to
        set up a second factor, unless ``states`` says otherwise. Raises Unauthenticated, ProofNeeded."""
        session, person = self.in_state(secret, where, *(states or (State.OPEN, State.SETUP)))
        is_old = self.now_us() - session.proved_us >= self.rules.proof_max_age_us
        if session.state is State.OPEN and is_old:
            raise ProofNeeded(resume)
        return session, person

    def require_still(self, cursor: Any, before: Session) -> None:
        """Return if a session has not ended since it was looked at: what is changed in it is changed by who has it.

        Raises Unauthenticated.
        """
        current = self.table.session(cursor, before.digest)
        if current is None or current.ended_us:
            raise Unauthenticated("session-ended")

    def ways(self, person: str) -> Ways:
        """What somebody has to sign in with beside a passcode."""
        with self.ports.database.reading() as cursor:
            return self.ways_in(cursor, person)

    def ways_in(self, cursor: Any, person: str) -> Ways:
        """The same, in a transaction."""
        totp = self.table.factors(cursor, person).get(TOTP)
        return Ways(
            totp is not None and totp.step != UNCONFIRMED,
            len(self.passkeys.of_person(cursor, person)),
            self.passkeys.recovery_codes_left(cursor, person),
        )

    def require_second_factor(self, person: Person, left: Ways) -> None:
        """Return if this is enough for somebody to have left. Raises Denied."""
        if person.needs_second_factor and not left.has_second_factor:
            raise Denied("last-second-factor")

    # --- guessing

    def require_allowance(self, buckets: tuple[Bucket, ...], where: Where, name: str = "") -> None:
        """Return if another attempt may be made now. Raises Throttled."""
        with self.ports.database.reading() as cursor:
            if wait := wait_s(self.table, cursor, buckets, self.now_us()):
                self.refused(where, TOO_MANY, name)
                raise Throttled(TOO_MANY, wait)

    def failed(self, buckets: tuple[Bucket, ...], where: Where, reason: str, name: str) -> None:
        """Count a failure, and record it."""
        now_us = self.now_us()
        self.ports.database.write(lambda transaction: count_failure(self.table, transaction.cursor, buckets, now_us))
        self.refused(where, reason, name)

    def refused(self, where: Where, reason: str, name: str) -> None:
        """Record a refusal."""
        details: dict[str, Detail] = {"reason": reason}
        if name:
            details["user"] = name
        self.ports.record_refusal(Event(Action.SIGN_IN, Outcome.REFUSED, visitor(where, ""), details))

    def take_code(self, person: str, text: str, where: Where, buckets: tuple[Bucket, ...]) -> str:
        """The kind of the one-time or recovery code that was not taken before, and is from now on.

        Looked at and marked in one transaction, so that no two requests can use one code. Raises Unauthenticated,
        Throttled.
        """
        self.require_allowance(buckets, where, person)
        recovery, now_us = parse_recovery_code(text), self.now_us()
        digest = self.ports.key.digest_of_code(person, recovery) if recovery else ""

        def work(transaction: Any) -> str:
            cursor = transaction.cursor
            if digest:
                is_good = self.passkeys.use_recovery_code(cursor, person, digest, now_us)
                left = self.passkeys.recovery_codes_left(cursor, person)
                if is_good:
                    self.record_change(transaction, where, person, {"what": "use", "factor": RECOVERY, "left": left})
                return RECOVERY if is_good else ""
            factor = self.table.factors(cursor, person).get(TOTP)
            if factor is None or factor.step == UNCONFIRMED:
                return ""
            secret = self.ports.key.open(person, TOTP, factor.sealed)
            step = find_step(secret, text, self.ports.clock(), factor.step)
            if step is None:
                return ""
            self.table.put_factor(cursor, replace(factor, step=step))
            return TOTP

        kind: str = self.ports.database.write(work)
        if not kind:
            self.failed(buckets, where, CODE_WRONG, person)
            raise Unauthenticated(CODE_WRONG)
        return kind

    # --- what a step ends with

    def advance(self, person: Person, where: Where, shown: tuple[str, ...]) -> Entered:
        """What follows on a first step: a second one, or an open session."""
        has_factor = self.ways(person.name).has_second_factor
        if not has_factor and not person.needs_second_factor:
            return self.open(person, where, shown)
        state = State.FACTOR if has_factor else State.SETUP
        now_us = self.now_us()
        secret, session = self._new_session(person, where, state, now_us + STEP_US)
        details: dict[str, Detail] = {"user": person.name, "shown": shown, "next": state.value}
        event = Event(Action.AUTHENTICATION, Outcome.SUCCESS, visitor(where, person.name), details)

        def work(transaction: Any) -> None:
            self.table.add_session(transaction.cursor, session)
            if PROVIDER not in shown:  # which has its record
                transaction.record(event)  # who has a passcode of somebody, and goes no further, is to be seen

        self.ports.database.write(work)
        return Entered(secret, person.name, state)

    def open(
        self,
        person: Person,
        where: Where,
        shown: tuple[str, ...],
        before: Session | None = None,
        more: Mapping[str, Detail] | None = None,
    ) -> Entered:
        """An open session, in place of the one ``before``. ``more`` is what is recorded beside. Raises Unauthenticated
        if the account was disabled meanwhile."""
        now_us = self.now_us()
        secret, session = self._new_session(person, where, State.OPEN, now_us + self.rules.max_age_us)
        details: dict[str, Detail] = {"user": person.name, "session": session.number, "shown": shown, **(more or {})}
        self._begin(session, before, Event(Action.SIGN_IN, Outcome.SUCCESS, _in_session(where, session), details))
        key = self.ports.key
        device = "" if key.is_device_of(person.name, where.device) else key.new_device(person.name)
        return Entered(secret, person.name, State.OPEN, device)

    def renew(self, before: Session, person: Person, where: Where, shown: tuple[str, ...]) -> Entered:
        """The same session under another secret, now that somebody has proved again who he is: whoever else had the
        old one has nothing. It ends when it would have ended. Raises Unauthenticated."""
        secret, session = self._new_session(person, where, State.OPEN, before.ends_us)
        session = replace(session, created_us=before.created_us)
        details: dict[str, Detail] = {
            "user": person.name, "session": session.number, "before": before.number, "shown": shown,
        }  # fmt: skip
        self._begin(session, before, Event(Action.PROOF, Outcome.SUCCESS, _in_session(where, session), details))
        return Entered(secret, person.name, State.OPEN)

    def record_change(self, transaction: Any, where: Where, person: str, details: Mapping[str, Detail]) -> None:
        """Record that somebody has changed, or used up, something that he signs in with."""
        who = visitor(where, person)
        transaction.record(Event(Action.FACTOR_CHANGE, Outcome.SUCCESS, who, {"user": person, **details}))

    def _begin(self, session: Session, before: Session | None, event: Event) -> None:
        now_us = self.now_us()

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            current = self.table.person(cursor, session.person)
            if current is None or current.disabled_us:
                raise Unauthenticated("user-disabled")
            if before is not None and not self.table.end_session(cursor, before.digest, now_us):
                raise Unauthenticated("session-ended")
            self.table.forget_sessions(cursor, now_us - FORGET_AFTER_US)
            self.table.add_session(cursor, session)
            transaction.record(event)

        self.ports.database.write(work)

    def _new_session(self, person: Person, where: Where, state: State, ends_us: int) -> tuple[str, Session]:
        secret, now_us = new_secret(secrets.token_bytes(SECRET_BYTES)), self.now_us()
        session = Session(
            digest=digest_of(secret),
            person=person.name,
            state=state,
            bound=where.bound,
            address=where.address,
            agent=shown_agent(where.agent),
            created_us=now_us,
            used_us=now_us,
            ends_us=ends_us,
            proved_us=now_us,
        )
        return secret, session

    def _hash_of(self, name: str) -> tuple[str, bool] | None:
        with self.ports.database.reading() as cursor:
            person = self.table.person(cursor, name)
        return (person.passcode_hash, not person.disabled_us) if person else None


def visitor(where: Where, user: str) -> Principal:
    """Who is at the door: ``user`` once it is known who that is, "" before."""
    return Principal(user, "", user, where.address, via=VIA_SESSION)


def _in_session(where: Where, session: Session) -> Principal:
    return replace(visitor(where, session.person), fingerprint=session.digest)
