"""Every database lists studies as a plain look at all of them does: the same, in one order, whichever way one pages."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.instances import (
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_INSTANCE_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    instance,
    new_ring,
    stored_event,
)
from strongroom.archive.access import parse_scope
from strongroom.archive.listing import StudyList, StudyPage, parse_physician, parse_words
from strongroom.archive.model import Flag
from strongroom.archive.read import merged
from strongroom.archive.values import fold, name_text
from strongroom.store import narrowing
from strongroom.store.index import Index
from strongroom.types import Scope

EXAMPLES = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STUDY_DATE, ACCESSION, DESCRIPTION = 0x00080020, 0x00080050, 0x00081030
INSTITUTION, REFERRING = 0x00080080, 0x00080090
STUDIES = 150
NAMES = ("Bergström^Åsa", "Berg^Anna", "Van der Berg^X", "100%^Sure", "O'Neil!^_", "山田^太郎", "", "\\^*?")
PATIENTS = tuple((f"P{number:02}" if number else "p00%_", NAMES[number % len(NAMES)]) for number in range(40))
TEXTS = ("Chest", "CHEST low dose", "100% dose", "he_d!", "Schädel", "", "a\\b")
DATES = ("20240101", "20240229", "20251231", "20261122", "")
HOUSES = ("St. Mary's", "ST MARY ANNEX", "Universitätsklinik", "100%", "")
PHYSICIANS = ("Smith^Ann", "Smith^Anna", "Smithers^Bo", "van der Berg^Åke", "Müller", "")
WORDS = (
    "", "berg", "BERG", "asa", "åsa", "berg chest", "%", "_", "!", "\\", "*", "p0", "A1", "a10 chest", "100%", "山",
    "schädel", "zzz", "chest chest", "x berg van",
)  # fmt: skip
SCOPES = (None, ("modality=CT",), ("modality=MR",), ("patient=P03",), ("date=20240101-20241231",))


def population() -> list[dict[int, list[Any]]]:
    """Studies of one to three series, and what each says."""
    chance = random.Random(11)
    made = []
    for study in range(STUDIES):
        patient, name = chance.choice(PATIENTS)
        date, text = chance.choice(DATES), chance.choice(TEXTS)
        physician = chance.choice(PHYSICIANS)
        for series in range(chance.randrange(1, 4)):
            made.append(
                {
                    PATIENT_ID: [patient], PATIENT_NAME: [name], STUDY_INSTANCE_UID: [f"1.2.840.99999.{study}"],
                    STUDY_DATE: [date], ACCESSION: [f"A{study}"], DESCRIPTION: [text],
                    MODALITY: [chance.choice(("CT", "MR", "SR"))], SERIES_INSTANCE_UID: [f"1.3.{study}.{series}"],
                    SOP_INSTANCE_UID: [f"1.4.{study}.{series}"], REFERRING: [physician],
                    INSTITUTION: [chance.choice(HOUSES)],
                }
            )  # fmt: skip
    return [{tag: [value for value in values if value] for tag, values in each.items()} for each in made]


POPULATION = population()


@pytest.fixture(scope="module")
def indexes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Index]]:
    with ExitStack() as stack:
        shelves = [stack.enter_context(closing(Shelf.sqlcipher(tmp_path_factory.mktemp("lists") / "index.db")))]
        try:
            new_url = request.getfixturevalue("new_postgres_url")
        except pytest.skip.Exception:
            pass
        else:
            shelves.append(stack.enter_context(closing(Shelf.postgresql(new_url()))))
        ring = new_ring()
        keys = {each[STUDY_INSTANCE_UID][0]: ring.new_data_key() for each in POPULATION}
        made = [instance(each, keys[each[STUDY_INSTANCE_UID][0]]) for each in POPULATION]
        found = [shelf.index() for shelf in shelves]
        for index in found:
            index.database.write(lambda transaction: [transaction.store(new) for new in made])
        yield found


def first(values: dict[int, list[Any]], tag: int) -> str:
    return str((values.get(tag) or [""])[0])


def visible(series: dict[int, list[Any]], scope: Scope | None) -> bool:
    """Whether a series lies in one part of a scope."""
    return scope is None or any(
        (not part.patients or first(series, PATIENT_ID) in {patient for patient, _ in part.patients})
        and (not part.modalities or first(series, MODALITY) in part.modalities)
        and (not part.first_date or "20240101" <= first(series, STUDY_DATE) <= "20241231")
        for part in scope.parts
    )


def expected(wanted: StudyList, scope: Scope | None) -> list[str]:
    """All UIDs that a list has, newest first, by a look at each study."""
    found = []
    series_of: dict[str, list[dict[int, list[Any]]]] = {}
    for each in POPULATION:
        series_of.setdefault(first(each, STUDY_INSTANCE_UID), []).append(each)
    of_patient = {first(each[0], PATIENT_ID) for uid, each in series_of.items() if uid == wanted.patient_of}
    for number, (uid, all_series) in enumerate(series_of.items()):
        series = [each for each in all_series if visible(each, scope)]
        study = all_series[0]
        texts = [name_text(first(study, PATIENT_NAME))]
        texts += [fold(first(study, tag)) for tag in (PATIENT_ID, ACCESSION, DESCRIPTION)]
        date = first(study, STUDY_DATE)
        if (
            series
            and all(any(word in text for text in texts) for word in wanted.words)
            and (not wanted.modality or any(first(each, MODALITY) == wanted.modality for each in series))
            and (not wanted.first_date or date >= wanted.first_date)
            and (not wanted.last_date or (date and date <= wanted.last_date))
            and (not wanted.patient_of or first(study, PATIENT_ID) in of_patient)
            and wanted.study_uid in ("", uid)
            and name_text(first(study, REFERRING)).startswith(wanted.referring)
            and (
                not wanted.institution
                or any(fold(wanted.institution) in fold(first(each, INSTITUTION)) for each in series)
            )
        ):
            found.append((date, number, uid))
    return [uid for _, _, uid in sorted(found, reverse=True)]


def uids(page: StudyPage) -> list[str]:
    return [merged(row)["0020000D"]["Value"][0] for row in page.rows]


def walked(index: Index, wanted: StudyList, scope: Scope | None) -> tuple[list[str], list[str]]:
    """All studies of a list: from the newest to the oldest, and back again to the first page."""
    page = index.list_studies(wanted, scope)
    assert not page.has_newer
    there, pages = uids(page), [uids(page)]
    while page.has_older:
        page = index.list_studies(replace(wanted, older_than=there[-1]), scope)
        assert page.has_newer
        there += uids(page)
        pages.append(uids(page))
    back = list(pages[-1])
    for known in pages[-2::-1]:
        page = index.list_studies(replace(wanted, newer_than=back[0]), scope)
        assert uids(page) == known
        back = uids(page) + back
    assert not page.has_newer or len(pages) == 1
    return there, back


LISTS = st.builds(
    lambda text, modality, since, until, limit, house, physician: StudyList(
        parse_words(text)[0], "", modality, since, until, limit=limit, institution=house,
        referring=parse_physician(physician),
    ),
    st.sampled_from(WORDS), st.sampled_from(("", "CT", "MR", "XA")), st.sampled_from(("", "20240201")),
    st.sampled_from(("", "20251231")), st.sampled_from((1, 7, 50, 1000)),
    st.sampled_from(("", "", "mary", "universitatsKLINIK", "%", "nowhere")),
    st.sampled_from(("", "", "smith", "Smith, Ann", "VAN DER", "muller", "_")),
)  # fmt: skip


@EXAMPLES
@given(wanted=LISTS, scope=st.sampled_from(SCOPES), few=st.sampled_from((0, narrowing.FEW)))
def test_a_list_has_what_is_there_both_ways(
    indexes: Sequence[Index],
    wanted: StudyList,
    scope: tuple[str, ...] | None,
    few: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = parse_scope(scope) if scope else None
    monkeypatch.setattr(narrowing, "FEW", few)
    for index in indexes:
        there, back = walked(index, wanted, limited)
        assert there == expected(wanted, limited)
        assert back == there


def test_of_very_many_institutions_one_is_found_by_its_whole_name(
    indexes: Sequence[Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrowing, "MAX_NAMES", 3)
    for index in indexes:
        whole = uids(index.list_studies(StudyList(institution="Universitätsklinik", limit=1000), None))
        assert whole == expected(StudyList(institution="Universitätsklinik"), None)
        assert uids(index.list_studies(StudyList(institution="universit"), None)) == []


def test_a_study_and_the_others_of_its_patient_are_listed(indexes: Sequence[Index]) -> None:
    uid = "1.2.840.99999.7"
    for index in indexes:
        assert uids(index.list_studies(StudyList(study_uid=uid), None)) == [uid]
        wanted = StudyList(patient_of=uid)
        assert uid in expected(wanted, None)
        assert uids(index.list_studies(wanted, None)) == expected(wanted, None)


def test_a_list_goes_on_from_its_beginning_when_its_place_is_gone(indexes: Sequence[Index]) -> None:
    hidden = parse_scope(("patient=P03",))
    for index in indexes:
        assert uids(index.list_studies(StudyList(older_than="1.2.3"), None)) == expected(StudyList(), None)[:50]
        outside = next(uid for uid in expected(StudyList(), None) if uid not in expected(StudyList(), hidden))
        # A study outside of a scope is no place in a list that does not have it.
        assert uids(index.list_studies(StudyList(older_than=outside), hidden)) == expected(StudyList(), hidden)


def test_what_a_list_counts_is_what_its_holder_may_see(indexes: Sequence[Index]) -> None:
    scope = parse_scope(("modality=CT",))
    for index in indexes:
        for row in index.list_studies(StudyList(limit=1000), scope).rows:
            assert merged(row)["00080061"]["Value"] == ["CT"]


def test_words_are_folded_as_names_are() -> None:
    assert fold("Bergström") in name_text("BERGSTRÖM^Åsa")


def test_the_condition_of_an_instance_says_what_it_is_flagged_for(indexes: Sequence[Index]) -> None:
    values = {**POPULATION[0], SOP_INSTANCE_UID: ["1.4.4711"], SERIES_INSTANCE_UID: ["1.3.4711"]}
    for index in indexes:
        key = index.study_key(values[STUDY_INSTANCE_UID][0])
        assert key is not None
        new = replace(instance(values, key), flag=Flag("screening", "low"))
        index.add(new, stored_event(new))
        (flag,) = index.condition("1.4.4711").flags
        assert (flag.reason, flag.severity) == ("screening", "low")
        assert index.condition("1.4.0.0").flags == ()
        assert index.condition("1.2.3").signature_validity == ""
