"""An index with people in it, and what signs them in, without a server; the clock is the test's."""

from __future__ import annotations

from base64 import b32decode
from dataclasses import dataclass, field
from typing import Any

import pytest

from strongroom.archive.model import Action, Event
from strongroom.archive.people import Entered, Link, Where, digest_of, new_secret, principal_of
from strongroom.archive.roles import Role, encode_roles
from strongroom.archive.totp import STEP_S, code_at
from strongroom.errors import Unauthenticated
from strongroom.people.ceremonies import RelyingParty
from strongroom.people.changing import OwnAccount
from strongroom.people.passkeys import Passkeys
from strongroom.people.sealing import PeopleKey
from strongroom.people.signing_in import SignIn
from strongroom.people.steps import SessionRules, SignInPorts, Steps
from strongroom.store.accounts import hash_passcode
from strongroom.store.index import Index
from strongroom.store.people import PeopleTable
from strongroom.trail.log import TrailReader
from strongroom.trail.record import parse_record
from strongroom.types import Principal

START_S = 1_800_000_000.0
PASSCODE = "correct horse battery"
HASH = hash_passcode(PASSCODE)
HERE = Where("192.0.2.1", agent="Firefox", port=8443)
ELSEWHERE = Where("198.51.100.7", port=8443)
SITE = RelyingParty.of(("pacs.example", "images.pacs.example"), "", "STRONGROOM")
RULES = SessionRules(idle_us=1_800_000_000, max_age_us=43_200_000_000, archive_name="STRONGROOM")


@dataclass
class World:
    """An index with people in it, a clock, and what was refused."""

    index: Index
    now_s: float = START_S
    refused: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        database, key = self.index.database, PeopleKey(bytes(32))
        ports = SignInPorts(database, key, lambda: self.now_s, self.refused.append, self.index.record)
        self.steps = Steps(ports, RULES)
        self.sign_in = SignIn(self.steps)
        self.passkeys = Passkeys(self.steps, SITE)
        self.own_account = OwnAccount(self.steps)
        self.table = PeopleTable(self.index.database.dialect)

    def do(self, work: Any, *values: Any) -> Any:
        return self.index.database.write(lambda transaction: work(transaction.cursor, *values))

    def add(self, name: str = "jdoe", *roles: Role, hashed: str = HASH) -> None:
        self.do(self.index.registry.put_account, name, hashed, encode_roles(roles or (Role.VIEWER,)), 1)

    def link(self, name: str = "jdoe", for_s: float = 60.0) -> str:
        secret = new_secret(bytes(range(32)))
        now_us = int(self.now_s * 1e6)
        self.do(self.table.put_link, Link(digest_of(secret), name, now_us, now_us + int(for_s * 1e6)))
        return secret

    def totp(self, entered: Entered, where: Where = HERE) -> bytes:
        """Set up a second factor; the clock goes on, so that the next code is another one."""
        secret = b32decode(self.sign_in.offer_totp(entered.secret, where).secret)
        self.entered = self.sign_in.confirm_totp(entered.secret, self.code(secret), where)
        self.now_s += 2 * STEP_S
        return secret

    def code(self, secret: bytes) -> str:
        return code_at(secret, int(self.now_s) // STEP_S)

    def end_sessions(self, name: str = "jdoe") -> None:
        """End every session of somebody, as an administrator does, or he himself elsewhere."""
        self.do(self.table.end_sessions, name, int(self.now_s * 1e6))

    def principal(self, entered: Entered, where: Where = HERE) -> Principal:
        return principal_of(*self.sign_in.whoever(entered.secret, where), where.address)

    def fails(self, times: int, where: Where = ELSEWHERE, name: str = "jdoe") -> None:
        for _ in range(times):
            with pytest.raises(Unauthenticated):
                self.sign_in.begin(name, "wrong wrong wrong", where)

    def events(self, action: Action) -> list[Event]:
        reader = TrailReader(self.index.database.dialect)
        with self.index.database.read() as cursor:
            found = [parse_record(row.raw).event for row in reader.read(cursor, "first", 0, 1000)]
        return [event for event in found if event.action is action]
