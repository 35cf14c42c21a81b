"""Runs of element headers that the data sets of one sender have in common, so that they are read at one go.

Objects of a series differ in their values, and little in tags, VRs and lengths. A run is a piece of a data set as it
was walked once, element by element: the very bytes of its element headers, and how far apart they stand. Where a later
data set has the same bytes at the same distances the walk would do the same, and two calls into C stand for it; where
it has not, the run is cut before the difference, and the element there is walked. The comparison alone decides:
whatever is remembered, the outcome is that of ``HeaderScan``.

A memory holds tags, VRs and lengths, never a value, and lives as long as the association that fills it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import DEFAULT_LIMITS, FIRST_PIXEL_TAG, SHORT_VRS, HeaderScan, RawElement, ScanLimits

MAX_RUNS: Final = 128
"""Runs that one memory learns or cuts in its life: to learn one costs some ten times what it saves."""

MAX_RUN_ELEMENTS: Final = 128
"""With ``MAX_RUNS``, and some 150 bytes per element: a memory stays below 3 MiB whatever comes."""

KEY_BYTES: Final = 8
"""A run is found by these first bytes of it: the header of an element, but for a 32-bit length in explicit VR."""

# What RawElement(vr, value) does, from a pair and in half the time: some 60 are made per object.
_raw_element: Final = partial(tuple.__new__, RawElement)


class Step(NamedTuple):
    """One element of a run. ``vr`` is b"" for one that is not wanted."""

    tag: int
    header: bytes
    value_bytes: int
    vr: bytes


class Run:
    """Consecutive elements with ascending tags and even lengths. A constant.

    ``tags``, ``vrs`` and ``read_values`` are of the wanted elements, ``kept_bytes`` the sum of their lengths. With
    ``is_cut`` the element behind the run is known to vary.
    """

    __slots__ = (
        "first_tag",
        "headers",
        "is_cut",
        "kept_bytes",
        "last_tag",
        "read_headers",
        "read_values",
        "size_bytes",
        "steps",
        "tags",
        "vrs",
    )

    def __init__(self, steps: tuple[Step, ...], *, is_cut: bool) -> None:
        wanted = [step for step in steps if step.vr]
        headers = Struct("".join([f"{len(step.header)}s{step.value_bytes}x" for step in steps]))
        values = Struct("".join([f"{len(step.header)}x{step.value_bytes}{'s' if step.vr else 'x'}" for step in steps]))
        self.steps = steps
        self.is_cut = is_cut
        self.first_tag, self.last_tag = steps[0].tag, steps[-1].tag
        self.headers = tuple([step.header for step in steps])
        self.read_headers = headers.unpack_from
        self.size_bytes = headers.size
        self.tags = tuple([step.tag for step in wanted])
        self.vrs = tuple([step.vr for step in wanted])
        self.kept_bytes = sum([step.value_bytes for step in wanted])
        self.read_values = values.unpack_from


class RunMemory:
    """The runs that one association has taught. Not thread-safe."""

    __slots__ = ("_left", "_runs")

    def __init__(self) -> None:
        self._left = MAX_RUNS
        self._runs: dict[tuple[str, frozenset[int]], dict[bytes, Run]] = {}

    def of(self, transfer_syntax: TransferSyntax, wanted: frozenset[int]) -> dict[bytes, Run]:
        """Return the runs of one kind of walk, by their first ``KEY_BYTES``."""
        return self._runs.setdefault((transfer_syntax.uid, wanted), {})

    def learn(self, runs: dict[bytes, Run], steps: Iterator[Step]) -> None:
        """Remember what was walked where no run was known."""
        if self._left:
            learnt = tuple(islice(steps, MAX_RUN_ELEMENTS))
            if learnt:
                self._left -= 1
                runs[learnt[0].header[:KEY_BYTES]] = Run(learnt, is_cut=False)

    def cut(self, runs: dict[bytes, Run], run: Run, headers: tuple[bytes, ...]) -> None:
        """End ``run`` before the first of ``headers`` that is not its own."""
        if self._left:
            same = next(at for at, header in enumerate(run.headers) if header != headers[at])
            if same:  # else only a 32-bit length differs, and the run holds where it is as it was
                self._left -= 1
                runs[run.headers[0][:KEY_BYTES]] = Run(run.steps[:same], is_cut=True)


class RunScan(HeaderScan):
    """A ``HeaderScan`` that takes known runs at one go, and learns those that are not known yet."""

    __slots__ = ("_memory", "_runs")

    def __init__(
        self,
        memory: RunMemory,
        transfer_syntax: TransferSyntax,
        wanted: frozenset[int],
        limits: ScanLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(transfer_syntax, wanted, limits)
        self._memory = memory
        self._runs = memory.of(transfer_syntax, wanted)

    def _scan_top(self, buffer: bytes, position: int) -> int:
        memory, runs = self._memory, self._runs
        while not self._stack:
            run = runs.get(buffer[position : position + KEY_BYTES])
            if run is None:
                start, count = position, self._count
                position = self._walk(buffer, start, len(buffer))
                if self._count > count + 1:  # a single one is often the pixel data, and cannot be learnt
                    memory.learn(runs, self._steps(buffer, start, min(position, len(buffer))))
                break
            if not self._admits(run, len(buffer) - position):
                return self._walk(buffer, position, len(buffer))
            headers = run.read_headers(buffer, position)
            is_same = headers == run.headers
            if is_same:
                self._take(run, run.read_values(buffer, position))
                position += run.size_bytes
            else:
                memory.cut(runs, run, headers)
            if run.is_cut or not is_same:
                position = self._walk(buffer, position, position)
        return position

    def _admits(self, run: Run, room_bytes: int) -> bool:
        """Whether ``run`` lies in the buffer, and would pass every check of the walk."""
        limits = self._limits
        return (
            run.size_bytes <= room_bytes
            and run.first_tag > self._previous
            and self._count + len(run.headers) <= limits.max_element_count
            and run.kept_bytes <= limits.max_element_value_bytes
            and self._kept + run.kept_bytes <= limits.max_kept_bytes
        )

    def _take(self, run: Run, values: tuple[bytes, ...]) -> None:
        """Do what the walk does with these elements."""
        self.elements.update(zip(run.tags, map(_raw_element, zip(run.vrs, values, strict=True)), strict=True))
        self._count += len(run.headers)
        self._kept += run.kept_bytes
        self._previous = run.last_tag
        if run.last_tag > self._last_wanted:
            self.end_of_header, self._ceiling = True, FIRST_PIXEL_TAG

    def _steps(self, buffer: bytes, position: int, end: int) -> Iterator[Step]:
        """Yield the elements that were walked from ``position`` on, as long as nothing is special about them."""
        coding, wanted, previous = self._coding, self._wanted, -1
        while position + KEY_BYTES <= end:
            group, element, length = coding.long_header.unpack_from(buffer, position)
            tag, value = group << 16 | element, position + 8
            vr = wanted.get(tag, b"")
            if coding.explicit:
                written = buffer[position + 4 : position + 6]
                vr = vr and written
                if written in SHORT_VRS:
                    length = coding.short_header.unpack_from(buffer, position)[3]
                elif value + 4 > end:
                    break
                else:
                    (length,) = coding.long_length.unpack_from(buffer, value)
                    value += 4
            if length & 1 or value + length > end or not previous < tag < FIRST_PIXEL_TAG:
                break
            yield Step(tag, buffer[position:value], length, vr)
            previous, position = tag, value + length
