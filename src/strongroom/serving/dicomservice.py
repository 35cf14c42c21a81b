"""The DICOM server of an open archive: its services wired together, its timers, its clean start and end."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from strongroom.app import AUTHORITY_SECRET, SERVER_SECRET, Archive, now_utc, own_addresses
from strongroom.archive.commitment import CommitmentLimits, Commitments
from strongroom.archive.constraint import QueryLimits
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Binding, Peer
from strongroom.config import Config, UnsafePlaintext
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.dimse import CFindRq, CGetRq, ChannelLimits, CMoveRq, NActionRq, NEventReportRsp
from strongroom.door import new_memory
from strongroom.errors import ConfigError, StrongroomError
from strongroom.net.acceptor import Gate
from strongroom.net.certificates import SERVER_DAYS, days_left, is_good_for, issue, read_certificate
from strongroom.net.commitment_scp import REPORT_TIMEOUTS, CommitmentScp, CommitmentSender
from strongroom.net.connection import Timeouts
from strongroom.net.directory import PeerDirectory
from strongroom.net.find_scp import find
from strongroom.net.forward import PeerCaller
from strongroom.net.retrieve_scp import MoveScp, get
from strongroom.net.scp import Services
from strongroom.net.scu import ScuTimeouts
from strongroom.net.server import DicomServer, Listener, ServerLimits
from strongroom.serving.announcing import Announcer
from strongroom.stamping import Stamper
from strongroom.store.accounts import Accounts
from strongroom.store.commitments import CommitmentLedger
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.store.transaction import Transaction
from strongroom.types import Principal, Uid
from strongroom.ul import UlLimits

log = logging.getLogger(__name__)

CONFIG_DIGEST = "config_sha256"
"""``meta`` value: the configuration that the archive was last served with."""

PEER_WATCH_INTERVAL_S = 1.0
"""How long an open association may outlive the revocation of its peer."""

MAX_CALL_S = 24 * 3600.0
"""The longest association that the archive itself opens: a C-MOVE of everything a large study has, on a slow line."""

RENEW_BEFORE = dt.timedelta(days=30)

PEER_WARNING_DAYS, AUTHORITY_WARNING_DAYS = 30, 180
"""How long before its end a certificate is warned of. Each peer has to be given the CA's new one."""


