"""Every database shows to the holder of a scope the filtered set of what it shows without one: none more, none less."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.instances import (
    CT_IMAGE_STORAGE,
    ISSUER_OF_PATIENT_ID,
    MODALITY,
    PATIENT_ID,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    instance,
    new_ring,
    stored_event,
)
from strongroom.archive import keys as kept
from strongroom.archive.access import MAX_ISSUERS, any_of, common_scope, parse_scope
from strongroom.archive.answers import AboutArchive
from strongroom.archive.model import Action, Event, Level, Outcome
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query, Retrieval
from strongroom.archive.read import Reader, ReadLimits
from strongroom.archive.scopes import MAX_PARTS, MAX_REFERRING, MAX_SCOPE_VALUES
from strongroom.errors import Denied, Refused
from strongroom.store.blobs import SealedBlobStore
from strongroom.store.index import Index
from strongroom.types import NOTHING, Part, Principal, Right, Scope

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEWER = settings(EXAMPLES, max_examples=20)
EVERYBODY = Principal("TESTER", rights=frozenset(Right))
LIMITS = ReadLimits(1000, 1000)
STUDY_DATE = 0x00080020
UNIQUE = (PATIENT_ID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
PATIENTS = (("P1", "A"), ("P1", "B"), ("P1", ""), ("P2", "A"), ("p2", "A"), ("", ""), ("P%", "A"))
NAMES = ("smith^anna", "smith", "smithers", "yamada^tarou", "muller^zoe", "smith^ann", "yamada")
DATES = ("20231231", "20240101", "20240229", "20241231", "")
MODALITIES = ("CT", "MR", "SR", "PETCT", "")
INSTITUTION, REFERRING = 0x00080080, 0x00080090
INSTITUTIONS = ("Nord", "Süd, 2", "nord", "Nord%", "")
PHYSICIANS = ("Smith^Anna", "SMITH^ANNA^^DR", "Smithers^Al", "Smith", "Yamada^Tarou=山田^太郎", "Müller^Zoë", "")
RELATIONAL = ExtendedNegotiation(relational=True)


def population() -> list[dict[int, list[Any]]]:
    """Instances in a tree of patients, studies and series. The first of each record decides what the record says."""
    chance = random.Random(7)
    studies = [
        (number, chance.choice(PATIENTS), chance.choice(DATES), chance.choice(PHYSICIANS)) for number in range(24)
    ]
    series = [
        (number, chance.choice(studies), chance.choice(MODALITIES), chance.choice(INSTITUTIONS)) for number in range(70)
    ]
    made = []
    for number in range(200):
        of, (study, (patient, issuer), date, physician), modality, institution = chance.choice(series)
        made.append(
            {
                PATIENT_ID: [patient],
                ISSUER_OF_PATIENT_ID: [issuer],
                STUDY_INSTANCE_UID: [f"1.2.{study}"],
                STUDY_DATE: [date],
                SERIES_INSTANCE_UID: [f"1.3.{of}"],
                MODALITY: [modality],
                INSTITUTION: [institution],
                REFERRING: [physician],
                SOP_INSTANCE_UID: [f"1.4.{number}"],
                SOP_CLASS_UID: [f"1.5.{chance.randrange(3)}"],
            }
        )
    return [{tag: [value for value in values if value] for tag, values in each.items()} for each in made]


POPULATION = population()


@dataclass(frozen=True)
class Place:
    """One index, and a reader on it."""

    name: str
    index: Index
    reader: Reader


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    folder: Path = tmp_path_factory.mktemp("scopes")
    with ExitStack() as stack:
        shelves = {"sqlcipher": stack.enter_context(closing(Shelf.sqlcipher(folder / "index.db")))}
        try:
            new_url = request.getfixturevalue("new_postgres_url")
        except pytest.skip.Exception:
            pass
        else:
            shelves["postgresql"] = stack.enter_context(closing(Shelf.postgresql(new_url())))
        found = []
        for name, shelf in shelves.items():
            index, ring = shelf.index(), new_ring()
            keys = {values[STUDY_INSTANCE_UID][0]: ring.new_data_key() for values in POPULATION}
            made = [instance(values, keys[values[STUDY_INSTANCE_UID][0]]) for values in POPULATION]
            index.database.write(lambda transaction, made=made: [transaction.store(new) for new in made])
            about = AboutArchive(retrieve_aet="STRONGROOM")
            found.append(Place(name, index, Reader(index, SealedBlobStore(folder / name), LIMITS, about)))
        yield found


def first(values: dict[int, list[Any]], tag: int) -> str:
    return (values.get(tag) or [""])[0]


def is_inside(scope: Scope, values: dict[int, list[Any]]) -> bool:
    """The meaning of a scope, said once more and in another way."""
    return any(is_in_part(part, values) for part in scope.parts)


def is_in_part(scope: Part, values: dict[int, list[Any]]) -> bool:
    patient, issuer = first(values, PATIENT_ID), first(values, ISSUER_OF_PATIENT_ID)
    if scope.patients and not any(wanted == patient and of in (None, issuer) for wanted, of in scope.patients):
        return False
    if scope.studies and first(values, STUDY_INSTANCE_UID) not in scope.studies:
        return False
    if scope.modalities and first(values, MODALITY) not in scope.modalities:
        return False
    if scope.institutions and first(values, INSTITUTION) not in scope.institutions:
        return False
    if scope.referring and not any(is_physician(wanted, first(values, REFERRING)) for wanted in scope.referring):
        return False
    if scope.first_date or scope.last_date:
        date = first(values, STUDY_DATE)
        return date != "" and (scope.first_date or date) <= date <= (scope.last_date or date)
    return True


def is_physician(wanted: str, name: str) -> bool:
    """Whether a name has the components that are wanted, and then any."""
    plain = name.partition("=")[0].replace("ü", "u").replace("ë", "e").lower()
    return plain.split("^")[: len(wanted.split("^"))] == wanted.split("^")


@st.composite
def parts(draw: st.DrawFn) -> Part:
    patient = st.tuples(st.sampled_from(["P1", "P2", "p2", "P%", "P9"]), st.sampled_from([None, "A", "B", ""]))
    days = sorted(draw(st.lists(st.sampled_from([day for day in DATES if day] + ["20240301"]), max_size=2)))
    first_day, last_day = (days + days)[:2] if days else ("", "")
    limits: dict[str, Any] = {
        "patients": tuple(draw(st.lists(patient, unique=True, max_size=3))),
        "studies": tuple(draw(st.lists(st.integers(0, 26).map("1.2.{}".format), unique=True, max_size=8))),
        "modalities": tuple(draw(st.lists(st.sampled_from(["CT", "MR", "SR", "PET"]), unique=True, max_size=3))),
        "institutions": tuple(draw(st.lists(st.sampled_from([*INSTITUTIONS[:4], "Ost"]), unique=True, max_size=3))),
        "referring": tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))),
        "first_date": first_day if draw(st.booleans()) else "",
        "last_date": last_day if draw(st.booleans()) else "",
    }
    kept_limit = draw(st.sampled_from(sorted(limits)))
    for name in limits:  # mostly few of them at a time: all together leave next to nothing
        if name != kept_limit and draw(st.booleans()):
            limits[name] = type(limits[name])()
    if not any(limits.values()):
        limits["modalities"] = ("CT",)
    return Part(**limits)


scopes = st.lists(parts(), max_size=4).map(lambda each: Scope(tuple(each)))


def asks_for_everything(level: Level) -> Query:
    tags = [each.tag for table in (kept.ATTRIBUTES, kept.COMPUTED) for above in Level for each in table[above]]
    asked = {tag: IdentifierElement(kept.VR_OF[tag]) for tag in tags if kept.LEVEL_OF[tag] <= level}
    asked[0x00080052] = IdentifierElement("CS", [level.name])
    return Query.from_identifier(asked, model=Model.PATIENT_ROOT, negotiated=RELATIONAL)


def value(answer: dict[str, Any], tag: int) -> Any:
    return (answer.get(f"{tag:08X}", {}).get("Value") or [""])[0]


def identity(values: dict[int, list[Any]], level: Level) -> tuple[str, ...]:
    if level is Level.PATIENT:
        return first(values, PATIENT_ID), first(values, ISSUER_OF_PATIENT_ID)
    return (first(values, UNIQUE[level]),)


def identity_of_answer(answer: dict[str, Any], level: Level) -> tuple[str, ...]:
    if level is Level.PATIENT:
        return value(answer, PATIENT_ID), value(answer, ISSUER_OF_PATIENT_ID)
    return (value(answer, UNIQUE[level]),)


def counted(inside: Iterable[dict[int, list[Any]]], level: Level) -> dict[tuple[str, ...], dict[str, Any]]:
    """What the archive computes of every record of a level, from the instances in scope alone."""
    found: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for values in inside:
        sets = found.setdefault(identity(values, level), {})
        for name, tag in (("studies", STUDY_INSTANCE_UID), ("series", SERIES_INSTANCE_UID), ("objects", UNIQUE[3])):
            sets.setdefault(name, set()).add(first(values, tag))
        sets.setdefault("modalities", set()).update(values.get(MODALITY, []))
        sets.setdefault("classes", set()).add(first(values, SOP_CLASS_UID))
    return {key: computed(sets, level) for key, sets in found.items()}


def computed(sets: dict[str, set[str]], level: Level) -> dict[str, Any]:
    def number(tag: int, name: str) -> tuple[str, Any]:
        return f"{tag:08X}", {"vr": "IS", "Value": [len(sets[name])]}

    match level:
        case Level.PATIENT:
            return dict([number(0x00201200, "studies"), number(0x00201202, "series"), number(0x00201204, "objects")])
        case Level.STUDY:
            kinds = {"00080061": ("CS", "modalities"), "00080062": ("UI", "classes")}
            made: dict[str, Any] = dict([number(0x00201206, "series"), number(0x00201208, "objects")])
            for tag, (vr, name) in kinds.items():
                values = sorted(sets[name])
                made[tag] = {"vr": vr, "Value": values} if values else {"vr": vr}
            return made
        case Level.SERIES:
            return dict([number(0x00201209, "objects")])
    return {}


@EXAMPLES
@given(scope=scopes, level=st.sampled_from(Level))
def test_a_search_within_a_scope_is_the_filtered_search(places: list[Place], scope: Scope, level: Level) -> None:
    inside = [values for values in POPULATION if is_inside(scope, values)]
    over = {each: counted(inside, each) for each in Level if each <= level}
    for place in places:
        expected = []
        for answer in place.reader.search(EVERYBODY, asks_for_everything(level)):
            if identity_of_answer(answer, level) in over[level]:
                within: dict[str, Any] = {}
                for each, counts in over.items():
                    within |= counts[identity_of_answer(answer, each)]
                expected.append(answer | within)
        found = list(place.reader.search(replace(EVERYBODY, scope=scope), asks_for_everything(level)))
        assert (place.name, found) == (place.name, expected)


@EXAMPLES
@given(scope=scopes, level=st.sampled_from(Level))
def test_a_retrieval_by_guessed_uids_has_what_is_in_scope_only(places: list[Place], scope: Scope, level: Level) -> None:
    wanted = sorted({first(values, UNIQUE[level]) for values in POPULATION} - {""})
    inside = {first(values, SOP_INSTANCE_UID) for values in POPULATION if is_inside(scope, values)}
    # A Patient ID is one value, not a list, in a retrieval: one after another.
    named = [[each] for each in wanted] if level is Level.PATIENT else [wanted]
    for place in places:
        found = set()
        for texts in named:
            asked = {
                0x00080052: IdentifierElement("CS", [level.name]),
                UNIQUE[level]: IdentifierElement(kept.VR_OF[UNIQUE[level]], texts),
            }
            retrieval = Retrieval.from_identifier(asked, model=Model.PATIENT_ROOT, negotiated=RELATIONAL)
            who = replace(EVERYBODY, scope=scope)
            found |= {stored.sop_uid for stored in place.reader.retrieve(who, Right.GET, retrieval, {})}
        reachable = {first(values, SOP_INSTANCE_UID) for values in POPULATION if first(values, UNIQUE[level])}
        assert (place.name, found) == (place.name, inside & reachable)
        assert {uid for uid in reachable if place.index.find_object(uid, scope)} == inside & reachable


def uids_seen(place: Place, scope: Scope | None) -> set[str]:
    found = place.reader.search(replace(EVERYBODY, scope=scope), asks_for_everything(Level.IMAGE))
    return {value(each, SOP_INSTANCE_UID) for each in found}


@FEWER
@given(several=st.lists(scopes, max_size=3))
def test_who_has_several_scopes_sees_what_any_of_them_shows_and_no_more(
    places: list[Place], several: list[Scope]
) -> None:
    for place in places:
        assert uids_seen(place, any_of(*several)) == set().union(*[uids_seen(place, each) for each in several])


@FEWER
@given(one=scopes, other=scopes)
def test_what_two_scopes_have_in_common_is_what_both_show(places: list[Place], one: Scope, other: Scope) -> None:
    for place in places:
        both = uids_seen(place, one) & uids_seen(place, other)
        try:
            common = common_scope(one, other)
        except Denied:
            assert not both
        else:
            assert uids_seen(place, common) == both


@pytest.mark.parametrize("level", Level)
def test_a_scope_without_parts_shows_nothing(places: list[Place], level: Level) -> None:
    for place in places:
        who = replace(EVERYBODY, scope=NOTHING)
        assert list(place.reader.search(who, asks_for_everything(level))) == []
        assert place.index.find_object(first(POPULATION[0], SOP_INSTANCE_UID), NOTHING) is None


def named(part: int) -> list[str]:
    return [f"referring=N{part}-{number}" for number in range(MAX_REFERRING // 9)]


def widest() -> dict[str, list[str]]:
    """Scopes as large as they may be, each with something in it: databases bound what a statement may hold."""
    patients = [f"patient=N{number}\\I{number % (MAX_ISSUERS - 1)}" for number in range(MAX_SCOPE_VALUES - 1)]
    parts = [f"study=1.9.{number}" for number in range(MAX_PARTS - 1)]
    return {
        "patients": [*patients, "patient=P2\\A"],
        "names": [*(f"referring=N{number}^X" for number in range(MAX_REFERRING - 1)), "referring=Smith"],
        "parts": [each for part in [*parts, "modality=CT"] for each in ("or", part)][1:],
        "named parts": [*(each for part in range(9) for each in (*named(part), "or")), "modality=CT"],
    }


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("name", widest())
def test_the_largest_scope_that_can_be_said_is_answered(places: list[Place], name: str, level: Level) -> None:
    scope = parse_scope(widest()[name])
    assert scope is not None
    inside = {identity(values, level) for values in POPULATION if is_inside(scope, values)}
    for place in places:
        found = place.reader.search(replace(EVERYBODY, scope=scope), asks_for_everything(level))
        assert {identity_of_answer(each, level) for each in found} == inside
    assert inside


@EXAMPLES
@given(scope=scopes, name=st.sampled_from(["CT", "MR", "P*", "?R", "XX"]))
def test_a_match_on_the_modalities_of_a_study_sees_those_in_scope(places: list[Place], scope: Scope, name: str) -> None:
    asked = {
        0x00080052: IdentifierElement("CS", ["STUDY"]),
        kept.MODALITIES_IN_STUDY: IdentifierElement("CS", [name]),
        STUDY_INSTANCE_UID: IdentifierElement("UI"),
    }
    query = Query.from_identifier(asked, model=Model.STUDY_ROOT)
    for place in places:
        everything = place.reader.search(replace(EVERYBODY, scope=scope), asks_for_everything(Level.STUDY))
        expected = []
        for answer in everything:
            modalities = answer["00080061"].get("Value", [])
            hit = {
                "P*": any(each.startswith("P") for each in modalities),
                "?R": any(len(each) == 2 and each[1] == "R" for each in modalities),
            }.get(name, name in modalities)
            if hit:
                expected.append(value(answer, STUDY_INSTANCE_UID))
        found = [
            value(each, STUDY_INSTANCE_UID) for each in place.reader.search(replace(EVERYBODY, scope=scope), query)
        ]
        assert (place.name, found) == (place.name, expected)


# --- storing


def one(study: str, series: str, sop: str, patient: str = "X1", modality: str = "CT") -> dict[int, list[Any]]:
    return {
        PATIENT_ID: [patient],
        STUDY_INSTANCE_UID: [study],
        SERIES_INSTANCE_UID: [series],
        SOP_INSTANCE_UID: [sop],
        MODALITY: [modality],
        SOP_CLASS_UID: [CT_IMAGE_STORAGE],
    }


@pytest.fixture(params=["sqlcipher", "postgresql"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    if request.param == "sqlcipher":
        shelf = Shelf.sqlcipher(tmp_path / "index.db")
    else:
        shelf = Shelf.postgresql(request.getfixturevalue("new_postgres_url")())
    with closing(shelf):
        yield shelf.index()


def add(index: Index, values: dict[int, list[Any]], scope: Scope | None) -> str:
    """Store an instance; what became of it in one word."""
    key = index.study_key(values[STUDY_INSTANCE_UID][0]) or new_ring().new_data_key()
    new = instance(values, key)
    event = Event(Action.STORE, Outcome.SUCCESS, Principal("SENDER", scope=scope), stored_event(new).details)
    try:
        return "stored" if index.add(new, event) else "there already"
    except Refused as refused:
        return refused.reason


def test_with_a_scope_without_parts_nothing_is_stored(index: Index) -> None:
    assert add(index, one("9.1", "9.1.1", "9.1.1.1"), NOTHING) == "outside-scope"
    assert index.find_object("9.1.1.1", None) is None


def test_a_study_takes_a_series_if_one_and_the_same_part_has_both(index: Index) -> None:
    ct_of_x1_or_mr_of_x2 = Scope(
        (
            Part(patients=(("X1", None),), modalities=("CT",)),
            Part(patients=(("X2", None),), modalities=("MR",)),
        )
    )
    assert add(index, one("9.1", "9.1.1", "9.1.1.1", modality="SR"), None) == "stored"
    # The words of the object are those of the second part, its place would be in the first one.
    lies = one("9.1", "9.1.2", "9.1.2.1", patient="X2", modality="MR")
    assert add(index, lies, ct_of_x1_or_mr_of_x2) == "outside-scope"
    assert add(index, one("9.1", "9.1.2", "9.1.2.1"), ct_of_x1_or_mr_of_x2) == "stored"


OF_X1 = Scope((Part(patients=(("X1", None),)),))
OF_CT = Scope((Part(modalities=("CT",)),))


def test_what_is_stored_under_a_uid_outside_the_scope_is_not_told(index: Index) -> None:
    assert add(index, one("9.1", "9.1.1", "9.1.1.1", patient="OTHER"), None) == "stored"
    # Without a scope the sender hears what stands in the way; with one, one word for all of it.
    for taken, reason in (
        (one("9.1", "9.7.1", "9.7.1.1"), "study-of-another-patient"),
        (one("9.7", "9.1.1", "9.7.1.1"), "series-in-another-study"),
        (one("9.7", "9.7.1", "9.1.1.1"), "there already"),
    ):
        assert add(index, taken, None) == reason
        assert add(index, taken, OF_X1) == "outside-scope"
    assert add(index, one("9.7", "9.7.1", "9.7.1.1"), OF_X1) == "stored"
    assert add(index, one("9.7", "9.7.1", "9.7.1.1"), OF_X1) == "there already"


def test_a_scope_of_modalities_may_begin_its_first_series_of_a_study(index: Index) -> None:
    assert add(index, one("9.1", "9.1.1", "9.1.1.1", modality="MR"), None) == "stored"
    assert add(index, one("9.1", "9.1.2", "9.1.2.1"), OF_CT) == "stored"
    assert add(index, one("9.1", "9.1.1", "9.1.1.2"), OF_CT) == "outside-scope"  # the series is one of MR
    assert add(index, one("9.1", "9.1.2", "9.1.1.1"), OF_CT) == "outside-scope"
    assert index.find_object("9.1.2.1", OF_CT)
    assert index.find_object("9.1.1.1", OF_CT) is None


def test_that_a_study_is_of_another_patient_is_told_to_who_sees_it_only(index: Index) -> None:
    assert add(index, one("9.1", "9.1.1", "9.1.1.1", modality="MR"), None) == "stored"
    other = one("9.1", "9.1.2", "9.1.2.1", patient="X2")
    assert add(index, other, OF_CT) == "outside-scope"
    assert add(index, one("9.1", "9.1.2", "9.1.2.1"), OF_CT) == "stored"
    assert add(index, one("9.1", "9.1.3", "9.1.3.1", patient="X2"), OF_CT) == "study-of-another-patient"


def test_a_study_outside_the_dates_takes_nothing(index: Index) -> None:
    old = one("9.1", "9.1.1", "9.1.1.1") | {STUDY_DATE: ["20200101"]}
    claims_to_be_new = one("9.1", "9.1.2", "9.1.2.1") | {STUDY_DATE: ["20240101"]}
    assert add(index, old, None) == "stored"
    assert add(index, claims_to_be_new, Scope((Part(first_date="20240101"),))) == "outside-scope"
