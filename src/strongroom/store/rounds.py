"""Rounds of the check that runs by itself: how far one has come, what it found, what the last one said.

Kept in the index's ``meta`` table and nowhere else, since it names instances: what reads the index may read it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.store.examine import LEAST_ID
from strongroom.store.index import Index

DAY_S: Final = 86_400.0
META_NAME: Final = "check_rounds"
MAX_LISTED: Final = 100
"""Damaged objects that are kept by name; all are counted."""


class Damage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object that is not what was stored: what is wrong, and which it is."""

    kind: str
    what: str
    study_uid: str
    series_uid: str
    sop_uid: str
    object_id: str


class Round(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pass over all objects. Times are seconds since 1970; ``ended_s`` is 0 while it is under way.

    ``after`` is the row of the last object that was examined: a round goes on behind it.
    """

    number: int
    started_s: float
    after: int = LEAST_ID
    objects: int = 0
    data_bytes: int = 0
    ended_s: float = 0.0
    kinds: dict[str, int] = {}
    listed: tuple[Damage, ...] = ()

    @property
    def damaged(self) -> int:
        """How many objects are damaged."""
        return sum(self.kinds.values())

    def walked(self, after: int, objects: int, data_bytes: int) -> Round:
        """The round that much further on."""
        more = (self.objects + objects, self.data_bytes + data_bytes)
        return msgspec.structs.replace(self, after=after, objects=more[0], data_bytes=more[1])

    def with_damage(self, damage: Damage) -> Round:
        """The round with one more damaged object."""
        kinds = self.kinds | {damage.kind: self.kinds.get(damage.kind, 0) + 1}
        listed = (*self.listed, damage) if len(self.listed) < MAX_LISTED else self.listed
        return msgspec.structs.replace(self, kinds=kinds, listed=listed)


class Rounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The round that is under way, and the last one that ended; None if there is none."""

    under_way: Round | None = None
    last: Round | None = None

    def begun(self, now_s: float) -> Rounds:
        """With a round under way: the one that is, else the next."""
        if self.under_way is not None:
            return self
        number = 1 if self.last is None else self.last.number + 1
        return Rounds(Round(number, now_s), self.last)

    def ended(self, now_s: float) -> Rounds:
        """With the round that was under way as the last one."""
        assert self.under_way is not None
        return Rounds(None, msgspec.structs.replace(self.under_way, ended_s=now_s))


def encode_rounds(rounds: Rounds) -> str:
    """As the ``meta`` table keeps it."""
    return msgspec.json.encode(rounds).decode()


def decode_rounds(text: str) -> Rounds:
    """What the ``meta`` table has; no rounds if it has none, or something that nobody can read."""
    try:
        return msgspec.json.decode(text, type=Rounds) if text else Rounds()
    except (msgspec.DecodeError, ValueError):
        return Rounds()


def read_rounds(index: Index) -> Rounds:
    """How far the background check has come, and what the last round said. Raises StorageUnavailable."""
    with index.database.reading() as cursor:
        return decode_rounds(index.registry.get_meta(cursor, META_NAME))
