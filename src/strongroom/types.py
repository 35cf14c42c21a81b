"""Parsing value types shared by every room: once one of these exists, its content has been checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from strongroom.errors import ConfigError, MalformedDataset

_UID = re.compile(r"[0-9]{1,64}|(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)+")
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


class Uid(str):
    """A DICOM unique identifier: digits and dots, 1 to 64 characters (PS3.5 9.1).

    Leading zeros in a component are let through: devices in the field write them, and they are harmless.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Uid:
        """Return the UID in ``text``, padding removed. Raises MalformedDataset if it is none."""
        bare = text.rstrip("\0 ")
        if not _UID.fullmatch(bare):
            raise MalformedDataset("not a UID")
        return cls(bare)


class AeTitle(str):
    """An application entity title: 1 to 16 characters of the default repertoire, no backslash (PS3.5 6.2, VR AE)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> AeTitle:
        """Return the title with insignificant spaces removed. Raises ConfigError if it is none."""
        bare = text.strip(" ")
        if not _AE_TITLE.fullmatch(bare):
            raise ConfigError("an AE title has 1 to 16 printable characters and no backslash")
        return cls(bare)


class Right(StrEnum):
    """What a principal may be allowed to do; each is granted on its own. From ``AUDIT`` on they are for people only."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"
    COMMIT = "commit"
    DELETE = "delete"
    METRICS = "metrics"
    AUDIT = "audit"
    """Read the trail."""
    REVIEW = "review"
    """See what waits for somebody to look at it: alerts, the quarantine."""
    PROPOSE = "propose"
    """Ask that a study be deleted, which takes somebody else as well."""
    SHARE = "share"
    """Show one study to somebody who has no account."""
    BREAK_GLASS = "break-glass"
    """See a patient outside one's scope in an emergency, for a time, with an alert."""
    ADMINISTER = "administer"
    """Change who may do what: people, peers, tokens."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the archive, by limits that all hold; what an empty field stands for is not limited.

    What is in it: the series of one of ``patients`` (Patient ID and Issuer of Patient ID, None = any issuer), in one of
    ``studies`` (UIDs), of one of ``modalities``, made in one of ``institutions``, whose study was asked for by one of
    ``referring`` (names of physicians, or their first components) and has a date (YYYYMMDD) from ``first_date`` to
    ``last_date``, with all that lies under them; and the studies and patients that such a series belongs to. Values are
    the canonical text of ``strongroom.archive.values``; ``strongroom.archive.access`` reads and writes them.
    """

    patients: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)
    studies: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    referring: tuple[str, ...] = field(default=(), repr=False)
    first_date: str = ""
    last_date: str = ""

    def __post_init__(self) -> None:
        """Raise ConfigError for a part that limits nothing: that is no scope, and never comes about by leaving out."""
        lists = (self.patients, self.studies, self.modalities, self.institutions, self.referring)
        if not (any(lists) or self.first_date or self.last_date):
            raise ConfigError("a scope that limits nothing is no scope")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a principal is limited to: whatever lies in any of ``parts``. Without parts that is nothing at all.

    To add a part never takes anything away. Who is not limited has None in place of a scope.
    """

    parts: tuple[Part, ...] = ()


NOTHING = Scope()
"""The scope of who sees nothing of what is stored."""


@dataclass(frozen=True, slots=True)
class Emergency:
    """That somebody has broken the glass: its number, and until when it holds (microseconds since 1970)."""

    number: int
    ends_us: int


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: every entry of the trail names one.

    ``aet`` is the calling AE title or the name of a local command, ``fingerprint`` the SHA-256 of the peer's
    certificate in lower-case hex ("" for a local command), ``user`` a verified user name or "", ``address`` the
    numeric source address or "local". ``scope`` is the part of the archive that all of it is limited to, None = all.
    With ``via`` "token" these are the name and the SHA-256 of an access token, with "jwt" issuer and subject are in
    ``aet`` and ``user``, and with "session" the name of who has signed in is in both; it is "" for certificates and on
    this machine. ``proved_us`` is when somebody in a session last proved who he is: microseconds since 1970.
    ``emergencies`` are those in which the scope is wider than it would be.
    """

    aet: str
    fingerprint: str = ""
    user: str = ""
    address: str = "local"
    rights: frozenset[Right] = field(default_factory=frozenset)
    scope: Scope | None = None
    via: str = ""
    proved_us: int = field(default=0, compare=False)
    emergencies: tuple[Emergency, ...] = ()
