"""Release: a held object comes through the door once more, and leaves the quarantine in the transaction that stores it.

Killed at any moment the object is held or stored, and never both or neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Final

from strongroom.admin.standin import IndexStandIn
from strongroom.admin.two_people import TakenOut, TwoPeople
from strongroom.app import Archive
from strongroom.archive.ingest import Arrival, Ingest, Verdict
from strongroom.archive.model import Action, Added, Detail, Event, NewInstance, Outcome, StoredObject
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.errors import IntegrityError, Refused, StorageUnavailable, StrongroomError
from strongroom.store.quarantine import Entry
from strongroom.store.transaction import Transaction
from strongroom.types import Uid

_HERE_ALREADY: Final = frozenset({Verdict.RESENT.value, Verdict.VARIANT.value})
"""The archive has what the object says: nothing is lost when it is let go."""


class ReleasingIndex(IndexStandIn):
    """The index as the ingest of one released object sees it: whatever says that the object is here takes it out of
    the quarantine, and the trail says who has released it."""

    def __init__(self, archive: Archive, people: TwoPeople) -> None:
        super().__init__(archive.index)
        self._archive, self._people = archive, people
        self.taken: TakenOut | None = None
        """What was released; None until then."""

    def add(self, new: NewInstance, event: Event) -> Added:
        """As ``archive.ports.Index``. Raises Denied or NotFound as well if the release is not agreed upon any more."""

        def work(transaction: Transaction) -> tuple[Added, TakenOut | None]:
            entry, asked = self._people.require(transaction)
            added = transaction.add(new, self._told(event, self._people.details(entry, asked)))
            return added, (self._people.take_out(transaction, entry, asked) if added else None)

        added, self.taken = self._archive.index.database.write(work)
        return added

    def restore(self, first: StoredObject, copy: NewInstance, event: Event) -> bool:
        """As ``archive.ports.Index``; raises as ``add``."""
        taken = self._released(event, lambda transaction: transaction.restore(first, copy))
        return taken is not None

    def record(self, *events: Event) -> None:
        """As ``archive.ports.Index``; raises as ``add``."""
        for event in events:
            if event.outcome is Outcome.SUCCESS and event.details.get("verdict") in _HERE_ALREADY:
                self._released(event, lambda _: True)
            else:
                self._archive.index.record(self._told(event, self._people.order.details))

    def _released(self, event: Event, do: Callable[[Transaction], bool]) -> TakenOut | None:
        """Do something that makes the held copy needless; None, with nothing written, if it could not be done."""

        def work(transaction: Transaction) -> TakenOut | None:
            entry, asked = self._people.require(transaction)
            if not do(transaction):
                return None
            transaction.record(self._told(event, self._people.details(entry, asked)))
            return self._people.take_out(transaction, entry, asked)

        self.taken = self._archive.index.database.write(work)
        return self.taken

    def _told(self, event: Event, more: dict[str, Detail]) -> Event:
        """The event as an act of who releases, and not of whoever had sent the object."""
        return replace(event, principal=self._people.principal, details={**event.details, **more})


def take_in(archive: Archive, entry: Entry, people: TwoPeople) -> tuple[Verdict, TakenOut]:
    """Bring a held object through the door, unscreened and under its study's key; what went wrong is recorded.

    Raises Refused if it does not go with what is stored, IntegrityError if it is not what was held, Denied, NotFound,
    StorageUnavailable. It is still held then.
    """
    syntax = TRANSFER_SYNTAXES.get(entry.transfer_syntax)
    if syntax is None:
        raise Refused("transfer-syntax-unknown")
    sop_class, sop_uid = Uid(entry.sop_class), Uid(entry.sop_uid)
    # Of its sender, so that it is judged by where it came from.
    arrival = Arrival(sop_class, sop_uid, syntax, entry.sender, Action.QUARANTINE, is_released=True)
    index = ReleasingIndex(archive, people)
    ingest = archive.new_ingest(arrival, index)
    try:
        verdict = _through(archive, entry, ingest)
        if index.taken is None:
            raise Refused(verdict.value)
        return verdict, index.taken
    except StorageUnavailable:
        raise
    except StrongroomError as refusal:
        ingest.refuse(reason_of(refusal))
        raise
    finally:
        ingest.abort()


def _through(archive: Archive, entry: Entry, ingest: Ingest) -> Verdict:
    digest = hashlib.sha256()
    with closing(archive.quarantine.open(entry)) as reader:
        for chunk in reader.chunks():
            digest.update(chunk)
            ingest.write(chunk)
    if digest.digest() != entry.sha256:
        raise IntegrityError(f"{entry.id} is not what was held")
    return ingest.commit()
