"""The process that computes digests, as ``serve`` sees it: started, started again when it dies or hangs, ended."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress

import msgspec

from strongroom.config import Config, Home
from strongroom.serving.digestworker import Orders
from strongroom.serving.pulse import MAX_PATIENCE_S, Hearing

log = logging.getLogger(__name__)

PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
"""Before it is started again; doubled each time."""
LAST_MOMENT_S = 30.0


class DigestService:
    """Keeps one process going. ``start`` and ``stop`` are called once."""

    def __init__(self, home: Home, config: Config) -> None:
        self._home, self._config = home, config
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="digests", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Have the process end, and return when it has."""
        self._stopping.set()
        with self._lock:
            self._let_go()
        if self._thread.ident is not None:
            self._thread.join(2 * LAST_MOMENT_S)

    def _keep(self) -> None:
        pause_s = PAUSE_S
        while (started := self._spawned()) is not None:
            status = self._status_of(*started)
            with self._lock:
                self._let_go()
            if self._stopping.is_set():
                return
            log.error("the process that computes digests ended with status %d: it is started again", status)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _spawned(self) -> tuple[subprocess.Popen[bytes], Hearing] | None:
        with self._lock:  # from here on `stop` finds it
            if self._stopping.is_set():
                return None
            # -P: a folder of our name, wherever we were started, is not our code.
            command = [sys.executable, "-P", "-m", "strongroom.serving.digestworker"]
            heard, told = os.pipe()
            try:
                self._process = process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(told,))
            except BaseException:
                os.close(heard)
                raise
            finally:
                os.close(told)
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                orders = Orders(str(self._home.root), self._config, told)
                process.stdin.write(msgspec.json.encode(orders) + b"\n")
                process.stdin.flush()
            return process, Hearing(heard)

    def _status_of(self, process: subprocess.Popen[bytes], hearing: Hearing) -> int:
        is_lost = hearing.is_lost(self._stopping, MAX_PATIENCE_S, MAX_PATIENCE_S)
        hearing.close()
        if is_lost:
            log.error("the process that computes digests hangs, and is killed")
            process.kill()
        while True:
            try:
                return process.wait(LAST_MOMENT_S)
            except subprocess.TimeoutExpired:
                log.error("the process that computes digests did not end in time and was killed")
                process.kill()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
