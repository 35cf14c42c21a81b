"""The composition root: the only place that knows every class, and puts one archive together from its home."""

from __future__ import annotations

import datetime as dt
import logging
import os
import pwd
import secrets
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from strongroom.archive import ports
from strongroom.archive.answers import AboutArchive
from strongroom.archive.door import Door
from strongroom.archive.ingest import Arrival, Ingest, IngestLimits, IngestPorts, StudyKeys
from strongroom.archive.metadata import Metadata, Outliner
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.read import Reader, ReadLimits
from strongroom.checkpoints import write_checkpoint
from strongroom.config import Config, Home, LimitsSection, config_is_missing, environment, load
from strongroom.dicom.elements import ScanLimits
from strongroom.digesting import Digesting, DigestPorts
from strongroom.door import door_of, pixel_limits
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.net.certificates import SERVER_DAYS, Issued, encrypted_key, issue, new_authority
from strongroom.net.tls import Identity
from strongroom.people.sealing import make_people_key
from strongroom.pixels.pool import Pixels
from strongroom.store.blobs import SealedBlobStore, new_object_id
from strongroom.store.database import Backend, open_sqlcipher
from strongroom.store.digests import DigestTable
from strongroom.store.files import PRIVATE_MODE, PUBLIC_MODE, sync_directory, write_durably
from strongroom.store.index import Index
from strongroom.store.journal import Journal
from strongroom.store.keys import (
    CommandKeySource,
    FileKeySource,
    KeyRing,
    KeySource,
    PassphraseKeySource,
    SecretFiles,
    secret_master_id,
)
from strongroom.store.locks import HomeLock
from strongroom.store.metadata import SealedMetadata
from strongroom.store.postgresql import open_postgresql
from strongroom.store.quarantine import QuarantineLimits, QuarantineStore
from strongroom.store.schema.migrate import is_in_use, upgrade
from strongroom.store.signatures import SignatureReports
from strongroom.store.transaction import ACTIVE_MASTER, ARCHIVE_ID, GENERATION, Transaction
from strongroom.store.turns import Turns
from strongroom.trail.log import TrailLog, TrailReader
from strongroom.trail.note import Note, Signer, encode_notes, origin_of, parse_note
from strongroom.types import AeTitle, Principal
from strongroom.vouching import SignatureChecks, SignaturePorts, TrustFiles

log = logging.getLogger(__name__)

INDEX_SECRET = "index"
TRAIL_SECRET = "trail"
AUTHORITY_SECRET = "authority"
SERVER_SECRET = "server"
PUBLIC_KEY_NAME = "trail-public-key.pem"
AUTHORITY_NAME = "ca.pem"
WRITERS_LOCK_NAME = "writers.lock"
"""Held together by every process that stores, and alone by one that clears away what a crash left."""


SMALL_OBJECT_BYTES = 32_768
"""Sealed objects up to this size go into the index: eight pages cost less than a file and an fsync of its own."""

IN_USE = "already holds an archive"

SERVE_LOG = "serve"
LOCAL_LOG = "local"
"""Trail logs: one of the server, one shared by the commands run beside it. Each has its own gapless sequence."""


def now_utc() -> dt.datetime:
    """The current time."""
    return dt.datetime.now(dt.UTC)


def local_principal() -> Principal:
    """Who runs a command on this machine: the user that the kernel knows; whom ``sudo`` names is marked as claimed."""
    number = os.getuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:
        user = f"uid {number}"
    claimed = environment("SUDO_USER") or ""
    if claimed and claimed != user and claimed.isprintable():
        user = f"{user} (claims to be {claimed[:32]})"
    return Principal("strongroom", "", user[:96], "local")


def key_source(home: Home, config: Config) -> KeySource:
    """Where the master keys of an archive come from. Raises ConfigError if they would lie with the data."""
    keys = config.keys
    if keys.source == "command":
        return CommandKeySource(keys.command)
    folder = Path(keys.path) if keys.path else home.default_keys
    if folder.resolve().is_relative_to(home.data):
        raise ConfigError(f"keys.path {folder} lies in the data directory: whoever takes the data would have the key")
    if keys.source == "file":
        return FileKeySource(folder)
    return PassphraseKeySource(folder, _passphrase)


