"""Write the tables of docs/screening.md: what screening finds in the corpus of the tests, side by side with DicomLock.

``PYTHONPATH=tests python tools/compare_screening.py`` takes a minute or two; without DicomLock its columns are empty.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import dicomlock, hidden, strange_places
from harness.clean import clean_images
from harness.dicomlock import Judged
from harness.hidden import Case
from harness.samples import data_files, sample_files
from harness.strange_places import Strange
from strongroom.screen.findings import Severity
from strongroom.screen.screening import screen_bytes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "screening.md"
CLEAN_IMAGES = 5_000

BEGIN, END = "<!-- made by tools/compare_screening.py -->", "<!-- end of what is made -->"
EVERY = 5
"""Of the second family, one in so many is in the table, and in the tests."""


@dataclass
class Row:
    """One line of the table."""

    files: int = 0
    ours: int = 0
    theirs: int = 0
    theirs_warned: int = 0

    def add(self, ours: bool, theirs: Judged | None) -> None:
        """Count one file."""
        self.files += 1
        self.ours += ours
        self.theirs += theirs is Judged.DANGEROUS
        self.theirs_warned += theirs in (Judged.DANGEROUS, Judged.WARNS)

    def line(self, name: str, peer: str) -> str:
        """As a line of Markdown."""
        other = f"{_share(self.theirs, self.files)} ({_share(self.theirs_warned, self.files)})" if peer else ""
        return f"| {name} | {self.files} | {_share(self.ours, self.files)} | {other} |"


@dataclass
class Compared:
    """What was found of one family."""

    total: Row = field(default_factory=Row)
    by_kind: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    by_place: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))


def _share(part: int, whole: int) -> str:
    return f"{part} = {100 * part / whole:.1f} %"


def _judge(files: Callable[[], Iterator[bytes]], peer: str) -> Iterator[tuple[bool, Judged | None]]:
    theirs: Iterable[Judged | None] = dicomlock.judged(files()) if peer else (None for _ in files())
    for data, other in zip(files(), theirs, strict=True):
        yield bool(screen_bytes(data).at_least(Severity.MEDIUM)), other


def _compare(cases: Sequence[Case | Strange], names: Callable[[Any], tuple[str, str]], peer: str) -> Compared:
    """What is found of these cases, by kind and by place, as ``names`` has them."""
    found = Compared()
    judged = _judge(lambda: (each.make() for each in cases), peer)
    for case, (ours, theirs) in zip(cases, judged, strict=True):
        kind, place = names(case)
        for row in (found.total, found.by_kind[kind], found.by_place[place]):
            row.add(ours, theirs)
    return found


def _clean(peer: str) -> Iterator[str]:
    """The lines of the clean sets."""
    sets: dict[str, Callable[[], Iterator[bytes]]] = {
        f"pydicom's {len(sample_files())} samples": lambda: (path.read_bytes() for path in sample_files()),
        f"pydicom-data, {len(data_files())} files": lambda: (path.read_bytes() for path in data_files()),
        f"{CLEAN_IMAGES} generated images": lambda: (image.data for image in clean_images(CLEAN_IMAGES)),
    }
    for name, files in sets.items():
        row = Row()
        for ours, theirs in _judge(files, peer):
            row.add(ours, theirs)
        if row.files:
            yield row.line(f"clean: {name}", peer)


def main() -> int:
    """Write the tables."""
    peer = dicomlock.installed()
    started = time.monotonic()
    first = _compare(list(hidden.cases()), lambda case: (case.kind, case.surface), peer)
    second = _compare(list(strange_places.cases(EVERY)), lambda case: (case.stranger.kind, case.spot.name), peer)
    head = f"| files | number | Strongroom flags | DicomLock {peer} flags |\n|---|---|---|---|"
    parts = ["### All", "", head, first.total.line("first family: something hidden", peer)]
    parts += [second.total.line("second family: something hidden", peer), *_clean(peer)]
    for name, found in (("First family", first), ("Second family", second)):
        for title, rows in (("by kind of what is hidden", found.by_kind), ("by place", found.by_place)):
            parts += ["", f"### {name}, {title}", "", head]
            parts += [row.line(each, peer) for each, row in sorted(rows.items())]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text("\n".join([before + BEGIN, "", *parts, "", END]) + rest.partition(END)[2])
    print(f"{PAGE.name} in {time.monotonic() - started:.0f} s: {first.total}, {second.total}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
