"""The list of studies as people get it: pages of 100,000 studies, and what is asked while somebody types."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import datasets
import fill
import load
import webclient
import wire

SEED = 61
PAGE_STUDIES = 50
TEXTS_S = 10.0
"""After a worker has shown its first list: until then it reads the texts that are searched, and is busy with that."""
HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "HX-Request": "true", "Sec-Fetch-Site": "same-origin"}

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that people do: a path, or what is typed into the list, and how many studies it must show."""

    label: str
    asked: Callable[[datasets.Place], str]
    shown: int
    is_typed: bool = True

    def request(self, connection: webclient.Connection, place: datasets.Place) -> bytes:
        """A whole page, or, for what is typed, its rows only."""
        asked = self.asked(place)
        if not self.is_typed:
            return connection.encode("GET", asked, HTML)
        body = f"q={asked.replace(' ', '+')}".encode("ascii")
        return connection.encode("POST", "/studies", HTML | FORM | {"Content-Length": str(len(body))}) + body


KINDS = (
    Kind("the first page", lambda _: "/studies", PAGE_STUDIES, is_typed=False),
    Kind("the page after some study", lambda place: f"/studies?older={datasets.uid(place, 0, 0)}", 50, is_typed=False),
    Kind("one letter", lambda _: "s", PAGE_STUDIES),
    Kind("a name that all have", lambda _: "synthetic", PAGE_STUDIES),
    Kind("a given name of a quarter, the oldest", lambda _: "subject0000", PAGE_STUDIES),
    Kind("the middle of a family name", lambda place: f"c{place.study:08d}", 4),
    Kind("a Patient ID", lambda place: datasets.values(place)[datasets.PATIENT_ID].strip(), 1),
    Kind("half an accession number", lambda place: datasets.values(place)[datasets.ACCESSION_NUMBER][:13], 1),
    Kind("a name and a description", lambda place: f"c{place.study:08d} abdomen subject0002", 1),
    Kind("a name that nobody has", lambda _: "zzzz", 0),
    Kind("two, of which nobody has one", lambda _: "abdomen zzzz", 0),
)


def measure(studies: int, queries: int, *, refill: bool) -> list[Row]:
    """Return one row per kind in an archive of ``studies`` studies, from a request's first byte to the last one back.

    Raises:
        wire.PeerError: the number of studies that are shown is not the one it must be.
    """
    filling = fill.Filling(f"{studies}-studies", studies, 8, datasets.Layout(1, 1))
    with fill.filled("strongroom", filling, refill=refill, web=True) as (server, state):
        assert server.web is not None
        with webclient.Connection(replace(server.web, root="")) as connection:
            rows = []
            _measured(connection, state, KINDS[0], 1)
            time.sleep(TEXTS_S)
            for kind in KINDS:
                before_s = server.cpu_s()
                row = _measured(connection, state, kind, queries)
                # Of all its processes, the warm-up with it: what others on the machine take does not count.
                rows.append(row | {"server_cpu_ms": round(1e3 * (server.cpu_s() - before_s) / (queries + 1), 1)})
            return rows


def _measured(connection: webclient.Connection, state: fill.Filled, kind: Kind, queries: int) -> Row:
    chosen, seconds = random.Random(SEED), []
    for number in range(queries + 1):
        # Of the third association, and so far from either end of the list that a page is full.
        place = datasets.Place(state.run, 2, chosen.randrange(100, min(state.sent) - 100), 1, 1)
        request = kind.request(connection, place)
        connection.refresh()
        started = time.perf_counter()
        answer = connection.exchange(request)
        elapsed_s = time.perf_counter() - started
        shown = answer.content.count(b'data-label="Patient"')
        if shown != kind.shown:
            raise wire.PeerError(f"{kind.label}: {shown} studies, not {kind.shown}")
        if number:  # the first is the warm-up
            seconds.append(elapsed_s)
    ordered = sorted(seconds)
    return {
        "what": kind.label,
        "studies": sum(state.sent),
        "is_typed": kind.is_typed,
        "count": len(ordered),
        "p50_ms": round(1e3 * load.percentile(ordered, 0.5), 3),
        "p95_ms": round(1e3 * load.percentile(ordered, 0.95), 3),
        "max_ms": round(1e3 * ordered[-1], 3),
    }
