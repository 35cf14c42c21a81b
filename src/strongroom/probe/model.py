"""The words of the probe: what was asked of whom, and what came of it.

An observation is a fact and no judgement: a timeout is one, and so is a refusal. It holds nothing of a patient by
construction: what a step may keep is named in ``strongroom.probe.steps``, and every text that a server chose has been
through ``strongroom.probe.shown``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

Detail = str | int | bool | tuple[str, ...]


class Level(IntEnum):
    """How far a run may go; each level includes those below."""

    CONNECT = 0
    """TCP connections and TLS handshakes: nothing is asked."""
    ASSOCIATE = 1
    """Associations and C-ECHO, and HTTP requests that name no study."""
    COUNT = 2
    """Queries that count and name nobody, retrievals of UIDs that no object has."""
    CANARY = 3
    """A synthetic object is written, read and overwritten; the report says how to remove it."""

    def __str__(self) -> str:
        return f"L{int(self)}"


class Channel(StrEnum):
    """What the bytes went through."""

    PLAIN = "plain"
    TLS = "tls"


class Identity(StrEnum):
    """As whom the probe asked."""

    STRANGER = "stranger"
    """Titles that nobody could know, no certificate, no user."""
    KNOWS_TITLE = "knows-title"
    """The called title that the scope names, under a calling title that nobody has registered: a server's own title is
    on every modality's screen."""
    NAMED = "named"
    """The application entity titles that the scope names, where a calling title is one of them."""
    GUESSED = "guessed"
    """A title of the list that every vendor's documents print."""
    JUNK_USER = "junk-user"
    """A user name and passcode that nobody has."""
    CERTIFICATE = "certificate"
    """The client certificate that the scope names."""
    DEFAULT_CREDENTIALS = "default-credentials"
    """A user name and password that a product ships with."""


NEEDS_NO_SECRET: Final = frozenset(
    {Identity.STRANGER, Identity.KNOWS_TITLE, Identity.GUESSED, Identity.JUNK_USER, Identity.DEFAULT_CREDENTIALS}
)
"""Who can do what anybody can: a server's own title is no secret, nor is a title or a password that vendors print."""


class Answer(StrEnum):
    """What came of asking. All but the last four say that somebody was there."""

    DONE = "done"
    """It did what was asked: a connection was opened, an association accepted, a request answered with success."""
    REFUSED = "refused"
    """It said no in the protocol's own words: A-ASSOCIATE-RJ, a failure status, 401 or 403, a TLS alert."""
    FAILED = "failed"
    """It took the request and said that it cannot: an error status that is no refusal."""
    ABORTED = "aborted"
    CLOSED = "closed"
    """The connection was closed or reset without a word."""
    OTHER = "other"
    """An answer, but not in the protocol that was asked for: HTTP on a DICOM port."""
    HOSTILE = "hostile"
    """An answer that broke a limit or the protocol in a way that can do harm; ``limit`` or ``reason`` names it."""
    TIMEOUT = "timeout"
    """Connected, and no answer in time."""
    UNREACHABLE = "unreachable"
    """No connection: refused, no route, or no answer to it in time (``reason``)."""
    NOT_ASKED = "not-asked"
    """Left out, and ``reason`` says why: the level, the budget, the window, or something that has to be true first."""


BUDGET: Final = "budget"
"""The ``reason`` of what was not asked because as many connections had been opened as the scope allows."""

REACHED: Final = frozenset(Answer) - {Answer.UNREACHABLE, Answer.NOT_ASKED}
NO_USE_ASKING_ON: Final = frozenset({Answer.TIMEOUT, Answer.HOSTILE, Answer.UNREACHABLE, Answer.NOT_ASKED})
"""After one of these the next request to the same door would cost time, or the budget, and tell nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One port of one address. ``target`` is what the scope calls it: a name or an address."""

    target: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One fact. ``step`` is a name in ``steps.STEPS``; ``details`` holds the keys that the step keeps and no others.

    ``at_us`` is microseconds since 1970, ``entries`` are the numbers of the run log's entries that bear it out.
    """

    step: str
    endpoint: Endpoint
    channel: Channel
    identity: Identity
    answer: Answer
    details: Mapping[str, Detail] = field(default_factory=dict)
    at_us: int = 0
    entries: tuple[int, ...] = ()


_IN_DICOM: Final = frozenset({Answer.DONE, Answer.REFUSED, Answer.FAILED, Answer.ABORTED})


def speaks_dicom(observations: Iterable[Observation]) -> bool:
    """Return whether DICOM was spoken. Over TLS a close counts: it is a way to say that a certificate is missing."""
    return any(
        each.step.startswith("dicom.")
        and (each.answer in _IN_DICOM or (each.answer is Answer.CLOSED and each.channel is Channel.TLS))
        for each in observations
    )
