"""breaking_glass: who may, what it opens and for how long, how loud it is, and who looks at it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.opening import GLASS_S, OTHER, OTHER_PATIENT, PATIENT, World, world
from strongroom.archive.emergencies import MAX_STANDING
from strongroom.archive.model import EMERGENCY, Action, Event, Outcome
from strongroom.archive.roles import Role
from strongroom.archive.scopes import MAX_PARTS
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.scope import is_study_visible
from strongroom.types import Part, Scope

CT = Scope((Part(modalities=("CT",)),))
REASON = "unconscious, needs a look at once"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "index.db") as found:
        yield found


def sees(there: World, study: str, name: str = "jdoe") -> bool:
    principal = there.who(name)
    assert principal.scope is not None
    with there.index.database.read() as cursor:
        return is_study_visible(cursor, there.index.database.dialect, principal.scope, study)


def test_it_opens_one_patient_for_a_time_and_no_right(there: World) -> None:
    before = there.add(scope=CT)
    assert not sees(there, OTHER)
    opening = there.opening(before)
    assert sees(there, OTHER)
    after = there.who("jdoe")
    assert after.rights == before.rights
    assert [(each.number, each.ends_us) for each in after.emergencies] == [(1, there.now_us + GLASS_S * 1_000_000)]
    assert opening.patient_id == OTHER_PATIENT
    there.now_s += GLASS_S
    assert not sees(there, OTHER)
    assert there.who("jdoe") == before


def test_it_is_loud(there: World) -> None:
    there.opening(there.add(scope=CT))
    (event,) = there.events(Action.BREAK_GLASS)
    assert (event.details["what"], event.details["because"], event.principal.user) == ("open", REASON, "jdoe")
    (alert,) = there.events(Action.ALERT)
    assert (alert.details["reason"], alert.details["severity"]) == ("break-glass", "high")
    assert OTHER_PATIENT not in repr(event.details) + repr(alert.details)
    assert [each.action for each in there.announced] == [Action.BREAK_GLASS, Action.ALERT]


def test_every_act_in_it_is_marked(there: World) -> None:
    there.opening(there.add(scope=CT))
    event = Event(Action.QUERY, Outcome.SUCCESS, there.who("jdoe"), {"results": 1})
    there.index.record(event)
    (kept,) = there.events(Action.QUERY)
    assert kept.details == {"results": 1, EMERGENCY: ("1",)}
    there.now_s += GLASS_S
    assert Event(Action.QUERY, Outcome.SUCCESS, there.who("jdoe"), {}).details == {}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PHYSICIAN])
def test_no_other_role_has_a_glass(there: World, role: Role) -> None:
    who = there.add("somebody", role, CT)
    with pytest.raises(Denied):
        there.opening(who)
    with pytest.raises(Denied):
        there.emergencies.look(who, OTHER_PATIENT)


def test_it_ends_with_the_role(there: World) -> None:
    there.opening(there.add(scope=CT))
    there.add(role=Role.VIEWER, scope=CT)
    assert not sees(there, OTHER)
    assert there.who("jdoe").emergencies == ()


def test_who_sees_everything_has_no_glass(there: World) -> None:
    with pytest.raises(Denied):
        there.opening(there.add())


def test_the_search_is_exact_and_in_the_trail(there: World) -> None:
    who = there.add(scope=CT)
    assert [each.patient_id for each in there.emergencies.look(who, f" {OTHER_PATIENT} ")] == [OTHER_PATIENT]
    for text in ("47", "471*", "471?", "%", "nobody"):
        assert there.emergencies.look(who, text) == []
    for text in ("", "   ", "x" * 65):
        with pytest.raises(ConfigError):
            there.emergencies.look(who, text)
    assert [event.details["results"] for event in there.events(Action.BREAK_GLASS)] == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("reason", ["", "because", "x" * 201, "line one\nline two", " " * 30])
def test_a_word_is_no_reason(there: World, reason: str) -> None:
    who = there.add(scope=CT)
    with pytest.raises(ConfigError):
        there.emergencies.break_glass(who, (OTHER_PATIENT, ""), reason)
    assert there.events(Action.ALERT) == []


@pytest.mark.parametrize("candidate", [("", ""), ("nobody", ""), (OTHER_PATIENT, "elsewhere")])
def test_there_is_no_glass_for_nobody(there: World, candidate: tuple[str, str]) -> None:
    with pytest.raises(NotFound):
        there.emergencies.break_glass(there.add(scope=CT), candidate, REASON)
    assert there.events(Action.ALERT) == []
    (event,) = there.events(Action.BREAK_GLASS)
    assert (event.outcome, event.details) == (Outcome.REFUSED, {"what": "open", "reason": "no-such-patient"})


def test_nobody_locks_himself_out_by_breaking_it(there: World) -> None:
    """A scope that is as large as can be has no place for one part more: with it, nothing at all would be seen."""
    parts = tuple(Part(first_date=f"{2000 + number}0101") for number in range(MAX_PARTS))
    who = there.add(scope=Scope(parts))
    with pytest.raises(ConfigError, match="too many parts"):
        there.opening(who)
    assert there.who("jdoe") == who


def test_once_more_for_the_same_patient_is_the_same_emergency(there: World) -> None:
    who = there.add(scope=CT)
    assert there.opening(who) == there.opening(who)
    assert len(there.events(Action.ALERT)) == 1


def test_there_are_a_few_at_a_time(there: World) -> None:
    who = there.add(scope=CT)
    first = there.opening(who)
    for number in range(MAX_STANDING - 1):
        there.do(there.table.add, first.__class__(number + 2, "jdoe", "x", "", REASON, 1, first.ends_us))
    with pytest.raises(ConfigError):
        there.opening(who, PATIENT)


def test_its_owner_ends_it_and_nobody_else(there: World) -> None:
    there.opening(there.add(scope=CT))
    with pytest.raises(NotFound):
        there.emergencies.end(there.add("other", scope=CT), 1)
    assert sees(there, OTHER)
    there.emergencies.end(there.who("jdoe"), 1)
    assert not sees(there, OTHER)


def test_somebody_else_reviews_it_once_when_it_is_over(there: World) -> None:
    there.opening(there.add(scope=CT))
    officer = there.add("officer", Role.SECURITY_OFFICER)
    with pytest.raises(ConfigError, match="not over"):
        there.emergencies.review(officer, 1, "as it should be")
    there.now_s += GLASS_S
    with pytest.raises(ConfigError):
        there.emergencies.review(officer, 1, "fine")
    there.emergencies.review(officer, 1, "as it should be")
    with pytest.raises(ConfigError, match="already"):
        there.emergencies.review(officer, 1, "as it should be")
    (opening,) = there.emergencies.openings(officer)
    assert (opening.reviewed_by, opening.remark) == ("officer", "as it should be")
    event = there.events(Action.BREAK_GLASS)[-1]
    assert (event.details["what"], event.principal.user) == ("review", "officer")


def test_nobody_reviews_his_own(there: World) -> None:
    there.opening(there.add(scope=CT))
    there.now_s += GLASS_S
    same = there.add("JDoe", Role.SECURITY_OFFICER)
    with pytest.raises(Denied, match="same-person"):
        there.emergencies.review(same, 1, "as it should be")
    assert there.events(Action.BREAK_GLASS)[-1].outcome is Outcome.REFUSED
    (opening,) = there.emergencies.openings(same)
    assert not opening.reviewed_us


def test_who_does_not_review_is_shown_nothing(there: World) -> None:
    who = there.add(scope=CT)
    there.opening(who)
    for call in (
        lambda: there.emergencies.openings(who),
        lambda: there.emergencies.opening(who, 1),
        lambda: there.emergencies.review(who, 1, "as it should be"),
    ):
        with pytest.raises(Denied):
            call()


def test_that_one_was_shown_is_in_the_trail(there: World) -> None:
    there.opening(there.add(scope=CT))
    officer = there.add("officer", Role.SECURITY_OFFICER)
    assert there.emergencies.opening(officer, 1)[0].patient_id == OTHER_PATIENT
    assert there.events(Action.BREAK_GLASS)[-1].details == {"what": "show", "emergency": 1}
    with pytest.raises(NotFound):
        there.emergencies.opening(officer, 2)
