"""People of identity providers: their accounts, and what these are after each sign-in.

An account that was made for somebody of a provider is what his claims say it is, each time anew. One of our own that an
operator has made his (``user link``) stays what the operator says.
"""

from __future__ import annotations

from typing import Any, Final

from strongroom.archive.access import scope_details
from strongroom.archive.addresses import group_of
from strongroom.archive.federation import (
    NO_ACCOUNT,
    PROOF_OF_ANOTHER,
    PROVIDER,
    USER_DISABLED,
    Granted,
    Identity,
    account_name,
    is_of_provider,
)
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import VIA_SESSION, Entered, Person, State, Where, digest_of
from strongroom.archive.roles import encode_roles
from strongroom.errors import Throttled, Unauthenticated
from strongroom.people.guessing import count_failure, response_buckets, state_bucket, wait_s
from strongroom.people.steps import TOO_MANY, Steps, visitor
from strongroom.store.identities import IdentityTable
from strongroom.store.registry import Registry
from strongroom.types import Principal

NO_PASSCODE: Final = ""
REPLAYED: Final = "response-replayed"


class Provided:
    """Lets in whom a provider vouches for. Thread-safe; every call blocks."""

    def __init__(self, steps: Steps, registry: Registry, lasts_s: int) -> None:
        """``lasts_s`` is how long a state is good."""
        self._steps, self._registry, self._lasts_s = steps, registry, lasts_s
        self._ports, self._people = steps.ports, steps.table
        self._identities = IdentityTable(steps.ports.database.dialect)

    def seal(self, flow: bytes) -> str:
        """What a browser keeps until it comes back."""
        return self._ports.key.seal_flow(flow)

    def open(self, sealed: str) -> bytes | None:
        """The same, back; None if it is none of ours."""
        return self._ports.key.open_flow(sealed)

    def take(self, state: str, where: Where) -> None:
        """Use up the state of a response. Raises Unauthenticated if it was used, Throttled after too many failures."""
        now_us, bucket = self._steps.now_us(), state_bucket(state, self._lasts_s)

        def work(transaction: Any) -> int:
            cursor = transaction.cursor
            if wait := wait_s(self._people, cursor, response_buckets(group_of(where.address)), now_us):
                return wait
            if wait_s(self._people, cursor, (bucket,), now_us):
                raise Unauthenticated(REPLAYED)
            count_failure(self._people, cursor, (bucket,), now_us)
            return 0

        if wait := self._ports.database.write(work):
            raise Throttled(TOO_MANY, wait)

    def refused(self, where: Where, provider: str, reason: str) -> None:
        """Record that somebody was not let in."""
        who = Principal("", "", "", where.address, via=VIA_SESSION)
        details: dict[str, Detail] = {"reason": reason, "provider": provider}
        self._ports.record_refusal(Event(Action.SIGN_IN, Outcome.REFUSED, who, details))

    def count(self, where: Where) -> None:
        """Count a response that was none against where it came from."""
        now_us, buckets = self._steps.now_us(), response_buckets(group_of(where.address))
        self._ports.database.write(lambda transaction: count_failure(self._people, transaction.cursor, buckets, now_us))

    def enter(self, identity: Identity, where: Where) -> Entered:
        """A session for somebody, or the step before it. Raises Unauthenticated: no-account, no-role, no-common-scope,
        user-disabled."""

        def work(transaction: Any) -> tuple[Person, str]:
            person = self._account(transaction, identity, where)
            why = identity.granted.why if identity.granted and is_of_provider(person.name) else ""
            self._end_before(transaction, identity, person)
            if not why and not person.disabled_us:
                details: dict[str, Detail] = {
                    "user": person.name,
                    "provider": identity.provider,
                    "multifactor": identity.is_multifactor,
                }
                who = visitor(where, person.name)
                transaction.record(Event(Action.AUTHENTICATION, Outcome.SUCCESS, who, details))
            return person, why

        person, why = self._ports.database.write(work)
        if why:
            raise Unauthenticated(why)
        if person.disabled_us:
            raise Unauthenticated(USER_DISABLED)
        if identity.is_multifactor:
            entered = self._steps.open(person, where, (PROVIDER,))
        else:
            entered = self._steps.advance(person, where, (PROVIDER,))
        if entered.state is State.OPEN:
            self._put_proof(entered, identity)
        return entered

    def _put_proof(self, entered: Entered, identity: Identity) -> None:
        """Say when somebody has proved who he is: there, and maybe long before he came. Nobody has the session yet."""
        proved_us = min(int(identity.proved_s * 1e6), self._steps.now_us())
        digest = digest_of(entered.secret)
        self._ports.database.write(
            lambda transaction: self._identities.put_proof(transaction.cursor, digest, proved_us)
        )

    def _end_before(self, transaction: Any, identity: Identity, person: Person) -> None:
        """End the session in which somebody was to prove who he is: another one follows. Raises Unauthenticated if it
        is somebody else's."""
        before = self._people.session(transaction.cursor, identity.before) if identity.before else None
        if before is None:
            return
        if before.person != person.name:
            raise Unauthenticated(PROOF_OF_ANOTHER)
        self._people.end_session(transaction.cursor, before.digest, self._steps.now_us())

    def _account(self, transaction: Any, identity: Identity, where: Where) -> Person:
        """Somebody's account, as it is from now on. Raises Unauthenticated if he has none and is to get none."""
        cursor = transaction.cursor
        name = self._identities.find(cursor, identity.issuer, identity.subject)
        person = self._people.person(cursor, name) if name else None
        granted = identity.granted
        if person is None and (name or granted is None or not identity.may_be_new):
            raise Unauthenticated(NO_ACCOUNT)
        if person is None:
            assert granted is not None
            if granted.why:
                raise Unauthenticated(granted.why)
            return self._new(transaction, identity, granted, where)
        is_as_before = granted is None or (granted.roles, granted.scope) == (person.roles, person.own_scope)
        if is_as_before or not is_of_provider(person.name):
            return person
        assert granted is not None
        return self._changed(transaction, person, granted, where)

    def _new(self, transaction: Any, identity: Identity, granted: Granted, where: Where) -> Person:
        cursor, now_us = transaction.cursor, self._steps.now_us()
        name = account_name(identity, lambda name: self._people.person(cursor, name) is not None)
        roles = encode_roles(granted.roles)
        self._registry.put_account(cursor, name, NO_PASSCODE, roles, now_us, granted.scope)
        self._identities.add(cursor, identity.issuer, identity.subject, name, now_us)
        person = Person(name, NO_PASSCODE, granted.roles, granted.scope, now_us, 0)
        self._record(transaction, "added at the first sign-in", person, where)
        return person

    def _changed(self, transaction: Any, person: Person, granted: Granted, where: Where) -> Person:
        """The account with what the claims say now. Other roles end its sessions: they may need a second factor, which
        nobody has shown in them."""
        cursor = transaction.cursor
        self._identities.change(cursor, person.name, granted.roles, granted.scope)
        if granted.roles != person.roles:
            self._people.end_sessions(cursor, person.name, self._steps.now_us())
        changed = Person(
            person.name, person.passcode_hash, granted.roles, granted.scope, person.added_us, person.disabled_us
        )
        self._record(transaction, "changed by the provider", changed, where, person)
        return changed

    def _record(self, transaction: Any, what: str, person: Person, where: Where, before: Person | None = None) -> None:
        details: dict[str, Detail] = {
            "what": what,
            "user": person.name,
            "role": encode_roles(person.roles),
            "scope": scope_details(person.own_scope),
        }
        if before is not None:
            details |= {"role_before": encode_roles(before.roles), "scope_before": scope_details(before.own_scope)}
        transaction.record(Event(Action.USER_CHANGE, Outcome.SUCCESS, visitor(where, person.name), details))
