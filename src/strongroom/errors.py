"""The one exception tree.

Pure code raises only these; the edges map them to a DIMSE status or an exit code by table. A message holds sizes,
names of limits and UIDs, never a patient's value. Any other exception is a bug: the edge aborts that association,
answers a generic failure and keeps the trace for the log.
"""

from __future__ import annotations


class StrongroomError(Exception):
    """Base of every error that Strongroom raises on purpose."""


class RemoteProtocolError(StrongroomError):
    """The peer broke the protocol; the association is to be aborted.

    ``abort_source`` and ``abort_reason`` are the A-ABORT fields of DICOM PS3.8 9.3.8 (source 2 = service provider).
    """

    def __init__(self, message: str, *, abort_reason: int = 0, abort_source: int = 2) -> None:
        super().__init__(message)
        self.abort_source = abort_source
        self.abort_reason = abort_reason


class LocalProtocolError(StrongroomError):
    """Our own code asked for something the protocol state does not allow: a bug on this side."""


class MalformedDataset(StrongroomError):
    """A data set that does not follow DICOM PS3.5 7; ``tag`` and ``offset`` (bytes into the data set) say where."""

    def __init__(self, what: str, *, tag: int | None = None, offset: int | None = None) -> None:
        where = "" if tag is None else f" at ({tag >> 16:04X},{tag & 0xFFFF:04X})"
        super().__init__(what + where + ("" if offset is None else f" byte {offset}"))
        self.what, self.tag, self.offset = what, tag, offset


class LimitExceeded(StrongroomError):
    """A configured cap was passed. ``limit_name`` is its name in the configuration."""

    def __init__(self, limit_name: str, limit: int, found: int | None = None) -> None:
        tail = "" if found is None else f" (found {found})"
        super().__init__(f"over the limit {limit_name} = {limit}{tail}")
        self.limit_name, self.limit, self.found = limit_name, limit, found


class Denied(StrongroomError):
    """The caller has no right to do this; ``reason`` is a short word for the trail."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"denied: {reason}")
        self.reason = reason


class ProofNeeded(Denied):
    """Somebody who has signed in is to prove again that it is he; ``resume`` is the page to go on with after that."""

    def __init__(self, resume: str) -> None:
        super().__init__("fresh-proof-needed")
        self.resume = resume


class Unauthenticated(StrongroomError):
    """Nobody that is known, or whose credentials are no longer good; ``reason`` is a short word for the trail."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"unauthenticated: {reason}")
        self.reason = reason


class Throttled(Unauthenticated):
    """Too many credentials that were not good came from there; ``retry_after_s`` says when to try again."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class NotFound(StrongroomError):
    """The thing named is not here, or the caller may not know that it is."""


class Refused(StrongroomError):
    """An object that is not taken in; ``reason`` is a short word for the trail and for docs/STATUS.md."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class Quarantined(Refused):
    """An object held, sealed, outside the archive (``archive.ports.Quarantine``); ``quarantine_id`` names it."""

    def __init__(self, reason: str, quarantine_id: str) -> None:
        super().__init__(reason, f"{reason}: quarantined as {quarantine_id}")
        self.quarantine_id = quarantine_id


class InvalidQuery(StrongroomError):
    """A query identifier that the Query/Retrieve model does not allow (DICOM PS3.4 C.4).

    ``parameter`` is the name of what is wrong, if it may be told to who sent it; it is not for the trail.
    """

    def __init__(self, message: str, parameter: str = "") -> None:
        super().__init__(message)
        self.parameter = parameter


class MalformedRequest(StrongroomError):
    """An HTTP request that does not hold together: its header, its parameters or the parts of its body."""


class NotAcceptable(StrongroomError):
    """No media type that the caller takes can be sent (PS3.18 8.7.8); ``available`` are those that can."""

    def __init__(self, available: tuple[str, ...]) -> None:
        super().__init__("none of the media types asked for is available")
        self.available = available


class NotRepresentable(NotAcceptable):
    """The pixel data of an object cannot be made into what was asked for; ``reason`` says why in a few words."""

    def __init__(self, reason: str, available: tuple[str, ...] = ()) -> None:
        super().__init__(available)
        self.args = (reason,)
        self.reason = reason


class CodecFailed(StrongroomError):
    """A codec crashed, hung, or took more memory or time than it may: this request is lost, and nothing else."""


class Busy(StrongroomError):
    """Too much of one kind of work is waiting already; ``retry_after_s`` says when to ask again."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnsupportedMediaType(StrongroomError):
    """A body of a media type, or under a content coding, that is not taken; ``supported`` are those that are."""

    def __init__(self, message: str, supported: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.supported = supported


class IntegrityError(StrongroomError):
    """Stored bytes are not what was stored. Never caught below the edge, always recorded."""


class StorageUnavailable(StrongroomError):
    """Bytes could not be made durable or could not be read (disk full, I/O error, database away)."""


class StaleKey(StorageUnavailable):
    """A data key that was destroyed while an object was being sealed under it."""


class PeerUnavailable(StrongroomError):
    """A remote application entity could not be reached, or refused the association.

    ``how`` is a word for an end that came after the connection: "timeout", "slow" (bytes came, and too late), "closed",
    "aborted", "released", or "lost" for any other failure of the connection.
    """

    def __init__(self, message: str, how: str = "") -> None:
        super().__init__(message)
        self.how = how


class OutOfScope(StrongroomError):
    """What the probe was asked for is not in its signed scope, or not now: no packet leaves."""


class BudgetSpent(StrongroomError):
    """A run of the probe has opened as many connections to a target as its scope allows."""


class RunStopped(StrongroomError):
    """The operator ended a run of the probe."""


class Unanswered(StrongroomError):
    """No answer, or none that the protocol has; ``answer`` is the word of ``strongroom.probe.model.Answer`` for it."""

    def __init__(self, answer: str, reason: str) -> None:
        super().__init__(f"{answer}: {reason}")
        self.answer = answer
        self.reason = reason


class EngineFailed(StrongroomError):
    """An engine that screens beside our rules could not do its work; ``engine`` names it, ``reason`` says why."""

    def __init__(self, engine: str, reason: str) -> None:
        super().__init__(f"{engine}: {reason}")
        self.engine = engine
        self.reason = reason


class ConfigError(StrongroomError):
    """The configuration does not hold together; the message says what to change."""
