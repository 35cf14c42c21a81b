"""People, their second factors, sessions, sign-in links and failed attempts, in the index's database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.access import decode_scope, encode_scope
from strongroom.archive.groups import Group
from strongroom.archive.people import Factor, Link, Person, Session, State
from strongroom.archive.roles import stored_roles
from strongroom.store.database import Sql
from strongroom.store.membership import GroupTable
from strongroom.store.schema.tables import ACCOUNT, ATTEMPT, FACTOR, PASSKEY, RECOVERY_CODE, SESSION, SIGN_IN_LINK
from strongroom.types import Scope

_PERSON = (ACCOUNT.c.name, ACCOUNT.c.passcode_hash, ACCOUNT.c.role, ACCOUNT.c.scope, ACCOUNT.c.added_us,
           ACCOUNT.c.disabled_us)  # fmt: skip


class PeopleTable:
    """Statements on people; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        self._person = Sql(select(*_PERSON).where(ACCOUNT.c.name == bindparam("a")), dialect)
        self._people = Sql(select(*_PERSON).order_by(ACCOUNT.c.name), dialect)
        self._set_passcode = Sql(
            update(ACCOUNT).where(ACCOUNT.c.name == bindparam("a")).values(passcode_hash=bindparam("b")), dialect
        )
        roles = update(ACCOUNT).where(ACCOUNT.c.name == bindparam("a"))
        self._set_roles = Sql(roles.values(role=bindparam("b"), scope=bindparam("c")), dialect)
        self._groups = GroupTable(dialect)
        self._prepare_sessions(dialect)
        self._prepare_factors(dialect)

    def _prepare_sessions(self, dialect: Dialect) -> None:
        of_digest, of_person = SESSION.c.digest == bindparam("a"), SESSION.c.person == bindparam("a")
        is_on = SESSION.c.ended_us == 0
        self._session = Sql(select(SESSION).where(of_digest), dialect)
        self._sessions = Sql(select(SESSION).where(of_person, is_on).order_by(SESSION.c.used_us.desc()), dialect)
        self._open_sessions = Sql(
            select(SESSION).where(is_on, SESSION.c.ends_us > bindparam("a")).order_by(SESSION.c.used_us.desc()), dialect
        )
        self._add_session = Sql(insert(SESSION), dialect)
        self._end = Sql(update(SESSION).where(of_digest, is_on).values(ended_us=bindparam("b")), dialect)
        self._end_all = Sql(update(SESSION).where(of_person, is_on).values(ended_us=bindparam("b")), dialect)
        self._end_others = Sql(
            update(SESSION).where(of_person, is_on, SESSION.c.digest != bindparam("c")).values(ended_us=bindparam("b")),
            dialect,
        )
        self._use = Sql(
            update(SESSION).where(of_digest, SESSION.c.used_us < bindparam("c")).values(used_us=bindparam("b")), dialect
        )
        self._forget = Sql(delete(SESSION).where(SESSION.c.ends_us < bindparam("a")), dialect)

    def _prepare_factors(self, dialect: Dialect) -> None:
        of_person, of_link = FACTOR.c.person == bindparam("a"), SIGN_IN_LINK.c.digest == bindparam("a")
        self._factors = Sql(select(FACTOR).where(of_person), dialect)
        self._drop_factor = Sql(delete(FACTOR).where(of_person, FACTOR.c.kind == bindparam("b")), dialect)
        self._drop_factors = [
            Sql(delete(table).where(table.c.person == bindparam("a")), dialect)
            for table in (FACTOR, PASSKEY, RECOVERY_CODE)
        ]
        self._add_factor = Sql(insert(FACTOR), dialect)
        self._link = Sql(select(SIGN_IN_LINK).where(of_link), dialect)
        self._add_link = Sql(insert(SIGN_IN_LINK), dialect)
        self._use_link = Sql(update(SIGN_IN_LINK).where(of_link).values(used_us=bindparam("b")), dialect)
        self._drop_links = Sql(delete(SIGN_IN_LINK).where(SIGN_IN_LINK.c.person == bindparam("a")), dialect)
        self._attempt = Sql(select(ATTEMPT.c.forgiven_us).where(ATTEMPT.c.bucket == bindparam("a")), dialect)
        self._drop_attempt = Sql(delete(ATTEMPT).where(ATTEMPT.c.bucket == bindparam("a")), dialect)
        self._drop_forgiven = Sql(delete(ATTEMPT).where(ATTEMPT.c.forgiven_us < bindparam("a")), dialect)
        self._add_attempt = Sql(insert(ATTEMPT), dialect)

    def person(self, cursor: Any, name: str) -> Person | None:
        """The account of that name, disabled ones too. Raises IntegrityError if its scope cannot be read."""
        row = self._person.run(cursor, a=name).fetchone()
        return _person(row, self._groups.groups_of(cursor, name)) if row else None

    def people(self, cursor: Any) -> list[Person]:
        """Every account, by name."""
        groups = self._groups.groups_of_all(cursor)
        return [_person(row, groups.get(row[0], ())) for row in self._people.run(cursor).fetchall()]

    def set_roles(self, cursor: Any, name: str, roles: str, scope: Scope | None) -> None:
        """Give an account other roles (with commas between them) and another scope; its passcode stays."""
        self._set_roles.run(cursor, a=name, b=roles, c=encode_scope(scope))

    def set_passcode(self, cursor: Any, name: str, passcode_hash: str) -> None:
        """Give an account another passcode; "" is none that anybody has."""
        self._set_passcode.run(cursor, a=name, b=passcode_hash)

    def session(self, cursor: Any, digest: str) -> Session | None:
        """The session of that digest, ended ones too."""
        row = self._session.run(cursor, a=digest).fetchone()
        return _session(row) if row else None

    def sessions(self, cursor: Any, person: str) -> list[Session]:
        """The sessions of somebody that were not ended, the last used first."""
        return [_session(row) for row in self._sessions.run(cursor, a=person).fetchall()]

    def open_sessions(self, cursor: Any, now_us: int) -> list[Session]:
        """The sessions of everybody that were not ended and are not too old, the last used first."""
        return [_session(row) for row in self._open_sessions.run(cursor, a=now_us).fetchall()]

    def add_session(self, cursor: Any, session: Session) -> None:
        """Begin a session; those that have been over for long are forgotten."""
        self._add_session.run(
            cursor,
            digest=session.digest,
            person=session.person,
            state=session.state.value,
            bound=session.bound,
            address=session.address,
            agent=session.agent,
            created_us=session.created_us,
            used_us=session.used_us,
            ends_us=session.ends_us,
            ended_us=session.ended_us,
            proved_us=session.proved_us,
        )

    def forget_sessions(self, cursor: Any, before_us: int) -> None:
        """Forget those that would have ended by themselves before then."""
        self._forget.run(cursor, a=before_us)

    def end_session(self, cursor: Any, digest: str, now_us: int) -> bool:
        """End a session; False if it was ended before."""
        return bool(self._end.run(cursor, a=digest, b=now_us).rowcount)

    def end_sessions(self, cursor: Any, person: str, now_us: int) -> int:
        """End every session of somebody; returns how many there were."""
        return int(self._end_all.run(cursor, a=person, b=now_us).rowcount)

    def end_other_sessions(self, cursor: Any, person: str, kept: str, now_us: int) -> int:
        """End every session of somebody but the one of the digest ``kept``; returns how many there were."""
        return int(self._end_others.run(cursor, a=person, b=now_us, c=kept).rowcount)

    def use_session(self, cursor: Any, digest: str, used_us: int) -> None:
        """Say that a session was used; never that it was used earlier than is known."""
        self._use.run(cursor, a=digest, b=used_us, c=used_us)

    def factors(self, cursor: Any, person: str) -> dict[str, Factor]:
        """The second factors of somebody by their kind, those to be confirmed too."""
        rows = self._factors.run(cursor, a=person).fetchall()
        return {kind: Factor(name, kind, bytes(sealed), *rest) for name, kind, sealed, *rest in rows}

    def put_factor(self, cursor: Any, factor: Factor) -> None:
        """Add a second factor, or let it take the place of one of its kind."""
        self._drop_factor.run(cursor, a=factor.person, b=factor.kind)
        self._add_factor.run(
            cursor,
            person=factor.person,
            kind=factor.kind,
            sealed=factor.sealed,
            added_us=factor.added_us,
            step=factor.step,
        )

    def drop_factors(self, cursor: Any, person: str) -> None:
        """Forget every second factor of somebody, with passkeys and recovery codes."""
        for drop in self._drop_factors:
            drop.run(cursor, a=person)

    def drop_factor(self, cursor: Any, person: str, kind: str) -> bool:
        """Forget a second factor of one kind; False if there is none."""
        return bool(self._drop_factor.run(cursor, a=person, b=kind).rowcount)

    def put_link(self, cursor: Any, link: Link) -> None:
        """Add a sign-in link: the only one of this person."""
        self._drop_links.run(cursor, a=link.person)
        self._add_link.run(
            cursor,
            digest=link.digest,
            person=link.person,
            added_us=link.added_us,
            expires_us=link.expires_us,
            used_us=link.used_us,
        )

    def link(self, cursor: Any, digest: str) -> Link | None:
        """The link of that digest, used and expired ones too."""
        row = self._link.run(cursor, a=digest).fetchone()
        return Link(*row) if row else None

    def use_link(self, cursor: Any, digest: str, now_us: int) -> None:
        """Say that a link was used."""
        self._use_link.run(cursor, a=digest, b=now_us)

    def drop_links(self, cursor: Any, person: str) -> None:
        """Forget every link of somebody."""
        self._drop_links.run(cursor, a=person)

    def forgiven_us(self, cursor: Any, bucket: str) -> int:
        """When all failures that count together are forgiven; 0 if there are none."""
        row = self._attempt.run(cursor, a=bucket).fetchone()
        return int(row[0]) if row else 0

    def put_attempt(self, cursor: Any, bucket: str, forgiven_us: int, now_us: int) -> None:
        """Count a failure; whatever is forgiven by now is forgotten, so that there are never many."""
        self._drop_forgiven.run(cursor, a=now_us)
        self._drop_attempt.run(cursor, a=bucket)
        self._add_attempt.run(cursor, bucket=bucket, forgiven_us=forgiven_us)


def _person(row: Any, groups: tuple[Group, ...]) -> Person:
    name, passcode_hash, role, scope, added_us, disabled_us = row
    return Person(name, passcode_hash, stored_roles(role), decode_scope(scope), added_us, disabled_us, groups)


def _session(row: Any) -> Session:
    digest, person, state, *rest = row
    return Session(digest, person, State(state), *rest)