def _passphrase() -> bytes:
    text = environment("STRONGROOM_PASSPHRASE")
    if text is None:
        raise ConfigError(
            "keys.source is passphrase: set STRONGROOM_PASSPHRASE for the process that starts the archive"
        )
    return text.encode()


def backend_of(home: Home, config: Config, ring: KeyRing, files: SecretFiles) -> Backend:
    """The database of the index."""
    if config.index.url:
        return open_postgresql(config.index.url)
    key = ring.open_secret(INDEX_SECRET, files.get(INDEX_SECRET))
    return open_sqlcipher(home.index, key, cache_mib=config.index.cache_mib)


def initialise(home: Home, config_text: str, config: Config) -> str:
    """Make a new archive in ``home``: keys, certificate authority, index. Returns the id of its master key.

    Whatever it made is taken away again if it fails. Raises ConfigError if there is an archive already, in the home or
    in the database, or if a configured place is not there; StorageUnavailable if something cannot be written.
    """
    _check_place(home)
    source = key_source(home, config)
    for folder in map(Path, config.trail.checkpoint_dirs):
        if not folder.is_dir():
            raise ConfigError(f"the checkpoint directory {folder} is not there: make it, or mount what holds it")
    # A database that is away, refuses us or is somebody's has to show before anything is written.
    if config.index.url and is_in_use(open_postgresql(config.index.url).engine):
        raise ConfigError(f"the database of index.url {IN_USE}: name an empty one")
    with ExitStack() as undo:
        master_id = _new_master(source, home, undo)
        ring = KeyRing(source, master_id)
        _make_folders(home, undo)
        _write_secrets(home, config, ring)
        upgrade(backend_of(home, config, ring, SecretFiles(home.secrets)).engine)
        for folder in (home.data, home.root.parent):
            sync_directory(folder)
        # Last: a home without its configuration is no archive yet.
        undo.callback(home.config.unlink, missing_ok=True)
        _write(home.config, config_text.encode(), PRIVATE_MODE)
        _record_creation(home, master_id)
        undo.pop_all()
    return master_id


def _check_place(home: Home) -> None:
    if home.config.exists():
        raise ConfigError(f"{home.root} holds an archive already")
    if home.holds_archive():
        raise ConfigError(config_is_missing(home))
    if home.data.exists():
        raise ConfigError(
            f"{home.data} is left of an `init` that did not end (it holds no index, no secrets and no object): "
            "remove it and try again"
        )


def _new_master(source: KeySource, home: Home, undo: ExitStack) -> str:
    if isinstance(source, CommandKeySource):
        return "mk-" + secrets.token_hex(8)
    if not home.default_keys.exists():
        undo.callback(_remove_if_empty, home.default_keys)
    master_id = source.create()
    undo.callback(source.discard, master_id)
    return master_id


