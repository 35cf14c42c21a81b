"""Master keys: which are needed, whether they are there, and going over to a new one while the server serves.

And the key of the archive's certificate authority, whose certificate is renewed here.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from strongroom.admin.telling import telling
from strongroom.app import AUTHORITY_NAME, AUTHORITY_SECRET, INDEX_SECRET, LOCAL_LOG, Archive, key_source, now_utc
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.config import Home, load
from strongroom.errors import ConfigError, IntegrityError, StorageUnavailable
from strongroom.net.certificates import read_certificate, renewed_authority
from strongroom.store.files import PUBLIC_MODE, write_durably
from strongroom.store.keys import CommandKeySource, KeyRing, KeySource, SecretFiles, secret_master_id
from strongroom.store.rewrapping import Batch, Rewrapping
from strongroom.store.transaction import ACTIVE_MASTER, Transaction

ROTATION = "rotation"
"""``meta`` value: the master key that a rotation goes over to, "" once it has ended."""

PRESENT, MISSING, WRONG, UNREADABLE = "present", "missing", "wrong", "unreadable"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One master key that something is wrapped under, or that is active. ``data_keys`` is None if nobody can count."""

    key_id: str
    data_keys: int | None
    secrets: int
    active: bool
    state: str
    """PRESENT: it is there and opens what it wrapped. WRONG: another key has its id now. UNREADABLE: it is there and
    not taken, for others may read it, or it holds no key. MISSING."""
    problem: str = ""
    """Why it is not PRESENT, in the words of every command that needs it."""


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Every master key that the archive needs. ``index_opened`` False: the index's own key is not there."""

    keys: tuple[MasterKey, ...]
    index_opened: bool
    rotation_unfinished: bool

    @property
    def is_good(self) -> bool:
        """Whether everything opens."""
        return self.index_opened and all(key.state == PRESENT for key in self.keys)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did. ``unopened`` data keys do not open under the master key that they name."""

    master_id: str
    replaced: tuple[str, ...]
    resumed: bool
    data_keys: int
    secrets: int
    unopened: tuple[bytes, ...]


Watch = Callable[[int, int], None]
"""Told how many data keys are done, of how many."""


# -- status


def status(home: Home) -> KeyStatus:
    """Which master keys the archive needs and whether they are there, as far as can be said without a missing one.

    Raises ConfigError if there is no archive.
    """
    config = load(home)
    source = key_source(home, config)
    files = SecretFiles(home.secrets)
    sealed = {name: files.get(name) for name in files.names()}
    if INDEX_SECRET not in sealed:
        raise ConfigError(f"{home.secrets} holds no secret of the index: the archive is damaged, restore it")
    masters = {name: secret_master_id(blob) for name, blob in sealed.items()}
    secrets = Counter(masters.values())
    states: dict[str, tuple[str, str]] = {}
    for name, master_id in masters.items():
        if states.get(master_id, _GOOD) == _GOOD:
            states[master_id] = _state_of_secret(source, master_id, name, sealed[name])
    index_master = masters[INDEX_SECRET]
    if states[index_master] != _GOOD:
        keys = [
            MasterKey(master_id, None, count, master_id == index_master, *states[master_id])
            for master_id, count in sorted(secrets.items())
        ]
        return KeyStatus(tuple(keys), index_opened=False, rotation_unfinished=len(secrets) > 1)
    with closing(Archive(home, LOCAL_LOG)) as archive, archive.index.database.read() as cursor:
        statements = Rewrapping(archive.backend.dialect)
        active = archive.index.registry.get_meta(cursor, ACTIVE_MASTER)
        rotation = archive.index.registry.get_meta(cursor, ROTATION)
        counts = statements.counts(cursor)
        samples = {master_id: statements.sample(cursor, master_id) for master_id in counts}
    keys = []
    for master_id in sorted({*counts, *secrets, active}):
        state = states.get(master_id, _GOOD)
        if state == _GOOD:
            state = _state_of_data_key(source, master_id, samples.get(master_id))
        keys.append(MasterKey(master_id, counts.get(master_id, 0), secrets[master_id], master_id == active, *state))
    return KeyStatus(tuple(keys), index_opened=True, rotation_unfinished=bool(rotation))


_GOOD = (PRESENT, "")


def _state_of_secret(source: KeySource, master_id: str, name: str, blob: bytes) -> tuple[str, str]:
    return _state(source, master_id, lambda ring: ring.open_secret(name, blob))


def _state_of_data_key(source: KeySource, master_id: str, sample: tuple[bytes, bytes] | None) -> tuple[str, str]:
    return _state(source, master_id, lambda ring: sample and ring.unwrap(*sample, master_id))


def _state(source: KeySource, master_id: str, use: Callable[[KeyRing], object]) -> tuple[str, str]:
    """The state of a master key, and why it is not a good one."""
    try:
        use(KeyRing(source, master_id))
    except ConfigError as error:
        is_there = not isinstance(source, CommandKeySource) and source.is_there(master_id)
        return (UNREADABLE if is_there else MISSING), str(error)
    except IntegrityError as error:
        return WRONG, str(error)
    return _GOOD


# -- rotation


def rotate(archive: Archive, new_key_id: str, watch: Watch) -> Rotation:
    """Wrap everything under a new master key; sealed objects are not touched, and a running server goes on.

    Killed at any moment, the archive opens and works; the next call goes on with the same new key. The old master keys
    stay where they are. ``new_key_id`` is for a key source that cannot make keys, "" otherwise.

    Raises ConfigError if the new key, or one in use, cannot be had; StorageUnavailable.
    """
    with archive.index.database.read() as cursor:
        unfinished = archive.index.registry.get_meta(cursor, ROTATION)
        counts = Rewrapping(archive.backend.dialect).counts(cursor)
    resumed = bool(unfinished) and new_key_id in ("", unfinished)
    master_id = unfinished if resumed else _new_master(archive, new_key_id)
    # Tried before anything depends on it: the server must be able to load it too.
    KeyRing(archive.source, master_id)
    old = {secret_master_id(archive.secrets.get(name)) for name in archive.secrets.names()}
    replaced = tuple(sorted({*counts, *old} - {master_id}))
    _begin(archive, master_id, replaced, resumed)
    archive.ring.activate(master_id)
    secrets = archive.secrets.rewrap_all(archive.ring)
    with telling(archive, "key rotation", "data keys") as told:

        def watched(done: int, of: int) -> None:
            watch(done, of)
            told.say(done, of)

        done, unopened = _rewrap(archive, sum(counts.values()) - counts.get(master_id, 0), watched)
        told.result = f"{done} data keys under {master_id}"
    if resumed or any(len(old) != len(master_id) for old in replaced):
        statements = Rewrapping(archive.backend.dialect)
        archive.index.database.write(lambda transaction: statements.rewrite(transaction.cursor))
    rotation = Rotation(master_id, replaced, resumed, done, secrets, unopened)
    _end(archive, rotation)
    return rotation


def _new_master(archive: Archive, new_key_id: str) -> str:
    source = archive.source
    if isinstance(source, CommandKeySource):
        if not new_key_id:
            raise ConfigError("keys.source is command: make the new key there, and name it with --new-key-id ID")
        return new_key_id
    if new_key_id:
        raise ConfigError("--new-key-id is for keys.source = command: other sources name their keys themselves")
    return source.create()


def _begin(archive: Archive, master_id: str, replaced: tuple[str, ...], resumed: bool) -> None:
    registry = archive.index.registry
    details: dict[str, Detail] = {"phase": "begin", "master": master_id, "replaced": replaced, "resumed": resumed}

    def work(transaction: Transaction) -> None:
        cursor = transaction.cursor
        if not resumed and transaction.meta(ACTIVE_MASTER) == master_id:
            raise ConfigError(f"{master_id} is the active master key already")
        # First of all: what is stored from here on is wrapped under the new key, whoever stores it.
        registry.set_meta(cursor, ACTIVE_MASTER, master_id)
        registry.set_meta(cursor, ROTATION, master_id)
        transaction.record(Event(Action.KEY_ROTATION, Outcome.SUCCESS, archive.principal, details))

    archive.index.database.write(work)


def _rewrap(archive: Archive, expected: int, watch: Watch) -> tuple[int, tuple[bytes, ...]]:
    """Rewrap until nothing but what does not open is left under another key."""
    statements = Rewrapping(archive.backend.dialect)
    done = 0
    while True:
        before = done
        unopened: list[bytes] = []
        after: bytes | None = b""
        while after is not None:
            batch = archive.index.database.write(_batch_work(archive, statements, after))
            done += batch.rewrapped
            unopened += batch.unopened
            after = batch.last
            watch(done, max(done, expected))
        if done == before:
            return done, tuple(unopened)


def _batch_work(archive: Archive, statements: Rewrapping, after: bytes) -> Callable[[Transaction], Batch]:
    def work(transaction: Transaction) -> Batch:
        _require_active(transaction, archive.ring.active_id)
        return statements.batch(transaction.cursor, archive.ring, after)

    return work


def _end(archive: Archive, rotation: Rotation) -> None:
    details: dict[str, Detail] = {
        "phase": "end",
        "master": rotation.master_id,
        "data_keys": rotation.data_keys,
        "secrets": rotation.secrets,
        "unopened": len(rotation.unopened),
    }
    outcome = Outcome.WARNING if rotation.unopened else Outcome.SUCCESS

    def work(transaction: Transaction) -> None:
        _require_active(transaction, rotation.master_id)
        archive.index.registry.set_meta(transaction.cursor, ROTATION, "")
        transaction.record(Event(Action.KEY_ROTATION, outcome, archive.principal, details))

    archive.index.database.write(work)
    archive.index.erase_journal()  # where keys are as they were wrapped before


def renew_authority(archive: Archive) -> dt.date:
    """Give the archive's certificate authority a new certificate of the same key; returns its last day.

    Recorded in the trail, and written to the home directory for the peers. Nothing that was issued has to be issued
    again. A server that runs presents the new one after its next start. Raises StorageUnavailable.
    """
    old = archive.issued(AUTHORITY_SECRET)
    new = renewed_authority(old, now_utc())
    facts = read_certificate(new.certificate_pem)
    details: dict[str, Detail] = {
        "what": "certificate authority renewed",
        "before": read_certificate(old.certificate_pem).fingerprint,
        "after": facts.fingerprint,
    }
    archive.record(Action.CONFIG_CHANGE, details)
    archive.secrets.put(AUTHORITY_SECRET, archive.ring.seal_secret(AUTHORITY_SECRET, new.certificate_pem + new.key_pem))
    try:
        write_durably(archive.home.root / AUTHORITY_NAME, new.certificate_pem, PUBLIC_MODE)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {archive.home.root / AUTHORITY_NAME}: {error.strerror}") from None
    return facts.not_after.date()


def _require_active(transaction: Transaction, master_id: str) -> None:
    if transaction.meta(ACTIVE_MASTER) != master_id:
        raise StorageUnavailable("another rotation has begun: let it end, then look at `strongroom keys status`")
