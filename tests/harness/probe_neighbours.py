"""Services beside an archive (exposure check 33): plain listeners that say nothing and must be told nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.probe_listener import Listener, Visit, listening, listening_sockets

PORTS = {
    "postgresql": 5432,
    "mysql": 3306,
    "mssql": 1433,
    "smb": 445,
    "rdp": 3389,
    "redis": 6379,
    "ldap": 389,
    "mllp": 2575,
}
"""Name to the port it is known by. They are free on few machines: only tests with a network of their own take them."""


@dataclass(frozen=True)
class Neighbours:
    """Listeners by name."""

    listeners: dict[str, Listener]

    @property
    def ports(self) -> dict[str, int]:
        """Where each of them listens."""
        return {name: each.port for name, each in self.listeners.items()}

    @property
    def visits(self) -> dict[str, int]:
        """How often each of them was connected to."""
        return {name: len(each.visits) for name, each in self.listeners.items()}

    def require_silence(self) -> None:
        """That nobody has sent one byte to any of them."""
        told = {name: bytes(v.raw) for name, each in self.listeners.items() for v in each.visits if v.received_bytes}
        assert not told, told


@contextmanager
def neighbours(
    names: Sequence[str] = tuple(PORTS), address: str = "127.0.0.1", *, own_ports: bool = False
) -> Iterator[Neighbours]:
    """Listeners with these names, on any free ports or on ``own_ports``; what was sent to them fails at the end."""
    with ExitStack() as stack:
        made = {}
        for name in names:
            sockets = listening_sockets([address], PORTS[name] if own_ports else 0)
            made[name] = stack.enter_context(listening(Visit.wait_until_closed, sockets))
        found = Neighbours(made)
        yield found
    found.require_silence()
