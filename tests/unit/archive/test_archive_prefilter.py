"""What the index is asked; that it never loses an answer is a property of its own."""

from typing import Any

import pytest

from strongroom.archive import keys
from strongroom.archive.model import Level
from strongroom.archive.prefilter import Between, Equal, In, Like, Prefix, sql_conditions
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query

NAME, PATIENT_ID, STUDY_UID = 0x00100010, 0x00100020, 0x0020000D
DATE, TIME, ZONE = 0x00080020, 0x00080030, 0x00080201
ACCESSION, DESCRIPTION, MODALITIES = 0x00080050, 0x00081030, 0x00080061


def study(*elements: tuple[int, Any], **negotiated: bool) -> Query:
    """Return a STUDY query; a value is text with backslashes or a list of items."""
    made = {0x00080052: IdentifierElement("CS", [Level.STUDY.name])}
    for tag, value in elements:
        made[tag] = IdentifierElement(keys.VR_OF[tag], value if isinstance(value, list) else value.split("\\"))
    return Query.from_identifier(made, model=Model.STUDY_ROOT, negotiated=ExtendedNegotiation(**negotiated))


def conditions_of(*elements: tuple[int, Any], **negotiated: bool) -> list[tuple[object, ...]]:
    shapes: list[tuple[object, ...]] = []
    for condition in sql_conditions(study(*elements, **negotiated)).conditions:
        name = condition.column.name
        match condition:
            case Equal(_, text) | Prefix(_, text):
                shapes.append((type(condition), name, text))
            case In(_, texts) | Like(_, texts):
                shapes.append((type(condition), name, *texts))
            case Between(_, lo, hi):
                shapes.append((Between, name, lo, hi))
    return shapes


def test_keys_become_conditions_that_an_index_can_seek() -> None:
    assert conditions_of((STUDY_UID, "1.2\\1.3")) == [(In, "study_uid", "1.2", "1.3")]
    assert conditions_of((PATIENT_ID, "P1")) == [(Equal, "patient_id", "P1")]
    assert conditions_of((NAME, "Smi*")) == [(Prefix, "patient_name", "smi")]
    assert conditions_of((NAME, "Smith^J")) == [(Prefix, "patient_name", "smith^j")]
    assert conditions_of((NAME, "Sm?th^J*")) == [(Prefix, "patient_name", "sm"), (Like, "patient_name", "%sm%th%j%")]
    assert conditions_of((NAME, "Smith^?*")) == [(Prefix, "patient_name", "smith^")]
    assert conditions_of((NAME, "^John")) == [(Like, "patient_name", "%john%")]
    assert conditions_of((NAME, "Smith^^Dr")) == [
        (Prefix, "patient_name", "smith"),
        (Like, "patient_name", "%smith%dr%"),
    ]
    assert conditions_of((NAME, "山*")) == [(Like, "patient_name", "%山%")]
    assert conditions_of((NAME, "Smith John"), fuzzy=True) == [
        (Like, "patient_name", "%smith%"),
        (Like, "patient_name", "%john%"),
    ]
    assert conditions_of((NAME, "Yamada=山*")) == [(Prefix, "patient_name", "yamada"), (Like, "patient_name", "%山%")]
    assert conditions_of((NAME, "A\\B")) == []
    assert conditions_of((ACCESSION, "A1\\B?")) == [(Like, "accession", "A1", "B_")]
    assert conditions_of((ACCESSION, "A1*")) == [(Prefix, "accession", "A1")]
    assert conditions_of((DESCRIPTION, "100%_!?*")) == [(Like, "description", "100!%!_!!_%")]
    assert conditions_of((MODALITIES, "CT\\M?")) == [(Like, "modalities", "%\\CT\\%", "%\\M_\\%")]
    assert conditions_of((DATE, "-20240101")) == [(Between, "study_date", "00000000", "20240101")]
    assert conditions_of((TIME, "10-")) == [(Between, "study_time", "100000000000", "999999999999")]


def test_a_combined_range_narrows_by_days_and_widens_for_zones() -> None:
    asked = ((DATE, "20240229-20240301"), (TIME, "10-11"))
    assert conditions_of(*asked, combined_datetime=True) == [(Between, "study_date", "20240229", "20240301")]
    zoned = conditions_of((ZONE, "-0500"), *asked, combined_datetime=True, timezone=True)
    assert zoned == [(Between, "study_date", "20240227", "20240303")]
    early = conditions_of((ZONE, "-0500"), (DATE, "00010101"), (TIME, "10"), combined_datetime=True, timezone=True)
    assert early == [(Between, "study_date", "00000000", "00010103")]
    late = conditions_of((ZONE, "-0500"), (DATE, "99991231"), (TIME, "10"), combined_datetime=True, timezone=True)
    assert late == [(Between, "study_date", "99991229", "99999999")]


@pytest.mark.parametrize(
    ("elements", "exact"),
    [
        ((), True),
        (((STUDY_UID, "1.2"), (DATE, "20240101-"), (TIME, "10"), (ACCESSION, "A\\B")), True),
        (((NAME, "Smith"),), False),
        (((ACCESSION, "A*"),), False),
        (((MODALITIES, "CT"),), False),
        (((0x00081032, [{0x00080100: IdentifierElement("SH", ["X"])}]),), False),
        (((0x00100040, "F"),), False),
        (((DATE, "20240101"), (TIME, "10-11")), True),
    ],
)
def test_the_index_alone_decides_only_what_it_can(elements: tuple[tuple[int, Any], ...], exact: bool) -> None:
    assert sql_conditions(study(*elements)).exact is exact


def test_a_query_names_what_the_index_has_to_count() -> None:
    query = study((MODALITIES, "CT"), (0x00201208, ""), (DATE, ""))
    assert query.computed == {MODALITIES, 0x00201208}
