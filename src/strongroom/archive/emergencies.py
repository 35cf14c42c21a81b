"""Breaking the glass: in an emergency, a physician sees one patient outside his scope, for a time. Pure.

What it opens is the scope, never a right: nobody does with a patient's images what his role would not let him do. It is
loud (an alert, a mark on every act) and somebody else looks at it afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from strongroom.archive.access import any_of
from strongroom.archive.people import Person
from strongroom.archive.roles import rights_of
from strongroom.archive.sharing import Share
from strongroom.types import Emergency, Part, Principal, Right, Scope

MIN_REASON_CHARS: Final = 10
"""Of a reason and of a reviewer's remark: a word is none."""

MAX_STANDING: Final = 5
"""Emergencies that one person can be in at a time."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One time that somebody broke the glass. Times are microseconds; ``reviewed_us`` 0 = nobody has looked at it."""

    number: int
    person: str
    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)
    reason: str
    opened_us: int
    ends_us: int
    reviewed_by: str = ""
    reviewed_us: int = 0
    remark: str = ""

    def stands(self, now_us: int) -> bool:
        """Whether the patient can be seen because of it."""
        return now_us < self.ends_us

    @property
    def scope(self) -> Scope:
        """What it opens."""
        return Scope((Part(patients=((self.patient_id, self.issuer),)),))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A patient whom somebody may mean. Of whom more is not told before the glass is broken."""

    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)
    studies: int


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What was done in an emergency, by the trail: the studies of the patient of which something was retrieved, how
    many others, and how often somebody searched and retrieved. ``is_whole`` False: there was more than is read."""

    studies: tuple[str, ...] = ()
    other_studies: int = 0
    searches: int = 0
    retrievals: int = 0
    other_acts: int = 0
    is_whole: bool = True


def may_break(person: Person) -> bool:
    """Whether somebody has a glass to break: the right, and a scope."""
    return person.scope is not None and Right.BREAK_GLASS in rights_of(person.roles)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of whom a session is of: the account (of a share that of its maker), and what it opened."""

    person: Person | None
    share: Share | None = None
    openings: tuple[Opening, ...] = ()


def with_emergencies(principal: Principal, known: Known) -> Principal:
    """The principal of somebody for whom the openings stand now; what he may do is the same."""
    person, openings = known.person, known.openings
    if not openings or person is None or person.scope is None or Right.BREAK_GLASS not in principal.rights:
        return principal
    scope = any_of(person.scope, *(each.scope for each in openings))
    emergencies = tuple(Emergency(each.number, each.ends_us) for each in openings)
    return replace(principal, scope=scope, emergencies=emergencies)
