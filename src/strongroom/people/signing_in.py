"""Signing in, step by step: a passcode or a sign-in link, then a second factor, then a session."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from strongroom.archive.addresses import group_of
from strongroom.archive.federation import PROVIDER, is_of_provider
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.passcodes import check_passcode
from strongroom.archive.people import (
    OFFERED_TOTP,
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
    Ways,
    Where,
    digest_of,
    is_secret,
)
from strongroom.archive.totp import SECRET_BYTES as TOTP_SECRET_BYTES
from strongroom.archive.totp import find_step, secret_text
from strongroom.errors import ConfigError, Denied, IntegrityError, NotFound, Unauthenticated
from strongroom.people.guessing import code_buckets, passcode_buckets
from strongroom.people.steps import CODE_WRONG, STEP_US, Steps, visitor
from strongroom.store.accounts import hash_passcode
from strongroom.types import Principal

WRONG: Final = "user-or-passcode-wrong"
LINK_NOT_GOOD: Final = "link-not-good"
SET_UP: Final = "/second-factor"


class SignIn:
    """``archive.ports.SignIn`` on the index. Thread-safe; every call blocks."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def begin(self, name: str, passcode: str, where: Where) -> Entered:
        """The first step, with a passcode. Raises Unauthenticated, Throttled if too many were wrong."""
        person = self._take_passcode(name, passcode, where)
        return self._steps.advance(person, where, ("passcode",))

    def invited(self, secret: str) -> str:
        """The account that a sign-in link is for. Raises NotFound if it is not good (any more)."""
        with self._steps.ports.database.reading() as cursor:
            return self._linked(cursor, secret).name

    def redeem(self, secret: str, passcode: str, where: Where) -> Entered:
        """The first step, with a sign-in link, which is used up by it: the account has this passcode from now on.

        Raises NotFound if the link is not good, ConfigError for a passcode that cannot be.
        """
        steps = self._steps
        name = self.invited(secret)
        if wrong := check_passcode(passcode, name):
            raise ConfigError(wrong)
        hashed, now_us = hash_passcode(passcode), steps.now_us()

        def work(transaction: Any) -> Person:
            person = self._linked(transaction.cursor, secret)
            steps.table.use_link(transaction.cursor, digest_of(secret), now_us)
            steps.table.set_passcode(transaction.cursor, name, hashed)
            steps.table.end_sessions(transaction.cursor, name, now_us)
            details: dict[str, Detail] = {"what": "passcode set by a sign-in link", "user": name}
            transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, visitor(where, name), details))
            return person

        try:
            person = steps.ports.database.write(work)
        except NotFound:
            steps.refused(where, LINK_NOT_GOOD, name)
            raise
        return steps.advance(person, where, ("link",))

    def complete(self, secret: str, code: str, where: Where) -> Entered:
        """The second step, with a one-time or a recovery code. Raises Unauthenticated, Throttled."""
        before, person = self._steps.in_state(secret, where, State.FACTOR)
        kind = self._steps.take_code(person.name, code, where, code_buckets(self._steps.ports.key, person.name, where))
        first = PROVIDER if is_of_provider(person.name) else "passcode"
        return self._steps.open(person, where, (first, kind), before)

    def prove(self, secret: str, passcode: str, code: str, where: Where) -> Entered:
        """Prove once more who has this session: with the passcode, and a code if there is a second factor.

        Raises Unauthenticated, Throttled.
        """
        before, person = self._steps.in_state(secret, where, State.OPEN)
        ways = self._steps.ways(person.name)
        self._take_passcode(person.name, passcode, where)
        if not ways.has_second_factor:
            return self._steps.renew(before, person, where, ("passcode",))
        kind = self._steps.take_code(person.name, code, where, code_buckets(self._steps.ports.key, person.name, where))
        return self._steps.renew(before, person, where, ("passcode", kind))

    def offer_totp(self, secret: str, where: Where) -> Offered:
        """An authenticator app to set up, for whoever has this session; the same one until it is confirmed. One that
        is there stays until then. No other session is offered the same: its owner would know the secret of this one.

        Raises Unauthenticated, ProofNeeded.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, SET_UP)
        now_us = steps.now_us()

        def work(transaction: Any) -> bytes:
            steps.require_still(transaction.cursor, before)
            known = steps.table.factors(transaction.cursor, person.name).get(OFFERED_TOTP)
            if known is not None and now_us < known.added_us + STEP_US:
                with suppress(IntegrityError):  # that of another session
                    return steps.ports.key.open(person.name, _offer_to(before), known.sealed)
            fresh = secrets.token_bytes(TOTP_SECRET_BYTES)
            sealed = steps.ports.key.seal(person.name, _offer_to(before), fresh)
            offered = Factor(person.name, OFFERED_TOTP, sealed, now_us, UNCONFIRMED)
            steps.table.put_factor(transaction.cursor, offered)
            return fresh

        fresh = steps.ports.database.write(work)
        return Offered(_provisioning_uri(fresh, person.name, steps.rules.archive_name), secret_text(fresh))

    def confirm_totp(self, secret: str, code: str, where: Where) -> Entered:
        """Take the app that was offered, now that it has made a code, in place of the one before: every other session
        of the person ends.

        Raises Unauthenticated, Throttled, ProofNeeded.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, SET_UP)
        buckets = code_buckets(steps.ports.key, person.name, where)
        steps.require_allowance(buckets, where, person.name)
        now_us = steps.now_us()

        def work(transaction: Any) -> bool:
            cursor = transaction.cursor
            steps.require_still(cursor, before)
            known = steps.table.factors(cursor, person.name)
            offered = known.get(OFFERED_TOTP)
            if offered is None or now_us >= offered.added_us + 2 * STEP_US:
                return False
            try:
                fresh = steps.ports.key.open(person.name, _offer_to(before), offered.sealed)
            except IntegrityError:  # that of another session
                return False
            step = find_step(fresh, code, now_us / 1e6, UNCONFIRMED)
            if step is None:
                return False
            steps.table.drop_factor(cursor, person.name, OFFERED_TOTP)
            sealed = steps.ports.key.seal(person.name, TOTP, fresh)
            steps.table.put_factor(cursor, replace(offered, kind=TOTP, sealed=sealed, step=step))
            steps.table.end_other_sessions(cursor, person.name, before.digest, now_us)
            what = "replace" if TOTP in known else "add"
            steps.record_change(transaction, where, person.name, {"what": what, "factor": TOTP})
            return True

        if not steps.ports.database.write(work):
            steps.failed(buckets, where, CODE_WRONG, person.name)
            raise Unauthenticated(CODE_WRONG)
        return steps.open(person, where, (TOTP,), before)

    def whoever(self, secret: str, where: Where) -> tuple[Session, Person]:
        """Whose session this is, in whatever state. Raises Unauthenticated."""
        return self._steps.whoever(secret, where)

    def require_fresh(self, secret: str, where: Where, resume: str) -> tuple[Session, Person]:
        """Whose session this is, who may change what he signs in with. Raises Unauthenticated, ProofNeeded."""
        return self._steps.require_fresh(secret, where, resume)

    def ways(self, person: str) -> Ways:
        """What somebody has to sign in with beside a passcode."""
        return self._steps.ways(person)

    def sessions(self, principal: Principal) -> list[SessionShown]:
        """The sessions that somebody has, the last used first. Raises Denied for who is here without one."""
        _require_session(principal)
        with self._steps.ports.database.reading() as cursor:
            found = self._steps.table.sessions(cursor, principal.user)
        now_us = self._steps.now_us()
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
            if each.is_alive(now_us, self._steps.rules.idle_us)
        ]

    def end_session(self, principal: Principal, number: str) -> None:
        """End one of somebody's own sessions. Raises Denied, NotFound."""
        _require_session(principal)
        now_us = self._steps.now_us()

        def work(transaction: Any) -> None:
            known = self._steps.table.sessions(transaction.cursor, principal.user)
            found = [each for each in known if each.number == number]
            if not found:
                raise NotFound("no such session")
            self._steps.table.end_session(transaction.cursor, found[0].digest, now_us)
            details: dict[str, Detail] = {"user": principal.user, "session": number}
            transaction.record(Event(Action.SESSION_END, Outcome.SUCCESS, principal, details))

        self._steps.ports.database.write(work)

    def sign_out(self, principal: Principal) -> None:
        """End the session that somebody is here with. Raises Denied."""
        _require_session(principal)
        now_us = self._steps.now_us()

        def work(transaction: Any) -> None:
            self._steps.table.end_session(transaction.cursor, principal.fingerprint, now_us)
            details: dict[str, Detail] = {"user": principal.user, "session": principal.fingerprint[:16]}
            transaction.record(Event(Action.SIGN_OUT, Outcome.SUCCESS, principal, details))

        self._steps.ports.database.write(work)

    def _take_passcode(self, name: str, passcode: str, where: Where) -> Person:
        steps = self._steps
        buckets = passcode_buckets(steps.ports.key, name, where, group_of(where.address))
        steps.require_allowance(buckets, where)
        is_right = steps.accounts.verify(name, passcode.encode("utf-8", "surrogatepass"))
        with steps.ports.database.reading() as cursor:
            person = steps.table.person(cursor, name)
        if not is_right or person is None:
            steps.failed(buckets, where, WRONG, person.name if person else "")
            raise Unauthenticated(WRONG)
        return person

    def _linked(self, cursor: Any, secret: str) -> Person:
        table, now_us = self._steps.table, self._steps.now_us()
        link = table.link(cursor, digest_of(secret)) if is_secret(secret) else None
        person = table.person(cursor, link.person) if link else None
        if link is None or person is None or person.disabled_us or not link.is_good(now_us):
            raise NotFound(LINK_NOT_GOOD)
        return person


def _require_session(principal: Principal) -> None:
    if principal.via != VIA_SESSION:
        raise Denied("no-session")


def _offer_to(session: Session) -> str:
    """What the secret of an app is sealed for that is offered to a session."""
    return f"{OFFERED_TOTP}\0{session.digest}"


def _provisioning_uri(secret: bytes, person: str, archive: str) -> str:
    """What the QR code says (the ``otpauth`` key URI that authenticator apps read)."""
    label = f"{quote(archive)}:{quote(person)}"
    return f"otpauth://totp/{label}?{urlencode({'secret': secret_text(secret), 'issuer': archive})}"