def _make_folders(home: Home, undo: ExitStack) -> None:
    try:
        for folder in (home.root, home.peers, home.checkpoints):
            if not folder.exists():
                folder.mkdir(mode=0o700, parents=True)
                undo.callback(_remove_if_empty, folder)
        home.data.mkdir(mode=0o700)  # raises if another `init` has just made it
        undo.callback(shutil.rmtree, home.data, ignore_errors=True)
        home.objects.mkdir(mode=0o700)
    except OSError as error:
        raise StorageUnavailable(f"cannot make {error.filename}: {error.strerror}") from None
    for name in (AUTHORITY_NAME, PUBLIC_KEY_NAME, WRITERS_LOCK_NAME):
        if not (home.root / name).exists():
            undo.callback((home.root / name).unlink, missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _write_secrets(home: Home, config: Config, ring: KeyRing) -> None:
    """Make the archive's own keys and certificates."""
    files = SecretFiles(home.secrets)
    authority = new_authority(config.archive.id, now_utc())
    server = issue(authority, config.archive.aet, own_addresses(config), now_utc(), SERVER_DAYS)
    seed = secrets.token_bytes(32)
    for name, secret in (
        (TRAIL_SECRET, seed),
        (AUTHORITY_SECRET, authority.certificate_pem + authority.key_pem),
        (SERVER_SECRET, server.certificate_pem + server.key_pem),
        (INDEX_SECRET, secrets.token_bytes(48)),
    ):
        files.put(name, ring.seal_secret(name, secret))
    make_people_key(ring, files)
    _write(home.root / AUTHORITY_NAME, authority.certificate_pem, PUBLIC_MODE)
    _write(home.root / PUBLIC_KEY_NAME, Signer(signer_name(config), seed).verifier.to_pem(), PUBLIC_MODE)


def _record_creation(home: Home, master_id: str) -> None:
    """Put the archive's name on its index, in one transaction: two that begin at once cannot both have a database."""
    archive = Archive(home, LOCAL_LOG)
    archive_id = archive.config.archive.id
    details: dict[str, Detail] = {"what": "archive created", "archive_id": archive_id}

    def work(transaction: Transaction) -> None:
        if transaction.meta(ARCHIVE_ID):
            raise ConfigError(f"the database of index.url {IN_USE}: name an empty one")
        archive.index.registry.set_meta(transaction.cursor, ARCHIVE_ID, archive_id)
        archive.index.registry.set_meta(transaction.cursor, ACTIVE_MASTER, master_id)
        transaction.record(Event(Action.CONFIG_CHANGE, Outcome.SUCCESS, archive.principal, details))

    try:
        archive.index.database.write(work)
    finally:
        archive.close()


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        write_durably(path, content, mode)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from None


def new_archive_id() -> str:
    """A random id for a new archive."""
    return uuid.uuid4().hex


def signer_name(config: Config) -> str:
    """What checkpoints call the archive's key."""
    return f"strongroom-{config.archive.id[:8]}"


def own_addresses(config: Config) -> list[str]:
    """Addresses and names that the server's certificate is good for."""
    names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), config.dicom.bind, config.https.bind}
    names.update(config.https.names)
    return sorted(names - {"0.0.0.0", "::"})  # noqa: S104  # compared with, never bound to


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The archive's own certificate authority and the server's identity."""

    authority: Issued
    identity: Identity


class Archive:
    """One archive, open. ``log`` is the trail log that this process appends to.

    A process that another one has started has its ``config`` from there: the file may say something else by now.
    """

    def __init__(self, home: Home, log: str, config: Config | None = None) -> None:
        self.home = home
        self.config = config or load(home)
        _check_writable(home)
        self.secrets = SecretFiles(home.secrets)
        try:
            master_id = secret_master_id(self.secrets.get(INDEX_SECRET))
        except NotFound:
            raise ConfigError(f"{home.secrets} holds no secrets: the archive is damaged, restore it") from None
        self.source = key_source(home, self.config)
        self.ring = KeyRing(self.source, master_id)
        _check_key(self.ring, self.secrets)
        self.backend = backend_of(home, self.config, self.ring, self.secrets)
        self.migrated = _open_index(self.backend, home, self.config)
        self.trail = TrailLog(log, self.backend.dialect)
        self.trail_reader = TrailReader(self.backend.dialect)
        self.index = Index(self.backend, self.trail, self.ring, time.time, secrets.token_bytes)
        _check_owner(self.index, self.config.archive.id)
        if self.backend.is_sqlite:
            key = self.ring.open_secret(INDEX_SECRET, self.secrets.get(INDEX_SECRET))[:32]
            turns = Turns(home.data / "queue.lock", home.data / "turn.lock")
            self.index.use_journal(Journal(home.data / "journal", key), turns)
        self.blobs = SealedBlobStore(home.objects, small_bytes=SMALL_OBJECT_BYTES)
        limits = self.config.limits
        caps = QuarantineLimits(limits.max_quarantine_objects, limits.max_quarantine_bytes)
        self.quarantine = QuarantineStore(
            self.index.database, self.ring, self.blobs, caps, lambda event: self.index.announce(event)
        )
        self.principal = local_principal()
        self._generation = ""
        self.writers = HomeLock(home.root / WRITERS_LOCK_NAME)
        about = AboutArchive(retrieve_aet=self.config.archive.aet)
        read_limits = ReadLimits(limits.max_query_results, limits.max_retrieve_objects, limits.max_query_bytes)
        self.reader = Reader(self.index, self.blobs, read_limits, about)
        self.pixels = Pixels(pixel_limits(limits))
        self.door = door_of(self.config, self.ring, self.quarantine, self.pixels)
        self._ingest_ports = IngestPorts(
            self.blobs, self.index, StudyKeys(self.index, self.ring), time.time, next_object_id, self.door
        )
        scan = scan_limits(limits)
        closes_after_us = int(self.config.screening.study_closes_after_h * 3600e6)
        self._ingest_limits = IngestLimits(scan, limits.max_header_bytes, limits.max_message_bytes, closes_after_us)
        trust = TrustFiles(self.config.signatures.trusted, self.config.signatures.revocation_lists)
        reports = SignatureReports(self.index.database)
        vouching = SignaturePorts(self.blobs, self.index, reports, time.time, lambda event: self.index.announce(event))
        self.signatures = SignatureChecks(vouching, trust, scan, limits.max_signatures)
        self._ingest_ports = replace(self._ingest_ports, check_signatures=self.signatures.received)
        self._sealed_metadata = SealedMetadata(home.metadata, self.config.https.metadata_cache_mib * 2**20)
        self.outliner = Outliner(self.reader, scan)
        self.metadata = Metadata(self.outliner, self._sealed_metadata)

    @property
    def aet(self) -> AeTitle:
        """The archive's AE title."""
        return AeTitle.parse(self.config.archive.aet)

    def new_ingest(self, arrival: Arrival, index: ports.Index | None = None, door: Door | None = None) -> Ingest:
        """Begin to take an object in; ``index`` stands in for the archive's own, to do more in the same transaction,
        ``door`` for the archive's policy."""
        self.writers.share()
        used = replace(self._ingest_ports, index=index or self._ingest_ports.index, door=door or self.door)
        return Ingest(used, self._ingest_limits, arrival)

    def digesting(self) -> Digesting:
        """What computes the digests that come after storing."""
        table, catch_up = DigestTable(self.index.database), self.signatures.catch_up
        ports = DigestPorts(self.blobs, self.index, table, self.door.pixels, time.time, catch_up)
        return Digesting(ports, self._ingest_limits.scan, self.principal)

    def record(self, action: Action, details: Mapping[str, Detail], outcome: Outcome = Outcome.SUCCESS) -> None:
        """Append an act of this machine's operator to the trail."""
        self.index.record(Event(action, outcome, self.principal, details))

    def forget_study(self, study_uid: str, key_ids: Iterable[bytes]) -> None:
        """Keep nothing in memory that opened a study which was deleted, and no metadata that was sealed with it."""
        key_ids = tuple(key_ids)
        self._ingest_ports.study_keys.forget(study_uid)
        for key_id in key_ids:
            self.ring.forget(key_id)
        self._sealed_metadata.forget(key_ids)

    def forget_deleted(self) -> None:
        """Drop every data key from memory if some study was deleted since the last call, by whatever process."""
        with self.index.database.reading() as cursor:
            generation = self.index.registry.get_meta(cursor, GENERATION)
        if generation != self._generation:
            self._generation = generation
            self.ring.forget_all()
            self._ingest_ports = replace(self._ingest_ports, study_keys=StudyKeys(self.index, self.ring))

    def signer(self) -> Signer:
        """What signs this archive's checkpoints."""
        return Signer(signer_name(self.config), self.ring.open_secret(TRAIL_SECRET, self.secrets.get(TRAIL_SECRET)))

    def checkpoint(self) -> str:
        """Sign the present state of every trail log and write the notes to every checkpoint directory; returns them.

        Raises StorageUnavailable if a directory cannot be written, after all others are: a checkpoint that stays in the
        database proves nothing.
        """
        signer, archive_id = self.signer(), self.config.archive.id

        def work(transaction: Transaction) -> None:
            for name in self.trail_reader.logs(transaction.cursor):
                TrailLog(name, self.backend.dialect).checkpoint(transaction.cursor, signer, archive_id, time.time())

        self.index.database.write(work)
        with self.index.database.read() as cursor:
            last = [self.trail_reader.last_checkpoint(cursor, name) for name in self.trail_reader.logs(cursor)]
        notes = [parse_note(checkpoint.note) for checkpoint in last if checkpoint is not None]
        with suppress(OSError):  # write_checkpoint says what is wrong
            self.home.checkpoints.mkdir(mode=0o700)
        problems = []
        for folder in self.checkpoint_folders:
            try:
                left = write_checkpoint(folder, notes, self.is_own_note)
            except StorageUnavailable as error:
                problems.append(str(error))
                continue
            for stated in (note.checkpoint for note in left):
                log.error("%s keeps a checkpoint of log %s at %d: the index has less", folder, stated.log, stated.size)
        if problems:
            raise StorageUnavailable("; ".join(problems))
        return encode_notes(note.text for note in notes)

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Where checkpoints are kept: at home, and at every place outside that is configured."""
        return (self.home.checkpoints, *map(Path, self.config.trail.checkpoint_dirs))

    def is_own_note(self, note: Note) -> bool:
        """Whether a checkpoint is of this archive and has its signature. Raises what reading the key raises."""
        stated = note.checkpoint
        is_ours = stated.origin == origin_of(self.config.archive.id, stated.log)
        return is_ours and self.signer().verifier.accepts(note)

    def tls(self) -> TlsMaterial:
        """The archive's certificate authority and its own certificate."""
        authority = self.issued(AUTHORITY_SECRET)
        server = self.issued(SERVER_SECRET)
        password = secrets.token_hex(16).encode()
        chain = server.certificate_pem + authority.certificate_pem
        return TlsMaterial(authority, Identity(chain, encrypted_key(server.key_pem, password), password))

    def issued(self, name: str) -> Issued:
        """A certificate and its key, by the name of their secret."""
        pem = self.ring.open_secret(name, self.secrets.get(name))
        certificate, mark, key = pem.partition(b"-----BEGIN PRIVATE KEY-----")
        return Issued(certificate, mark + key)

    def close(self) -> None:
        """Close the index."""
        self.pixels.close()
        self.index.database.close()
        self.writers.release()


