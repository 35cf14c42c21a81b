"""A process that stores instances into an index: ``python -m harness.index_writer PLACE FIRST COUNT``.

PLACE is what ``Shelf.at`` takes. It waits for a line on its standard input, so that several
can begin at once, stores instances FIRST to FIRST + COUNT - 1 of ``shared_instance``, and prints how many were new.
"""

from __future__ import annotations

import sys

from harness.instances import (
    MODALITY,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Shelf,
    instance,
    new_ring,
    stored_event,
)
from strongroom.archive.model import DataKey, NewInstance
from strongroom.store.index import Index

STUDIES, SERIES_PER_STUDY = 3, 4


def shared_instance(number: int, key: DataKey, process: int) -> NewInstance:
    """Instance ``number`` of a population that several processes store: three studies, each with four series."""
    study = number % STUDIES
    series = number // STUDIES % SERIES_PER_STUDY
    values = {
        STUDY_INSTANCE_UID: [f"2.25.7.{study}"],
        SERIES_INSTANCE_UID: [f"2.25.7.{study}.{series}"],
        SOP_INSTANCE_UID: [f"2.25.7.{study}.{series}.{number}"],
        MODALITY: [f"M{series}"],
        SOP_CLASS_UID: [f"1.2.{series}"],
    }
    return instance(values, key, object_id=process.to_bytes(8) + number.to_bytes(8))


def store_shared(index: Index, numbers: range, process: int) -> int:
    """Store a part of the population; returns how many were new."""
    count = 0
    ring = new_ring()
    for number in numbers:
        study_uid = f"2.25.7.{number % STUDIES}"
        key = index.study_key(study_uid) or ring.new_data_key()
        new = shared_instance(number, key, process)
        count += index.add(new, stored_event(new))
    return count


def main() -> None:
    """Run the process."""
    place, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    shelf = Shelf.at(place)
    index = shelf.index(f"process-{first}-{count}")
    print("ready", flush=True)
    sys.stdin.readline()
    print(store_shared(index, range(first, first + count), first + 1), flush=True)
    shelf.close()


if __name__ == "__main__":
    main()
