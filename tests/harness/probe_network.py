"""A network of this machine's own: a namespace with as many addresses as a hospital's subnet has, and no way out.

Needs root. Servers of the tests' own process listen in it by sockets that were made inside; programs are run by
``inside``.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from harness.probe_listener import listening_sockets

Result = TypeVar("Result")
_CLONE_NEWNET = 0x40000000
SUBNET = "10.77.0"
"""Its addresses are .0 to .255, all of the namespace itself."""


@dataclass(frozen=True)
class Network:
    """A network namespace. Every address of ``SUBNET`` is its own; packets to any other have no route."""

    name: str

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another in it."""
        return ("ip", "netns", "exec", self.name)

    def address(self, number: int) -> str:
        """The address with that last number."""
        return f"{SUBNET}.{number}"

    def do(self, job: Callable[[], Result]) -> Result:
        """Run a function on a thread that is in the namespace; sockets that it makes stay there."""
        found: list[Result] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                self._enter()
                found.append(job())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    def sockets(self, numbers: Sequence[int], port: int) -> list[socket.socket]:
        """A listening socket on each of these addresses, for ``probe_listener.listening``."""
        return self.do(lambda: listening_sockets([self.address(number) for number in numbers], port))

    def _enter(self) -> None:
        # os.setns came with Python 3.12. It is of the calling thread alone, which ends afterwards.
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(Path("/run/netns") / self.name, os.O_RDONLY)
        try:
            if libc.setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)


def _ip(*arguments: str, given: str | None = None) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30, input=given)


@contextmanager
def network() -> Iterator[Network]:
    """A namespace of its own, gone afterwards. Skips the test, counted, where it may not be made."""
    name = f"probe-{secrets.token_hex(4)}"
    try:
        _ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces are not permitted")
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        # On the loopback interface every address of a prefix is local: no neighbour is asked, nothing is on a wire.
        _ip("-n", name, "address", "add", f"{SUBNET}.0/24", "dev", "lo")
        yield Network(name)
    finally:
        _ip("netns", "delete", name)
