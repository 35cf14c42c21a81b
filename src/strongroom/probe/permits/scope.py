"""What a run of the probe may do, to whom, and when.

The words only. ``scopefile`` reads them from TOML; that a scope is signed, and that the addresses are the operator's to
test, is decided in ``signing`` and ``permit``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
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


class Vantage(StrEnum):
    """From where the probe looks; an open port means something else from each."""

    LOOPBACK = "loopback"
    LAN = "lan"
    VPN = "vpn"
    INTERNET = "internet"
    OTHER = "other"


class Posture(StrEnum):
    """What the operator expects to find at a target, from this vantage."""

    UNKNOWN = ""
    CLOSED = "closed"
    """No port answers."""
    MUTUAL_TLS = "mutual-tls"
    """TLS only, and only with a client certificate."""
    TLS = "tls"
    """TLS only, and somebody has to say who they are."""
    TITLES = "titles"
    """Plain, and the titles are compared."""
    OPEN = "open"
    """Anybody is served: a test system."""


class Ownership(StrEnum):
    """How it is proved that a public address is the operator's."""

    NONE = "none"
    DNS = "dns"
    TOKEN = "token"


class Reach(StrEnum):
    """Whose an address can be."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    PUBLIC = "public"
    UNUSABLE = "unusable"
    """Multicast, broadcast, or an address that stands for another one."""


_NETWORKS: Final = (
    (Reach.LOOPBACK, ("127.0.0.0/8", "::1/128")),
    # RFC 1918, RFC 3927, RFC 6598 (addresses that a provider shares), RFC 4193, RFC 4291 2.5.6.
    (Reach.PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
                     "fc00::/7", "fe80::/10")),
    (Reach.UNUSABLE, ("0.0.0.0/8", "224.0.0.0/3", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "ff00::/8")),
)  # fmt: skip
_REACHES: Final = tuple((reach, ip_network(text)) for reach, texts in _NETWORKS for text in texts)


def reach_of(network: Network) -> Reach:
    """Return whose the addresses of ``network`` can be; ``UNUSABLE`` also if they are of several kinds."""
    for reach, known in _REACHES:
        if network.version == known.version and network.overlaps(known):
            inside = known.prefixlen <= network.prefixlen
            return reach if inside else Reach.UNUSABLE
    return Reach.PUBLIC


@dataclass(frozen=True, slots=True)
class ScopeTarget:
    """One system, or one range of addresses. ``host`` is the name that has to resolve to ``networks``, or ""."""

    name: str
    networks: tuple[Network, ...]
    host: str = ""
    excluded: tuple[Network, ...] = ()
    dicom_ports: tuple[int, ...] = DICOM_PORTS
    http_ports: tuple[int, ...] = HTTP_PORTS
    dicomweb_roots: tuple[str, ...] = ()
    """Paths of DICOMweb services, asked before those that are usual."""
    neighbour_ports: tuple[int, ...] = NEIGHBOUR_PORTS
    called: str = CALLED_DEFAULT
    calling: str = CALLING_DEFAULT
    certificate: str = ""
    """File of a client certificate (PEM) with its chain."""
    certificate_key: str = ""
    posture: Posture = Posture.UNKNOWN
    ownership: Ownership = Ownership.NONE

    @property
    def ports(self) -> tuple[int, ...]:
        """DICOM and HTTP ports, each once, in the order in which they are tried."""
        return tuple(dict.fromkeys((*self.dicom_ports, *self.http_ports)))

    @property
    def is_single(self) -> bool:
        """Whether it is one address, or a few that are listed, and no range."""
        return all(network.num_addresses == 1 for network in self.networks)

    @property
    def titles_named(self) -> bool:
        """Whether the scope names a title: then it is asked with them besides (``callers.callers``)."""
        return (self.called, self.calling) != (CALLED_DEFAULT, CALLING_DEFAULT)

    def covers(self, address: Address) -> bool:
        """Whether ``address`` is one of this target's."""
        return any(address in network for network in self.networks) and not any(
            address in network for network in self.excluded
        )

    def without(self, earlier: ScopeTarget) -> ScopeTarget:
        """This target without the ports of ``earlier``, for an address that both have."""
        return replace(
            self,
            dicom_ports=tuple(port for port in self.dicom_ports if port not in earlier.ports),
            http_ports=tuple(port for port in self.http_ports if port not in earlier.ports),
            neighbour_ports=tuple(
                port for port in self.neighbour_ports if port not in (*earlier.ports, *earlier.neighbour_ports)
            ),
        )

    def addresses(self) -> Iterator[Address]:
        """Every address once, one at a time: a range may have 65,536."""
        seen: set[tuple[int, int]] = set()  # by number: a zone ("::1%lo") makes no other address of one
        for network in self.networks:
            for address in network.hosts():  # without the addresses of the network itself and of its broadcast
                number = address.version, int(address)
                if number not in seen and not any(address in excluded for excluded in self.excluded):
                    seen.add(number)
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

    def left_s(self, now: dt.datetime) -> float:
        """Seconds until it closes; 0 if it is not open."""
        if not self.is_open(now):
            return 0.0
        closes = self.end
        if self.daily_until is not None:
            local = now.astimezone(self.start.tzinfo)
            today = dt.datetime.combine(local.date(), self.daily_until, self.start.tzinfo)
            closes = min(closes, today if today > local else today + dt.timedelta(days=1))
        return (closes - now).total_seconds()


@dataclass(frozen=True, slots=True)
class Scope:
    """What was authorised. ``consents`` are the keys of the ``[consent]`` table that are true."""

    name: str
    authorised_by: str
    contact: str
    window: Window
    targets: tuple[ScopeTarget, ...]
    level: Level = Level.ASSOCIATE
    vantage: Vantage = Vantage.LAN
    rates: Rates = field(default_factory=Rates)
    consents: frozenset[str] = frozenset()
    reference: str = ""

    def addresses(self) -> Iterator[tuple[ScopeTarget, Address]]:
        """Every address with its targets, one after the other: each of its ports belongs to the first that has it.

        Of a target whose ports all are those of earlier ones there nothing is left, and it is not among them.
        """
        for index, target in enumerate(self.targets):
            for address in target.addresses():
                if not any(earlier.covers(address) for earlier in self.targets[:index]):
                    yield target, address
                    yield from self._others_at(address, index)

    def tested_as(self, target: ScopeTarget) -> dict[str, tuple[int, ...]]:
        """Return the ports of ``target`` that belong to targets before it, by their names, where they share addresses.

        Ports of a range are told of even if the two have only one address in common.
        """
        found: dict[str, tuple[int, ...]] = {}
        for earlier in self.targets[: self.targets.index(target)]:
            shared = tuple(port for port in target.ports if port in earlier.ports)
            if shared and any(one.overlaps(other) for one in earlier.networks for other in target.networks):
                found[earlier.name] = shared
        return found

    def _others_at(self, address: Address, first: int) -> Iterator[tuple[ScopeTarget, Address]]:
        at_address = [self.targets[first]]
        for target in self.targets[first + 1 :]:
            if target.covers(address):
                left = target
                for earlier in at_address:
                    left = left.without(earlier)
                if left.ports:
                    yield left, address
                at_address.append(target)
