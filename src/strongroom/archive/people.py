"""People: who they are, their sessions, and what a session lets somebody do. Pure; times are microseconds since 1970.

A session is 256 random bits in a cookie, of which only the SHA-256 is kept. It begins anew, with other bits, whenever
somebody has shown more than before: nobody goes on with a session that was there before he signed in.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from strongroom.archive.groups import Group
from strongroom.archive.roles import NEED_SECOND_FACTOR, Role, rights_of
from strongroom.archive.scopes import any_of
from strongroom.errors import ConfigError, Denied
from strongroom.types import Principal, Scope

SECRET_BYTES: Final = 32
VIA_SESSION: Final = "session"
MAX_AGENT_CHARS: Final = 160
MAX_NAME_CHARS: Final = 64
MAX_PASSKEY_NAME_CHARS: Final = 40
TOTP: Final = "totp"
"""The kind of a factor: one-time codes of an app. One whose ``step`` is ``UNCONFIRMED`` is none yet."""

UNCONFIRMED: Final = -1
OFFERED_TOTP: Final = "totp-offered"
"""The kind of one that is to be confirmed: it takes the place of ``TOTP``, if there is one, once it is."""

RECOVERY: Final = "recovery-code"
PASSKEY: Final = "passkey"

_SECRET: Final = re.compile("[A-Za-z0-9_-]{43}", re.ASCII)
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@-]{{0,{MAX_NAME_CHARS - 1}}}", re.ASCII)


class State(StrEnum):
    """How far somebody has come with a session. Only ``OPEN`` lets anybody do anything but sign in."""

    OPEN = "open"
    FACTOR = "factor"
    """The passcode was right; the second factor is still to be shown."""
    SETUP = "setup"
    """All that there is was shown, and a second factor has to be set up first."""


@dataclass(frozen=True, slots=True)
class Person:
    """One account. ``passcode_hash`` "" = nobody knows a passcode of it; ``disabled_us`` 0 = enabled.

    ``own_scope`` is what the account is limited to by itself, None = nothing limits it; ``groups`` add to it.
    """

    name: str
    passcode_hash: str = field(repr=False)
    roles: tuple[Role, ...]
    own_scope: Scope | None
    added_us: int
    disabled_us: int
    groups: tuple[Group, ...] = ()

    @property
    def scope(self) -> Scope | None:
        """What somebody sees, by himself and by his groups. Raises Denied: scope-too-large."""
        return any_of(self.own_scope, *(group.scope for group in self.groups))

    @property
    def needs_second_factor(self) -> bool:
        """Whether there is no way in without one."""
        return not NEED_SECOND_FACTOR.isdisjoint(self.roles)


@dataclass(frozen=True, slots=True)
class Session:
    """One session, without its secret. ``bound`` is the SHA-256 of the client certificate it began with, "" if none.

    ``ends_us`` is when it ends however busy it is, ``ended_us`` when it was ended, 0 = not; ``proved_us`` when its
    owner last proved who he is.
    """

    digest: str = field(repr=False)
    person: str
    state: State
    bound: str
    address: str
    agent: str
    created_us: int
    used_us: int
    ends_us: int
    ended_us: int = 0
    proved_us: int = 0

    @property
    def number(self) -> str:
        """What names it to its owner, and to the trail: no secret, and no way to one."""
        return self.digest[:16]

    def is_alive(self, now_us: int, idle_us: int) -> bool:
        """Whether it is neither ended nor too old, nor was left alone for too long."""
        return not self.ended_us and now_us < self.ends_us and now_us < self.used_us + idle_us


@dataclass(frozen=True, slots=True)
class Link:
    """One sign-in link, without its secret. ``used_us`` 0 = not used."""

    digest: str = field(repr=False)
    person: str
    added_us: int
    expires_us: int
    used_us: int = 0

    def is_good(self, now_us: int) -> bool:
        """Whether it can still be used."""
        return not self.used_us and now_us < self.expires_us


@dataclass(frozen=True, slots=True)
class Factor:
    """A second factor, its secret sealed. ``step`` is the last time step that was taken; ``UNCONFIRMED``: none was."""

    person: str
    kind: str
    sealed: bytes = field(repr=False)
    added_us: int
    step: int


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey (W3C Web Authentication Level 3). ``credential`` is its id in base64url, ``public_key`` a COSE key;
    ``rp_id`` is the name of ours that it is good for, ``counter`` the last that it has shown, ``used_us`` 0 = not yet.
    ``is_synced`` says that whoever makes it keeps copies."""

    credential: str
    person: str
    name: str
    rp_id: str
    public_key: bytes = field(repr=False)
    counter: int
    is_synced: bool
    added_us: int
    used_us: int = 0

    @property
    def number(self) -> str:
        """What names it to its owner, and to the trail."""
        return sha256(self.credential.encode()).hexdigest()[:16]


