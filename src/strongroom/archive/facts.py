"""What is known of an archive when its posture is judged. Times are seconds since 1970, 0 = never."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that somebody relies on. ``whose`` is a word of ours or an AE title."""

    whose: str
    subject: str
    fingerprint: str
    ends_s: float


class Standing(StrEnum):
    """Whether an exception of the configuration is in effect, in words."""

    IN_EFFECT = "in effect"
    NOT_AGREED = "not in effect: two administrators have not agreed to it"
    NEXT_START = "agreed to, in effect from the server's next start"
    WITHDRAWN = "still in effect, though no longer agreed to"
    ENDED = "ended"


IS_OPEN: Final = frozenset({Standing.IN_EFFECT, Standing.WITHDRAWN})
"""Somebody listens there."""


@dataclass(frozen=True, slots=True)
class PlaintextException:
    """A listener without TLS. ``ends_s`` is the end of its last day."""

    peer: str
    port: int
    addresses: str
    ends_s: float
    reason: str
    standing: Standing = Standing.IN_EFFECT


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system that the archive needs. ``history`` is what was free, by day (days since 1970)."""

    folder: str
    free_bytes: int
    size_bytes: int
    history: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """Where checkpoints are kept. ``is_outside``: not in the archive's own home. ``stamped_s``: the newest stamp."""

    folder: str
    written_s: float
    stamped_s: float
    is_outside: bool


@dataclass(frozen=True, slots=True)
class Serving:
    """What `serve` has said. ``is_held``: a process has the lock of the one server."""

    version: str = ""
    started_s: float = 0.0
    said_s: float = 0.0
    stopped_s: float = 0.0
    is_held: bool = False
    listening: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    processes: int = 0
    own_version: str = ""


@dataclass(frozen=True, slots=True)
class Doors:
    """Who may come in, and how."""

    tls_profile: str
    exceptions: tuple[PlaintextException, ...] = ()
    server: Certificate | None = None
    authority: Certificate | None = None
    peers: tuple[Certificate, ...] = ()
    peer_count: int = 0
    administrators: int = 0
    without_factor: int = 0


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit trail. ``findings`` None: nobody has verified it yet."""

    records: int = 0
    logs: int = 0
    verified_s: float = 0.0
    findings: int | None = None
    folders: tuple[CheckpointFolder, ...] = ()
    interval_s: float = 60.0
    stamp_interval_s: float = 0.0
    """0: no authority is configured."""
    alerts: int | None = None
    """Alerts that nobody has dealt with; None: not counted."""
    alert_kinds: tuple[str, ...] = ()
    """What each of them is about."""
    unsigned_s: float = 0.0
    """When the oldest record was made that no checkpoint covers; 0: all are covered."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Master keys: where they come from, the active one, others still needed, and what is missing."""

    source: str
    active: str
    since_s: float = 0.0
    others: int = 0
    missing: tuple[str, ...] = ()
    rotation_unfinished: bool = False
    copied_s: float = 0.0
    """When a backup last had them in it, sealed."""


@dataclass(frozen=True, slots=True)
class Data:
    """What is kept, and copies of it."""

    objects: int
    keys: Keys
    disks: tuple[Disk, ...] = ()
    held: int = 0
    check_days: float = 0.0
    check_began_s: float = 0.0
    check_ended_s: float = 0.0
    damaged: int = 0
    backup_s: float = 0.0
    drill_s: float = 0.0
    drill_findings: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is judged."""

    now_s: float
    serving: Serving
    doors: Doors
    trail: Trail
    data: Data
