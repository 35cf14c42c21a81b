"""The words of the archive: levels, what is stored, and what the trail says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from strongroom.types import Principal


class Level(IntEnum):
    """Query/Retrieve level (DICOM PS3.4 C.6), from the top down."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


class Action(StrEnum):
    """What an entry of the trail says was done."""

    SERVICE_START = "service.start"
    SERVICE_STOP = "service.stop"
    ASSOCIATION = "association"
    AUTHENTICATION = "authentication"
    ECHO = "echo"
    STORE = "store"
    QUERY = "query"
    RETRIEVE = "retrieve"
    MOVE = "move"
    COMMITMENT = "commitment"
    DELETE = "delete"
    IMPORT = "import"
    EXPORT = "export"
    CHECK = "check"
    CONFIG_CHANGE = "config.change"
    PEER_CHANGE = "peer.change"
    USER_CHANGE = "user.change"
    TOKEN_CHANGE = "token.change"
    GROUP_CHANGE = "group.change"
    KEY_ROTATION = "keys.rotate"
    TRAIL_EXPORT = "trail.export"
    TRAIL_READ = "trail.read"
    SIGNATURE = "signature"
    QUARANTINE = "quarantine"
    ALERT = "alert"
    ALERT_SEEN = "alert.seen"
    DIGEST = "digest"
    BACKUP = "backup"
    SIGN_IN = "sign.in"
    SIGN_OUT = "sign.out"
    FACTOR_CHANGE = "factor.change"
    SESSION_END = "session.end"
    PROOF = "proof"
    SHARE = "share"
    PROPOSAL = "proposal"
    BREAK_GLASS = "break.glass"


class Outcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    WARNING = "warning"
    REFUSED = "refused"
    FAILED = "failed"


Detail = str | int | bool | tuple[str, ...]

EMERGENCY: Final = "break_glass"
"""The detail that every act has of somebody who has broken the glass: the numbers of his emergencies."""


@dataclass(frozen=True, slots=True)
class Event:
    """One act, as the trail records it.

    ``details`` holds UIDs, counts, statuses, names of limits and AE titles; never a patient's value and never the
    value of a query key. ``at_s`` is when it happened, in seconds since 1970, if not when it is written.
    """

    action: Action
    outcome: Outcome
    principal: Principal
    details: Mapping[str, Detail] = field(default_factory=dict)
    at_s: float | None = None

    def __post_init__(self) -> None:
        """Mark what is done in an emergency: here, so that nothing can be done without the mark."""
        if self.principal.emergencies:
            numbers = tuple(str(each.number) for each in self.principal.emergencies)
            object.__setattr__(self, "details", {**self.details, EMERGENCY: numbers})


@dataclass(frozen=True, slots=True)
class DataKey:
    """One study's data key (AES-256). ``wrapped`` is it under the master key ``master_id``; ``key_id`` names it."""

    key_id: bytes
    key: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    master_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Where and how one instance is stored: enough to open it and to say what it is.

    A small object is sealed into a row of the index, ``small_row``; 0 means that it is a file of its own.
    """

    object_id: bytes
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax: str
    data_bytes: int
    sha256: bytes
    key: DataKey
    received_us: int
    small_row: int = 0


@dataclass(frozen=True, slots=True)
class LevelAttributes:
    """What one level keeps of an instance: the index's narrow columns (``keys.COLUMNS`` order) and all attributes,
    as ``archive.attributes.decode_attributes`` reads them."""

    columns: tuple[str, ...] = field(repr=False)
    attributes: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Flag:
    """Why somebody should look at an instance that is stored. ``findings`` is a JSON array, as in ``Held``; ``rules``
    the ids of what was found, each once."""

    reason: str
    severity: str
    findings: bytes = field(default=b"[]", repr=False)
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flagged:
    """A flag that stands, and since when."""

    reason: str
    severity: str
    flagged_us: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of an instance beside what it says: its flags, and what its digital signatures were found to be
    ("" for one without any)."""

    flags: tuple[Flagged, ...] = ()
    signature_validity: str = ""
    signature_trust: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an instance came from. ``words``: calling AE title or token, address, station, root of its UIDs, with tabs
    in between; "" where nobody remembers. A study whose last instance came before ``closed_before_us`` is closed."""

    words: str = ""
    closed_before_us: int = 0


NO_SOURCE = Source()


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance on its way into the index. ``levels`` is indexed by Level.

    ``sealed`` is the whole sealed object if it is small, and "" if its bytes are durable in a file already.
    """

    stored: StoredObject
    sealed: bytes = field(repr=False)
    modality: str
    levels: tuple[LevelAttributes, LevelAttributes, LevelAttributes, LevelAttributes]
    source: Source = NO_SOURCE
    flag: Flag | None = None


class Added(IntEnum):
    """What became of an instance that was to be added to the index. Only ``NOT_NEW`` is false."""

    NOT_NEW = 0
    ADDED = 1
    UNVERIFIED = 2
    """Added, to a study that was closed, and from where nothing of it had come."""


@dataclass(frozen=True, slots=True)
class Held:
    """An object that was taken in and is not in the archive: nobody finds or retrieves it until two people release it.

    ``key`` is of this object alone. ``reason`` is a short word ("screening", or that of a refusal), ``severity`` the
    worst of its findings ("" if it has none), ``findings`` a JSON array of what was found and where, never a patient's
    value. ``sealed`` is the whole sealed object if it is small, and "" if its bytes are durable in a file already.
    """

    object_id: bytes
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax: str
    data_bytes: int
    sha256: bytes
    key: DataKey
    received_us: int
    reason: str
    severity: str
    findings: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SearchRow:
    """One candidate answer: the encoded attributes of its level and of those above that the query needs, top first,
    and the attributes that the index computes, as elements of the DICOM JSON model."""

    attributes: tuple[bytes, ...] = field(repr=False)
    computed: Mapping[str, Mapping[str, object]] = field(repr=False)
