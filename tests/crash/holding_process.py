"""A process that holds objects, releases one and destroys one: run by test_crash_quarantine under strace.

    python holding_process.py HOME

Says ``HELD n`` for each object, then ``RELEASED 2`` and ``DESTROYED 1``, each once it is acknowledged.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, arrival_of
from harness.quarantines import infected
from strongroom.admin.quarantine import destroy, release
from strongroom.admin.two_people import Order
from strongroom.app import LOCAL_LOG, Archive
from strongroom.config import Home
from strongroom.errors import Quarantined
from strongroom.store.quarantine import What

OBJECTS = 4
RELEASED, DESTROYED = 2, 1


def sample(number: int) -> Sample:
    """Object ``number``, from 1, before it is infected: small and large in turn."""
    return Sample(number, study=1, pixel_bytes=SMALL_PIXELS if number % 2 else LARGE_PIXELS)


def main() -> None:
    """Hold, release and destroy, and say so."""
    archive = Archive(Home(Path(sys.argv[1])), LOCAL_LOG)
    for number in range(1, OBJECTS + 1):
        ingest = archive.new_ingest(arrival_of(sample(number)))
        ingest.write(infected(sample(number)))
        try:
            ingest.commit()
        except Quarantined:
            print("HELD", number, flush=True)
    for number, what, act in ((RELEASED, What.RELEASE, release), (DESTROYED, What.DESTROY, destroy)):
        for user in ("ann", "bob"):
            step = act(archive, Order(what, number, user, "looked at it", 1)).step
        print(step.name, number, flush=True)
    # Like a process that is killed: nothing is put in order.
    os._exit(0)


if __name__ == "__main__":
    main()
