"""How often an address may present credentials that are not good, without locking out those that are.

Nobody guesses 256 bits; what is bounded here is the work that somebody can make by trying, and the lines in the trail.
An address may be a whole hospital behind one gateway: a credential that was good a moment ago is looked at all the
same.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from threading import Lock
from typing import Final

from strongroom.archive.addresses import group_of

BURST: Final = 20
"""Failures that one address may have at once."""

REFILL_S: Final = 3.0
"""Seconds in which one of them is forgiven."""

MAX_ADDRESSES: Final = 4096
MAX_KNOWN: Final = 4096


class Throttle:
    """Failures by address, and the credentials that were good. Thread-safe; times are of any clock that goes forward.

    Both are bounded; the address, or the credential, that has been quiet the longest is forgotten first.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._forgiven_at: OrderedDict[str, float] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def wait_s(self, address: str, credential: bytes, now: float) -> int:
        """Seconds until an address may try this credential (a digest of it); 0 if it may now."""
        with self._lock:
            if credential in self._known:
                self._known.move_to_end(credential)
                return 0
            over_s = self._forgiven_at.get(group_of(address), now) - now - (BURST - 1) * REFILL_S
            return max(0, ceil(over_s))

    def failed(self, address: str, credential: bytes, now: float) -> None:
        """Count a failure; a credential that was good before is so no more."""
        group = group_of(address)
        with self._lock:
            self._known.pop(credential, None)
            self._forgiven_at[group] = max(now, self._forgiven_at.pop(group, now)) + REFILL_S
            if len(self._forgiven_at) > MAX_ADDRESSES:
                self._forgiven_at.popitem(last=False)

    def succeeded(self, credential: bytes) -> None:
        """Remember a credential that is good."""
        with self._lock:
            self._known[credential] = None
            self._known.move_to_end(credential)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
