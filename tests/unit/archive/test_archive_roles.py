"""roles: what each is let do, by name, so that a grant is never an accident."""

from __future__ import annotations

import pytest

from strongroom.archive.roles import (
    NEED_SECOND_FACTOR,
    RIGHTS_OF,
    Role,
    encode_roles,
    parse_roles,
    rights_of,
    stored_roles,
)
from strongroom.errors import ConfigError
from strongroom.types import Right

IMAGES = {Right.FIND, Right.GET, Right.MOVE, Right.STORE, Right.DELETE, Right.COMMIT, Right.SHARE, Right.BREAK_GLASS}
EXPECTED = {
    "viewer": "echo find get",
    "technologist": "commit echo find get move propose store",
    "physician": "break-glass echo find get move propose share store",
    "researcher": "echo",
    "security-officer": "audit echo propose review",
    "auditor": "audit echo",
    "administrator": "administer echo propose review",
}


def test_every_role_has_the_rights_that_are_written_here_and_no_other() -> None:
    assert {role.value: " ".join(sorted(RIGHTS_OF[role])) for role in Role} == EXPECTED


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.AUDITOR, Role.SECURITY_OFFICER, Role.RESEARCHER])
def test_who_runs_or_watches_the_archive_sees_no_image(role: Role) -> None:
    assert IMAGES.isdisjoint(rights_of([role]))


def test_several_roles_add_up() -> None:
    assert rights_of([Role.ADMINISTRATOR, Role.VIEWER]) == RIGHTS_OF[Role.ADMINISTRATOR] | RIGHTS_OF[Role.VIEWER]
    assert rights_of([]) == frozenset()


def test_whoever_opens_doors_needs_a_second_factor() -> None:
    assert {role for role in Role if Right.ADMINISTER in RIGHTS_OF[role]} <= NEED_SECOND_FACTOR


def test_roles_are_read_as_they_are_written() -> None:
    roles = parse_roles("administrator, viewer,viewer")
    assert roles == (Role.VIEWER, Role.ADMINISTRATOR)
    assert stored_roles(encode_roles(roles)) == roles


@pytest.mark.parametrize("text", ["", ",", "root", "viewer,root", "VIEWER"])
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a role is one of"):
        parse_roles(text)


def test_a_stored_word_that_is_no_role_grants_nothing() -> None:
    assert stored_roles("reader") == ()
    assert stored_roles("reader,viewer") == (Role.VIEWER,)
