"""The digests of stored objects that take more than reading them once: computed after they were stored, in order.

What comes in is hashed as it comes; what it says and shows (``archive.integrity``) would cost the sender time, so
it is computed when there is some. What a crash leaves undone is what has no row yet: it is found again, and with it
the signatures that were not checked.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from strongroom.archive.integrity import Copy, Digests, Pixels, parts_of
from strongroom.archive.model import Action, Event, Outcome, StoredObject
from strongroom.archive.ports import BlobReader, BlobStore, Clock
from strongroom.archive.read import open_object
from strongroom.dicom.elements import ScanLimits
from strongroom.errors import Busy, CodecFailed, StorageUnavailable, StrongroomError
from strongroom.store.digests import COPIED, Computed, DigestTable
from strongroom.store.index import Index
from strongroom.types import Principal

log = logging.getLogger(__name__)

MAX_HELD_BYTES: Final = 16 << 20
MAX_TRIES: Final = 3
BATCH: Final = 32
"""Objects whose digests are kept in one transaction."""
MAX_FAILED: Final = 100_000
"""Objects without digests that are remembered, so as not to be read in every round."""


@dataclass(frozen=True, slots=True)
class DigestPorts:
    """What computing needs of an archive."""

    blobs: BlobStore
    index: Index
    table: DigestTable
    pixels: Pixels
    clock: Clock
    check_signatures: Callable[[StoredObject, BlobReader, Principal], None]
    """Called with every object, open, before its digests are kept: for what whoever stored it did not come to."""


class HeldBytes:
    """A data set in memory, read like a stored one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``."""
        return self._data[offset : offset + length]

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield all bytes from ``offset`` on."""
        yield self._data[offset:]

    def pieces(self, before: bytes = b"") -> Iterator[memoryview]:
        """Yield ``before`` and all bytes."""
        yield memoryview(before + self._data)

    def close(self) -> None:
        """Nothing is open."""


class Digesting:
    """Goes through what has no digests yet. Owned by one thread of one process."""

    def __init__(self, ports: DigestPorts, scan: ScanLimits, principal: Principal) -> None:
        self._ports, self._scan, self._principal = ports, scan, principal
        self._after = 0
        self._failed: set[bytes] = set()
        """Objects that have no digests, whatever is tried: for the next process to try again."""
        self._tries: Counter[bytes] = Counter()
        """Of objects whose codec has failed: on a machine without a free processor it may only have been slow."""

    def step(self) -> int:
        """Compute the digests of up to ``BATCH`` objects; returns how many were looked at, 0 if none is left.

        Raises StorageUnavailable.
        """
        pending = self._ports.index.undigested(self._after, BATCH)
        to_do = [(row, stored) for row, stored in pending if stored.object_id not in self._failed]
        computed = [each for each in (self._computed(row, stored) for row, stored in to_do) if each is not None]
        if computed:
            for alert in self._ports.table.keep(computed):
                self._ports.index.announce(alert)
        # From the beginning again when the end is reached: rows of a deleted study may have been used again.
        self._after = pending[-1][0] if pending else 0
        return len(pending)

    def _computed(self, row: int, stored: StoredObject) -> Computed | None:
        """The digests of one object; None if it cannot be read, which is the check's to say."""
        try:
            with closing(self._opened(stored)) as reader:
                self._ports.check_signatures(stored, reader, self._principal)
                canonical, clinical = parts_of(Copy(reader, stored.transfer_syntax, stored.sha256), self._scan)
                pixels, is_blank = self._picture(reader, stored)
        except StorageUnavailable:
            raise
        except (CodecFailed, Busy):
            return None  # it comes again
        except StrongroomError as error:
            if len(self._failed) < MAX_FAILED:
                self._failed.add(stored.object_id)
            log.warning("object %s has no digests: %s", stored.sop_uid, type(error).__name__)
            return None
        digests = Digests(stored.sha256, canonical, clinical, pixels)
        names = {"sop_uid": stored.sop_uid, "study_uid": stored.study_uid}
        event = Event(Action.DIGEST, Outcome.SUCCESS, self._principal, {**names, **digests.details()})
        about = {"reason": COPIED.reason, "severity": COPIED.severity, "pixels_sha256": pixels.hex()}
        copied = Event(Action.ALERT, Outcome.WARNING, self._principal, {**names, **about})
        now_us = int(self._ports.clock() * 1e6)
        return Computed(row, stored.object_id, digests, is_blank, event, copied, now_us)

    def _opened(self, stored: StoredObject) -> BlobReader:
        """The object, in memory if it is not large: it is read twice."""
        reader = open_object(self._ports.blobs, self._ports.index, stored)
        if reader.size > MAX_HELD_BYTES:
            return reader
        with closing(reader):
            return HeldBytes(b"".join(reader.chunks()))

    def _picture(self, reader: BlobReader, stored: StoredObject) -> tuple[bytes, bool]:
        """The digest of the pixels, b"" if nobody can make a picture of them. Raises CodecFailed or Busy for a time."""
        try:
            picture = self._ports.pixels.picture(reader, stored.transfer_syntax)
        except StorageUnavailable:
            raise
        except (CodecFailed, Busy):
            self._tries[stored.object_id] += 1
            if self._tries[stored.object_id] < MAX_TRIES and len(self._tries) < MAX_FAILED:
                raise
            return b"", True
        except StrongroomError:  # no decoder, or nothing that one understands: then what differs is in the others
            return b"", True
        return picture.sha256, picture.is_blank
