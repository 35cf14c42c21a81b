"""Scopes as text: what can be said, what is refused rather than left out, and what a record may tell of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.archive.access import (
    MAX_ISSUERS,
    any_of,
    common_scope,
    decode_scope,
    encode_scope,
    narrowed_to_person,
    parse_scope,
    scope_details,
    scope_terms,
)
from strongroom.archive.people import Person
from strongroom.archive.roles import Role
from strongroom.archive.scopes import MAX_PARTS, MAX_REFERRING, MAX_SCOPE_VALUES
from strongroom.archive.values import name_text
from strongroom.errors import ConfigError, Denied, IntegrityError
from strongroom.types import NOTHING, Part, Principal, Right, Scope


@pytest.mark.parametrize(
    ("terms", "scope"),
    [
        (["all"], None),
        (["patient=123"], Scope((Part(patients=(("123", None),)),))),
        (["patient=1^2,3"], Scope((Part(patients=(("1^2,3", None),)),))),
        (["patient= 123 \\HOSPITAL "], Scope((Part(patients=(("123", "HOSPITAL"),)),))),
        (["patient=123\\"], Scope((Part(patients=(("123", ""),)),))),
        (["patient=1", "patient=2", "patient=1"], Scope((Part(patients=(("1", None), ("2", None))),))),
        (["study=1.2.3, 1.2.4"], Scope((Part(studies=("1.2.3", "1.2.4")),))),
        (["modality=CT,MR"], Scope((Part(modalities=("CT", "MR")),))),
        (["date=20240101-20241231"], Scope((Part(first_date="20240101", last_date="20241231"),))),
        (["date=20240229"], Scope((Part(first_date="20240229", last_date="20240229"),))),
        (["date=20240101-"], Scope((Part(first_date="20240101"),))),
        (["date=-20241231"], Scope((Part(last_date="20241231"),))),
        (["patient=1", "modality=CT"], Scope((Part(patients=(("1", None),), modalities=("CT",)),))),
        (["institution= St. Mary's, Ward 7 "], Scope((Part(institutions=("St. Mary's, Ward 7",)),))),
        (["institution=A", "institution=B"], Scope((Part(institutions=("A", "B")),))),
        (["referring=Müller^ Zoë ^"], Scope((Part(referring=("muller^zoe",)),))),
        (["referring=A", "referring=a"], Scope((Part(referring=("a",)),))),
        (["none"], NOTHING),
        (
            ["patient=1", "modality=CT", " or ", "study=1.2"],
            Scope((Part(patients=(("1", None),), modalities=("CT",)), Part(studies=("1.2",)))),
        ),
        (["study=1.2", "or", "study=1.2"], Scope((Part(studies=("1.2",)),))),
    ],
)
def test_a_scope_is_what_its_terms_say(terms: list[str], scope: Scope | None) -> None:
    assert parse_scope(terms) == scope


@pytest.mark.parametrize(
    "terms",
    [
        [],
        [""],
        ["patient"],
        ["patient="],
        ["patient= "],
        ["patient=1*"],
        ["patient=?"],
        ["patient=1\\A\\B"],
        ["patient=1\0"],
        ["patient=" + "1" * 300],
        ["study="],
        ["study=1.2.3,"],
        ["study=1.2.x"],
        ["study=1.2.*"],
        ["modality="],
        ["modality=ct"],
        ["modality=CT,"],
        ["modality=C?"],
        ["date="],
        ["date=-"],
        ["date=2024"],
        ["date=20240230"],
        ["date=20240101-20240102-20240103"],
        ["date=20240102-20240101"],
        ["date=20240101", "date=20240103"],
        ["institution="],
        ["institution= "],
        ["institution=A*"],
        ["institution=A\\B"],
        ["referring="],
        ["referring=^^"],
        ["referring=Smith*"],
        ["referring=Smi?h"],
        ["referring=Smi\uff1fh"],
        ["referring=A\\B"],
        ["referring=A\uff3cB"],
        ["referring=" + "A" * 300],
        [f"referring={number}" for number in range(MAX_REFERRING + 1)],
        [f"patient=1\\{number}" for number in range(MAX_ISSUERS + 1)],
        ["Patient=1"],
        ["all", "patient=1"],
        ["patient=1", "all"],
        ["all", "all"],
        ["all", "none"],
        ["none", "or", "patient=1"],
        ["patient=1", "or", "all"],
        ["patient=1", "or"],
        ["or", "patient=1"],
        ["patient=1", "or", "or", "study=1.2"],
        ["or"],
        [each for number in range(MAX_PARTS + 1) for each in ("or", f"study=1.{number}")][1:],
        ["study=" + ",".join(f"1.{number}" for number in range(900))] * 2,
        [f"patient={number}" for number in range(MAX_SCOPE_VALUES + 1)],
    ],
)
def test_what_a_scope_cannot_express_is_refused(terms: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse_scope(terms)


def test_a_scope_that_limits_nothing_cannot_be() -> None:
    with pytest.raises(ConfigError):
        Scope((Part(),))


ids = st.text(st.characters(exclude_characters="\\*?\0", exclude_categories=["Cs"]), min_size=1, max_size=64)
patients = st.tuples(
    ids.map(lambda text: text.strip(" ")).filter(bool), st.none() | ids.map(lambda text: text.strip(" "))
)
names = ids.map(name_text).filter(lambda name: name.strip("^= ") and not set("*?\\") & set(name))
parts = st.builds(
    Part,
    patients=st.lists(patients, unique=True, min_size=1, max_size=5).map(tuple),
    studies=st.lists(st.from_regex(r"[12](\.[0-9]{1,5}){1,4}", fullmatch=True), unique=True, max_size=5).map(tuple),
    modalities=st.lists(st.from_regex("[A-Z]{2,6}", fullmatch=True), unique=True, max_size=5).map(tuple),
    institutions=st.lists(ids.map(lambda text: text.strip(" ")).filter(bool), unique=True, max_size=3).map(tuple),
    referring=st.lists(names, unique=True, max_size=3).map(tuple),
    first_date=st.sampled_from(["", "20240101"]),
    last_date=st.sampled_from(["", "20240101", "20991231"]),
)
scopes = st.lists(parts, unique=True, max_size=4).map(lambda each: Scope(tuple(each)))


@given(scope=scopes)
def test_a_scope_is_read_as_it_was_written(scope: Scope) -> None:
    assert parse_scope(scope_terms(scope)) == scope
    assert decode_scope(encode_scope(scope)) == scope


def test_no_scope_is_stored_as_nothing() -> None:
    assert encode_scope(None) == ""
    assert decode_scope("") is None


@pytest.mark.parametrize("text", ["[]", '["all"]', "null", "{}", "[1]", '["patient"]', "x", '"patient=1"', "[[]]"])
def test_a_stored_scope_that_cannot_be_read_is_not_taken_for_none(text: Any) -> None:
    with pytest.raises(IntegrityError):
        decode_scope(text)


def test_a_record_tells_how_many_patients_and_not_which() -> None:
    scope = parse_scope(["patient=MRN-7", "patient=MRN-8", "modality=CT", "study=1.2", "referring=x", "institution=A"])
    assert scope_details(scope) == ("patients=2", "referring=1", "study=1.2", "modality=CT", "institution=A")
    assert scope_details(None) == ("all",)
    assert scope_details(NOTHING) == ("none",)
    assert scope_details(parse_scope(["patient=A", "or", "patient=B", "patient=C"])) == (
        "patients=1",
        "or",
        "patients=2",
    )


def test_scopes_put_together_have_every_part_once_and_no_limit_wins() -> None:
    one, other = parse_scope(["patient=1"]), parse_scope(["patient=1", "or", "modality=CT"])
    assert any_of(one, other, NOTHING) == other
    assert any_of() == any_of(NOTHING) == NOTHING
    assert any_of(one, None) is None


def test_more_than_a_statement_can_hold_is_denied() -> None:
    def of(first: int, count: int) -> Scope | None:
        return parse_scope([each for n in range(first, first + count) for each in ("or", f"study=1.{n}")][1:])

    many = [Scope((Part(patients=tuple((f"{part}-{n}", "A") for n in range(900))),)) for part in range(9)]
    assert any_of(of(0, MAX_PARTS), of(0, MAX_PARTS)) == of(0, MAX_PARTS)
    names = [Scope((Part(referring=tuple(f"{part}-{n}" for n in range(60))),)) for part in range(2)]
    for too_much in (lambda: any_of(of(0, MAX_PARTS), of(500, 1)), lambda: any_of(*many), lambda: any_of(*names)):
        with pytest.raises(Denied, match="scope-too-large"):
            too_much()


# --- somebody at a machine


def person(*roles: Role, scope: Scope | None = None) -> Person:
    return Person("jdoe", "", roles, scope, 0, 0)


MACHINE = Principal("CT1", "f1", rights=frozenset({Right.STORE, Right.FIND, Right.DELETE}))


def test_somebody_at_a_machine_may_do_what_both_may() -> None:
    found = narrowed_to_person(MACHINE, person(Role.VIEWER))
    assert (found.aet, found.user, found.rights, found.scope) == ("CT1", "jdoe", {Right.FIND}, None)
    assert narrowed_to_person(MACHINE, person(Role.ADMINISTRATOR)).rights == frozenset()
    assert narrowed_to_person(MACHINE, person()).rights == frozenset()


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("modality=CT,MR", "modality=MR,US", "modality=MR"),
        ("modality=CT", "study=1.2", "modality=CT study=1.2"),
        ("patient=7", "patient=7\\A", "patient=7\\A"),
        ("patient=7\\A patient=8", "patient=7 patient=8\\B", "patient=7\\A patient=8\\B"),
        ("date=20200101-", "date=-20201231", "date=20200101-20201231"),
        ("date=20200101-20200630", "date=20200301-20201231", "date=20200301-20200630"),
        ("all", "study=1.2", "study=1.2"),
        ("all", "all", "all"),
        ("all", "none", "none"),
        ("modality=CT or study=1.2", "modality=CT,MR", "modality=CT or modality=CT,MR study=1.2"),
        ("institution=A institution=B", "institution=B", "institution=B"),
        ("referring=smith", "referring=smith^anna referring=smithers", "referring=smith^anna"),
        ("referring=smith^anna modality=CT", "referring=smith^anna", "modality=CT referring=smith^anna"),
        ("patient=7 or patient=8", "patient=8 or patient=9", "patient=8"),
    ],
)
def test_what_two_scopes_have_in_common(one: str, other: str, common: str) -> None:
    scopes = [parse_scope(each.split()) for each in (one, other, common)]
    assert common_scope(scopes[0], scopes[1]) == common_scope(scopes[1], scopes[0]) == scopes[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("modality=CT", "modality=MR"),
        ("study=1.2", "study=1.3"),
        ("patient=7\\A", "patient=7\\B"),
        ("date=-20191231", "date=20200101-"),
        ("institution=A", "institution=B"),
        ("referring=smith", "referring=smithers"),
        ("patient=7 or modality=CT", "patient=8 modality=MR"),
        ("none", "patient=7"),
        ("none", "none"),
    ],
)
def test_scopes_with_nothing_in_common_are_no_unlimited_scope(one: str, other: str) -> None:
    with pytest.raises(Denied, match="user-scope-outside-peer-scope"):
        common_scope(parse_scope(one.split()), parse_scope(other.split()))
