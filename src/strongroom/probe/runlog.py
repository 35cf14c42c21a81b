"""The run log: everything that was sent, received and observed, hash-chained, with no byte of any of it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

Value = str | int | float | bool | None | Sequence["Value"] | Mapping[str, "Value"]

FIRST: Final = "0" * 64


class RunLog:
    """Appends entries, from any thread. ``key`` is the key of the hashes."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._number = 0
        self._previous = FIRST
        self.key = key

    def append(self, kind: str, fields: Mapping[str, Value]) -> int:
        """Write an entry and return its number, from 1."""
        with self._lock:
            self._number += 1
            entry = {"n": self._number, "at_us": time.time_ns() // 1000, "kind": kind, **fields, "prev": self._previous}
            line = json.dumps(entry, separators=(",", ":"), ensure_ascii=True).encode()
            self._file.write(line + b"\n")
            self._file.flush()
            self._previous = sha256(line).hexdigest()
            return self._number


def new_log(path: Path) -> RunLog:
    """Start a log in a new file that only its owner may read. Raises OSError."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
    return RunLog(os.fdopen(file, "wb"), os.urandom(32))
