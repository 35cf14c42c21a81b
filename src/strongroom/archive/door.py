"""What is asked of an object before it is stored: the policy of the house, and the port of whoever screens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from strongroom.archive.integrity import Pixels
from strongroom.archive.ports import Keys, Quarantine
from strongroom.dicom.dictionary import TransferSyntax


class Policy(StrEnum):
    """What becomes of an object in which something is found."""

    ACCEPT = "accept"
    FLAG = "flag"
    """Stored, and put before somebody."""
    QUARANTINE = "quarantine"
    """Kept, sealed, outside the archive, until two people decide."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Screened:
    """What was found in one object, and what is to become of it.

    ``severity`` is that of the worst finding, "" if there is none; ``rules`` the ids of what was found, each once;
    ``findings`` a JSON array of where and why, never a value of a patient.
    """

    policy: Policy
    severity: str = ""
    rules: tuple[str, ...] = ()
    findings: bytes = field(default=b"[]", repr=False)


NOTHING_FOUND: Final = Screened(Policy.ACCEPT)


class Screening(Protocol):
    """One object, looked at while it arrives. Not thread-safe."""

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set; they may be reused when this returns."""

    def finish(self) -> Screened:
        """Declare the end, and return what was found. Raises StorageUnavailable if it cannot be told now."""

    def close(self) -> None:
        """Give up on the object. Safe at any time, also after ``finish``."""


class ScreeningMemory(Protocol):
    """What the objects of one association have taught whoever screens. Not thread-safe."""


@dataclass(frozen=True, slots=True)
class Door:
    """Who looks at what comes in. ``screen`` is None if nobody does, else it is given the transfer syntax, what earlier
    objects have taught, and the header of its file if that is unusual. ``holds_altered`` says that
    altered copies are held in the quarantine, and not only refused."""

    keys: Keys
    quarantine: Quarantine
    pixels: Pixels
    screen: Callable[[TransferSyntax, ScreeningMemory | None, bytes], Screening] | None
    holds_altered: bool


SCREENING: Final = "screening"
"""The reason of an object that is refused, held or flagged for what was found in it."""

ALERT_FROM: Final = frozenset({"high", "critical"})
"""Severities that somebody is told of at once."""
