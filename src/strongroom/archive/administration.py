"""What administrators do with people, peers and tokens, and what they are shown of them. Data, and one port.

``admin`` does it, for the command line and for the pages alike; ``by`` is who asks for it with a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from strongroom.archive.federation import is_of_provider
from strongroom.archive.groups import Group
from strongroom.archive.peers import Peer
from strongroom.archive.posture import Line
from strongroom.archive.roles import Role
from strongroom.archive.tokens import Token
from strongroom.types import AeTitle, Principal, Right, Scope

DEFAULT_TOKEN_DAYS = 30
MAX_TOKEN_DAYS = 365
DAYS_LEFT_WARNING = 30
"""Days before its end from which on a certificate is pointed out."""


@dataclass(frozen=True, slots=True)
class NewPeer:
    """What is said of a peer; None leaves what a known peer has. Without ``certificate_pem`` one is issued.

    A new peer has, of what is left out, the right to echo, no limit, no address and no need of a user. An ``address``
    is host and port, ("", 0) for none.
    With ``ca_pem`` the peer is whoever presents a certificate of exactly ``subject`` (RFC 4514) that this CA issued.
    """

    aet: AeTitle
    rights: frozenset[Right] | None = None
    address: tuple[str, int] | None = None
    certificate_pem: bytes = b""
    ca_pem: bytes = b""
    subject: str = ""
    require_user: bool | None = None
    days: int = 0
    """For an issued certificate; 0 = as long as those of peers last."""
    scope: tuple[str, ...] = ()
    """Terms of ``archive.access.parse_scope``: ``("all",)`` lifts the limits of a known peer."""
    issue: bool = False
    """Whether a known peer gets another certificate, which its old one is void with."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a peer needs to call, as a ZIP archive. Its private key is under ``passphrase``; neither is kept."""

    file_name: str
    content: bytes = field(repr=False)
    passphrase: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registered:
    """A peer that was added or changed. ``credentials`` are None where no certificate was issued."""

    peer: Peer
    credentials: Credentials | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerShown:
    """A peer as an administrator sees it. ``days_left`` is of its own certificate, None where that is not known.

    ``seen_us`` is when it last had an association, microseconds since 1970, 0 = not since anybody has counted.
    ``exceptions`` are plaintext exceptions of the configuration for it, in words; ``is_plaintext`` if one is in effect.
    """

    peer: Peer
    not_after: str
    days_left: int | None
    seen_us: int = 0
    exceptions: tuple[str, ...] = ()
    is_plaintext: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """One account, without its passcode. Times are microseconds since 1970; ``disabled_us`` 0 = enabled.

    ``scope`` is its own; ``groups`` names those that add to it.
    """

    name: str
    roles: tuple[Role, ...]
    scope: Scope | None
    has_passcode: bool
    factors: tuple[str, ...]
    added_us: int
    disabled_us: int
    groups: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """Its roles in words."""
        return ",".join(self.roles)

    @property
    def state(self) -> str:
        """Whether it can be used, in a word."""
        if self.disabled_us:
            return "disabled"
        return "enabled" if self.has_passcode or is_of_provider(self.name) else "invited"


@dataclass(frozen=True, slots=True)
class GroupShown:
    """A group, and the names of who is in it."""

    group: Group
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewLink:
    """A sign-in link: the path to open at the archive's address. Who has it has the account, once.

    With ``expires_us`` 0 it is the page to sign in, which gives nobody anything.
    """

    name: str
    path: str = field(repr=False)
    expires_us: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session of somebody that goes on. ``number`` names it; it is no secret. Times are microseconds since 1970."""

    number: str
    person: str
    state: str
    address: str
    agent: str
    created_us: int
    used_us: int


@dataclass(frozen=True, slots=True)
class NewToken:
    """What is said of a token. ``scope`` are terms of ``archive.access.parse_scope``, none = all."""

    name: str
    rights: frozenset[Right]
    days: int = DEFAULT_TOKEN_DAYS
    scope: Sequence[str] = ()


class Administration(Protocol):
    """What an administrator may do and see with a page. Every call blocks, and takes who asks.

    Each asks anew, where it writes, whether that is still an administrator, and records the act, or its refusal. All
    raise Denied and StorageUnavailable; NotFound for what is not there, ConfigError for what cannot be.
    """

    def posture(self, by: Principal) -> tuple[Line, ...]:
        """Whether the doors are shut, line by line."""

    def peers(self, by: Principal) -> list[PeerShown]:
        """Every peer, revoked ones too, by AE title."""

    def register_peer(self, by: Principal, new: NewPeer, *, is_new: bool) -> Registered:
        """Add a peer, or change one."""

    def revoke_peer(self, by: Principal, aet: str) -> tuple[str, ...]:
        """Refuse a peer from now on; returns what to know about its certificate."""

    def people(self, by: Principal) -> list[User]:
        """Every account, by name."""

    def invite(self, by: Principal, name: str, roles: Sequence[Role], scope: Scope | None) -> NewLink:
        """Add an account, with a link to sign in with for the first time."""

    def change_person(self, by: Principal, name: str, roles: Sequence[Role], scope: Scope | None) -> None:
        """Give somebody else other roles and another scope."""

    def disable(self, by: Principal, name: str) -> None:
        """Refuse somebody else's account from now on, and end its sessions."""

    def enable(self, by: Principal, name: str) -> None:
        """Take back that it is refused."""

    def reset(self, by: Principal, name: str) -> NewLink:
        """Take passcode, second factors and sessions from somebody else, and give him a link for a new start."""

    def groups(self, by: Principal) -> list[GroupShown]:
        """Every group, by name."""

    def add_group(self, by: Principal, name: str, scope: Scope | None) -> None:
        """Make a group, which nobody is in."""

    def change_group(self, by: Principal, name: str, scope: Scope | None) -> None:
        """Give a group another scope; not one that he is in."""

    def remove_group(self, by: Principal, name: str) -> None:
        """Remove a group; not one that he is in."""

    def join_group(self, by: Principal, name: str, person: str) -> None:
        """Put somebody else into a group."""

    def leave_group(self, by: Principal, name: str, person: str) -> None:
        """Take somebody else out of a group."""

    def sessions(self, by: Principal) -> list[OpenSession]:
        """The open sessions of everybody, those that were used last first."""

    def end_session(self, by: Principal, number: str) -> None:
        """End one of them."""

    def end_sessions(self, by: Principal, name: str) -> int:
        """End all of somebody, or of everybody but who asks if ``name`` is ""; returns how many there were."""

    def tokens(self, by: Principal) -> list[Token]:
        """Every access token, revoked ones too, by name."""

    def add_token(self, by: Principal, new: NewToken) -> tuple[Token, str]:
        """Make a token; returns it and its secret, which is kept nowhere."""

    def revoke_token(self, by: Principal, name: str) -> None:
        """Refuse a token from now on."""