class DicomService:
    """The DICOM server of an open archive, with its timer for checkpoints."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        config = archive.config
        archive.index.announce = Announcer(time.monotonic)
        renew_certificate(archive)
        material = archive.tls()
        registry, database = archive.index.registry, archive.index.database

        def version() -> str:
            with database.reading() as cursor:
                return registry.get_meta(cursor, REGISTRY_VERSION)

        def peers() -> dict[str, Peer]:
            with database.reading() as cursor:
                return registry.peers(cursor)

        def account(name: str) -> tuple[str, bool] | None:
            with database.reading() as cursor:
                for known, passcode_hash, _, _, disabled_us in registry.accounts(cursor):
                    if known == name:
                        return passcode_hash, not disabled_us
            return None

        authority_pem = material.authority.certificate_pem.decode()
        self.directory = PeerDirectory(version, peers, material.identity, authority_pem, config.dicom.tls_profile)
        private = tuple(Uid.parse(uid) for uid in config.dicom.private_storage_classes)
        gate = Gate(archive.aet, private, self.directory.find, Accounts(account).verify)
        services = Services(
            archive.reader,
            archive.new_ingest,
            archive.index.record,
            self.directory.find,
            query_limits=query_limits(config),
            new_memory=new_memory,
        )
        caller = PeerCaller(archive.aet, self.directory.find, self.directory.client_context, _scu_timeouts(config))
        services.handlers.update({CFindRq: find, CGetRq: get, CMoveRq: MoveScp(caller)})
        commitments = _commitments(archive)
        self._reports = CommitmentSender(commitments, replace(caller, timeouts=REPORT_TIMEOUTS))
        commitment = CommitmentScp(commitments, caller, self._reports)
        services.handlers.update({NActionRq: commitment.request, NEventReportRsp: commitment.answered})
        self.server = DicomServer(gate, services, _server_limits(config))
        self._stop = threading.Event()
        self._warned: dt.date | None = None
        self._stamper = Stamper(archive)
        self._timer = threading.Thread(target=self._checkpoints, name="checkpoints", daemon=True)
        self._watch = threading.Thread(target=self._watch_peers, name="peers", daemon=True)

    def start(self) -> list[str]:
        """Listen; returns ``dicom=ADDRESS:PORT`` for the TLS listener and a line for each plaintext exception."""
        archive, config = self._archive, self._archive.config
        bind = config.dicom.bind
        port = self.server.listen(Listener(bind, config.dicom.port, self.directory.server_context))
        said = [f"dicom={_host_port(bind, port)}"]
        for exception in config.unsafe_plaintext:
            said.append(self._listen_plaintext(exception))
        details: dict[str, Detail] = {"listening": tuple(said), "tls_profile": config.dicom.tls_profile}
        if config.unsafe_plaintext:
            details["unsafe_reasons"] = tuple(f"{each.peer}: {each.reason}" for each in config.unsafe_plaintext)
        record_configuration(archive)
        archive.record(Action.SERVICE_START, details)
        if archive.index.backlog is not None:
            archive.index.backlog.start()
        _try("the ends of certificates could not be looked at", self._warn_of_ends)
        self._timer.start()
        self._watch.start()
        self._reports.start()
        return said

    def _listen_plaintext(self, exception: UnsafePlaintext) -> str:
        def is_expired() -> bool:
            return now_utc().date() > exception.expires

        words = f"peer={exception.peer} addresses={exception.addresses} expires={exception.expires.isoformat()}"
        if is_expired():
            return f"unsafe_plaintext=EXPIRED {words}"
        if self.directory.find(exception.peer) is None:
            raise ConfigError(
                f"unsafe_plaintext.peer {exception.peer} is not registered: run `strongroom peer add` first"
            )
        listener = Listener(
            exception.bind,
            exception.port,
            plaintext_peer=exception.peer,
            network=exception.addresses,
            is_expired=is_expired,
        )
        port = self.server.listen(listener)
        return f"unsafe_plaintext={_host_port(exception.bind, port)} {words}"

    def _watch_peers(self) -> None:
        """End what a revocation, or a change of rights or certificate, has overtaken."""
        while not self._stop.wait(PEER_WATCH_INTERVAL_S):
            _try(
                "open associations could not be held against the peers",
                lambda: self.server.end_sessions(self._why_over),
            )
            _try("refusals could not be recorded", self.server.record_refusal_sums)

    def _why_over(self, principal: Principal) -> str:
        peer = self.directory.find(principal.aet)
        if peer is None or peer.revoked_us:
            return "peer-revoked"
        if peer.rights != principal.rights:
            return "rights-changed"
        if peer.scope != principal.scope:
            return "scope-changed"
        if principal.fingerprint and peer.fingerprint not in ("", principal.fingerprint):
            return "certificate-changed"
        return ""

    def _checkpoints(self) -> None:
        while not self._stop.wait(self._archive.config.trail.checkpoint_interval_s):
            _try("keys of deleted studies could not be forgotten", self._archive.forget_deleted)
            _try("no checkpoint could be written", self._sign)
            _try("the certificate could not be renewed", self._renew_certificate)
            _try("the ends of certificates could not be looked at", self._warn_of_ends)

    def _sign(self) -> None:
        self._stamper.keep_up(self._archive.checkpoint())

    def _renew_certificate(self) -> None:
        if renew_certificate(self._archive):
            self.directory.use(self._archive.tls().identity)

    def _warn_of_ends(self) -> None:
        """Once a day, tell of certificates that end soon: the CA's, and those of peers."""
        now = now_utc()
        if self._warned == now.date():
            return
        self._warned = now.date()
        authority = self._archive.issued(AUTHORITY_SECRET).certificate_pem
        _warn_of_end("the archive's CA", days_left(authority, now), AUTHORITY_WARNING_DAYS, "run `keys renew-ca`")
        for peer in self.directory.all():
            if peer.certificate and not peer.revoked_us:
                whose = f"peer {peer.aet}" if peer.binding is Binding.FINGERPRINT else f"the CA of peer {peer.aet}"
                left = days_left(peer.certificate.encode(), now)
                _warn_of_end(whose, left, PEER_WARNING_DAYS, "revoke and add it, or bind its new one")

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop accepting, let associations end, record it, write the last checkpoint."""
        self._stop.set()
        self._reports.stop(grace_s)
        self.server.stop(grace_s)
        self.server.record_refusal_sums(at_end=True)
        self._archive.record(Action.SERVICE_STOP, {})
        self._archive.checkpoint()


def _warn_of_end(whose: str, left: int, warning_days: int, remedy: str) -> None:
    if left < 0:
        log.error("the certificate of %s has expired: %s", whose, remedy)
    elif left <= warning_days:
        log.warning("the certificate of %s ends in %d days: %s", whose, left, remedy)


def _try(complaint: str, work: Callable[[], object]) -> None:
    """Do what a timer does. Whatever goes wrong is logged: a timer that ends does so unseen, and for good."""
    try:
        work()
    except StrongroomError as error:
        log.error("%s: %s", complaint, error)
    except Exception:
        log.exception("%s", complaint)


def record_configuration(archive: Archive) -> None:
    """Say in the trail that the configuration is another than the archive was last served with."""
    digest = sha256(archive.home.config.read_bytes()).hexdigest()
    registry = archive.index.registry

    def work(transaction: Transaction) -> None:
        before = registry.get_meta(transaction.cursor, CONFIG_DIGEST)
        if before == digest:
            return
        registry.set_meta(transaction.cursor, CONFIG_DIGEST, digest)
        details: dict[str, Detail] = {"what": "config.toml", "sha256": digest, "before": before}
        transaction.record(Event(Action.CONFIG_CHANGE, Outcome.SUCCESS, archive.principal, details))

    archive.index.database.write(work)


def renew_certificate(archive: Archive) -> bool:
    """Issue the server a new certificate if its own ends within RENEW_BEFORE, or lacks a name that it is called by.

    Returns whether it did; peers trust the CA, not the certificate. Raises ConfigError if the CA itself has expired.
    """
    now = now_utc()
    authority = archive.issued(AUTHORITY_SECRET)
    if read_certificate(authority.certificate_pem).not_after < now:
        raise ConfigError("the archive's certificate authority has expired: peers no longer trust what it issued")
    pem = archive.issued(SERVER_SECRET).certificate_pem
    old, names = read_certificate(pem), own_addresses(archive.config)
    if old.not_after - now > RENEW_BEFORE and is_good_for(pem, names):
        return False
    new = issue(authority, archive.aet, names, now, SERVER_DAYS)
    archive.secrets.put(SERVER_SECRET, archive.ring.seal_secret(SERVER_SECRET, new.certificate_pem + new.key_pem))
    details = {"what": "server certificate renewed", "before": old.fingerprint}
    archive.record(Action.CONFIG_CHANGE, details)
    return True


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _commitments(archive: Archive) -> Commitments:
    limits = archive.config.limits
    return Commitments(
        ledger=CommitmentLedger(archive.index.database),
        index=archive.index,
        open_object=archive.reader.open,
        sop_classes=STORAGE_SOP_CLASSES.union(archive.config.dicom.private_storage_classes),
        limits=CommitmentLimits(
            limits.max_pending_commitments_per_peer, limits.commitment_retry_s, limits.max_commitment_tries
        ),
        clock=time.time,
    )


def _scu_timeouts(config: Config) -> ScuTimeouts:
    limits = config.limits
    return ScuTimeouts(limits.artim_timeout_s, limits.idle_timeout_s, limits.message_timeout_s, MAX_CALL_S)


def query_limits(config: Config) -> QueryLimits:
    """What a query may hold."""
    limits = config.limits
    return QueryLimits(
        limits.max_query_keys,
        limits.max_query_depth,
        limits.max_query_uids,
        limits.max_query_values,
        limits.max_query_value_chars,
        limits.max_query_pattern_chars,
    )


def _server_limits(config: Config) -> ServerLimits:
    limits = config.limits
    return ServerLimits(
        ul=UlLimits(max_pdu_body_bytes=limits.max_pdu_body_bytes),
        channel=ChannelLimits(
            max_command_bytes=limits.max_command_bytes,
            max_message_bytes=limits.max_message_bytes,
            max_identifier_bytes=limits.max_identifier_bytes,
            max_empty_fragments=limits.max_empty_fragments,
        ),
        timeouts=Timeouts(
            limits.artim_timeout_s, limits.idle_timeout_s, limits.message_timeout_s, limits.min_receive_bytes_per_s
        ),
        max_handshakes=limits.max_handshakes,
        max_handshakes_per_address=limits.max_handshakes_per_address,
        max_associations=limits.max_associations,
        max_associations_per_peer=limits.max_associations_per_peer,
        max_associations_per_address=limits.max_associations_per_address,
        tls_handshake_timeout_s=limits.tls_handshake_timeout_s,
    )
