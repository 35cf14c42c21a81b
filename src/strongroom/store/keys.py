"""Keys: master keys from outside the data volume, data keys wrapped under them, and small sealed secrets.

A master key is 32 bytes that a key source gives for a key id. It wraps data keys (one per study) and the archive's
few secrets; what is wrapped says which master key opens it. Rotation makes a new master key active and re-wraps;
sealed objects are never touched. No key is ever part of a repr, an error or a log.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
import stat
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.archive.model import DataKey
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.store.files import write_durably

KEY_BYTES = 32
KEY_ID_BYTES = 16
WRAPPED_BYTES = 12 + KEY_BYTES + 16
"""Nonce, encrypted key, tag."""
MAX_SECRET_BYTES = 1 << 20
MIN_PASSPHRASE_CHARS = 12

_NONCE_BYTES, _TAG_BYTES = 12, 16
_MASTER_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SECRET_MAGIC = b"strongroom secret\0\1"  # the last byte is the format version
_MAX_KEY_TEXT_BYTES = 4096
"""A key file or a key command's answer; 32 bytes take 64 as hex."""


def _require_master_id(key_id: str) -> str:
    if not _MASTER_ID.fullmatch(key_id):
        raise ConfigError("a master key id has 1 to 64 of a-z, 0-9, _ and -")
    return key_id


def _new_master_id() -> str:
    return "mk-" + secrets.token_hex(8)


def _parse_key(text: bytes, key_id: str) -> bytes:
    """Return the key in ``text``: 64 hex digits, or base64 of 32 bytes; white space around it is ignored."""
    bare = text.strip()
    with contextlib.suppress(binascii.Error, ValueError):
        key = (
            bytes.fromhex(bare.decode("ascii")) if len(bare) == 2 * KEY_BYTES else base64.b64decode(bare, validate=True)
        )
        if len(key) == KEY_BYTES:
            return key
    raise ConfigError(f"master key {key_id}: not 32 bytes in hex or base64")


def _write_new_file(path: Path, content: bytes) -> None:
    """Make ``path`` (mode 0600) with ``content``, durably, whole or not at all, replacing what is there."""
    try:
        write_durably(path, content)
    except OSError as exc:
        raise StorageUnavailable(f"cannot write {path.name}: {exc.strerror}") from None


def _read_private_file(path: Path, limit: int) -> bytes | None:
    """Return a file's content, None if it is not there. Raises ConfigError if others may read it or it is too long."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"cannot open {path}: {exc.strerror}") from None
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is no regular file")
        if status.st_mode & 0o077:
            raise ConfigError(f"{path} may be read by others: run `chmod 600 {path}`")
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"{path} belongs to another user")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ConfigError(f"{path} is longer than {limit} bytes")
    return content


def _prepare_directory(directory: Path) -> None:
    """Make ``directory`` (mode 0700) if it is not there. Raises ConfigError if others may enter it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.stat().st_mode
    except OSError as exc:
        raise ConfigError(f"cannot use {directory} for keys: {exc.strerror}") from None
    if mode & 0o077:
        raise ConfigError(f"{directory} may be entered by others: run `chmod 700 {directory}`")