def scan_limits(limits: LimitsSection) -> ScanLimits:
    """The caps on reading one data set."""
    return ScanLimits(
        max_element_depth=limits.max_element_depth,
        max_element_count=limits.max_element_count,
        max_element_value_bytes=limits.max_element_value_bytes,
        max_inflate_ratio=limits.max_inflate_ratio,
        max_kept_bytes=limits.max_kept_bytes,
        max_inflated_bytes=limits.max_inflated_bytes,
    )


def _check_writable(home: Home) -> None:
    """Say at once that nothing can be written: SQLite would only say that it cannot open its file."""
    for place in (home.root, home.data, home.index):
        if place.exists() and not os.access(place, os.W_OK):
            raise ConfigError(
                f"{place} is not writable: every command, `check` too, takes locks and writes to the trail. "
                "Copy a read-only snapshot to where it may be written, or run as the archive's user"
            )


def _check_key(ring: KeyRing, files: SecretFiles) -> None:
    """Raise ConfigError if no secret opens at all: then it is the key that is wrong, and not the secrets."""
    for name in (INDEX_SECRET, *files.names()):
        with suppress(IntegrityError, ConfigError, NotFound):
            ring.open_secret(name, files.get(name))
            return
    raise ConfigError(
        f"nothing of this archive opens with master key {ring.active_id}: "
        "the passphrase is wrong, or another key has that id now"
    )


def _check_owner(index: Index, archive_id: str) -> None:
    """Raise ConfigError if the index has the name of another archive than the one of config.toml on it."""
    with index.database.read() as cursor:
        owner = index.registry.get_meta(cursor, ARCHIVE_ID)
    if owner and owner != archive_id:
        index.database.close()
        raise ConfigError(
            f"the index belongs to archive {owner}, and config.toml says archive.id {archive_id}: "
            "name this archive's own database, or restore its config.toml"
        )


def _open_index(backend: Backend, home: Home, config: Config) -> bool:
    """Bring the index to the current schema; whether it was behind."""
    if not config.index.url and not home.index.exists():
        # SQLite would make an empty one, in which nothing that is stored has a row.
        raise ConfigError(f"{home.index} is missing: the archive is damaged, restore it")
    return upgrade(backend.engine)


def next_object_id() -> bytes:
    """A new object id, in order of time."""
    return new_object_id(time.time_ns() // 1_000_000, secrets.token_bytes(10))
