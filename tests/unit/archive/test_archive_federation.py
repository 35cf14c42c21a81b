"""What a provider's claims make of people, and what they are called here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.archive.access import parse_scope
from strongroom.archive.federation import (
    Grant,
    Granted,
    Identity,
    account_name,
    claim_values,
    granted,
    is_of_provider,
)
from strongroom.archive.people import parse_person_name
from strongroom.archive.roles import Role
from strongroom.errors import ConfigError, Unauthenticated

CT, MR = parse_scope(["modality=CT"]), parse_scope(["modality=MR"])
GRANTS = (
    Grant("readers", (Role.VIEWER,), None),
    Grant("ct", (Role.PHYSICIAN,), CT),
    Grant("mr", (Role.PHYSICIAN,), MR),
    Grant("it", (Role.ADMINISTRATOR, Role.AUDITOR), None),
)


def identity(name: str, subject: str = "s-1") -> Identity:
    return Identity("hospital", "https://a.example", subject, name, None, is_multifactor=False, may_be_new=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"readers"}, Granted((Role.VIEWER,))),
        ({"it", "readers", "elsewhere"}, Granted((Role.VIEWER, Role.AUDITOR, Role.ADMINISTRATOR))),
        ({"ct", "readers"}, Granted((Role.VIEWER, Role.PHYSICIAN), CT)),
        (set(), Granted((), why="no-role")),
        ({"Readers", "readers ", "administrator"}, Granted((), why="no-role")),
        ({"ct", "mr"}, Granted((), why="no-common-scope")),
    ],
)
def test_roles_add_up_and_scopes_narrow(values: set[str], expected: Granted) -> None:
    assert granted(GRANTS, values) == expected


@given(st.sets(st.sampled_from(["readers", "ct", "mr", "it", "other"])))
def test_another_value_never_shows_more_than_a_scope_among_them(values: set[str]) -> None:
    found = granted(GRANTS, values)
    limits = [grant.scope for grant in GRANTS if grant.value in values and grant.scope]
    assert not found.roles or not limits or found.scope == limits[0]


@pytest.mark.parametrize("value", [7, {"a": 1}, ["a", 7], [["a"]], ["x"] * 1001, True])
def test_a_claim_that_is_no_words_grants_nothing(value: object) -> None:
    with pytest.raises(Unauthenticated):
        claim_values(value)


def test_a_claim_is_one_word_or_several_and_never_split() -> None:
    assert claim_values("a b") == {"a b"}
    assert claim_values(["a", "b"]) == {"a", "b"}
    assert claim_values(None) == frozenset()


@given(st.text(max_size=100), st.text(min_size=1, max_size=20))
def test_no_name_of_a_provider_is_one_of_our_own(name: str, subject: str) -> None:
    made = account_name(identity(name, subject), lambda _: False)
    assert is_of_provider(made)
    assert made.isascii()
    assert made.isprintable()
    with pytest.raises(ConfigError):
        parse_person_name(made)


def test_a_name_that_is_taken_is_nobody_elses() -> None:
    taken = {"hospital:jdoe"}
    second = account_name(identity("jdoe", "s-2"), taken.__contains__)
    assert second.startswith("hospital:jdoe~")
    # Whoever may choose his name at the provider cannot choose this one.
    assert account_name(identity(second.partition(":")[2], "s-3"), lambda _: False) != second
    with pytest.raises(ConfigError):
        account_name(identity("jdoe"), lambda _: True)
