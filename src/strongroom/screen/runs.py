"""What the headers of one sender's objects have in common, so that it is walked once and judged once.

Objects of a series differ in some values, and little in tags, VRs and lengths. A run is a piece of a data set, whole
elements of its top level with all that is nested in them, as it was once walked without anything to report: the bytes
between the values, how far apart they stand, and of each value the last one that was judged and had nothing in it.
Where a later data set has the same bytes between values, the walk would do the same, and two calls into C stand for it;
of its values those are judged that differ. Where it has not, the run is cut before the element that differs, and that
one is walked, always. The comparison alone decides: whatever is remembered, the report is the same.

A memory holds values of patients. It lives as long as the association that fills it, and leaves by no way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import ITEM, LONG_VRS, Coding, coding_of
from strongroom.screen.judge import KEPT, MIN_BLOB_BYTES
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.search import new_scratch
from strongroom.screen.text import TEXT_VRS
from strongroom.screen.verdict import ENCAPSULATED_DOCUMENT
from strongroom.screen.walk import Located

KEY_BYTES: Final = 8
"""A run is found by these first bytes of it: the header of an element, but for a 32-bit length in explicit VR."""

MAX_LEARNT_BYTES: Final = 2 << 20
"""What one memory learns or cuts in its life, with ``_PLACE_BYTES`` for each element, nested ones included."""

MAX_VALUE_BYTES: Final = 1024
"""Elements with longer values are walked and judged each time."""

_PLACE_BYTES: Final = 400
_PIXEL_GROUP: Final = 0x7FE00000


class Leaf(NamedTuple):
    """A value that was visited: where it begins, and what it is, and where it ends."""

    at: Located
    stop: int


class Element(NamedTuple):
    """One element of the top level with what is in it. Offsets are those of the run, or first of the data set."""

    tag: int
    begin: int
    end: int
    places: tuple[Located, ...]
    leaves: tuple[Leaf, ...]

    def moved(self, by: int) -> Element:
        """Return it with every offset less ``by``."""
        places = [place._replace(offset=place.offset - by) for place in self.places]
        leaves = [Leaf(at._replace(offset=at.offset - by), stop - by) for at, stop in self.leaves]
        return Element(self.tag, self.begin - by, self.end - by, tuple(places), tuple(leaves))


class Run:
    """Consecutive elements. ``kept`` are the leaves, by number, of attributes that are compared; ``binaries`` is how
    many may need a close look and are no text. All that is constant.

    ``clean`` has for each leaf the last value in which nothing was found, None if there is none; ``looks`` and
    ``text_looks`` how many close looks that took.
    """

    __slots__ = (
        "binaries",
        "clean",
        "elements",
        "first_tag",
        "gaps",
        "items",
        "kept",
        "last_tag",
        "leaves",
        "looks",
        "places",
        "read_gaps",
        "read_values",
        "size_bytes",
        "text_looks",
    )

    def __init__(self, raw: bytes, elements: tuple[Element, ...], coding: Coding) -> None:
        self.elements = elements
        self.first_tag, self.last_tag = elements[0].tag, elements[-1].tag
        self.size_bytes = elements[-1].end
        self.places = [place for element in elements for place in element.places]
        self.leaves = [leaf for element in elements for leaf in element.leaves]
        begins = [0, *[leaf.stop for leaf in self.leaves]]
        gaps = [leaf.at.offset - begin for leaf, begin in zip(self.leaves, begins, strict=False)]
        lengths = [leaf.stop - leaf.at.offset for leaf in self.leaves]
        parts = list(zip(gaps, lengths, strict=True))
        self.read_gaps = Struct(
            "".join([f"{gap}s{length}x" for gap, length in parts]) + f"{self.size_bytes - begins[-1]}s"
        ).unpack_from
        self.read_values = Struct("".join([f"{gap}x{length}s" for gap, length in parts])).unpack_from
        self.gaps = self.read_gaps(raw)
        item = coding.long_header.pack(ITEM >> 16, ITEM & 0xFFFF, 0)[:4]
        self.items = sum([gap.count(item) for gap in self.gaps])
        self.clean: list[bytes | None] = [None] * len(self.leaves)
        self.looks = [0] * len(self.leaves)
        self.text_looks = [0] * len(self.leaves)
        places = [leaf.at for leaf in self.leaves]
        self.kept = [(number, at.tag) for number, at in enumerate(places) if at.tag in KEPT and at.node is None]
        self.binaries = sum(
            [size >= MIN_BLOB_BYTES and at.vr not in TEXT_VRS for at, size in zip(places, lengths, strict=True)]
        )

    def forget(self, number: int) -> None:
        """Give up what is known of the value of a leaf."""
        self.clean[number], self.looks[number], self.text_looks[number] = None, 0, 0

    def begin_like(self, other: Run) -> None:
        """Take over what is known of the values of ``other``, which has the same elements and more."""
        count = len(self.leaves)
        self.clean, self.looks, self.text_looks = other.clean[:count], other.looks[:count], other.text_looks[:count]

    def same_elements(self, gaps: tuple[bytes, ...]) -> int:
        """Return how many elements at the beginning have the bytes of ``gaps``, which are those of another data set."""
        number = next(number for number, gap in enumerate(self.gaps) if gap != gaps[number])
        begin = self.leaves[number - 1].stop if number else 0
        pairs = zip(self.gaps[number], gaps[number], strict=True)
        differs_at = begin + next(at for at, (mine, theirs) in enumerate(pairs) if mine != theirs)
        return sum([element.end <= differs_at for element in self.elements])


class Walked(NamedTuple):
    """What a walk of a whole header came to beside known runs."""

    places: Sequence[Located]
    leaves: Sequence[Leaf]
    run_begins: Sequence[int]
    """Where it met known runs."""
    good_until: int
    """From there on something was to be reported, or is not whole at hand."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one kind of walk: runs by their first bytes, and tags of elements that differ in size, or are
    not always there."""

    coding: Coding
    limits: ScreenLimits
    runs: dict[bytes, Run] = field(default_factory=dict)
    varying: set[int] = field(default_factory=set)


class ScreenMemory:
    """The runs that one association has taught. Not thread-safe, and for one screening at a time."""

    __slots__ = ("_known", "_left", "scratch")

    def __init__(self) -> None:
        self.scratch = new_scratch()
        """Of the search: one object is screened at a time."""
        self._left = MAX_LEARNT_BYTES
        self._known: dict[str, Known] = {}

    def of(self, transfer_syntax: TransferSyntax, limits: ScreenLimits) -> Known:
        """Return what is known of data sets in that encoding."""
        known = self._known.get(transfer_syntax.uid)
        if known is None or (known.limits is not limits and known.limits != limits):
            self._known[transfer_syntax.uid] = known = Known(coding_of(transfer_syntax), limits)
        return known

    def learn(self, known: Known, data: bytes, walked: Walked) -> None:
        """Remember what was walked of ``data``, and is of no known run."""
        elements: list[Element] = []
        for element in _learnable(walked, known):
            if elements and elements[-1].end != element.begin:
                self._add(known, data, elements)
                elements = []
            elements.append(element)
        if elements:
            self._add(known, data, elements)

    def cut(self, known: Known, run: Run, data: bytes, position: int) -> bool:
        """End ``run`` before the first element that ``data`` does not have at ``position`` as the run has it.

        Returns whether that could be done.
        """
        same = run.same_elements(run.read_gaps(data, position))
        elements = [element.moved(-position) for element in run.elements[:same]]
        if not elements:
            del known.runs[run.gaps[0][:KEY_BYTES]]
        elif not self._add(known, data, elements, run):
            return False
        known.varying.add(run.elements[same].tag)
        return True

    def _add(self, known: Known, data: bytes, elements: list[Element], whole: Run | None = None) -> bool:
        begin, end = elements[0].begin, elements[-1].end
        cost = end - begin + _PLACE_BYTES * sum([len(element.places) for element in elements])
        if cost > self._left:
            return False
        self._left -= cost
        run = Run(data[begin:end], tuple([element.moved(begin) for element in elements]), known.coding)
        if whole is not None:
            run.begin_like(whole)
        known.runs[data[begin : begin + KEY_BYTES]] = run
        return True


def _learnable(walked: Walked, known: Known) -> Iterator[Element]:
    """Yield the elements about which nothing is special; never the last one, for where it ends is not known."""
    places, leaves = walked.places, walked.leaves
    tops = [number for number, place in enumerate(places) if place.node is None and not place.label]
    begins = [places[number].offset - _header_bytes(places[number], known.coding) for number in tops]
    borders = sorted([*begins, *walked.run_begins])
    for begin, (number, following) in zip(begins, pairwise(tops), strict=False):
        end = borders[bisect_right(borders, begin)]
        if end >= walked.good_until:
            return
        tag = places[number].tag
        # The value of an empty element begins where it ends.
        first, last = (bisect_right(leaves, at, key=_leaf_offset) for at in (begin, end))
        element = Element(tag, begin, end, tuple(places[number:following]), tuple(leaves[first:last]))
        if tag not in known.varying and all(map(_is_learnable, element.leaves)):
            yield element


def _is_learnable(leaf: Leaf) -> bool:
    """Whether all that is to be said of a value follows from it alone: of a document it is its type that does."""
    tag = leaf.at.tag
    return tag < _PIXEL_GROUP and tag != ENCAPSULATED_DOCUMENT and leaf.stop - leaf.at.offset <= MAX_VALUE_BYTES


def _leaf_offset(leaf: Leaf) -> int:
    return leaf.at.offset


def _header_bytes(place: Located, coding: Coding) -> int:
    return 12 if coding.explicit and place.vr in LONG_VRS else 8
