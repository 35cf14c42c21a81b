"""The DICOM server of an open archive: its services wired together, its timers, its clean start and end."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from strongroom.admin.exceptions import in_words, is_agreed
from strongroom.app import AUTHORITY_SECRET, SERVER_SECRET, Archive, now_utc, own_addresses
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.peers import Binding
from strongroom.config import UnsafePlaintext
from strongroom.errors import ConfigError, StrongroomError
from strongroom.net.certificates import SERVER_DAYS, days_left, is_good_for, issue, read_certificate
from strongroom.net.commitment_scp import REPORT_TIMEOUTS, CommitmentSender
from strongroom.net.places import Places
from strongroom.net.server import DicomServer, Listener
from strongroom.serving.announcing import Announcer
from strongroom.serving.dicomparts import DicomParts, place_limits
from strongroom.serving.dicomworkers import DicomWorkers
from strongroom.serving.reporting import Reporter, counted
from strongroom.stamping import Stamper
from strongroom.store.transaction import Transaction

log = logging.getLogger(__name__)

CONFIG_DIGEST = "config_sha256"
"""``meta`` value: the configuration that the archive was last served with."""

PEER_WATCH_INTERVAL_S = 1.0
"""How long an open association may outlive the revocation of its peer."""

RENEW_BEFORE = dt.timedelta(days=30)

PEER_WARNING_DAYS, AUTHORITY_WARNING_DAYS = 30, 180
"""How long before its end a certificate is warned of. Each peer has to be given the CA's new one."""


class DicomService:
    """The DICOM server of an open archive, with its timer for checkpoints."""

    def __init__(self, archive: Archive, reporter: Reporter) -> None:
        """``reporter`` is that of this process; its board has a place for each worker."""
        self._archive = archive
        config = archive.config
        archive.index.announce = counted(reporter.tally, Announcer(time.monotonic))
        renew_certificate(archive)
        self.parts = parts = DicomParts(archive)
        self.directory = parts.directory
        self.places = Places(place_limits(config), archive.index.record)
        self._reports = CommitmentSender(parts.commitments, replace(parts.caller, timeouts=REPORT_TIMEOUTS))
        self._workers = DicomWorkers(archive, self._reports.wake, reporter)
        self.associations = parts.associations(self._reports.wake)
        self.take_in = self._workers.take_in if config.dicom.workers else None
        """Has a process of this service take objects in that come over a socket, if there is one."""
        serve = self._workers.serve if config.dicom.workers else self.associations.begin
        self.server = DicomServer(self.places, serve)
        self.opened: list[UnsafePlaintext] = []
        """The exceptions that are in effect, or were until their end."""
        self._stop = threading.Event()
        self._warned: dt.date | None = None
        self._stamper = Stamper(archive)
        self._timer = threading.Thread(target=self._checkpoints, name="checkpoints", daemon=True)
        self._watch = threading.Thread(target=self._watch_peers, name="peers", daemon=True)

    def start(self) -> list[str]:
        """Listen; returns ``dicom=ADDRESS:PORT`` for the TLS listener and a line for each plaintext exception."""
        archive, config = self._archive, self._archive.config
        self._workers.start()
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

        words = in_words(exception)
        if is_expired():
            return f"unsafe_plaintext=EXPIRED {words}"
        if not is_agreed(self._archive, exception):
            return f"unsafe_plaintext=NOT-APPROVED {words}: two administrators agree with `strongroom unsafe approve`"
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
        self.opened.append(exception)
        return f"unsafe_plaintext={_host_port(exception.bind, port)} {words}"

    def _watch_peers(self) -> None:
        """End what a revocation, or a change of rights or certificate, has overtaken."""
        while not self._stop.wait(PEER_WATCH_INTERVAL_S):
            _try(
                "open associations could not be held against the peers",
                lambda: self.associations.end_sessions(self.parts.why_over),
            )
            _try("refusals could not be recorded", self.places.record_refusal_sums)

    def _checkpoints(self) -> None:
        while not self._stop.wait(self._archive.config.trail.checkpoint_interval_s):
            _try("keys of deleted studies could not be forgotten", self._archive.forget_deleted)
            _try("no checkpoint could be written", self._sign)
            _try("the certificate could not be renewed", self._renew_certificate)
            _try("the ends of certificates could not be looked at", self._warn_of_ends)

    def _sign(self) -> None:
        self._stamper.keep_up(self._archive.checkpoint())

    def _renew_certificate(self) -> None:
        renew_certificate(self._archive)
        self.parts.use_new_identity()

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

    def release(self) -> None:
        """Nobody has processes of this service take objects in any more."""
        self._workers.release()

    def drain(self, grace_s: float, *, until_release: bool = False) -> None:
        """Stop accepting, and let what is being served end within ``grace_s`` seconds. ``until_release``: others still
        have processes of this service take objects in; those end after them."""
        deadline = time.monotonic() + grace_s
        self._stop.set()
        if not until_release:
            self.release()
        self.server.stop()
        self._workers.stop(grace_s)
        self.associations.stop(grace_s)
        self._reports.stop(max(0.0, deadline - time.monotonic()))

    def stop(self, grace_s: float = 10.0) -> None:
        """The same, unless it is done; record it, and write the last checkpoint."""
        if not self._stop.is_set():
            self.drain(grace_s)
        self.places.record_refusal_sums(at_end=True)
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
