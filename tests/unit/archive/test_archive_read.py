"""What is damaged of one object is no reason to withhold the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.archives import new_home, opened
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store
from strongroom.archive.query import IdentifierElement, Model, Retrieval
from strongroom.archive.read import Reader
from strongroom.errors import IntegrityError
from strongroom.types import Principal, Right

CALLER = Principal("ASKER", rights=frozenset(Right))


@pytest.mark.parametrize("pixel_bytes", [SMALL_PIXELS, LARGE_PIXELS])
@pytest.mark.parametrize("damage", ["wrapped = zeroblob(length(wrapped))", "master_id = 'mk-gone'"])
def test_a_data_key_that_does_not_open_costs_its_own_study_only(tmp_path: Path, damage: str, pixel_bytes: int) -> None:
    home = new_home(tmp_path / "home")
    samples = [Sample(number, study=number, pixel_bytes=pixel_bytes) for number in (1, 2, 3)]
    with opened(home) as archive:
        for sample in samples:
            store(archive, sample)
        broken = archive.index.find_object(samples[1].sop_uid)
        assert broken is not None
        key_id = broken.key.key_id
        archive.index.database.write(
            lambda transaction: transaction.cursor.execute(f"UPDATE data_key SET {damage} WHERE key_id = ?", (key_id,))
        )
    wanted = {
        0x00080052: IdentifierElement("CS", ["STUDY"]),
        0x0020000D: IdentifierElement("UI", [sample.study_uid for sample in samples]),
    }
    with opened(home) as archive:
        objects = archive.reader.retrieve(
            CALLER, Right.GET, Retrieval.from_identifier(wanted, model=Model.STUDY_ROOT), {}
        )
        assert [stored.sop_uid for stored in objects] == [sample.sop_uid for sample in samples]
        assert [is_readable(archive.reader, stored) for stored in objects] == [True, False, True]


def is_readable(reader: Reader, stored: object) -> bool:
    try:
        reader.open(stored).close()  # type: ignore[arg-type]  # it is what the reader gave
    except IntegrityError:
        return False
    return True
