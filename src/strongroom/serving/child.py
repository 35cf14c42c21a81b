"""What every process that ``serve`` starts has in common: it is told what to do, logs as ``serve`` does, ends with it.

Standard input is one line that says what to do, and stays open as long as the parent lives. It is read past Python's
buffer: a thread that waits in ``sys.stdin`` holds the lock of it, and an interpreter that ends meanwhile aborts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_STDIN = 0
_CHUNK = 65536


def read_orders() -> bytes:
    """The one line, without its end; shorter if the parent died before it had said all of it."""
    line = b""
    while not line.endswith(b"\n") and (chunk := os.read(_STDIN, _CHUNK)):
        line += chunk
    return line.removesuffix(b"\n")


def follow_parent(end: Callable[[], object], last_s: float | None = None) -> None:
    """From now on call ``end`` when the parent ends; ``last_s`` later be gone, whatever hangs. Returns at once."""

    def wait() -> None:
        while os.read(_STDIN, _CHUNK):
            pass
        end()
        if last_s is not None:
            threading.Event().wait(last_s)
            os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
