"""``archive.administration.Administration`` on an open archive: what the pages of administrators do.

The same functions as the command line calls, with the same records, of which the actor is who has signed in. A process
that serves pages writes as any other does: the database takes one writer at a time of all processes, each appends to a
trail log of its own, and the server reads peers, tokens and accounts again when their version has moved on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from strongroom.admin import accounts, groups, peers, tokens, users
from strongroom.admin.credentials import packed
from strongroom.admin.exceptions import standing
from strongroom.admin.posture import listening, posture
from strongroom.app import Archive
from strongroom.archive.access import require
from strongroom.archive.administration import (
    GroupShown,
    NewLink,
    NewPeer,
    NewToken,
    OpenSession,
    PeerShown,
    Registered,
    User,
)
from strongroom.archive.facts import IS_OPEN
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.peers import Peer
from strongroom.archive.posture import Line
from strongroom.archive.roles import Role
from strongroom.archive.tokens import Token
from strongroom.errors import Denied
from strongroom.store.served import read_served
from strongroom.types import Principal, Right, Scope

_RIGHT: Final = Right.ADMINISTER


class Console:
    """What an administrator may do and see. Thread-safe; every call blocks."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def posture(self, by: Principal) -> tuple[Line, ...]:
        """Whether the doors are shut, line by line."""
        require(by, _RIGHT)
        return posture(self._archive)

    def peers(self, by: Principal) -> list[PeerShown]:
        """Every peer, revoked ones too, by AE title."""
        require(by, _RIGHT)
        seen = read_served(self._archive.index).seen
        return [self._shown(peer, int(seen.get(peer.aet, 0) * 1e6)) for peer in peers.peers(self._archive).values()]

    def register_peer(self, by: Principal, new: NewPeer, *, is_new: bool) -> Registered:
        """Add a peer, or change one; with credentials if a certificate was issued."""
        with self._recording(by, Action.PEER_CHANGE):
            enrolled = peers.enrol(self._archive, new, by, is_new=is_new)
        credentials = packed(self._archive, enrolled) if enrolled.issued else None
        return Registered(enrolled.peer, credentials, tuple(peers.warnings(self._archive, enrolled.peer)))

    def revoke_peer(self, by: Principal, aet: str) -> tuple[str, ...]:
        """Refuse a peer from now on; returns what to know about its certificate."""
        with self._recording(by, Action.PEER_CHANGE):
            return tuple(peers.warnings(self._archive, peers.revoke(self._archive, aet, by)))

    def people(self, by: Principal) -> list[User]:
        """Every account, by name."""
        require(by, _RIGHT)
        return users.users(self._archive)

    def invite(self, by: Principal, name: str, roles: Sequence[Role], scope: Scope | None) -> NewLink:
        """Add an account, with a link to sign in with for the first time."""
        with self._recording(by, Action.USER_CHANGE):
            return users.invite(self._archive, name, *roles, scope=scope, by=by)

    def change_person(self, by: Principal, name: str, roles: Sequence[Role], scope: Scope | None) -> None:
        """Give somebody else other roles and another scope."""
        with self._recording(by, Action.USER_CHANGE):
            accounts.change(self._archive, name, roles, scope, by)

    def disable(self, by: Principal, name: str) -> None:
        """Refuse somebody else's account from now on, and end its sessions."""
        with self._recording(by, Action.USER_CHANGE):
            users.disable(self._archive, name, by)

    def enable(self, by: Principal, name: str) -> None:
        """Take back that it is refused."""
        with self._recording(by, Action.USER_CHANGE):
            accounts.enable(self._archive, name, by)

    def reset(self, by: Principal, name: str) -> NewLink:
        """Take passcode, second factors and sessions from somebody else, and give him a link for a new start."""
        with self._recording(by, Action.USER_CHANGE):
            return users.reset(self._archive, name, by)

    def groups(self, by: Principal) -> list[GroupShown]:
        """Every group, by name, and who is in it."""
        require(by, _RIGHT)
        return groups.groups(self._archive)

    def add_group(self, by: Principal, name: str, scope: Scope | None) -> None:
        """Make a group, which nobody is in."""
        with self._recording(by, Action.GROUP_CHANGE):
            groups.add(self._archive, name, scope, by)

    def change_group(self, by: Principal, name: str, scope: Scope | None) -> None:
        """Give a group another scope; not one that he is in."""
        with self._recording(by, Action.GROUP_CHANGE):
            groups.change(self._archive, name, scope, by)

    def remove_group(self, by: Principal, name: str) -> None:
        """Remove a group; not one that he is in."""
        with self._recording(by, Action.GROUP_CHANGE):
            groups.remove(self._archive, name, by)

    def join_group(self, by: Principal, name: str, person: str) -> None:
        """Put somebody else into a group."""
        with self._recording(by, Action.GROUP_CHANGE):
            groups.join(self._archive, name, [person], by)

    def leave_group(self, by: Principal, name: str, person: str) -> None:
        """Take somebody else out of a group."""
        with self._recording(by, Action.GROUP_CHANGE):
            groups.leave(self._archive, name, [person], by)

    def sessions(self, by: Principal) -> list[OpenSession]:
        """The open sessions of everybody, those that were used last first."""
        require(by, _RIGHT)
        return accounts.sessions(self._archive)

    def end_session(self, by: Principal, number: str) -> None:
        """End one of them."""
        with self._recording(by, Action.SESSION_END):
            accounts.end_session(self._archive, number, by)

    def end_sessions(self, by: Principal, name: str) -> int:
        """End all of somebody, or of everybody but who asks if ``name`` is ""; returns how many there were."""
        with self._recording(by, Action.SESSION_END):
            return accounts.end_sessions(self._archive, name, by)

    def tokens(self, by: Principal) -> list[Token]:
        """Every access token, revoked ones too, by name."""
        require(by, _RIGHT)
        return tokens.tokens(self._archive)

    def add_token(self, by: Principal, new: NewToken) -> tuple[Token, str]:
        """Make a token; returns it and its secret, which is kept nowhere."""
        with self._recording(by, Action.TOKEN_CHANGE):
            return tokens.add(self._archive, new, by)

    def revoke_token(self, by: Principal, name: str) -> None:
        """Refuse a token from now on."""
        with self._recording(by, Action.TOKEN_CHANGE):
            tokens.revoke(self._archive, name, by)

    def _shown(self, peer: Peer, seen_us: int) -> PeerShown:
        mine = [each for each in self._archive.config.unsafe_plaintext if each.peer == peer.aet]
        lines = listening(self._archive) if mine else ()
        stand = [standing(self._archive, each, lines) for each in mine]
        exceptions = tuple(
            f"plaintext on port {each.port} for {each.addresses} until {each.expires}, {stands}: {each.reason}"
            for each, stands in zip(mine, stand, strict=True)
        )
        is_plaintext = not IS_OPEN.isdisjoint(stand)
        return PeerShown(peer, peers.not_after(peer) or "", peers.days_left(peer), seen_us, exceptions, is_plaintext)

    @contextmanager
    def _recording(self, by: Principal, action: Action) -> Iterator[None]:
        """A refusal of what is done here is in the trail before it is told."""
        try:
            require(by, _RIGHT)
            yield
        except Denied as refusal:
            self._archive.index.record(Event(action, Outcome.REFUSED, by, {"reason": refusal.reason}))
            raise
