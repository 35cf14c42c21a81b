"""How many connections a server has, of whom, and who was refused: one count, whichever process serves them."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.errors import StrongroomError
from strongroom.net.refusals import RefusalMeter
from strongroom.types import Principal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlaceLimits:
    """Caps of one server."""

    max_handshakes: int
    max_handshakes_per_address: int
    max_associations: int
    max_associations_per_peer: int
    max_associations_per_address: int


class Place(Protocol):
    """One connection among the others, as whoever serves it sees it. Owned by one thread at a time."""

    def enter(self) -> bool:
        """Whether there is room for it, now that it has shown a trusted certificate or needs none; if not, recorded."""

    def take(self, aet: str) -> bool:
        """Whether its peer may have one more association."""

    def refuse(self, why: str, details: Mapping[str, Detail], fingerprint: str = "") -> None:
        """Record a refusal, or count it if there are too many. Raises nothing."""

    def leave(self) -> None:
        """The connection is over. Safe to call twice."""


class Places:
    """All places of one server. Thread-safe."""

    def __init__(self, limits: PlaceLimits, record: Callable[[Event], None]) -> None:
        self._limits = limits
        self._record = record
        self._lock = threading.Lock()
        self._refusals = RefusalMeter()
        self._knocking: OrderedDict[int, OwnPlace] = OrderedDict()
        self._open: set[OwnPlace] = set()
        self._per_address: Counter[str] = Counter()
        self._per_peer: Counter[str] = Counter()

    def knock(self, raw: socket.socket, host: str) -> OwnPlace | None:
        """A place to show who one is, or None (recorded). Strangers' places are few, and apart from those of peers.

        Raises OSError if there is no descriptor left.
        """
        with self._lock:
            known = sum(each.host == host for each in self._knocking.values())
            is_full = known >= self._limits.max_handshakes_per_address
            if not is_full:
                if len(self._knocking) >= self._limits.max_handshakes:
                    # Honest handshakes take milliseconds: the oldest one is the least likely to be one.
                    self._knocking.popitem(last=False)[1].cut_off()
                # The connection under another number: whoever does the handshake, here or elsewhere, has its own.
                place = OwnPlace(self, raw.dup(), host)
                self._knocking[id(place)] = place
                return place
        self.refuse(host, "over-max_handshakes_per_address", {})
        return None

    def enter(self, place: OwnPlace) -> bool:
        """See `Place.enter`."""
        with self._lock:
            self._knocking.pop(id(place), None)
            if len(self._open) >= self._limits.max_associations:
                why = "over-max_associations"
            elif self._per_address[place.host] >= self._limits.max_associations_per_address:
                why = "over-max_associations_per_address"
            else:
                self._open.add(place)
                self._per_address[place.host] += 1
                return True
        self.refuse(place.host, why, {})
        return False

    def take(self, aet: str) -> bool:
        """See `Place.take`."""
        with self._lock:
            if self._per_peer[aet] >= self._limits.max_associations_per_peer:
                return False
            self._per_peer[aet] += 1
            return True

    def leave(self, place: OwnPlace, aet: str) -> None:
        """See `Place.leave`; ``aet`` is whose place was taken, "" if none was."""
        with self._lock:
            self._knocking.pop(id(place), None)
            if place in self._open:
                self._open.remove(place)
                _drop(self._per_address, place.host)
            if aet:
                _drop(self._per_peer, aet)

    def refuse(self, host: str, why: str, details: Mapping[str, Detail], fingerprint: str = "") -> None:
        """Record a refusal of ``host``, or count it if there are too many. Raises nothing."""
        with self._lock:
            if not self._refusals.is_to_be_recorded((host, why), monotonic()):
                return
        self._write_refusal(Principal("", fingerprint, "", host), {"reason": why, **details})

    def connections(self) -> tuple[int, int]:
        """How many connections may have an association, and how many handshakes are under way."""
        with self._lock:
            return len(self._open), len(self._knocking)

    def record_refusal_sums(self, *, at_end: bool = False) -> None:
        """Write how many refusals were too many to be written one by one; to be called every second or so."""
        with self._lock:
            sums = list(self._refusals.all_sums() if at_end else self._refusals.sums(monotonic()))
        for (host, why), count in sums:
            self._write_refusal(Principal("", "", "", host), {"reason": why, "associations": count})

    def _write_refusal(self, principal: Principal, details: dict[str, Detail]) -> None:
        try:
            self._record(Event(Action.ASSOCIATION, Outcome.REFUSED, principal, details))
        except StrongroomError as error:
            log.error("a refused association could not be recorded: %s", type(error).__name__)


class OwnPlace:
    """A place in the process that has the count."""

    def __init__(self, places: Places, lever: socket.socket, host: str) -> None:
        self._places = places
        self._lever = lever
        self._aet = ""
        self._is_left = False
        self.host = host

    def cut_off(self) -> None:
        """End the connection, whoever serves it. Raises nothing."""
        with contextlib.suppress(OSError):
            self._lever.shutdown(socket.SHUT_RDWR)

    def enter(self) -> bool:
        """See `Place`."""
        self._lever.close()
        return self._places.enter(self)

    def take(self, aet: str) -> bool:
        """See `Place`."""
        if not self._places.take(aet):
            return False
        self._aet = aet
        return True

    def refuse(self, why: str, details: Mapping[str, Detail], fingerprint: str = "") -> None:
        """See `Place`."""
        self._places.refuse(self.host, why, details, fingerprint)

    def leave(self) -> None:
        """See `Place`."""
        if not self._is_left:
            self._is_left = True
            self._lever.close()
            self._places.leave(self, self._aet)


def _drop(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
