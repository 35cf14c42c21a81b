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
    """What a peer may be allowed to do; each is granted on its own."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: every entry of the trail names one.

    ``aet`` is the calling AE title or the name of a local command, ``fingerprint`` the SHA-256 of the peer's
    certificate in lower-case hex ("" for a local command), ``user`` a verified user name or "", ``address`` the
    numeric source address or "local".
    """

    aet: str
    fingerprint: str = ""
    user: str = ""
    address: str = "local"
    rights: frozenset[Right] = field(default_factory=frozenset)
