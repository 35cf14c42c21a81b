"""Signing in, step by step: a passcode or a sign-in link, then a second factor, then a session.

Every step ends the session of the step before and begins another one under another secret. What is recorded names the
account only if there is one: people type passcodes into the wrong field.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from strongroom.archive.addresses import group_of
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.passcodes import check_passcode
from strongroom.archive.people import (
    SECRET_BYTES,
    TOTP,
    UNCONFIRMED,
    VIA_SESSION,
    Entered,
    Factor,
    Offered,
    Person,
    Session,
    SessionShown,
    State,
    Where,
    digest_of,
    is_secret,
    new_secret,
    require_alive,
    shown_agent,
)
from strongroom.archive.totp import SECRET_BYTES as TOTP_SECRET_BYTES
from strongroom.archive.totp import find_step, secret_text
from strongroom.errors import ConfigError, Denied, NotFound, Throttled, Unauthenticated
from strongroom.people.guessing import Bucket, code_buckets, count_failure, passcode_buckets, wait_s
from strongroom.people.sealing import PeopleKey
from strongroom.store.accounts import Accounts, hash_passcode
from strongroom.store.database import Database
from strongroom.store.people import PeopleTable
from strongroom.types import Principal

STEP_US: Final = 600_000_000
"""For a step of signing in to be followed by the next."""

FORGET_AFTER_US: Final = 7 * 86_400_000_000
"""A session that has been over for so long leaves its row."""

WRONG: Final = "user-or-passcode-wrong"
CODE_WRONG: Final = "code-wrong"
TOO_MANY: Final = "too-many-failures"
LINK_NOT_GOOD: Final = "link-not-good"


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long sessions last, in microseconds, and what the archive is called in people's apps."""

    idle_us: int
    max_age_us: int
    archive_name: str


@dataclass(frozen=True, slots=True)
class SignInPorts:
    """What signing in needs. ``record_refusal`` writes a refusal to the trail, or the sum of many, and does not block;
    ``clock`` is seconds since 1970."""

    database: Database
    key: PeopleKey
    clock: Callable[[], float]
    record_refusal: Callable[[Event], None]


