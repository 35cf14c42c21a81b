"""Who calls a worker of the HTTPS service: the authenticator put together from an open archive, and the trail of those
whom it refuses."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from strongroom.admin.access import emergencies_of, shares_of
from strongroom.app import Archive, now_utc
from strongroom.archive.emergencies import Known, may_break, with_emergencies
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Peer, Presented
from strongroom.archive.people import principal_of, require_alive
from strongroom.archive.sharing import principal_of_share, share_number
from strongroom.archive.tokens import Token
from strongroom.config import JwtSection
from strongroom.errors import ConfigError, Denied, StrongroomError
from strongroom.net.certificates import CertificateFacts, facts_of_der, is_issued_by
from strongroom.net.refusals import Key, RefusalMeter
from strongroom.people.ceremonies import RelyingParty
from strongroom.people.changing import OwnAccount
from strongroom.people.passkeys import Passkeys
from strongroom.people.sealing import people_key
from strongroom.people.signing_in import SignIn
from strongroom.people.steps import SessionRules, SignInPorts, Steps
from strongroom.serving.providers import providers_of
from strongroom.store.emergencies import EmergencyTable
from strongroom.store.people import PeopleTable
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.store.shares import ShareTable
from strongroom.store.tokens import TokenTable
from strongroom.store.transaction import Transaction
from strongroom.types import Principal
from strongroom.web.auth import Authenticator, Sources
from strongroom.web.jwks import KeyFile
from strongroom.web.jwt import JwtRules, JwtVerifier

log = logging.getLogger(__name__)

SUMS_INTERVAL_S = 1.0
MAX_CERTIFICATES = 1024
USE_INTERVAL_US = 15_000_000
"""How exactly it is known when a session was used last: each time is a write."""


_NOBODY = Known(None)


class Callers:
    """The authenticator of one process. ``close`` writes what is left to say of refused callers."""

    def __init__(self, archive: Archive) -> None:
        """Raises ConfigError if the configured keys of JWTs cannot be read."""
        self._archive = archive
        self._refusals = _RefusalLog(archive)
        self._tokens = TokenTable(archive.backend.dialect)
        self._lock = threading.Lock()
        self._version: str | None = None
        self._peers: Mapping[str, Peer] = {}
        self._people = PeopleTable(archive.backend.dialect)
        self._idle_us = int(archive.config.sessions.idle_timeout_s * 1e6)
        self._used: dict[str, int] = {}
        jwt = archive.config.jwt
        self.authenticator = Authenticator(
            Sources(
                find_token=self._find_token,
                peers=self._current_peers,
                read_certificate=_presented,
                record=self._refusals.record,
                clock=time.time,
                find_session=self._find_session,
                jwt=self._jwt_verifier(jwt) if jwt.issuer else None,
                max_bearer_bytes=archive.config.limits.max_bearer_bytes,
            )
        )
        sessions = archive.config.sessions
        rules = SessionRules(
            self._idle_us,
            int(sessions.max_age_s * 1e6),
            archive.config.archive.aet,
            int(sessions.proof_max_age_s * 1e6),
        )
        self.seal = people_key(archive.ring, archive.secrets)
        ports = SignInPorts(
            archive.index.database,
            self.seal,
            time.time,
            self._refusals.record,
            archive.index.record,
        )
        steps = Steps(ports, rules)
        self._shares, self._emergencies = ShareTable(archive.backend.dialect), EmergencyTable(archive.backend.dialect)
        self.sharing = shares_of(archive, self._refusals.record)
        self.break_glass = emergencies_of(archive)
        self.providers = providers_of(archive, steps)
        site = RelyingParty.of(archive.config.https.names, sessions.passkey_domain, archive.config.archive.aet)
        self.sign_in, self.own_account, self.passkeys = SignIn(steps), OwnAccount(steps), Passkeys(steps, site)

    def _jwt_verifier(self, jwt: JwtSection) -> JwtVerifier:
        rules = JwtRules(
            issuer=jwt.issuer,
            audience=jwt.audience,
            algorithms=frozenset(jwt.algorithms),
            rights_claim=jwt.rights_claim,
            scope_claim=jwt.scope_claim,
            leeway_s=jwt.leeway_s,
            max_lifetime_s=jwt.max_lifetime_s,
        )
        return JwtVerifier(rules, KeyFile(self._archive.home.root / jwt.keys).keys)

    def _find_token(self, digest: str) -> Token | None:
        # Not ``read``, which waits for the rows of what another process has acknowledged: none of them is a token, and
        # this is asked on the event loop.
        with self._archive.index.database.reading() as cursor:
            return self._tokens.find(cursor, digest)

    def _find_session(self, digest: str, bound: str, address: str) -> Principal:
        """Who acts in a session. Raises Denied."""
        now_us = int(time.time() * 1e6)
        with self._archive.index.database.reading() as cursor:
            session = self._people.session(cursor, digest)
            known = self._known(cursor, session.person, now_us) if session else _NOBODY
        session = require_alive(session, now_us, self._idle_us, bound)
        if share_number(session.person) is not None:
            principal = principal_of_share(session, known.share, known.person, address)
        else:
            principal = with_emergencies(principal_of(session, known.person, address), known)
        if now_us - session.used_us > USE_INTERVAL_US:
            with self._lock:
                self._used[digest] = now_us
        return principal

    def _known(self, cursor: Any, name: str, now_us: int) -> Known:
        """What is known of whom a session is of: an account, or a share with the account of its maker."""
        number = share_number(name)
        share = self._shares.share(cursor, number) if number is not None else None
        person = self._people.person(cursor, share.maker if share else name)
        if share is not None or person is None or not may_break(person):
            return Known(person, share)
        return Known(person, openings=tuple(self._emergencies.standing(cursor, person.name, now_us)))

    def keep_used(self) -> None:
        """Write down which sessions were used, so that they are not taken for idle. Raises StorageUnavailable."""
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return

        def work(transaction: Transaction) -> None:
            for digest, used_us in used.items():
                self._people.use_session(transaction.cursor, digest, used_us)

        self._archive.index.database.write(work)

    def _current_peers(self) -> Mapping[str, Peer]:
        """Every peer; read again whenever one of them has changed."""
        registry = self._archive.index.registry
        with self._archive.index.database.reading() as cursor:
            version = registry.get_meta(cursor, REGISTRY_VERSION)
            with self._lock:
                if version == self._version:
                    return self._peers
            peers = registry.peers(cursor)
        with self._lock:
            self._peers, self._version = peers, version
        return peers

    def close(self) -> None:
        """Write the last records of refused callers."""
        self._refusals.close()


def _presented(certificate_der: bytes) -> Presented:
    """The certificate of a connection. Raises Denied if it can be none of a peer, or is one no longer."""
    try:
        facts = _facts(certificate_der)
    except ConfigError:
        raise Denied("certificate-unreadable") from None
    if facts.not_after < now_utc():  # connections live on after the handshake
        raise Denied("certificate-expired")
    return Presented(facts.fingerprint, facts.subject, lambda authority: is_issued_by(facts.pem, authority))


@lru_cache(MAX_CERTIFICATES)
def _facts(certificate_der: bytes) -> CertificateFacts:
    return facts_of_der(certificate_der)


class _RefusalLog:
    """Writes refusals to the trail on a thread of its own: one by one, and of a flood the sum. Thread-safe."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._meter = RefusalMeter()
        self._thread = threading.Thread(target=self._run, name="https-refusals", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        """Take note; returns at once."""
        key = (event.principal.address, str(event.details["reason"]))
        with self._lock:
            is_to_be_recorded = self._meter.is_to_be_recorded(key, time.monotonic())
        if is_to_be_recorded:  # with its own time: whoever looks for a request in the trail goes by that
            self._events.put(replace(event, at_s=time.time()))

    def close(self) -> None:
        """Write everything that is left."""
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            events = []
            try:
                event = self._events.get(timeout=SUMS_INTERVAL_S)
                is_open = event is not None
                events = [event] if event is not None else []
            except queue.Empty:
                pass
            with self._lock:
                sums = list(self._meter.sums(time.monotonic()) if is_open else self._meter.all_sums())
            events += [_sum(key, count) for key, count in sums]
            if not events:
                continue
            try:
                self._archive.index.record(*events)
            except StrongroomError as error:
                log.error("a refused caller could not be recorded: %s", error)


def _sum(key: Key, count: int) -> Event:
    address, reason = key
    details: dict[str, Detail] = {"reason": reason, "requests": count}
    return Event(Action.AUTHENTICATION, Outcome.REFUSED, Principal("", "", "", address), details)
