"""Studies that are shared: one study, for somebody without an account, by a link and a code, until a day. Pure.

The link has 256 random bits, of which the SHA-256 is kept. The code goes another way than the link, by telephone say,
so that whoever reads somebody's mail has half of what it takes. It is short: so only as many wrong ones are taken as
make guessing it hopeless, and then the link is void.

A share shows at most what its maker may see himself, at this moment: it ends with his account, and shrinks with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from strongroom.archive.access import common_scope
from strongroom.archive.people import VIA_SESSION, Person, Session
from strongroom.archive.roles import rights_of
from strongroom.errors import ConfigError, Denied
from strongroom.types import Part, Principal, Right, Scope

NAME_PREFIX: Final = "share "
"""How the name begins of who came by a share; no account is named so, for names have no spaces."""

CODE_DIGITS: Final = 8
MAX_WRONG_CODES: Final = 10
"""Of one share, ever: one guesser in ten million gets in."""

MAX_LABEL_CHARS: Final = 120
RIGHTS: Final = frozenset({Right.FIND, Right.GET})


class Standing(StrEnum):
    """What a share is good for. Only ``OPEN`` is good for anything."""

    OPEN = "open"
    EXPIRED = "expired"
    REVOKED = "revoked"
    LOCKED = "locked"
    """Too many wrong codes were entered."""


@dataclass(frozen=True, slots=True)
class Share:
    """One share, without its secrets: ``digest`` is of the link, ``code_mark`` of the code. Times are microseconds.

    ``recipient`` says whom it is for, in its maker's words; ``opened_us`` is when it was opened last, 0 = never.
    """

    number: int
    study_uid: str
    digest: str = field(repr=False)
    code_mark: str = field(repr=False)
    maker: str
    recipient: str = field(repr=False)
    reason: str
    made_us: int
    expires_us: int
    revoked_us: int = 0
    revoked_by: str = ""
    wrong_codes: int = 0
    openings: int = 0
    opened_us: int = 0

    @property
    def name(self) -> str:
        """What whoever comes by it is called, in the trail and in pages."""
        return name_of(self.number)

    def standing(self, now_us: int) -> Standing:
        """What it is good for."""
        if self.revoked_us:
            return Standing.REVOKED
        if self.wrong_codes >= MAX_WRONG_CODES:
            return Standing.LOCKED
        return Standing.OPEN if now_us < self.expires_us else Standing.EXPIRED


@dataclass(frozen=True, slots=True)
class NewShare:
    """What somebody wants shared, with whom, why, and for how many seconds."""

    study_uid: str
    recipient: str = field(repr=False)
    reason: str
    for_s: int


@dataclass(frozen=True, slots=True)
class MadeShare:
    """A share that was made. ``link`` and ``code`` are shown once: nobody can find them out afterwards."""

    share: Share
    link: str = field(repr=False)
    code: str = field(repr=False)


def name_of(number: int) -> str:
    """What whoever comes by a share is called."""
    return f"{NAME_PREFIX}{number}"


def share_number(name: str) -> int | None:
    """The number of the share that a session is of, None if it is somebody's own."""
    digits = name.removeprefix(NAME_PREFIX)
    return int(digits) if digits != name and digits.isascii() and digits.isdecimal() else None


def parse_label(text: str) -> str:
    """Return whom a share is for, which stays in the trail. Raises ConfigError: empty, too long, or not one line."""
    label = text.strip()
    if not label or len(label) > MAX_LABEL_CHARS or not label.isprintable():
        raise ConfigError(f"say whom it is for, in one line of 1 to {MAX_LABEL_CHARS} characters")
    return label


def scope_of(share_of: str, maker: Person) -> Scope | None:
    """What a share of a study by somebody shows: the study, as far as his own scope has it.

    Raises Denied if he may not share, or not (any more) see it.
    """
    if maker.disabled_us or Right.SHARE not in rights_of(maker.roles):
        raise Denied("share-of-nobody")
    return common_scope(Scope((Part(studies=(share_of,)),)), maker.scope)


def principal_of_share(session: Session, share: Share | None, maker: Person | None, address: str) -> Principal:
    """Who acts in a session that was opened by a share, and is alive. Raises Denied.

    That the share still stands is asked here with every request: what it shows ends in the moment of its revocation.
    ``session`` was used now, so that its own end is at most that of the share.
    """
    if share is None or share.revoked_us or maker is None:
        raise Denied("share-ended")
    scope = scope_of(share.study_uid, maker)
    return Principal(share.name, session.digest, share.name, address, RIGHTS, scope, VIA_SESSION)