class SignIn:
    """``archive.ports.SignIn`` on the index. Thread-safe; every call blocks."""

    def __init__(self, ports: SignInPorts, rules: SessionRules) -> None:
        self._ports = ports
        self._rules = rules
        self._table = PeopleTable(ports.database.dialect)
        self._accounts = Accounts(self._hash_of)

    def begin(self, name: str, passcode: str, where: Where) -> Entered:
        """The first step, with a passcode. Raises Unauthenticated, Throttled if too many were wrong."""
        buckets = passcode_buckets(self._ports.key, name, where, group_of(where.address))
        self._require_allowance(buckets, where)
        is_right = self._accounts.verify(name, passcode.encode("utf-8", "surrogatepass"))
        with self._ports.database.reading() as cursor:
            person = self._table.person(cursor, name)
        if not is_right or person is None:
            self._failed(buckets, where, WRONG, person.name if person else "")
            raise Unauthenticated(WRONG)
        return self._advance(person, where, ("passcode",))

    def invited(self, secret: str) -> str:
        """The account that a sign-in link is for. Raises NotFound if it is not good (any more)."""
        with self._ports.database.reading() as cursor:
            return self._linked(cursor, secret).name

    def redeem(self, secret: str, passcode: str, where: Where) -> Entered:
        """The first step, with a sign-in link, which is used up by it: the account has this passcode from now on.

        Raises NotFound if the link is not good, ConfigError for a passcode that cannot be.
        """
        name = self.invited(secret)
        if wrong := check_passcode(passcode, name):
            raise ConfigError(wrong)
        hashed, now_us = hash_passcode(passcode), self._now_us()

        def work(transaction: Any) -> Person:
            person = self._linked(transaction.cursor, secret)
            self._table.use_link(transaction.cursor, digest_of(secret), now_us)
            self._table.set_passcode(transaction.cursor, name, hashed)
            self._table.end_sessions(transaction.cursor, name, now_us)
            details: dict[str, Detail] = {"what": "passcode set by a sign-in link", "user": name}
            transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, _visitor(where, name), details))
            return person

        try:
            person = self._ports.database.write(work)
        except NotFound:
            self._refused(where, LINK_NOT_GOOD, name)
            raise
        return self._advance(person, where, ("link",))

    def complete(self, secret: str, code: str, where: Where) -> Entered:
        """The second step, with a one-time code. Raises Unauthenticated, Throttled."""
        before, person = self.whoever(secret, where)
        if before.state is not State.FACTOR:
            raise Unauthenticated("no-second-factor-asked-for")
        buckets = code_buckets(self._ports.key, person.name, where)
        self._require_allowance(buckets, where, person.name)
        if not self._take_code(person.name, code, is_confirmed=True):
            self._failed(buckets, where, CODE_WRONG, person.name)
            raise Unauthenticated(CODE_WRONG)
        return self._open(person, where, ("passcode", TOTP), before)

    def offer_totp(self, secret: str, where: Where) -> Offered:
        """A second factor for whoever has this session; the same one until it is confirmed. Raises Unauthenticated,
        Denied if there is one already."""
        _, person = self._allowed_to_set_up(secret, where)
        now_us = self._now_us()

        def work(transaction: Any) -> bytes:
            known = self._table.factors(transaction.cursor, person.name).get(TOTP)
            if known is not None and known.step != UNCONFIRMED:
                raise Denied("second-factor-is-set-up")
            if known is not None and now_us < known.added_us + STEP_US:
                return self._ports.key.open(person.name, TOTP, known.sealed)
            fresh = secrets.token_bytes(TOTP_SECRET_BYTES)
            sealed = self._ports.key.seal(person.name, TOTP, fresh)
            self._table.put_factor(transaction.cursor, Factor(person.name, TOTP, sealed, now_us, UNCONFIRMED))
            return fresh

        fresh = self._ports.database.write(work)
        return Offered(_provisioning_uri(fresh, person.name, self._rules.archive_name), secret_text(fresh))

    def confirm_totp(self, secret: str, code: str, where: Where) -> Entered:
        """Take the factor that was offered, now that its app has made a code: every other session of the person ends.

        Raises Unauthenticated, Throttled, Denied.
        """
        before, person = self._allowed_to_set_up(secret, where)
        buckets = code_buckets(self._ports.key, person.name, where)
        self._require_allowance(buckets, where, person.name)
        if not self._take_code(person.name, code, is_confirmed=False):
            self._failed(buckets, where, CODE_WRONG, person.name)
            raise Unauthenticated(CODE_WRONG)
        now_us = self._now_us()

        def work(transaction: Any) -> None:
            self._table.end_sessions(transaction.cursor, person.name, now_us)
            details: dict[str, Detail] = {"what": "add", "user": person.name, "factor": TOTP}
            transaction.record(Event(Action.FACTOR_CHANGE, Outcome.SUCCESS, _visitor(where, person.name), details))

        self._ports.database.write(work)
        return self._open(person, where, (TOTP,), before)

    def whoever(self, secret: str, where: Where) -> tuple[Session, Person]:
        """Whose session this is, in whatever state. Raises Unauthenticated."""
        if not is_secret(secret):
            raise Unauthenticated("no-session")
        with self._ports.database.reading() as cursor:
            session = self._table.session(cursor, digest_of(secret))
            person = self._table.person(cursor, session.person) if session else None
        try:
            session = require_alive(session, self._now_us(), self._rules.idle_us, where.bound)
        except Denied as error:
            raise Unauthenticated(error.reason) from None
        if person is None or person.disabled_us:
            raise Unauthenticated("user-disabled")
        return session, person

    def sessions(self, principal: Principal) -> list[SessionShown]:
        """The sessions that somebody has, the last used first. Raises Denied for who is here without one."""
        _require_session(principal)
        with self._ports.database.reading() as cursor:
            found = self._table.sessions(cursor, principal.user)
        now_us = self._now_us()
        return [
            SessionShown(
                each.number,
                each.address,
                each.agent,
                each.created_us,
                each.used_us,
                each.digest == principal.fingerprint,
            )
            for each in found
            if each.is_alive(now_us, self._rules.idle_us)
        ]

    def end_session(self, principal: Principal, number: str) -> None:
        """End one of somebody's own sessions. Raises Denied, NotFound."""
        _require_session(principal)
        now_us = self._now_us()

        def work(transaction: Any) -> None:
            known = self._table.sessions(transaction.cursor, principal.user)
            found = [each for each in known if each.number == number]
            if not found:
                raise NotFound("no such session")
            self._table.end_session(transaction.cursor, found[0].digest, now_us)
            details: dict[str, Detail] = {"user": principal.user, "session": number}
            transaction.record(Event(Action.SESSION_END, Outcome.SUCCESS, principal, details))

        self._ports.database.write(work)

    def sign_out(self, principal: Principal) -> None:
        """End the session that somebody is here with. Raises Denied."""
        _require_session(principal)
        now_us = self._now_us()

        def work(transaction: Any) -> None:
            self._table.end_session(transaction.cursor, principal.fingerprint, now_us)
            details: dict[str, Detail] = {"user": principal.user, "session": principal.fingerprint[:16]}
            transaction.record(Event(Action.SIGN_OUT, Outcome.SUCCESS, principal, details))

        self._ports.database.write(work)

    def has_second_factor(self, principal: Principal) -> bool:
        """Whether somebody has one."""
        with self._ports.database.reading() as cursor:
            return self._confirmed(cursor, principal.user) is not None

    def _advance(self, person: Person, where: Where, shown: tuple[str, ...]) -> Entered:
        """What follows on the first step."""
        with self._ports.database.reading() as cursor:
            has_factor = self._confirmed(cursor, person.name) is not None
        if not has_factor and not person.needs_second_factor:
            return self._open(person, where, shown)
        state = State.FACTOR if has_factor else State.SETUP
        now_us = self._now_us()
        secret, session = self._new_session(person, where, state, now_us + STEP_US)
        self._ports.database.write(lambda transaction: self._table.add_session(transaction.cursor, session))
        return Entered(secret, person.name, state)

    def _open(self, person: Person, where: Where, shown: tuple[str, ...], before: Session | None = None) -> Entered:
        now_us = self._now_us()
        secret, session = self._new_session(person, where, State.OPEN, now_us + self._rules.max_age_us)

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            current = self._table.person(cursor, person.name)
            if current is None or current.disabled_us:
                raise Unauthenticated("user-disabled")
            if before is not None:
                self._table.end_session(cursor, before.digest, now_us)
            self._table.forget_sessions(cursor, now_us - FORGET_AFTER_US)
            self._table.add_session(cursor, session)
            who = replace(_visitor(where, person.name), fingerprint=session.digest)
            details: dict[str, Detail] = {"user": person.name, "session": session.number, "shown": shown}
            transaction.record(Event(Action.SIGN_IN, Outcome.SUCCESS, who, details))

        self._ports.database.write(work)
        key = self._ports.key
        device = "" if key.is_device_of(person.name, where.device) else key.new_device(person.name)
        return Entered(secret, person.name, State.OPEN, device)

    def _new_session(self, person: Person, where: Where, state: State, ends_us: int) -> tuple[str, Session]:
        secret, now_us = new_secret(secrets.token_bytes(SECRET_BYTES)), self._now_us()
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
        )
        return secret, session

    def _take_code(self, person: str, code: str, *, is_confirmed: bool) -> bool:
        """Whether this is a code of the person's factor that was not taken before; it is from now on.

        Looked at and marked in one transaction, so that no two requests can use one code.
        """

        def work(transaction: Any) -> bool:
            factor = self._table.factors(transaction.cursor, person).get(TOTP)
            if factor is None or (factor.step != UNCONFIRMED) is not is_confirmed:
                return False
            secret = self._ports.key.open(person, TOTP, factor.sealed)
            step = find_step(secret, code, self._ports.clock(), factor.step)
            if step is None:
                return False
            self._table.put_factor(transaction.cursor, replace(factor, step=step))
            return True

        return bool(self._ports.database.write(work))

    def _allowed_to_set_up(self, secret: str, where: Where) -> tuple[Session, Person]:
        session, person = self.whoever(secret, where)
        if session.state is State.FACTOR:
            raise Unauthenticated("second-factor-missing")
        return session, person

    def _confirmed(self, cursor: Any, person: str) -> Factor | None:
        factor = self._table.factors(cursor, person).get(TOTP)
        return factor if factor is not None and factor.step != UNCONFIRMED else None

    def _linked(self, cursor: Any, secret: str) -> Person:
        link = self._table.link(cursor, digest_of(secret)) if is_secret(secret) else None
        person = self._table.person(cursor, link.person) if link else None
        if link is None or person is None or person.disabled_us or not link.is_good(self._now_us()):
            raise NotFound(LINK_NOT_GOOD)
        return person

    def _hash_of(self, name: str) -> tuple[str, bool] | None:
        with self._ports.database.reading() as cursor:
            person = self._table.person(cursor, name)
        return (person.passcode_hash, not person.disabled_us) if person else None

    def _require_allowance(self, buckets: tuple[Bucket, ...], where: Where, name: str = "") -> None:
        with self._ports.database.reading() as cursor:
            if wait := wait_s(self._table, cursor, buckets, self._now_us()):
                self._refused(where, TOO_MANY, name)
                raise Throttled(TOO_MANY, wait)

    def _failed(self, buckets: tuple[Bucket, ...], where: Where, reason: str, name: str) -> None:
        now_us = self._now_us()
        self._ports.database.write(lambda transaction: count_failure(self._table, transaction.cursor, buckets, now_us))
        self._refused(where, reason, name)

    def _refused(self, where: Where, reason: str, name: str) -> None:
        details: dict[str, Detail] = {"reason": reason}
        if name:
            details["user"] = name
        self._ports.record_refusal(Event(Action.SIGN_IN, Outcome.REFUSED, _visitor(where, ""), details))

    def _now_us(self) -> int:
        return int(self._ports.clock() * 1e6)


def _visitor(where: Where, user: str) -> Principal:
    return Principal(user, "", user, where.address, via=VIA_SESSION)


def _require_session(principal: Principal) -> None:
    if principal.via != VIA_SESSION:
        raise Denied("no-session")


def _provisioning_uri(secret: bytes, person: str, archive: str) -> str:
    """What the QR code says (the ``otpauth`` key URI that authenticator apps read)."""
    label = f"{quote(archive)}:{quote(person)}"
    return f"otpauth://totp/{label}?{urlencode({'secret': secret_text(secret), 'issuer': archive})}"
