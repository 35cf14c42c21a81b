"""Passkeys: made by somebody who has shown who he is, and shown instead of a passcode or after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

from strongroom.archive.addresses import group_of
from strongroom.archive.federation import PROVIDER, PROVIDER_NEEDED, is_of_provider
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.people import PASSKEY, Entered, Passkey, Person, State, Where
from strongroom.errors import Denied, NotFound, Unauthenticated
from strongroom.people.ceremonies import (
    ANSWER_WRONG,
    Holds,
    RelyingParty,
    creation_options,
    parse_answer,
    request_options,
    require_holds,
    verified_passkey,
)
from strongroom.people.challenges import Challenge, Purpose, new_challenge, require_challenge
from strongroom.people.guessing import Bucket, code_buckets, passkey_buckets
from strongroom.people.steps import Steps, visitor

MAX_PASSKEYS: Final = 20
"""Of one person."""

ADD_PASSKEY: Final = "/second-factor/passkey"
ACCOUNT: Final = "/account"
UNKNOWN: Final = "passkey-unknown"
USED_BEFORE: Final = "passkey-challenge-used"
WENT_BACK: Final = "passkey-counter-went-back"
"""A passkey has shown a counter that is no higher than its last one: there are two of it."""


class _Shown(NamedTuple):
    """What a browser has answered: for what, with which secret, and from where. ``name`` is the account that it is to
    be a passkey of, "" if it says so itself; failures count in ``buckets``."""

    purpose: Purpose
    bound: str
    text: str
    where: Where
    buckets: tuple[Bucket, ...]
    name: str


class Passkeys:
    """``archive.ports.Passkeys`` on the index. Thread-safe; every call blocks."""

    def __init__(self, steps: Steps, site: RelyingParty) -> None:
        self._steps, self._site = steps, site

    @property
    def domain(self) -> str:
        """The domain that they are made for."""
        return self._site.rp_id

    def is_here(self, host: str) -> bool:
        """Whether passkeys work for who calls us by this name."""
        return host.lower() in self._site.names

    def place(self, port: int) -> str:
        """Where they work: the origin of our pages."""
        return self._site.origins(port)[0]

    def passkeys(self, person: str) -> list[Passkey]:
        """Somebody's passkeys, the oldest first."""
        with self._steps.ports.database.reading() as cursor:
            return self._steps.passkeys.of_person(cursor, person)

    def options(self, purpose: str, bound: str, where: Where) -> str:
        """What a browser is asked, as JSON, for whoever shows the secret ``bound``: that of a session, or to sign in
        that of a cookie. Raises Unauthenticated, ProofNeeded."""
        steps, key = self._steps, self._steps.ports.key
        try:
            wanted = Purpose(purpose)
        except ValueError:
            raise Unauthenticated("passkey-purpose-unknown") from None
        challenge = new_challenge(key, wanted, bound, steps.now_us())
        if wanted is Purpose.SIGN_IN:
            return request_options(self._site, challenge, ())
        if wanted is Purpose.ADD:
            _, person = steps.require_fresh(bound, where, ADD_PASSKEY)
            known = [each.credential for each in self.passkeys(person.name)]
            return creation_options(self._site, (person.name, key.handle_of(person.name)), challenge, known)
        _, person = steps.in_state(bound, where, State.FACTOR if wanted is Purpose.SECOND_FACTOR else State.OPEN)
        known = [each.credential for each in self.passkeys(person.name) if each.rp_id == self._site.rp_id]
        if not known:
            raise Unauthenticated(UNKNOWN)  # asked for none, a browser would offer everybody's
        return request_options(self._site, challenge, known)

    def sign_in(self, text: str, bound: str, where: Where) -> Entered:
        """The only step, with a passkey that says whose it is. Raises Unauthenticated, Throttled."""
        steps = self._steps
        owner = self._claimed(text)
        buckets = passkey_buckets(steps.ports.key, owner, where, group_of(where.address))
        passkey = self._take(_Shown(Purpose.SIGN_IN, bound, text, where, buckets, owner))
        with steps.ports.database.reading() as cursor:
            person = steps.table.person(cursor, passkey.person)
        if person is None:
            raise Unauthenticated("user-disabled")
        if is_of_provider(person.name):  # whom the provider lets in no more has his passkey still
            steps.refused(where, PROVIDER_NEEDED, person.name)
            raise Unauthenticated(PROVIDER_NEEDED)
        return steps.open(person, where, (PASSKEY,), more={"passkey": passkey.number})

    def complete(self, secret: str, text: str, where: Where) -> Entered:
        """The second step, after a passcode. Raises Unauthenticated, Throttled."""
        before, person = self._steps.in_state(secret, where, State.FACTOR)
        passkey = self._take(self._shown_by(person, Purpose.SECOND_FACTOR, secret, text, where))
        first = PROVIDER if is_of_provider(person.name) else "passcode"
        return self._steps.open(person, where, (first, PASSKEY), before, {"passkey": passkey.number})

    def prove(self, secret: str, text: str, where: Where) -> Entered:
        """Prove once more who has this session. Raises Unauthenticated, Throttled."""
        before, person = self._steps.in_state(secret, where, State.OPEN)
        self._take(self._shown_by(person, Purpose.PROOF, secret, text, where))
        return self._steps.renew(before, person, where, (PASSKEY,))

    def add(self, secret: str, text: str, name: str, where: Where) -> Entered:
        """Take a passkey that was made for whoever has this session; every other session of the person ends.

        Raises Unauthenticated, ProofNeeded, Denied if there are too many.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, ADD_PASSKEY)
        now_us = steps.now_us()
        try:
            answer = parse_answer(text)
            challenge = require_challenge(steps.ports.key, Purpose.ADD, secret, answer.challenge, now_us)
            blank = Passkey("", person.name, name, "", b"", 0, is_synced=False, added_us=now_us)
            made = verified_passkey(self._site, answer, where.port, blank)
        except Unauthenticated as error:
            steps.refused(where, error.reason, person.name)
            raise

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            steps.require_still(cursor, before)
            if steps.passkeys.find(cursor, made.credential) is not None:
                raise Unauthenticated("passkey-known")
            if len(steps.passkeys.of_person(cursor, person.name)) >= MAX_PASSKEYS:
                raise Denied("too-many-passkeys")
            if not steps.passkeys.spend(cursor, challenge.digest, challenge.ends_us, now_us):
                raise Unauthenticated(USED_BEFORE)
            steps.passkeys.add(cursor, made)
            steps.table.end_other_sessions(cursor, person.name, before.digest, now_us)
            details = {"what": "add", "factor": PASSKEY, "passkey": made.number}
            steps.record_change(transaction, where, person.name, details)

        steps.ports.database.write(work)
        if before.state is State.SETUP:
            return steps.open(person, where, (PASSKEY,), before, {"passkey": made.number})
        return Entered(secret, person.name, State.OPEN)

    def remove(self, secret: str, number: str, where: Where) -> None:
        """Take a passkey from whoever has this session; every other session of the person ends.

        Raises Unauthenticated, ProofNeeded, NotFound, Denied for the last factor of somebody who needs one.
        """
        steps = self._steps
        before, person = steps.require_fresh(secret, where, ACCOUNT)
        now_us = steps.now_us()

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            steps.require_still(cursor, before)
            found = [each for each in steps.passkeys.of_person(cursor, person.name) if each.number == number]
            if not found:
                raise NotFound("no such passkey")
            ways = steps.ways_in(cursor, person.name)
            steps.require_second_factor(person, ways._replace(passkeys=ways.passkeys - 1))
            steps.passkeys.drop(cursor, found[0].credential, person.name)
            steps.table.end_other_sessions(cursor, person.name, before.digest, now_us)
            details = {"what": "remove", "factor": PASSKEY, "passkey": number}
            steps.record_change(transaction, where, person.name, details)

        steps.ports.database.write(work)

    def _shown_by(self, person: Person, purpose: Purpose, secret: str, text: str, where: Where) -> _Shown:
        buckets = code_buckets(self._steps.ports.key, person.name, where)
        return _Shown(purpose, secret, text, where, buckets, person.name)

    def _claimed(self, text: str) -> str:
        """Whose passkey an answer says that it is of, "" if it is nobody's."""
        try:
            credential = parse_answer(text).credential
        except Unauthenticated:
            return ""
        with self._steps.ports.database.reading() as cursor:
            passkey = self._steps.passkeys.find(cursor, credential)
        return passkey.person if passkey else ""

    def _take(self, shown: _Shown) -> Passkey:
        """The passkey of an answer that holds; what does not is counted and recorded."""
        self._steps.require_allowance(shown.buckets, shown.where, shown.name)
        try:
            return self._verified(shown)
        except Unauthenticated as error:
            self._steps.failed(shown.buckets, shown.where, error.reason, shown.name)
            raise

    def _verified(self, shown: _Shown) -> Passkey:
        steps, key, where = self._steps, self._steps.ports.key, shown.where
        answer = parse_answer(shown.text)
        challenge = require_challenge(key, shown.purpose, shown.bound, answer.challenge, steps.now_us())
        with steps.ports.database.reading() as cursor:
            passkey = steps.passkeys.find(cursor, answer.credential)
        if passkey is None or passkey.person != shown.name or passkey.rp_id != self._site.rp_id:
            raise Unauthenticated(UNKNOWN)
        # 7.2, step 6: whoever did not say who he is says so by the handle.
        if answer.handle != key.handle_of(passkey.person) and (answer.handle or shown.purpose is Purpose.SIGN_IN):
            raise Unauthenticated(ANSWER_WRONG)
        holds = require_holds(self._site, answer, where.port, passkey)
        if reason := self._use(passkey, holds, challenge):
            if reason == WENT_BACK:
                details = {"reason": WENT_BACK, "severity": "high", "user": passkey.person, "passkey": passkey.number}
                steps.ports.alert(Event(Action.ALERT, Outcome.WARNING, visitor(where, ""), details))
            raise Unauthenticated(reason)
        return passkey

    def _use(self, passkey: Passkey, holds: Holds, challenge: Challenge) -> str:
        """Note that a passkey has answered; what is wrong with that, "" if nothing.

        Compared and noted in one transaction, so that no two requests can use one answer.
        """
        table, now_us = self._steps.passkeys, self._steps.now_us()

        def work(transaction: Any) -> str:
            cursor = transaction.cursor
            current = table.find(cursor, passkey.credential)
            if current is None:
                return UNKNOWN
            if not table.spend(cursor, challenge.digest, challenge.ends_us, now_us):
                return USED_BEFORE
            if (holds.counter or current.counter) and holds.counter <= current.counter:
                return WENT_BACK
            table.use(cursor, replace(current, counter=holds.counter, is_synced=holds.is_synced, used_us=now_us))
            return ""

        return str(self._steps.ports.database.write(work))
