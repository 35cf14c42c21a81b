"""The run log: everything that was sent, received and observed, hash-chained, with no byte of any of it.

One JSON object a line. Each holds ``prev``, the SHA-256 of the line before it (of 64 zeros for the first). What passed
on the wire stands there as its length and as an HMAC-SHA-256 under a key of the run's own, which lies beside the log:
whoever has a copy of the message and the key can show that it is the one, and once the key is destroyed the hashes say
nothing. The last entry is ``end``, or ``signature`` over the hash of ``end``.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from strongroom.errors import ConfigError, StorageUnavailable

Value = str | int | float | bool | None | Sequence["Value"] | Mapping[str, "Value"]
Entry = Mapping[str, Any]

FIRST: Final = "0" * 64
LOG_NAME: Final = "run.jsonl"
KEY_NAME: Final = "run.key"
KEY_BYTES: Final = 32
MAX_LINE_BYTES: Final = 1 << 20


class RunLog:
    """Appends entries, from any thread. ``key`` is the key of the hashes; ``head`` the hash of the last entry."""

    def __init__(self, file: BinaryIO, key: bytes, number: int = 0, head: str = FIRST) -> None:
        """``number`` and ``head`` are those of the last entry of a log that is continued."""
        self._file = file
        self._lock = threading.Lock()
        self._number = number
        self.head = head
        self.key = key

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return self._number

    def append(self, kind: str, fields: Mapping[str, Value]) -> int:
        """Write an entry and return its number, from 1. Raises StorageUnavailable."""
        with self._lock:
            number = self._number + 1
            entry = {"n": number, "at_us": time.time_ns() // 1000, "kind": kind, **fields, "prev": self.head}
            line = json.dumps(entry, separators=(",", ":"), ensure_ascii=True).encode()
            try:
                self._file.write(line + b"\n")
                self._file.flush()
            except OSError as error:
                raise StorageUnavailable(f"the run log cannot be written: {error.strerror}") from None
            self._number, self.head = number, sha256(line).hexdigest()
            return number

    def close(self) -> None:
        """Make it durable and close it."""
        with self._lock:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def new_log(folder: Path) -> RunLog:
    """Start a log and its key in ``folder``, files that only their owner may read. Raises ConfigError."""
    key = os.urandom(KEY_BYTES)
    try:
        with _opened(folder / KEY_NAME, os.O_CREAT | os.O_EXCL | os.O_WRONLY) as file:
            file.write(key.hex().encode() + b"\n")
        return RunLog(_locked(_opened(folder / LOG_NAME, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), key)
    except OSError as error:
        raise ConfigError(f"{folder}: the run log cannot be written: {error.strerror}") from None


def continue_log(folder: Path) -> RunLog:
    """Open the log of a run that did not come to its end; half a line, left by a kill, is cut off.

    Raises ConfigError: it cannot be read, its chain does not hold, its key is gone, or another process writes to it.
    """
    try:
        file = _locked(_opened(folder / LOG_NAME, os.O_RDWR))
        try:
            key = bytes.fromhex((folder / KEY_NAME).read_text("ascii").strip())
            chain = _cut_after_last_entry(file)
            if chain.problem or len(key) != KEY_BYTES:
                raise ConfigError(f"{folder}: {chain.problem or 'its key is damaged'}: give another --out")
        except BaseException:
            file.close()
            raise
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "its key is damaged"
        raise ConfigError(f"{folder}: the run log cannot be continued: {words}") from None
    return RunLog(file, key, chain.number, chain.head)


def _cut_after_last_entry(file: BinaryIO) -> Chain:
    """Follow the chain in ``file`` to its end, and leave the file there, without half a line."""
    chain, end = Chain(), 0
    while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
        chain.take(line)
        end += len(line)
    if not chain.problem:
        file.truncate(end)
    file.seek(end)
    return chain


def read_entries(folder: Path) -> Iterator[Entry]:
    """Yield the entries of a log as they stand, whole lines only. Raises ConfigError if it cannot be read."""
    try:
        with (folder / LOG_NAME).open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                if line.endswith(b"\n"):
                    yield _entry(line)
    except (OSError, ValueError, RecursionError):
        raise ConfigError(f"{folder / LOG_NAME} cannot be read, or is no run log") from None


def _entry(line: bytes) -> Entry:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("no entry")
    return entry


class Chain:
    """Follows a log line by line. ``problem`` says what does not hold, "" if all does."""

    def __init__(self) -> None:
        self.number = 0
        self.head = FIRST
        self.previous_head = FIRST
        self.problem = ""
        self.entry: Entry = {}

    def take(self, line: bytes) -> None:
        """Hold the next line against what came before."""
        if self.problem:
            return
        number = self.number + 1
        try:
            entry = _entry(line)
            follows = entry["n"] == number and entry["prev"] == self.head
        except (ValueError, KeyError, TypeError, RecursionError):
            self.problem = f"entry {number} cannot be read"
            return
        if not follows:
            self.problem = f"entry {number} does not follow from the one before it: the log was altered"
            return
        if self.entry.get("kind") == "signature" and entry.get("kind") != "resumed":
            self.problem = f"entry {number} comes after the signature"
            return
        self.number, self.previous_head, self.entry = number, self.head, entry
        self.head = sha256(line.rstrip(b"\n")).hexdigest()


@dataclass(frozen=True, slots=True)
class Verified:
    """What a log says of itself. ``problem`` is "" if its chain holds. ``head`` is the hash of its last entry.

    ``signed_head`` and ``signature`` are those of a signed end, or "".
    """

    entries: int
    head: str
    problem: str
    run: str = ""
    scope_digest: str = ""
    ended: str = ""
    signed_head: str = ""
    signature: str = ""


def verify_log(folder: Path) -> Verified:
    """Read a log from its first entry and compute its chain again. Raises ConfigError if there is none."""
    chain = Chain()
    run = digest = ended = ""
    try:
        with (folder / LOG_NAME).open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    chain.problem = chain.problem or f"entry {chain.number + 1} is not whole: the run was killed"
                    break
                chain.take(line)
                if chain.entry.get("kind") == "run" and chain.number == 1:
                    run, digest = str(chain.entry.get("run")), str(chain.entry.get("scope_sha256"))
                if not chain.problem and chain.entry.get("kind") in ("end", "resumed"):
                    ended = str(chain.entry.get("how", "")) if chain.entry["kind"] == "end" else ""
    except OSError as error:
        raise ConfigError(f"{folder / LOG_NAME} cannot be read: {error.strerror}") from None
    signed = chain.entry.get("kind") == "signature"
    problem = chain.problem or ("" if run else "the log does not begin with a run")
    if signed:
        return Verified(
            chain.number,
            chain.head,
            problem,
            run,
            digest,
            ended,
            chain.previous_head,
            str(chain.entry.get("signature")),
        )
    return Verified(chain.number, chain.head, problem, run, digest, ended)


def _opened(path: Path, flags: int) -> BinaryIO:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "wb")


def _locked(file: BinaryIO) -> BinaryIO:
    """``file``, held by this process alone until it is closed. Raises ConfigError."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConfigError("another probe writes to this directory") from None
    return file
