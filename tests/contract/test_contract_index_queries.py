"""Every database gives the answers that the pure matcher gives over all records: none more, none less, in one order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.instances import (
    ISSUER_OF_PATIENT_ID,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    Values,
    attributes_of,
    instance,
    new_ring,
)
from strongroom.archive import keys as kept
from strongroom.archive.answers import AboutArchive, compile_answer
from strongroom.archive.matching import matches
from strongroom.archive.model import Level
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query
from strongroom.archive.read import Reader, ReadLimits
from strongroom.store.blobs import SealedBlobStore
from strongroom.types import Principal, Right

EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUERIER = Principal("TESTER", rights=frozenset(Right))
ABOUT = AboutArchive(retrieve_aet="STRONGROOM")
INSTANCES = 400
MAX_RESULTS = 50
SEEDS = (1, 2, 3)

# Few values, close to each other, with what each database could take differently: case, accents, LIKE's own
# characters, order of characters beyond ASCII, empty and absent values, several values where one belongs.
TEXTS = (
    "Head", "head", "HEAD%", "he_d", "he!d", "Kopf é", "Kopf É", "", "  Head ", "straße", "山田", "ä\uffffz",
    "\U0001f600",
)  # fmt: skip
NAMES = (
    "Smith^John", "SMITH^JOHN^^Dr.", "Smith^Jöhn", "smith", "Smi_h^J%", "Schmidt^Jo!n", "山田^太郎", "", "^John",
    "Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^太郎", "Müller^Jürgen", "Muller^Jurgen", "De Vries^Jan", "O'Neil",
)  # fmt: skip
DATES = ("20231231", "20240101", "20240102", "20240229", "2024.03.01", "", "99991231", "garbage")
TIMES = ("000000", "0000", "10", "1030", "103015", "103015.5", "103015.500001", "235959.999999", "10:30:15", "")
NUMBERS = ("1", "01", "1.0", "+1", "2", "-1", "12", "", "x")
ZONES = ("+0000", "+0130", "-1100", "+1400", "x")
MODALITIES = ("CT", "PT", "PETCT", "C", "MR_", "")
POOLS = {"PN": NAMES, "DA": DATES, "TM": TIMES, "IS": NUMBERS, "DS": NUMBERS, "US": (1, 2)}
FREE_TAGS = {
    Level.PATIENT: (PATIENT_NAME, 0x00100030, 0x00100032, 0x00100040, 0x00104000),
    Level.STUDY: (0x00080020, 0x00080030, 0x00080050, 0x00200010, 0x00080090, 0x00081030, 0x00081060),
    Level.SERIES: (0x00200011, 0x00080080, 0x00180015, 0x00400244, 0x00400245, 0x0008103E, 0x00080021),
    Level.IMAGE: (0x00200013, 0x00080008, 0x0008002A, 0x00280010, 0x00080023, 0x00080033, 0x00204000),
}
UNIQUE = (PATIENT_ID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)


@dataclass
class Record:
    """One record of one level as the oracle knows it: its attributes, and those of the records below it."""

    attributes: dict[str, Any]
    studies: set[str] = field(default_factory=set)
    series: set[str] = field(default_factory=set)
    modalities: set[str] = field(default_factory=set)
    sop_classes: set[str] = field(default_factory=set)
    instances: int = 0

    def computed(self, level: Level) -> dict[str, Any]:
        """What the archive computes for a record of this level, in the DICOM JSON model."""
        match level:
            case Level.PATIENT:
                counts = {0x00201200: len(self.studies), 0x00201202: len(self.series), 0x00201204: self.instances}
            case Level.STUDY:
                counts = {0x00201206: len(self.series), 0x00201208: self.instances}
            case Level.SERIES:
                counts = {0x00201209: self.instances}
            case Level.IMAGE:
                return {"00083002": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}}
        elements = {f"{tag:08X}": {"vr": "IS", "Value": [count]} for tag, count in counts.items()}
        if level is Level.STUDY:
            elements["00080061"] = {"vr": "CS", "Value": sorted(self.modalities)}
            elements["00080062"] = {"vr": "UI", "Value": sorted(self.sop_classes)}
        return elements


class Oracle:
    """All records in memory: a record keeps the attributes of the first instance that brought it."""

    def __init__(self) -> None:
        self._levels: dict[Level, dict[tuple[Any, ...], Record]] = {level: {} for level in Level}

    def add(self, values: Values) -> None:
        """Take in one instance."""
        study, series, sop = (values[tag][0] for tag in UNIQUE[1:])
        identity = (self._identity(values), study, series, sop)
        for level in Level:
            records = self._levels[level]
            key = identity[: level + 1]
            record = records.get(key)
            if record is None:
                record = records[key] = Record(attributes_of(values, level))
            record.instances += 1
            record.studies.add(study)
            record.series.add(series)
            record.sop_classes.add(values[SOP_CLASS_UID][0])
            if modality := self._first(values, MODALITY):
                record.modalities.add(modality)

    @staticmethod
    def _first(values: Values, tag: int) -> Any:
        found = values.get(tag) or [""]
        return found[0]

    def _identity(self, values: Values) -> tuple[str, str, str]:
        """Without a Patient ID, the study: there is nothing that says whose others are."""
        patient_id = self._first(values, PATIENT_ID)
        own = "" if patient_id else self._first(values, STUDY_INSTANCE_UID)
        return patient_id, self._first(values, ISSUER_OF_PATIENT_ID), own

    def records(self, level: Level) -> Iterator[dict[str, Any]]:
        """Every record of a level in order of arrival, with all that stands above it."""
        for key in self._levels[level]:
            attributes: dict[str, Any] = {}
            for above in Level:
                if above <= level:
                    each = self._levels[above][key[: above + 1]]
                    attributes |= each.attributes | each.computed(above)
            yield attributes


def population(seed: int) -> list[dict[int, list[Any]]]:
    """Instances in a tree of patients, studies and series, some of whose attributes are there and some not."""
    chance = random.Random(seed)

    def some(level: Level) -> dict[int, list[Any]]:
        made: dict[int, list[Any]] = {}
        for tag in FREE_TAGS[level]:
            if chance.random() < 0.75:
                vr = kept.VR_OF[tag]
                pool = DATE_TIMES if vr == "DT" else POOLS.get(vr, TEXTS)
                entries = [chance.choice(pool) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
                made[tag] = [entry for entry in entries if entry != ""]
        return made

    patients: list[dict[int, list[Any]]] = []
    for number in range(30):
        identity = {PATIENT_ID: [f"P{number % 20}"], ISSUER_OF_PATIENT_ID: [("A", "a", "B_")[number % 3]]}
        patients.append(some(Level.PATIENT) | (identity if number else {PATIENT_ID: []}))
    studies = []
    for number in range(60):
        zone = {0x00080201: [chance.choice(ZONES)]} if chance.random() < 0.5 else {}
        above = chance.choice(patients)
        studies.append(above | some(Level.STUDY) | zone | {STUDY_INSTANCE_UID: [f"1.2.{number}"]})
    series = []
    for number in range(120):
        own = {SERIES_INSTANCE_UID: [f"1.3.{number}"], MODALITY: [chance.choice(MODALITIES)]}
        series.append(chance.choice(studies) | some(Level.SERIES) | own)
    return [
        chance.choice(series)
        | some(Level.IMAGE)
        | {SOP_INSTANCE_UID: [f"1.4.{number}"], SOP_CLASS_UID: [f"1.5.{chance.randrange(3)}"]}
        for number in range(INSTANCES)
    ]


DATE_TIMES = ("20240101", "2024010110", "20240101103015.25", "20231231235959+0130", "202401", "x", "")


# --- the population in both databases and in the oracle


@dataclass(frozen=True)
class Archives:
    """One population three times."""

    oracle: Oracle
    readers: dict[str, Reader]


@pytest.fixture(scope="module", params=SEEDS)
def archives(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archives]:
    folder: Path = tmp_path_factory.mktemp("queries")
    oracle, people = Oracle(), population(request.param)
    for values in people:
        oracle.add(values)
    new_url = optional_postgres(request)
    with ExitStack() as stack:
        shelves = {"sqlcipher": stack.enter_context(closing(Shelf.sqlcipher(folder / "index.db")))}
        if new_url is not None:
            shelves["postgresql"] = stack.enter_context(closing(Shelf.postgresql(new_url())))
        readers = {}
        for name, shelf in shelves.items():
            index, ring = shelf.index(), new_ring()
            keys = {values[STUDY_INSTANCE_UID][0]: ring.new_data_key() for values in people}
            made = [instance(values, keys[values[STUDY_INSTANCE_UID][0]]) for values in people]
            index.database.write(lambda transaction, made=made: [transaction.store(new) for new in made])
            readers[name] = Reader(index, SealedBlobStore(folder / name), ReadLimits(MAX_RESULTS, 1000), ABOUT)
        yield Archives(oracle, readers)


def optional_postgres(request: pytest.FixtureRequest) -> Any:
    """The factory of databases; None without PostgreSQL, where the encrypted file is still compared."""
    try:
        return request.getfixturevalue("new_postgres_url")
    except pytest.skip.Exception:
        return None


# --- queries


def near(text: str) -> st.SearchStrategy[str]:
    """Keys that are close to a value: itself, cut, with wildcards, in another case."""
    cuts = st.integers(0, len(text))
    wild = st.sampled_from(["*", "?", "**", "*?", "%", "_"])
    return st.one_of(
        st.just(text),
        st.just(text.swapcase()),
        st.builds(lambda at, mark: text[:at] + mark, cuts, wild),
        st.builds(lambda at, mark: text[:at] + mark + text[at + 1 :], cuts, wild),
        st.builds(lambda at, mark: mark + text[at:], cuts, wild),
        st.just("*"),
    )


def ranges(pool: tuple[str, ...]) -> st.SearchStrategy[str]:
    ends = st.sampled_from([text for text in pool if text and text not in ("garbage", "x", "99991231")])
    return st.one_of(ends, st.builds("{}-{}".format, ends, ends), ends.map("{}-".format), ends.map("-{}".format))


def key_of(tag: int) -> st.SearchStrategy[list[str]]:
    """Values of a key on one attribute; empty means universal matching."""
    vr = kept.VR_OF[tag]
    if vr in ("DA", "TM"):
        return st.lists(ranges(DATES if vr == "DA" else TIMES), max_size=1)
    if vr == "DT":
        return st.lists(st.sampled_from(["20240101-", "-20240101103016", "20231231-20240102+0000", "2024"]), max_size=1)
    if vr in ("IS", "DS", "US"):
        return st.lists(st.sampled_from(["1", "01", "2", "-1", "12", "3"]), max_size=2)
    if tag == MODALITY or tag == kept.MODALITIES_IN_STUDY:
        one = st.sampled_from([text for text in MODALITIES if text] + ["P*", "?", "*T"])
        return st.lists(one, max_size=2)
    pool = [text for text in (NAMES if vr == "PN" else TEXTS) if text]
    return st.lists(st.sampled_from(pool).flatmap(near), max_size=2)


def uid_lists(tag: int) -> st.SearchStrategy[list[str]]:
    head = {STUDY_INSTANCE_UID: "1.2", SERIES_INSTANCE_UID: "1.3", SOP_INSTANCE_UID: "1.4"}.get(tag, "1.5")
    return st.lists(st.integers(0, 70).map(lambda number: f"{head}.{number}"), max_size=4)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """A relational query with up to four keys at or above its level, returning some attributes."""
    level = draw(st.sampled_from(Level))
    asked = {0x00080052: IdentifierElement("CS", [level.name])}
    tags = [tag for each in Level if each <= level for tag in (*FREE_TAGS[each], *computed_tags(each))]
    tags += [MODALITY] if level >= Level.SERIES else []
    tags += [0x00080062] if level >= Level.STUDY else []
    for tag in draw(st.lists(st.sampled_from(tags), unique=True, max_size=4)):
        values = draw(uid_lists(tag) if kept.VR_OF[tag] == "UI" else key_of(tag))
        asked[tag] = IdentifierElement(kept.VR_OF[tag], values)
    unique = draw(st.sampled_from(Level))
    if unique <= level and draw(st.booleans()):
        tag = UNIQUE[unique]
        patient = st.lists(st.sampled_from(["P1", "p1", "P*", "P1?", "P?", "P2", "P19"]), max_size=2)
        asked[tag] = IdentifierElement(kept.VR_OF[tag], draw(patient if tag == PATIENT_ID else uid_lists(tag)))
    for tag in draw(st.lists(st.sampled_from(tags), max_size=3)):
        asked.setdefault(tag, IdentifierElement(kept.VR_OF[tag]))
    if draw(st.booleans()):
        asked[0x00080201] = IdentifierElement("SH", [draw(st.sampled_from(["+0000", "+1400", "-1100"]))])
    negotiated = ExtendedNegotiation(True, *draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    return Query.from_identifier(asked, model=Model.PATIENT_ROOT, negotiated=negotiated)


def computed_tags(level: Level) -> list[int]:
    return [attribute.tag for attribute in kept.COMPUTED[level] if attribute.vr != "UI"]


@EXAMPLES
@given(query=queries())
def test_every_database_answers_as_the_matcher_does(archives: Archives, query: Query) -> None:
    build = compile_answer(query, ABOUT)
    expected = [build(record) for record in archives.oracle.records(query.level) if matches(query, record)]
    for name, reader in archives.readers.items():
        answers = reader.search(QUERIER, query)
        assert (name, list(answers)) == (name, expected[:MAX_RESULTS])
        assert answers.truncated == (len(expected) > MAX_RESULTS)


def test_the_population_tries_every_column(archives: Archives) -> None:
    """An attribute that no record has, or that all have alike, would prove nothing."""
    tags = {tag for level in Level for tag in FREE_TAGS[level]} | {*UNIQUE, ISSUER_OF_PATIENT_ID, MODALITY}
    tags |= {SOP_CLASS_UID, kept.MODALITIES_IN_STUDY}
    assert set(kept.COLUMN_OF) <= tags
    records = list(archives.oracle.records(Level.IMAGE))
    for tag in set(kept.COLUMN_OF) - {*UNIQUE}:
        found = {str(record.get(f"{tag:08X}", {}).get("Value")) for record in records}
        assert len(found) > 2, f"{tag:08X}"
