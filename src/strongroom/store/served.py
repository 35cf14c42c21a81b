"""What `serve` says of itself where other processes can read it: in the index's ``meta`` table.

Whoever shows how an archive is (a page, a command beside the server) is another process than the one that listens.
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.store.index import Index

META_NAME: Final = "served"
MAX_DAYS: Final = 30
"""Of each disk, days whose free room is remembered."""


class Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process of `serve`: when it last said how it is, and whether it can do its work."""

    name: str
    said_s: float
    is_ready: bool


class Served(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `serve` says. Times are seconds since 1970; ``stopped_s`` is 0 while it runs.

    ``listening`` is as its ready line has it; ``seen`` is when each peer last had an association; ``disks`` how many
    bytes were free in each folder, by day (days since 1970).
    """

    version: str = ""
    started_s: float = 0.0
    said_s: float = 0.0
    stopped_s: float = 0.0
    listening: tuple[str, ...] = ()
    processes: tuple[Process, ...] = ()
    seen: dict[str, float] = {}
    disks: dict[str, dict[int, int]] = {}


def with_free(disks: dict[str, dict[int, int]], folder: str, day: int, free_bytes: int) -> dict[str, dict[int, int]]:
    """The disks with what is free in one today; the oldest days are forgotten."""
    days = disks.get(folder, {}) | {day: free_bytes}
    return disks | {folder: {each: days[each] for each in sorted(days)[-MAX_DAYS:]}}


def encode_served(served: Served) -> str:
    """As the ``meta`` table keeps it."""
    return msgspec.json.encode(served).decode()


def read_served(index: Index) -> Served:
    """What `serve` said last; nothing if it never has, or what it said cannot be read. Raises StorageUnavailable."""
    with index.database.reading() as cursor:
        text = index.registry.get_meta(cursor, META_NAME)
    try:
        return msgspec.json.decode(text, type=Served) if text else Served()
    except (msgspec.DecodeError, ValueError):
        return Served()