class Ways(NamedTuple):
    """What somebody has to sign in with, beside a passcode."""

    totp: bool = False
    passkeys: int = 0
    recovery_codes: int = 0

    @property
    def has_second_factor(self) -> bool:
        """Whether a passcode alone opens nothing. Recovery codes stand in for a second factor, and are none."""
        return self.totp or self.passkeys > 0


class Where(NamedTuple):
    """Where a request came from. ``device`` is what a browser has shown from an earlier sign-in, "" if nothing.

    ``port`` is the one of ours that browsers call."""

    address: str
    bound: str = ""
    agent: str = ""
    device: str = ""
    port: int = 0


class Entered(NamedTuple):
    """A session that has begun: the secret for its cookie, and how far it goes. ``device`` "" leaves that cookie."""

    secret: str
    person: str
    state: State
    device: str = ""


class Offered(NamedTuple):
    """A second factor to be set up: the text for the QR code, and the secret for typing."""

    uri: str
    secret: str


class SessionShown(NamedTuple):
    """A session as its owner sees it."""

    number: str
    address: str
    agent: str
    created_us: int
    used_us: int
    is_this: bool


def new_secret(random: bytes) -> str:
    """The text of a new secret, from ``SECRET_BYTES`` random bytes."""
    assert len(random) == SECRET_BYTES
    return urlsafe_b64encode(random).decode().rstrip("=")


def is_secret(text: str) -> bool:
    """Whether a text has the form of a secret."""
    return _SECRET.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """What is kept of a secret: the SHA-256 of its text in lower-case hex."""
    return sha256(secret.encode()).hexdigest()


def parse_person_name(text: str) -> str:
    """Return ``text`` if it can name somebody. Raises ConfigError."""
    if not _NAME.fullmatch(text):
        raise ConfigError("a user name is a letter or digit, and up to 63 more of these, dots, dashes, underscores, @")
    return text


def parse_passkey_name(text: str) -> str:
    """What somebody calls a passkey of his. Raises ConfigError."""
    name = " ".join(text.split())
    if not 0 < len(name) <= MAX_PASSKEY_NAME_CHARS or not name.isprintable():
        raise ConfigError(f"a passkey has a name of at most {MAX_PASSKEY_NAME_CHARS} characters")
    return name


def shown_agent(text: str) -> str:
    """What is kept of a browser's name for itself."""
    return "".join(character for character in text if character.isprintable())[:MAX_AGENT_CHARS]


def require_alive(session: Session | None, now_us: int, idle_us: int, bound: str) -> Session:
    """Return the session if it may go on. Raises Denied: unknown-session, session-ended, session-of-another."""
    if session is None:
        raise Denied("unknown-session")
    if not session.is_alive(now_us, idle_us):
        raise Denied("session-ended")
    if session.bound and session.bound != bound:
        raise Denied("session-of-another")
    return session


def principal_of(session: Session, person: Person | None, address: str) -> Principal:
    """Who acts in an open session that is alive. Raises Denied: second-factor-missing, user-disabled."""
    if session.state is not State.OPEN:
        raise Denied("second-factor-missing")
    if person is None or person.disabled_us:
        raise Denied("user-disabled")
    return Principal(
        person.name,
        session.digest,
        person.name,
        address,
        rights_of(person.roles),
        person.scope,
        VIA_SESSION,
        session.proved_us,
    )
