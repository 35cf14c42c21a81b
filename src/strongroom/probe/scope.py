"""What a run of the probe may do, to whom, and when: the scope file, parsed and checked.

A pure parser of TOML. That a scope is signed, and that the addresses are the operator's to test, is decided in
``strongroom.probe.signing`` and ``strongroom.probe.permit``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from strongroom.probe.model import Level

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DICOM_PORTS: Final = (104, 11112, 4242, 2761, 2762)
HTTP_PORTS: Final = (80, 443, 8042, 8080, 8443)
NEIGHBOUR_PORTS: Final = (389, 445, 1433, 1521, 2575, 3306, 3389, 5432, 6379, 9200, 27017)
"""LDAP, SMB, SQL Server, Oracle, HL7 MLLP, MySQL, RDP, PostgreSQL, Redis, Elasticsearch, MongoDB: connected to only."""

CALLED_DEFAULT: Final = "ANY-SCP"
CALLING_DEFAULT: Final = "STRONGROOM-PRB"
"""Truthful and unknown: an administrator who finds it in a log knows who it was."""


@dataclass(frozen=True, slots=True)
class ScopeTarget:
    """One system, or one range of addresses. ``host`` is the name that has to resolve to ``networks``, or "".

    ``posture`` is what the operator expects to find: a word of ``scope.POSTURES``, or "".
    """

    name: str
    networks: tuple[Network, ...]
    host: str = ""
    excluded: tuple[Network, ...] = ()
    dicom_ports: tuple[int, ...] = DICOM_PORTS
    http_ports: tuple[int, ...] = HTTP_PORTS
    neighbour_ports: tuple[int, ...] = NEIGHBOUR_PORTS
    called: str = CALLED_DEFAULT
    calling: str = CALLING_DEFAULT
    certificate: str = ""
    """File of a client certificate (PEM) with its chain, and its key."""
    certificate_key: str = ""
    posture: str = ""

    @property
    def ports(self) -> tuple[int, ...]:
        """DICOM and HTTP ports, each once, in the order in which they are tried."""
        return tuple(dict.fromkeys((*self.dicom_ports, *self.http_ports)))

    def covers(self, address: Address) -> bool:
        """Whether ``address`` is one of this target's."""
        return any(address in network for network in self.networks) and not any(
            address in network for network in self.excluded
        )

    def addresses(self) -> Iterator[Address]:
        """Every address, one at a time: a range may have 65,536."""
        for network in self.networks:
            for address in network:
                if not any(address in excluded for excluded in self.excluded):
                    yield address


@dataclass(frozen=True, slots=True)
class Rates:
    """How gently. ``interval_s`` lies between the beginnings of two connections to one address."""

    interval_s: float = 1.0
    connections_per_target: int = 100
    targets_at_once: int = 8
    connect_s: float = 5.0
    answer_s: float = 10.0
    connection_s: float = 60.0
    """The whole life of one connection."""
    max_received_bytes: int = 4 << 20
    """Of one connection; a server that sends more is cut off."""


@dataclass(frozen=True, slots=True)
class Window:
    """When packets may leave: from ``start`` until ``end``, and on each day between two times if those are given."""

    start: dt.datetime
    end: dt.datetime
    daily_from: dt.time | None = None
    daily_until: dt.time | None = None

    def is_open(self, now: dt.datetime) -> bool:
        """Whether a packet may leave at ``now``. The times of day are those of the start's time zone."""
        if not self.start <= now < self.end:
            return False
        if self.daily_from is None or self.daily_until is None:
            return True
        time = now.astimezone(self.start.tzinfo).time()
        if self.daily_from <= self.daily_until:
            return self.daily_from <= time < self.daily_until
        return time >= self.daily_from or time < self.daily_until


@dataclass(frozen=True, slots=True)
class Scope:
    """What was authorised. ``consents`` are words of the ``[consent]`` table that are true."""

    name: str
    authorised_by: str
    contact: str
    window: Window
    targets: tuple[ScopeTarget, ...]
    level: Level = Level.ASSOCIATE
    vantage: str = "lan"
    rates: Rates = field(default_factory=Rates)
    consents: frozenset[str] = frozenset()
