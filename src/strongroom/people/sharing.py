"""Sharing a study: the link is made, opened with its code, and ended."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from strongroom.archive.access import require
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.archive.people import (
    SECRET_BYTES,
    VIA_SESSION,
    Entered,
    Session,
    State,
    Where,
    digest_of,
    is_secret,
    new_secret,
    shown_agent,
)
from strongroom.archive.reasons import parse_reason
from strongroom.archive.sharing import (
    CODE_DIGITS,
    MAX_WRONG_CODES,
    MadeShare,
    NewShare,
    Share,
    Standing,
    parse_label,
    scope_of,
)
from strongroom.errors import ConfigError, Denied, NotFound, Throttled, Unauthenticated
from strongroom.people.guessing import Bucket, count_failure, share_buckets, wait_s
from strongroom.people.sealing import PeopleKey
from strongroom.store.database import Database
from strongroom.store.people import PeopleTable
from strongroom.store.scope import is_study_visible
from strongroom.store.shares import ShareTable
from strongroom.types import Part, Principal, Right, Scope, Uid

MAX_LISTED: Final = 1000
NOT_GOOD: Final = "share-not-good"
CODE_WRONG: Final = "share-code-wrong"
TOO_MANY: Final = "too-many-failures"


@dataclass(frozen=True, slots=True)
class SharePorts:
    """What sharing needs. ``record_refusal`` and ``announce`` do not block; ``clock`` is seconds since 1970."""

    database: Database
    key: PeopleKey
    clock: Callable[[], float]
    record_refusal: Callable[[Event], None]
    announce: Callable[[Event], None]


class Shares:
    """``archive.ports.Sharing`` on the index. ``max_s`` is the longest that a share lasts, ``session_s`` a session that
    was opened by one. Thread-safe; every call blocks."""

    def __init__(self, ports: SharePorts, max_s: float, session_s: float) -> None:
        self._ports = ports
        self.max_s = int(max_s)
        self._session_us = int(session_s * 1e6)
        self._table = ShareTable(ports.database.dialect)
        self._people = PeopleTable(ports.database.dialect)

    def make(self, principal: Principal, new: NewShare) -> MadeShare:
        """Share a study. Raises Denied, NotFound if its maker may not see the study himself, ConfigError.

        What he sees in an emergency only is not his to share.
        """
        require(principal, Right.SHARE)
        study, recipient, reason = Uid.parse(new.study_uid), parse_label(new.recipient), parse_reason(new.reason)
        if not 0 < new.for_s <= self.max_s:
            raise ConfigError(f"a share lasts {self.max_s // 86_400} days at most")
        link, now_us = new_secret(secrets.token_bytes(SECRET_BYTES)), self._now_us()
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        digest = digest_of(link)
        mark = self._ports.key.mark_code(digest, code)
        expires_us = now_us + new.for_s * 1_000_000

        def work(transaction: Any) -> Share:
            self._require_visible(transaction.cursor, principal.user, study)
            number = self._table.next_number(transaction.cursor)
            share = Share(number, study, digest, mark, principal.user, recipient, reason, now_us, expires_us)
            self._table.add(transaction.cursor, share)
            transaction.record(Event(Action.SHARE, Outcome.SUCCESS, principal, _details("make", share)))
            return share

        return MadeShare(self._ports.database.write(work), link, code)

    def shares(self, principal: Principal, *, of_all: bool) -> list[Share]:
        """The newest shares: one's own, or those of all. Raises Denied."""
        require(principal, Right.REVIEW if of_all else Right.SHARE)
        with self._ports.database.reading() as cursor:
            return self._table.shares(cursor, MAX_LISTED, None if of_all else principal.user)

    def every_share(self) -> list[Share]:
        """The newest shares, for this machine's operator."""
        with self._ports.database.reading() as cursor:
            return self._table.shares(cursor, MAX_LISTED)

    def revoke(self, principal: Principal, number: int, *, of_all: bool) -> None:
        """End a share: one's own, or anybody's. Raises Denied, NotFound."""
        require(principal, Right.REVIEW if of_all else Right.SHARE)
        self.end(principal, number, None if of_all else principal.user)

    def end(self, principal: Principal, number: int, maker: str | None = None) -> None:
        """End a share of ``maker``, None = of anybody, and every session that was opened by it. Raises NotFound."""
        now_us = self._now_us()

        def work(transaction: Any) -> None:
            cursor = transaction.cursor
            share = self._table.share(cursor, number)
            if share is None or maker not in (None, share.maker):
                raise NotFound("no such share")
            if self._table.revoke(cursor, number, now_us, principal.user):
                self._people.end_sessions(cursor, share.name, now_us)
                transaction.record(Event(Action.SHARE, Outcome.SUCCESS, principal, _details("revoke", share)))

        self._ports.database.write(work)

    def require_good(self, link: str) -> Share:
        """The share of a link that can be opened. Raises NotFound, the same for all others."""
        share = self._find(link)
        if share is None:
            raise NotFound(NOT_GOOD)
        return share

    def open(self, link: str, code: str, where: Where) -> Entered:
        """Begin a session that sees the one study. Raises NotFound, Unauthenticated if the code is wrong, Throttled."""
        share = self._find(link)
        if share is None:
            self._refused(where, NOT_GOOD, None)
            raise NotFound(NOT_GOOD)
        buckets, now_us = share_buckets(share.number), self._now_us()
        with self._ports.database.reading() as cursor:
            if wait := wait_s(self._people, cursor, buckets, now_us):
                self._refused(where, TOO_MANY, share)
                raise Throttled(TOO_MANY, wait)
        if not self._ports.key.is_code(share.digest, code.replace(" ", ""), share.code_mark):
            self._count_wrong(share, buckets, where)
            self._refused(where, CODE_WRONG, share)
            raise Unauthenticated(CODE_WRONG)
        secret = new_secret(secrets.token_bytes(SECRET_BYTES))
        session = self._new_session(share, digest_of(secret), where)

        def work(transaction: Any) -> bool:
            """Whether it is open now: it may have ended since it was looked at."""
            cursor = transaction.cursor
            current = self._table.share(cursor, share.number)
            if current is None or current.standing(now_us) is not Standing.OPEN:
                return False
            self._table.count_opening(cursor, share.number, now_us)
            self._people.add_session(cursor, session)
            details = _details("open", share) | {"session": session.number}
            who = replace(_visitor(share, where), fingerprint=session.digest)
            transaction.record(Event(Action.SHARE, Outcome.SUCCESS, who, details))
            return True

        if not self._ports.database.write(work):
            raise NotFound(NOT_GOOD)
        return Entered(secret, share.name, State.OPEN)

    def _count_wrong(self, share: Share, buckets: tuple[Bucket, ...], where: Where) -> None:
        """Count a wrong code; the last one that is taken locks the share, with an alert."""
        now_us = self._now_us()
        alert = Event(Action.ALERT, Outcome.WARNING, _visitor(share, where), _alert(share))

        def work(transaction: Any) -> bool:
            """Whether this one locks it."""
            cursor = transaction.cursor
            self._table.count_wrong_code(cursor, share.number)
            count_failure(self._people, cursor, buckets, now_us)
            current = self._table.share(cursor, share.number)
            is_locked = current is not None and current.wrong_codes == MAX_WRONG_CODES
            if is_locked:
                transaction.record(alert)
            return is_locked

        if self._ports.database.write(work):
            self._ports.announce(alert)

    def _new_session(self, share: Share, digest: str, where: Where) -> Session:
        now_us = self._now_us()
        return Session(
            digest=digest,
            person=share.name,
            state=State.OPEN,
            bound=where.bound,
            address=where.address,
            agent=shown_agent(where.agent),
            created_us=now_us,
            used_us=now_us,
            ends_us=min(now_us + self._session_us, share.expires_us),
        )

    def _find(self, link: str) -> Share | None:
        """The share of a link if it can be opened, by one who may still share it."""
        if not is_secret(link):
            return None
        with self._ports.database.reading() as cursor:
            share = self._table.by_digest(cursor, digest_of(link))
            maker = self._people.person(cursor, share.maker) if share else None
        if share is None or maker is None or share.standing(self._now_us()) is not Standing.OPEN:
            return None
        try:
            scope_of(share.study_uid, maker)
        except Denied:
            return None
        return share

    def _require_visible(self, cursor: Any, maker: str, study: str) -> None:
        person = self._people.person(cursor, maker)
        if person is None or person.disabled_us:
            raise Denied("user-disabled")
        scope = Scope((Part(studies=(study,)),)) if person.scope is None else person.scope
        if not is_study_visible(cursor, self._ports.database.dialect, scope, study):
            raise NotFound("no such study")

    def _refused(self, where: Where, reason: str, share: Share | None) -> None:
        details: dict[str, Detail] = {"reason": reason}
        who = Principal("", "", "", where.address, via=VIA_SESSION)
        if share is not None:
            who = _visitor(share, where)
            details["share"] = share.number
        self._ports.record_refusal(Event(Action.SHARE, Outcome.REFUSED, who, details))

    def _now_us(self) -> int:
        return int(self._ports.clock() * 1e6)


def _visitor(share: Share, where: Where) -> Principal:
    return Principal(share.name, "", share.name, where.address, via=VIA_SESSION)


def _details(what: str, share: Share) -> dict[str, Detail]:
    return {
        "what": what,
        "share": share.number,
        "study": share.study_uid,
        "recipient": share.recipient,
        "because": share.reason,
        "made_by": share.maker,
        "expires_us": share.expires_us,
    }


def _alert(share: Share) -> dict[str, Detail]:
    return {"what": "share", "reason": "share-locked", "severity": "medium", "share": share.number,
            "study": share.study_uid, "made_by": share.maker}  # fmt: skip