class FileKeySource:
    """Master keys as files ``<key id>.key`` (64 hex digits, mode 0600) in a directory (mode 0700).

    The directory belongs on another volume than the data, and into another backup.
    """

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, made when the first key is."""
        self._directory = directory

    def load(self, key_id: str) -> bytes:
        """Return master key ``key_id``. Raises ConfigError: missing, malformed, or readable by others."""
        path = self._directory / f"{_require_master_id(key_id)}.key"
        if self._directory.exists():
            _prepare_directory(self._directory)
        text = _read_private_file(path, _MAX_KEY_TEXT_BYTES)
        if text is None:
            raise ConfigError(f"master key {key_id} is missing: there is no {path}")
        return _parse_key(text, key_id)

    def is_there(self, key_id: str) -> bool:
        """Whether there is a file for the key at all, of whatever mode and content."""
        return os.path.lexists(self._directory / f"{_require_master_id(key_id)}.key")

    def create(self) -> str:
        """Make a new master key, durably, and return its id. Raises ConfigError, StorageUnavailable."""
        _prepare_directory(self._directory)
        key_id = _new_master_id()
        _write_new_file(self._directory / f"{key_id}.key", secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
        return key_id

    def discard(self, key_id: str) -> None:
        """Take back a key that `create` has just made and nothing was wrapped under."""
        (self._directory / f"{_require_master_id(key_id)}.key").unlink(missing_ok=True)


class PassphraseKeySource:
    """Master keys derived from a passphrase with Argon2id (RFC 9106, second recommended set: 64 MiB, 3 passes).

    A salt per key id lies in ``<key id>.salt``; it is no secret, but without it the key is lost.
    """

    def __init__(self, directory: Path, passphrase: Callable[[], bytes]) -> None:
        """Keep salts in ``directory``; ``passphrase`` is called each time that a key is derived."""
        self._directory, self._passphrase = directory, passphrase

    def load(self, key_id: str) -> bytes:
        """Return the key that the passphrase gives for ``key_id``; a wrong one shows when the key is used."""
        path = self._directory / f"{_require_master_id(key_id)}.salt"
        text = _read_private_file(path, _MAX_KEY_TEXT_BYTES)
        if text is None:
            raise ConfigError(f"master key {key_id}: its salt is missing, there is no {path}")
        salt = _parse_key(text, key_id)
        passphrase = self._passphrase()
        if not passphrase:
            raise ConfigError("the passphrase is empty")
        return hash_secret_raw(
            passphrase, salt, time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=KEY_BYTES, type=Type.ID
        )

    def is_there(self, key_id: str) -> bool:
        """Whether there is a file for the key at all, of whatever mode and content."""
        return os.path.lexists(self._directory / f"{_require_master_id(key_id)}.salt")

    def create(self) -> str:
        """Make a salt for a new master key, durably, and return the key's id.

        Raises ConfigError if the passphrase is shorter than MIN_PASSPHRASE_CHARS, StorageUnavailable.
        """
        if len(self._passphrase().decode("utf-8", "replace")) < MIN_PASSPHRASE_CHARS:
            raise ConfigError(
                f"the passphrase has fewer than {MIN_PASSPHRASE_CHARS} characters: whoever has the disk can try all of "
                "them. Five random words are good"
            )
        _prepare_directory(self._directory)
        key_id = _new_master_id()
        _write_new_file(self._directory / f"{key_id}.salt", secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
        return key_id

    def discard(self, key_id: str) -> None:
        """Take back a salt that `create` has just made and nothing was wrapped under."""
        (self._directory / f"{_require_master_id(key_id)}.salt").unlink(missing_ok=True)


class CommandKeySource:
    """Master keys that a command of the operator prints (hex or base64): a KMS client, a smart card tool, ssh.

    The command runs without a shell; ``{key_id}`` in an argument becomes the key's id. Making keys is its owner's work.
    """

    def __init__(self, argv: tuple[str, ...], *, timeout_s: float = 30.0) -> None:
        """Run ``argv``; an answer that takes longer than ``timeout_s`` is none."""
        if not argv:
            raise ConfigError("the key command is empty")
        self._argv, self._timeout_s = argv, timeout_s

    def load(self, key_id: str) -> bytes:
        """Return master key ``key_id``. Raises ConfigError: the command failed, or its answer is no key."""
        _require_master_id(key_id)
        argv = [word.replace("{key_id}", key_id) for word in self._argv]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(f"master key {key_id}: {argv[0]} gave no key in {self._timeout_s:g} s") from None
        except OSError as exc:
            raise ConfigError(f"master key {key_id}: cannot run {argv[0]}: {exc.strerror}") from None
        if done.returncode:
            # What it printed is not repeated: it may hold a part of a key, or of a credential.
            raise ConfigError(f"master key {key_id}: {argv[0]} ended with status {done.returncode}")
        return _parse_key(done.stdout[:_MAX_KEY_TEXT_BYTES], key_id)


KeySource = FileKeySource | PassphraseKeySource | CommandKeySource
"""Where master keys come from: ``load(key_id)`` gives 32 bytes or raises ConfigError with the id in it."""


class KeyRing:
    """Wraps and unwraps data keys and small secrets under master keys. Thread-safe.

    Wrapping is AES-256-GCM with a random nonce and ``purpose, key id`` as associated data, not AES key wrap (RFC 5649):
    key wrap has no associated data, so a stored row's wrapped key could be put into another row unnoticed. Random
    96-bit nonces are good for 2**32 wraps under one master key (NIST SP 800-38D 8.3), more studies than a hospital has.
    """

    def __init__(self, source: KeySource, active_id: str, *, cached_keys: int = 4096) -> None:
        """Load the active master key at once, so that a missing one shows at start. Raises ConfigError.

        At most ``cached_keys`` unwrapped data keys are held in memory.
        """
        self._source, self._cached_keys = source, cached_keys
        self._lock = threading.Lock()
        self._masters: dict[str, AESGCM] = {}
        self._data_keys: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        self.active_id = active_id
        self._master(active_id)

    def __repr__(self) -> str:
        return f"KeyRing(active_id={self.active_id!r})"

    def activate(self, master_id: str) -> None:
        """Wrap under ``master_id`` from here on. Raises ConfigError if it cannot be loaded."""
        self._master(master_id)
        self.active_id = master_id

    def _master(self, master_id: str) -> AESGCM:
        cipher = self._masters.get(master_id)
        if cipher is None:
            key = self._source.load(master_id)
            if len(key) != KEY_BYTES:
                raise ConfigError(f"master key {master_id} does not have 32 bytes")
            cipher = self._masters[master_id] = AESGCM(key)
        return cipher

    def new_data_key(self) -> DataKey:
        """Return a new random data key with a new 16-byte id, wrapped under the active master key."""
        key_id, key, master_id = secrets.token_bytes(KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES), self.active_id
        wrapped = self._wrap(_data_key_purpose(key_id), key, master_id)
        self._remember(key_id, wrapped, key)
        return DataKey(key_id, key, wrapped, master_id)

    def unwrap(self, key_id: bytes, wrapped: bytes, master_id: str) -> bytes:
        """Return the data key ``key_id`` that ``wrapped`` holds under ``master_id``; the last ones used are cached.

        Raises:
            IntegrityError: the master key is another than the one it was wrapped under, or the row was changed.
            ConfigError: the master key cannot be had; the message names it.
        """
        with self._lock:
            held = self._data_keys.get(key_id)
            # Compared, so that a changed row is not hidden by the cache.
            if held is not None and held[0] == wrapped:
                self._data_keys.move_to_end(key_id)
                return held[1]
        key = self._unwrap(_data_key_purpose(key_id), wrapped, master_id)
        if len(key) != KEY_BYTES:
            raise IntegrityError(f"data key {key_id.hex()} does not have 32 bytes")
        self._remember(key_id, wrapped, key)
        return key

    def rewrap(self, key_id: bytes, wrapped: bytes, master_id: str) -> DataKey:
        """Return the same data key wrapped under the active master key. Raises what `unwrap` raises."""
        key = self.unwrap(key_id, wrapped, master_id)
        active = self.active_id
        again = self._wrap(_data_key_purpose(key_id), key, active)
        self._remember(key_id, again, key)
        return DataKey(key_id, key, again, active)

    def forget(self, key_id: bytes) -> None:
        """Drop a data key from memory: its study was deleted."""
        with self._lock:
            self._data_keys.pop(key_id, None)

    def forget_all(self) -> None:
        """Drop every data key from memory: some study was deleted, perhaps by another process."""
        with self._lock:
            self._data_keys.clear()

    def seal_secret(self, name: str, secret: bytes) -> bytes:
        """Return ``secret`` sealed under the active master key, in a blob that names that key and binds ``name``."""
        if not _SECRET_NAME.fullmatch(name) or len(secret) > MAX_SECRET_BYTES:
            raise ValueError("a secret has a plain name and at most 1 MiB")
        master_id = self.active_id
        tag = master_id.encode()
        return _SECRET_MAGIC + bytes([len(tag)]) + tag + self._wrap(_secret_purpose(name), secret, master_id)

    def open_secret(self, name: str, blob: bytes) -> bytes:
        """Return what `seal_secret` sealed as ``name``. Raises IntegrityError, ConfigError as `unwrap` does."""
        master_id = secret_master_id(blob)
        return self._unwrap(_secret_purpose(name), blob[len(_SECRET_MAGIC) + 1 + len(master_id) :], master_id)

    def rewrap_secret(self, name: str, blob: bytes) -> bytes:
        """Return the secret ``name`` sealed under the active master key. Raises what `open_secret` raises."""
        return self.seal_secret(name, self.open_secret(name, blob))

    def _wrap(self, purpose: bytes, plain: bytes, master_id: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._master(master_id).encrypt(nonce, plain, purpose)

    def _unwrap(self, purpose: bytes, wrapped: bytes, master_id: str) -> bytes:
        if not _NONCE_BYTES + _TAG_BYTES <= len(wrapped) <= _NONCE_BYTES + _TAG_BYTES + MAX_SECRET_BYTES:
            raise IntegrityError(f"a wrapped key cannot have {len(wrapped)} bytes")
        try:
            return self._master(master_id).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], purpose)
        except InvalidTag:
            raise IntegrityError(
                f"what was wrapped under master key {master_id} does not open: another key has that id now, or the "
                "wrapped bytes were changed"
            ) from None

    def _remember(self, key_id: bytes, wrapped: bytes, key: bytes) -> None:
        with self._lock:
            self._data_keys[key_id] = (wrapped, key)
            self._data_keys.move_to_end(key_id)
            while len(self._data_keys) > self._cached_keys:
                self._data_keys.popitem(last=False)


def _data_key_purpose(key_id: bytes) -> bytes:
    if len(key_id) != KEY_ID_BYTES:
        raise IntegrityError(f"a data key id cannot have {len(key_id)} bytes")
    return b"strongroom\0data key\0\1" + key_id


def _secret_purpose(name: str) -> bytes:
    return b"strongroom\0secret\0\1" + name.encode()


def secret_master_id(blob: bytes) -> str:
    """Return the id of the master key that ``blob`` (of `KeyRing.seal_secret`) was sealed under.

    Raises:
        IntegrityError: this is no sealed secret.
    """
    start = len(_SECRET_MAGIC) + 1
    if len(blob) >= start and blob.startswith(_SECRET_MAGIC):
        master_id = blob[start : start + blob[start - 1]].decode("ascii", "replace")
        if _MASTER_ID.fullmatch(master_id):
            return master_id
    raise IntegrityError("not a sealed secret")


class SecretFiles:
    """Sealed secrets as files ``<name>.sealed`` in one directory, each replaced whole or not at all."""

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, made (mode 0700) at the first `put`."""
        self._directory = directory

    def _path(self, name: str) -> Path:
        if not _SECRET_NAME.fullmatch(name):
            raise ValueError("a secret has a plain name")
        return self._directory / f"{name}.sealed"

    def put(self, name: str, blob: bytes) -> None:
        """Store ``blob`` as ``name`` durably. Raises StorageUnavailable; the old content is then still there."""
        _prepare_directory(self._directory)
        _write_new_file(self._path(name), blob)

    def get(self, name: str) -> bytes:
        """Return what is stored as ``name``. Raises NotFound, ConfigError (others may read it)."""
        blob = _read_private_file(self._path(name), 2 * MAX_SECRET_BYTES)
        if blob is None:
            raise NotFound(f"no secret {name}")
        return blob

    def names(self) -> Iterator[str]:
        """Yield the names of all secrets, in order; half-written files are none."""
        if self._directory.exists():
            for path in sorted(self._directory.glob("*.sealed")):
                if not path.name.startswith("."):
                    yield path.name.removesuffix(".sealed")

    def rewrap_all(self, ring: KeyRing) -> int:
        """Seal every secret that is not under the active master key under it; return how many there were.

        A failure leaves each file as it was or done, so the call can be repeated.
        """
        done = 0
        for name in self.names():
            blob = self.get(name)
            if secret_master_id(blob) != ring.active_id:
                self.put(name, ring.rewrap_secret(name, blob))
                done += 1
        return done
