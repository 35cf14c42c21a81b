"""What of a held object differs from what is stored under its SOP Instance UID: names of attributes, never a value."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final

from strongroom.app import Archive, scan_limits
from strongroom.archive.integrity import Copy, Presence, differing_tags
from strongroom.archive.model import StoredObject
from strongroom.archive.read import open_object
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, entry_of
from strongroom.errors import IntegrityError, LimitExceeded, MalformedDataset, NotFound
from strongroom.store.quarantine import Entry
from strongroom.types import Uid

_WORDS: Final = {
    Presence.BOTH: "differs",
    Presence.ONLY_FIRST: "only-stored",
    Presence.ONLY_SECOND: "only-held",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute of the top level; a sequence differs if anything in it does.

    ``keyword`` is "" and ``vr`` "UN" where the standard does not know it. ``how`` is "differs", or "only-stored" or
    "only-held" for what the other one lacks.
    """

    tag: int
    keyword: str
    vr: str
    how: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing; ``problem`` says why that could not be done."""

    differences: tuple[Difference, ...] = ()
    problem: str = ""


def compared(archive: Archive, entry: Entry) -> Compared | None:
    """Compare a held object with what is stored under its SOP Instance UID; None if nothing is.

    Raises StorageUnavailable.
    """
    try:
        stored = archive.index.find_object(Uid.parse(entry.sop_uid))
        return None if stored is None else Compared(_differences(archive, entry, stored))
    except (IntegrityError, NotFound, MalformedDataset, LimitExceeded) as error:
        return Compared(problem=str(error))


def _differences(archive: Archive, entry: Entry, stored: StoredObject) -> tuple[Difference, ...]:
    for syntax in (stored.transfer_syntax, entry.transfer_syntax):
        if syntax not in TRANSFER_SYNTAXES:
            raise MalformedDataset("an unknown transfer syntax")
    with (
        closing(open_object(archive.blobs, archive.index, stored)) as first,
        closing(archive.quarantine.open(entry)) as second,
    ):
        found = differing_tags(
            Copy(first, stored.transfer_syntax, stored.sha256),
            Copy(second, entry.transfer_syntax, entry.sha256),
            scan_limits(archive.config.limits),
        )
    return tuple(_named(tag, presence) for tag, presence in found.items())


def _named(tag: int, presence: Presence) -> Difference:
    known = entry_of(tag)
    return Difference(tag, known.keyword, " or ".join(vr.decode() for vr in known.vrs), _WORDS[presence])
