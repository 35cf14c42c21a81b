"""An index with two studies of two patients, people with scopes, and a clock: for who opens what to whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.instances import MODALITY, PATIENT_ID, STUDY_INSTANCE_UID, Shelf, instance, new_ring, stored_event
from strongroom.archive.emergencies import Known, LookedAt, Opening, with_emergencies
from strongroom.archive.model import Action, Event
from strongroom.archive.people import VIA_SESSION, Session, State
from strongroom.archive.roles import Role, encode_roles, rights_of
from strongroom.people.breaking_glass import Emergencies, EmergencyPorts
from strongroom.people.sealing import PeopleKey
from strongroom.people.sharing import SharePorts, Shares
from strongroom.store.emergencies import EmergencyTable
from strongroom.store.index import Index
from strongroom.store.people import PeopleTable
from strongroom.trail.log import TrailReader
from strongroom.trail.record import parse_record
from strongroom.types import Principal, Scope

START_S, DAY_S, GLASS_S = 1_800_000_000.0, 86_400, 14_400
STUDY, OTHER = "2.25.1001", "2.25.1002"
PATIENT, OTHER_PATIENT = "4711", "4712"


@dataclass
class World:
    """The index, and what was refused and announced."""

    index: Index
    now_s: float = START_S
    refused: list[Event] = field(default_factory=list)
    announced: list[Event] = field(default_factory=list)
    looked_at: LookedAt = field(default_factory=LookedAt)

    def __post_init__(self) -> None:
        database, clock = self.index.database, lambda: self.now_s
        ports = SharePorts(database, PeopleKey(bytes(32)), clock, self.refused.append, self.announced.append)
        self.shares = Shares(ports, 30 * DAY_S, 43_200)
        glass = EmergencyPorts(database, clock, self.announced.append, lambda _: self.looked_at)
        self.emergencies = Emergencies(glass, GLASS_S)
        self.people = PeopleTable(database.dialect)
        self.table = EmergencyTable(database.dialect)
        ring = new_ring()
        for study, patient, modality in ((STUDY, PATIENT, "CT"), (OTHER, OTHER_PATIENT, "MR")):
            values = {STUDY_INSTANCE_UID: [study], PATIENT_ID: [patient], MODALITY: [modality]}
            new = instance(values, ring.new_data_key())
            self.index.add(new, stored_event(new))

    @property
    def now_us(self) -> int:
        """The present time."""
        return int(self.now_s * 1e6)

    def do(self, work: Any, *values: Any) -> Any:
        """Call a statement in a transaction of its own."""
        return self.index.database.write(lambda transaction: work(transaction.cursor, *values))

    def add(self, name: str = "jdoe", role: Role = Role.PHYSICIAN, scope: Scope | None = None) -> Principal:
        """Somebody with an account, who has signed in."""
        self.do(self.index.registry.put_account, name, "hash", encode_roles([role]), 1, scope)
        return self.who(name)

    def who(self, name: str) -> Principal:
        """Who acts now in a session of somebody's."""
        person = self.do(self.people.person, name)
        standing = tuple(self.do(self.table.standing, name, self.now_us))
        digest = "ab" * 32
        principal = Principal(name, digest, name, "192.0.2.1", rights_of(person.roles), person.scope, VIA_SESSION)
        return with_emergencies(principal, Known(person, openings=standing))

    def session(self, digest: str) -> Session:
        """A session that is there."""
        found = self.do(self.people.session, digest)
        assert found is not None
        assert found.state is State.OPEN
        return found

    def events(self, action: Action) -> list[Event]:
        """What the trail has of an action."""
        reader = TrailReader(self.index.database.dialect)
        with self.index.database.read() as cursor:
            found = [parse_record(row.raw).event for row in reader.read(cursor, "first", 0, 1000)]
        return [event for event in found if event.action is action]

    def opening(self, principal: Principal, patient: str = OTHER_PATIENT) -> Opening:
        """Somebody breaks the glass."""
        return self.emergencies.break_glass(principal, (patient, ""), "unconscious, needs a look at once")


@contextmanager
def world(place: str | Path) -> Iterator[World]:
    """A world on a new index: a path, or the URL of a database."""
    shelf = Shelf.at(str(place))
    try:
        yield World(shelf.index("first"))
    finally:
        shelf.close()
