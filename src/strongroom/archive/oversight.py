"""What those who watch over the archive ask of it: the trail, what waits for somebody's decision, what runs. Pure.

Everything that is shown here is what the archive says of itself: UIDs, counts, names of machines and people who work
with it. No patient's value is in it. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, Protocol, get_args

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


@dataclass(frozen=True, slots=True)
class Seen:
    """Who has seen to an alert, when, and what came of it."""

    person: str
    remark: str
    seen_us: int


@dataclass(frozen=True, slots=True)
class AlertShown:
    """One alert: what has happened, to what, from whom, how bad it is and what to do. ``seen`` None: it is open."""

    log: str
    seq: int
    time_us: int
    kind: str
    severity: str
    what: str
    do: str
    who: Principal
    details: Mapping[str, Detail]
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Some alerts, the newest first. ``older`` is where to go on, "" if there are no more."""

    alerts: tuple[AlertShown, ...]
    older: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What one person has asked to be done with a held object, and until when another one can agree."""

    what: str
    person: str
    reason: str
    asked_us: int
    lapses_us: int


@dataclass(frozen=True, slots=True)
class HeldShown:
    """One object in quarantine, without a byte of it. ``times`` says how often it was sent."""

    id: str
    received_us: int
    sender: Principal
    severity: str
    reason: str
    data_bytes: int
    sop_class: str
    times: int
    asked: tuple[Asked, ...]
    sop_uid: str
    series_uid: str
    study_uid: str
    encoding: str
    sha256: str


@dataclass(frozen=True, slots=True)
class HeldFinding:
    """One thing that was found in a held object, and where: ``offset`` and ``length`` in bytes, 0 if it has none."""

    rule: str
    title: str
    severity: str
    path: str
    offset: int
    length: int
    what: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class HeldDetails:
    """What is known of one held object. ``differs`` names what is not as in the stored object of its UID: tag, keyword,
    "differs", "only-stored" or "only-held"; None if nothing is stored. ``problem`` says why they could not be compared.
    """

    shown: HeldShown
    findings: tuple[HeldFinding, ...]
    differs: tuple[tuple[str, str, str], ...] | None
    problem: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a decision: "asked", "released" or "destroyed". ``problems`` are left to do."""

    step: str
    problems: tuple[str, ...]


Command = Literal["backup", "check", "export", "import", "key rotation"]
"""What the people who run the archive do with a command. Every other job is of people who take objects out."""
COMMANDS: Final[tuple[Command, ...]] = get_args(Command)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that takes its time. ``state`` is "running", "waiting", "done", "failed" or "silent": it should have
    said something since. Of ``total``, 0 if nobody knows it, ``done`` are done, counted in ``unit``. ``result`` is what
    is known of it in words; ``last`` the same of the time before."""

    kind: str
    state: str
    person: str = ""
    started_us: int = 0
    said_us: int = 0
    ended_us: int = 0
    done: int = 0
    total: int = 0
    unit: str = ""
    result: str = ""
    last: str = ""


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

    def alerts(self, principal: Principal, older: str, *, everything: bool) -> AlertPage:
        """The newest alerts that are open, or all of them. Raises MalformedRequest for another page."""

    def see_to(self, principal: Principal, log: str, seq: int, remark: str) -> None:
        """Note that somebody has seen to an alert. Raises NotFound, Refused (somebody has), ConfigError (no remark)."""

    def held(self, principal: Principal) -> list[HeldShown]:
        """Everything in quarantine, the newest first."""

    def held_object(self, principal: Principal, name: str) -> HeldDetails:
        """One object in quarantine. Raises NotFound."""

    def decide(self, principal: Principal, name: str, what: str, reason: str) -> Decided:
        """Ask for a held object's "release" or "destroy", or do it where somebody else has asked.

        Raises NotFound, Denied, Refused (it does not go with what is stored), ConfigError (no such reason),
        IntegrityError.
        """

    def jobs(self, principal: Principal) -> list[Job]:
        """What runs and what ran. That somebody looks is not in the trail: a page asks every few seconds."""
