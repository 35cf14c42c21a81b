"""Servers that are programs: started, waited for until they accept, and ended with all their children."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Program:
    """How to start a server: its command, the ports that it will accept on, and where."""

    command: Sequence[str | Path]
    ports: Sequence[int]
    folder: Path
    address: str = "127.0.0.1"
    environment: Mapping[str, str] | None = None
    inside: Sequence[str] = ()
    """A command that runs it elsewhere, such as in a network namespace."""


@dataclass
class Running:
    """A server that accepts. ``output`` is what it has printed so far."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """Standard output and errors so far."""
        return self.log.read_text("utf-8", "replace")


def requires(*programs: str) -> None:
    """Skip the test, counted, unless all these programs are installed."""
    absent = [each for each in programs if not (shutil.which(each) or Path(each).exists())]
    if absent:
        pytest.skip(f"{', '.join(absent)} is not installed")


@contextmanager
def running(program: Program) -> Iterator[Running]:
    """Start it and wait until every port accepts; afterwards its whole process group is gone."""
    program.folder.mkdir(parents=True, exist_ok=True)
    log = program.folder / "output.txt"
    # The kernel ends the server should the tests be killed.
    command = [*program.inside, "setpriv", "--pdeathsig", "KILL", *map(str, program.command)]
    environment = dict(os.environ if program.environment is None else program.environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=program.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=environment, start_new_session=True,
        )  # fmt: skip
    started = Running(process, log)
    try:
        for port in program.ports:
            _wait_for_port(program, port, started)
        yield started
    finally:
        _end(process)


def _wait_for_port(program: Program, port: int, started: Running) -> None:
    deadline, pause = time.monotonic() + START_TIMEOUT_S, threading.Event()
    while not _accepts(program, port):
        if started.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{program.command[0]} does not accept on {port}:\n{started.output[-3000:]}")
        pause.wait(0.03)


def _accepts(program: Program, port: int) -> bool:
    if program.inside:
        done = subprocess.run(
            [*program.inside, "bash", "-c", f"exec 3<>/dev/tcp/{program.address}/{port}"], capture_output=True
        )
        return done.returncode == 0
    try:
        socket.create_connection((program.address, port), 1.0).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    group = process.pid
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOP_TIMEOUT_S)
    assert not _group_lives(group), "a child of the server outlives it"


def _group_lives(group: int) -> bool:
    deadline, pause = time.monotonic() + STOP_TIMEOUT_S, threading.Event()
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        pause.wait(0.02)
    return True
