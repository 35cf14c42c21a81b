"""What those who watch over the archive ask of it: the trail, what waits for somebody's decision, what runs. Pure.

Everything that is shown here is what the archive says of itself: UIDs, counts, names of machines and people who work
with it. No patient's value is in it. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol

from strongroom.archive.model import Detail
from strongroom.types import Principal


@dataclass(frozen=True, slots=True)
class TrailQuery:
    """Which records of the trail are wanted; what is left empty does not matter.

    ``since_us`` is the first moment, ``until_us`` the first one after. ``user`` and ``peer`` are parts of a name,
    ``address`` is the beginning of one, ``about`` is the whole of a detail: a UID, an id. ``patient`` is a Patient ID:
    what is about a study of that patient which is stored now.
    """

    since_us: int = 0
    until_us: int = 0
    action: str = ""
    outcome: str = ""
    user: str = ""
    peer: str = ""
    address: str = ""
    about: str = ""
    patient: str = field(default="", repr=False)

    @property
    def asked(self) -> tuple[str, ...]:
        """By what somebody chose, without a value: the trail says so of whoever looks at it."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name))


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """One record, as its log has it; ``raw`` is its canonical form."""

    log: str
    seq: int
    time_us: int
    action: str
    outcome: str
    who: Principal
    details: Mapping[str, Detail]
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Some records, the newest first. ``older`` is where to go on, "" at the beginning of the trail.

    ``looked_at`` is how many records were read for it, ``back_to_us`` the time of the last of them.
    """

    entries: tuple[TrailEntry, ...]
    older: str
    looked_at: int
    back_to_us: int


@dataclass(frozen=True, slots=True)
class Proof:
    """That a record is in its log: the path from its leaf to the root of a signed checkpoint (RFC 9162 2.1.3).

    Hashes are lower-case hex, lowest first. ``stamped`` says that the checkpoint has a time stamp (RFC 3161), too.
    """

    leaf: str
    path: tuple[str, ...]
    root: str
    size: int
    signed_us: int
    key: str
    note: str
    stamped: bool


Form = Literal["csv", "jsonl"]


class Oversight(Protocol):
    """How people watch over the archive. Every call blocks, asks for the right, and is in the trail itself.

    All may raise Denied and StorageUnavailable.
    """

    def trail(self, principal: Principal, query: TrailQuery, older: str) -> TrailPage:
        """The newest records that are wanted, or those from ``older`` on. Raises MalformedRequest for another one."""

    def record(self, principal: Principal, log: str, seq: int) -> TrailEntry:
        """One record. Raises NotFound, IntegrityError."""

    def proof(self, principal: Principal, log: str, seq: int) -> Proof:
        """Prove a record. Raises NotFound, IntegrityError (the trail contradicts itself), Busy."""

    def receipt(self, principal: Principal, log: str, seq: int) -> bytes:
        """The receipt of a record (docs/trail-format.md, 5). Raises as ``proof``."""

    def all_of_trail(self, principal: Principal, query: TrailQuery, form: Form) -> Iterator[tuple[TrailEntry, ...]]:
        """Every record that is wanted, the newest first, some at a time; that they leave is in the trail before."""
