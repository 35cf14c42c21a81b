"""Groups: they only ever add, what is refused changes nothing, and the trail says who was put where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.archives import opened, trail_events
from strongroom.admin import groups
from strongroom.admin.users import add, users
from strongroom.app import Archive
from strongroom.archive.access import any_of, parse_scope
from strongroom.archive.groups import MAX_GROUPS_OF_PERSON, parse_group_name
from strongroom.archive.model import Action
from strongroom.archive.people import Person
from strongroom.archive.roles import Role
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.store.people import PeopleTable
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.types import NOTHING, Scope

PASSCODE = "correct horse battery"
NORD = parse_scope(["institution=Nord"])
CT = parse_scope(["modality=CT"])


@pytest.fixture
def archive(archive_home) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        for name, scope in (("jdoe", NOTHING), ("roe", CT), ("chief", None)):
            add(found, name, PASSCODE, Role.PHYSICIAN, scope=scope)
        groups.add(found, "Radiology Nord", NORD)
        yield found


def person(archive: Archive, name: str) -> Person:
    with archive.index.database.read() as cursor:
        found = PeopleTable(archive.backend.dialect).person(cursor, name)
    assert found is not None
    return found


def seen(archive: Archive) -> dict[str, Scope | None]:
    return {name: person(archive, name).scope for name in ("jdoe", "roe", "chief")}


def test_members_see_the_part_of_the_group_beside_their_own(archive: Archive) -> None:
    groups.join(archive, "Radiology Nord", ["jdoe", "roe", "jdoe"])
    assert seen(archive) == {"jdoe": NORD, "roe": any_of(CT, NORD), "chief": None}
    assert [each.members for each in groups.groups(archive)] == [("jdoe", "roe")]
    assert {each.name: each.groups for each in users(archive)}["roe"] == ("Radiology Nord",)
    groups.change(archive, "Radiology Nord", CT)
    assert seen(archive) == {"jdoe": CT, "roe": CT, "chief": None}
    groups.leave(archive, "Radiology Nord", ["roe"])
    assert seen(archive) == {"jdoe": CT, "roe": CT, "chief": None}
    groups.remove(archive, "Radiology Nord")
    assert seen(archive) == {"jdoe": NOTHING, "roe": CT, "chief": None}


def test_nobody_sees_more_by_leaving_a_group(archive: Archive) -> None:
    """Who sees everything cannot be in one: his groups would seem to limit him until he leaves the last."""
    with pytest.raises(ConfigError, match="chief"):
        groups.join(archive, "Radiology Nord", ["jdoe", "chief"])
    assert seen(archive) == {"jdoe": NOTHING, "roe": CT, "chief": None}


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (lambda archive: groups.add(archive, "Radiology Nord", CT), ConfigError),
        (lambda archive: groups.add(archive, "Everything", None), ConfigError),
        (lambda archive: groups.add(archive, "Nothing", NOTHING), ConfigError),
        (lambda archive: groups.change(archive, "Radiology Nord", None), ConfigError),
        (lambda archive: groups.change(archive, "Nowhere", CT), NotFound),
        (lambda archive: groups.remove(archive, "Nowhere"), NotFound),
        (lambda archive: groups.join(archive, "Nowhere", ["jdoe"]), NotFound),
        (lambda archive: groups.join(archive, "Radiology Nord", ["jdoe", "nobody"]), NotFound),
        (lambda archive: groups.leave(archive, "Radiology Nord", ["jdoe"]), NotFound),
    ],
)
def test_what_is_refused_changes_nothing(archive: Archive, refused, error: type[Exception]) -> None:
    before = seen(archive), groups.groups(archive), len(trail_events(archive))
    with pytest.raises(error):
        refused(archive)
    assert (seen(archive), groups.groups(archive), len(trail_events(archive))) == before


def test_groups_that_would_be_too_much_for_a_member_are_refused(archive: Archive) -> None:
    many = parse_scope([each for number in range(40) for each in ("or", f"study=1.{number}")][1:])
    groups.join(archive, "Radiology Nord", ["jdoe"])
    groups.add(archive, "Many", many)
    groups.add(archive, "More", parse_scope([each for n in range(60, 95) for each in ("or", f"study=1.{n}")][1:]))
    groups.join(archive, "Many", ["jdoe"])
    with pytest.raises(ConfigError, match="too many"):
        groups.join(archive, "More", ["jdoe"])
    groups.add(archive, "Small", CT)
    groups.join(archive, "Small", ["jdoe"])
    with pytest.raises(ConfigError, match="too many"):
        groups.change(archive, "Small", parse_scope([x for n in range(60, 95) for x in ("or", f"study=1.{n}")][1:]))
    assert person(archive, "jdoe").scope == any_of(many, NORD, CT)


def test_nobody_is_in_more_groups_than_a_request_can_bear(archive: Archive) -> None:
    for number in range(MAX_GROUPS_OF_PERSON):
        groups.add(archive, f"Ward {number}", CT)
        groups.join(archive, f"Ward {number}", ["jdoe"])
    with pytest.raises(ConfigError, match="groups"):
        groups.join(archive, "Radiology Nord", ["jdoe"])


def test_the_trail_knows_who_was_put_where_and_no_patient(archive: Archive) -> None:
    groups.add(archive, "Team 7", parse_scope(["patient=MRN-77", "referring=Smith^Anna"]))
    groups.join(archive, "Team 7", ["jdoe", "roe"])
    groups.leave(archive, "Team 7", ["roe"])
    groups.remove(archive, "Team 7")
    events = [event for event in trail_events(archive) if event.action is Action.GROUP_CHANGE]
    told = [(event.details["what"], event.details.get("users")) for event in events[1:]]
    assert told == [("add", None), ("join", ("jdoe", "roe")), ("leave", ("roe",)), ("remove", ("jdoe",))]
    assert {event.details["scope"] for event in events[1:]} == {("patients=1", "referring=1")}
    assert not any("MRN-77" in str(event) or "smith" in str(event).lower() for event in events)


def test_a_running_server_hears_of_every_change(archive: Archive) -> None:
    def version() -> str:
        with archive.index.database.read() as cursor:
            return archive.index.registry.get_meta(cursor, REGISTRY_VERSION)

    heard = [version()]
    for change in (
        lambda: groups.join(archive, "Radiology Nord", ["jdoe"]),
        lambda: groups.change(archive, "Radiology Nord", CT),
        lambda: groups.leave(archive, "Radiology Nord", ["jdoe"]),
        lambda: groups.remove(archive, "Radiology Nord"),
    ):
        change()
        heard.append(version())
    assert len(set(heard)) == len(heard)


@pytest.mark.parametrize(
    ("scope", "joins", "own"),
    [
        ([], [], None),
        (["all"], ["Radiology Nord"], None),
        ([], ["Radiology Nord"], NOTHING),
        (["modality=CT"], ["Radiology Nord"], CT),
    ],
)
def test_who_is_to_be_in_a_group_is_limited_unless_said_otherwise(
    archive: Archive, scope: list[str], joins: list[str], own: Scope | None
) -> None:
    assert groups.own_scope(archive, "new", scope, joins) == own


def test_a_member_who_is_added_again_is_no_less_limited(archive: Archive) -> None:
    groups.join(archive, "Radiology Nord", ["jdoe"])
    assert groups.own_scope(archive, "jdoe", [], []) == NOTHING
    with pytest.raises(NotFound):
        groups.own_scope(archive, "jdoe", [], ["Nowhere"])


@pytest.mark.parametrize("name", ["Radiology Nord", "Ärzte-Team 3", "a", "Care (7/8) & co.", "St. Mary's"])
def test_a_group_has_a_name_that_people_can_read(name: str) -> None:
    assert parse_group_name(name) == name


@pytest.mark.parametrize("name", ["", " A", "A ", "A\n", "A\u202eB", "<b>", "A\x1b[1m", "A,B", "A" * 65, "=1+1", "-A"])
def test_and_no_other(name: str) -> None:
    with pytest.raises(ConfigError):
        parse_group_name(name)


def test_too_much_is_denied_and_not_cut_short() -> None:
    many = [parse_scope([each for n in range(p, p + 60) for each in ("or", f"study=1.{n}")][1:]) for p in (0, 60)]
    whom = Person(
        "jdoe", "", (), many[0], 0, 0, tuple(groups.Group(str(n), each or NOTHING, 0) for n, each in enumerate(many))
    )
    with pytest.raises(Denied, match="scope-too-large"):
        _ = whom.scope
