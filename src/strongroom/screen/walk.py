"""Walk a file's bytes strictly, one buffer after another, and say what stands where (PS3.5 7, PS3.10 7.1).

Nothing raises. What does not hold together is a finding, and the walk goes on behind it where an enclosing length says
where that is; else the rest is taken as bytes in which nothing is known, and searched like all others. The stack is a
list, so that depth is bounded by memory only, and that by ``ScreenLimits``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

from strongroom.dicom.dictionary import TransferSyntax, entry_of
from strongroom.dicom.elements import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Coding,
    coding_of,
)
from strongroom.screen.limits import ScreenLimits

Node = tuple["Node | None", int, int]
"""A tag with the number of the item, and what it is in: made into a path only when something is found there."""

DATA_SET, ITEMS, FRAGMENTS = 0, 1, 2
_GROUP_FFFE: Final = 0xFFFE0000
_BELOW_DATA_SETS: Final = 0x0003FFFF
_TRAILING_SIGNATURES: Final = 0xFFFAFFFA
TRAILING_PADDING: Final = 0xFFFCFFFC
_HUGE_BYTES: Final = 0x80000000
_PATH_LEVELS: Final = 6
_ITEM_PEEK: Final = b"\xfe\xff\x00\xe0"


@lru_cache(maxsize=16384)
def allowed_vrs(tag: int) -> frozenset[bytes]:
    """Return the VRs that the dictionary has for ``tag``, an empty set if it does not know it."""
    entry = entry_of(tag)
    return frozenset(entry.vrs) if entry.keyword else frozenset()


@lru_cache(maxsize=16384)
def vr_in_dictionary(tag: int) -> bytes:
    """Return the VR of ``tag`` for implicit VR."""
    return entry_of(tag).vrs[0]


def path_of(node: Node | None, tag: int) -> str:
    """Return the path of the element ``tag`` in ``node``; of a very deep one its outer and inner ends."""
    parts = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})"]
    levels = 0
    while node is not None:
        levels += 1
        if levels <= _PATH_LEVELS:
            parts.append(f"({node[1] >> 16:04X},{node[1] & 0xFFFF:04X})[{node[2]}]")
        node = node[0]
    if levels > _PATH_LEVELS:
        parts.append(f"[{levels - _PATH_LEVELS} levels]")
    return ".".join(reversed(parts))


class Frame:
    """What is open: the data set or an item (DATA_SET), a sequence (ITEMS), encapsulated pixel data (FRAGMENTS)."""

    __slots__ = ("coding", "count", "end", "kind", "node", "previous", "tag")

    def __init__(self, kind: int, end: int | None, coding: Coding, node: Node | None, tag: int) -> None:
        self.kind, self.end, self.coding, self.node, self.tag = kind, end, coding, node, tag
        self.previous = _BELOW_DATA_SETS
        self.count = 0


class Located(NamedTuple):
    """Where a byte is: the element or other part, and where that begins."""

    offset: int
    tag: int
    node: Node | None
    vr: bytes
    label: str
    """"" for an element; "preamble", "trailing" and so on for what is none."""


# What Located(...) does, of a tuple and in half the time: there is one for each element.
_located: Final = partial(tuple.__new__, Located)
_OFFSET: Final = attrgetter("offset")


class Visitor(Protocol):
    """Who is told what the walk comes to."""

    def value(self, at: Located, data: bytes, start: int, stop: int) -> None:
        """A value that is whole in ``data``."""

    def long_value(self, at: Located, length: int) -> None:
        """A value of ``length`` bytes that is not whole at hand."""

    def fragment(self, at: Located, length: int, data: bytes, start: int) -> None:
        """An item of encapsulated pixel data, whose value begins at ``start`` of ``data``."""

    def fragments_end(self, offset: int) -> None:
        """The sequence delimiter of encapsulated pixel data was met at ``offset``."""

    def malformed(self, rule: str, at: Located, length: int, what: str) -> None:
        """Something does not hold together."""

    def rest(self, at: Located, label: str) -> None:
        """From here on nothing is known: no element can begin here."""

    def meta_end(self, offset: int) -> Coding | None:
        """The data set begins at ``offset``; returns its coding, None if it is not walked here (deflated)."""


Unpack = Callable[[bytes, int], tuple[Any, ...]]


def _readers(coding: Coding) -> tuple[bool, Unpack, Unpack, Unpack]:
    """Whether VRs are explicit, and what reads a short header, a long one and a long length."""
    short, long, length = coding.short_header, coding.long_header, coding.long_length
    return coding.explicit, short.unpack_from, long.unpack_from, length.unpack_from


class Walker:
    """The walk over one file or data set. ``position`` is absolute. Not thread-safe."""

    def __init__(self, visitor: Visitor, limits: ScreenLimits, syntax: TransferSyntax | None) -> None:
        self.position = 0
        self.ended = False
        """The rest is not walked."""
        self.elements = self.items = 0
        self._visitor = visitor
        self._limits = limits
        self._known: list[Located] = []
        self._deepest = 0
        self._deep: dict[tuple[int, Coding], Frame] = {}
        self._runs: Mapping[bytes, object] = {}
        self._last_top = 0
        self._in_meta = syntax is None
        self._open_tag = Located(0, 0, None, b"", "file")
        coding = EXPLICIT_LITTLE if syntax is None else coding_of(syntax)
        self._stack = [Frame(DATA_SET, None, coding, None, 0)]
        if syntax is None:
            self._stack[0].previous = 0

    def note_place(self, offset: int, label: str, tag: int = 0) -> Located:
        """Remember that from ``offset`` on comes what ``label`` names."""
        place = Located(offset, tag, None, b"", label)
        self._known.append(place)
        return place

    def locate(self, offset: int) -> Located:
        """Return in what the byte at ``offset`` is, as far as it is still remembered."""
        index = bisect_right(self._known, offset, key=_OFFSET) - 1
        return self._known[max(index, 0)] if self._known else self._open_tag

    def rest_of(self, at: Located, offset: int) -> int:
        """Return how many bytes there are from ``offset`` to the end of a long value at ``at`` that is passed over."""
        return max(0, self.position - offset) if self._known and self._known[-1] is at else 0

    def forget(self, before: int) -> None:
        """Give up what lies wholly before ``before``."""
        index = bisect_right(self._known, before, key=_OFFSET) - 1
        if index > 0:
            del self._known[:index]

    def end_walk(self) -> None:
        """Walk no further."""
        self.ended = True
        self._stack.clear()

    def walk(self, data: bytes, base: int) -> None:
        """Walk as far as ``data``, whose first byte is at ``base``, goes."""
        end = base + len(data)
        walks = (self._walk_elements, self._walk_items, self._walk_fragments)
        while not self.ended and self.position <= end:
            frame = self._stack[-1]
            if frame.end is not None and self.position >= frame.end:
                self._pop()
            elif not walks[frame.kind](frame, data, base):
                return

    def finish(self, end: int) -> None:
        """Declare that the file ends at ``end``."""
        if self.ended:
            return
        if self.position > end:
            place = self._open_tag
            length = self.position - place.offset
            huge = length >= _HUGE_BYTES
            what = f"a value of {length} bytes, {self.position - end} of them beyond the end"
            self._visitor.malformed("SR-STR-002" if huge else "SR-STR-001", place, end - place.offset, what)
        elif self.position < end:
            self._visitor.rest(self.note_place(self.position, "trailing"), "trailing")
        if len(self._stack) > 1 and self.position <= end:
            what = f"{len(self._stack) - 1} open sequences and items at the end"
            self._visitor.malformed("SR-STR-012", self._open_tag, 0, what)

    def _pop(self) -> None:
        self._stack.pop()

    def _push(self, frame: Frame, place: Located) -> None:
        depth = len(self._stack) + 1
        if depth > 2 * self._limits.max_depth and frame.end is None and frame.kind != FRAGMENTS:
            # So deep they have the node in common; with all of it, a level costs one place of a list and no object.
            key = (frame.kind, frame.coding)
            frame = self._deep.setdefault(key, frame)
            frame.previous = _BELOW_DATA_SETS
        self._stack.append(frame)
        if depth > 2 * self._limits.max_depth and depth > self._deepest:
            if self._deepest <= 2 * self._limits.max_depth:
                what = f"sequences nested more than {self._limits.max_depth} levels deep"
                self._visitor.malformed("SR-STR-009", place, 0, what)
            self._deepest = depth
            if depth > 2 * self._limits.max_walked_depth:
                self._give_up("SR-STR-009", place, "nesting is not followed any further")

    def _node(self, node: Node | None, tag: int, number: int) -> Node | None:
        return (node, tag, number) if len(self._stack) <= 2 * self._limits.max_depth else node

    def _give_up(self, rule: str, place: Located, what: str) -> bool:
        """Report, and go on behind the innermost sequence or item whose end is known; else end the walk.

        Returns True, for what is walked next is another frame, if anything is.
        """
        self._visitor.malformed(rule, place, 0, what)
        while self._stack:
            end = self._stack.pop().end
            if end is not None and self._stack and rule != "SR-STR-010":
                if end <= self.position:
                    continue
                self._visitor.rest(place, "")
                self.position = end
                return True
        self.ended = True
        self._visitor.rest(place, "trailing" if place.label else "")
        return True

    def _walk_elements(self, frame: Frame, data: bytes, base: int) -> bool:
        """Walk the elements of ``frame``; False if more bytes are needed, True if another frame is to be walked."""
        explicit, unpack, unpack_long, unpack_length = _readers(frame.coding)
        node, end, visit, located = frame.node, len(data), self._visitor.value, _located
        stop = None if frame.end is None else frame.end - base
        runs, position = self._runs if node is None else None, self.position - base
        while stop is None or position < stop:
            if runs:
                position = self._behind_runs(frame, data, position)
            self.position = base + position
            if position + 8 > end:
                return False
            value = position + 8
            if explicit:
                group, number, vr, length = unpack(data, position)
                tag = group << 16 | number
                if vr in LONG_VRS and tag < _GROUP_FFFE:
                    value += 4
                    if value > end:
                        return False
                    (length,) = unpack_length(data, value - 4)
            else:
                group, number, length = unpack_long(data, position)
                tag = group << 16 | number
                vr = b"" if tag >= _GROUP_FFFE else vr_in_dictionary(tag)
            if vr not in SHORT_VRS and (tag >= _GROUP_FFFE or (explicit and vr not in LONG_VRS)):
                return self._odd_header(frame, tag, vr, data, base)
            if self._in_meta and group != 2:
                return self._leave_meta()
            place = located((base + value, tag, node, vr, ""))
            if tag > frame.previous and (tag <= PIXEL_DATA or node is not None):
                frame.previous = tag
            elif self._ends_before(frame, place, position + base):
                return False
            if self._is_one_too_many(place):
                return True
            if explicit and vr not in allowed_vrs(tag):
                self._other_vr(place, length)
            following = value + length
            if following <= end and vr != b"SQ" and vr != b"UN" and (stop is None or following <= stop):
                if length & 1:
                    self._visitor.malformed("SR-STR-008", place, length, f"{length} bytes")
                visit(place, data, value, following)
                position = following
                continue
            if not self._open(frame, place, length, data, base):
                return True
            position = self.position - base
        self.position = base + position
        return True

    def _is_one_too_many(self, place: Located) -> bool:
        self._known.append(place)
        self.elements += 1
        if self.elements <= self._limits.max_elements:
            return False
        return self._give_up("SR-STR-010", place, f"more than {self._limits.max_elements} elements")

    def _behind_runs(self, _frame: Frame, _data: bytes, position: int) -> int:
        """Take the known runs that begin at ``position``; returns where they end."""
        return position

    def _ends_before(self, frame: Frame, place: Located, at: int) -> bool:
        """Whether the data set ended before this element; if not, whether it stands in order is reported."""
        if self._ends_here(frame, place, at):
            return True
        if place.tag <= frame.previous:
            rule = "SR-STR-007" if place.tag == frame.previous else "SR-STR-006"
            self._visitor.malformed(rule, place, 0, "")
        else:
            frame.previous = place.tag
        return False

    def _open(self, frame: Frame, place: Located, length: int, data: bytes, base: int) -> bool:
        """Take what is a sequence, or not whole at hand; True if the next element of ``frame`` follows."""
        tag, vr, offset = place.tag, place.vr, place.offset
        self._open_tag = place
        if length == UNDEFINED_LENGTH:
            return self._open_undefined(frame, place)
        following = offset + length
        if frame.end is not None and following > frame.end:
            self._give_up("SR-STR-001", place, f"{length} bytes, beyond the end of what it is in")
            return False
        inside = offset - base
        if vr == b"SQ":
            self.position = offset
            self._push(Frame(ITEMS, following, frame.coding, frame.node, tag), place)
            return False
        whole = following <= base + len(data)
        if vr == b"UN" and length >= 16 and data[inside : inside + 4] == _ITEM_PEEK and _is_items(data, inside, length):
            self.position = offset
            self._push(Frame(ITEMS, following, IMPLICIT_LITTLE, frame.node, tag), place)
            return False
        if length & 1:
            self._visitor.malformed("SR-STR-008", place, length, f"{length} bytes")
        if whole:
            self._visitor.value(place, data, inside, following - base)
        else:
            self._visitor.long_value(place, length)
        self.position = following
        return whole

    def _open_undefined(self, frame: Frame, place: Located) -> bool:
        tag, vr, coding = place.tag, place.vr, frame.coding
        self.position = place.offset
        if tag == PIXEL_DATA or (coding.explicit and vr in (b"OB", b"OW")):
            self._push(Frame(FRAGMENTS, None, coding, frame.node, tag), place)
        elif not coding.explicit or vr == b"SQ":
            self._push(Frame(ITEMS, None, coding, frame.node, tag), place)
        elif vr == b"UN":
            self._push(Frame(ITEMS, None, IMPLICIT_LITTLE, frame.node, tag), place)
        else:
            self._give_up("SR-STR-011", place, "undefined length where the VR allows none")
        return False

    def _walk_items(self, frame: Frame, data: bytes, base: int) -> bool:
        """Walk one item header of a sequence."""
        position = self.position - base
        if position + 8 > len(data):
            return False
        group, number, length = frame.coding.long_header.unpack_from(data, position)
        tag = group << 16 | number
        offset = self.position + 8
        if tag == SEQUENCE_DELIMITER and frame.end is None:
            self.position = offset
            self._pop()
            return True
        place = _located((offset, frame.tag, frame.node, b"SQ", ""))
        if tag != ITEM:
            return self._give_up("SR-STR-011", place._replace(offset=offset - 8), "neither an item nor the delimiter")
        frame.count += 1
        end = None if length == UNDEFINED_LENGTH else offset + length
        if frame.end is not None and end is not None and end > frame.end:
            return self._give_up("SR-STR-001", place, f"an item of {length} bytes, beyond the end of its sequence")
        self._open_tag = place
        self.items += 1
        if self.items > self._limits.max_elements:
            return self._give_up("SR-STR-010", place, f"more than {self._limits.max_elements} items")
        self.position = offset
        self._push(Frame(DATA_SET, end, frame.coding, self._node(frame.node, frame.tag, frame.count), 0), place)
        return True

    def _walk_fragments(self, frame: Frame, data: bytes, base: int) -> bool:
        """Walk the items of encapsulated pixel data: False if more bytes are needed."""
        unpack, node, tag = frame.coding.long_header.unpack_from, frame.node, frame.tag
        known, visit, last = self._known, self._visitor.fragment, len(data) - 8
        count, most, position = frame.count, self._limits.max_fragments, self.position - base
        while position <= last:
            group, number, length = unpack(data, position)
            position += 8
            if number != 0xE000 or group != 0xFFFE or length == UNDEFINED_LENGTH:
                self.position = base + position
                return self._end_fragments(frame, group << 16 | number)
            count += 1
            self._open_tag = place = _located((base + position, tag, (node, tag, count), b"OB", "fragment"))
            known.append(place)
            if count > most:
                self.position = base + position
                return self._give_up("SR-STR-010", place, f"more than {most} fragments")
            visit(place, length, data, position)
            position += length
        frame.count, self.position = count, base + position
        return False

    def _end_fragments(self, frame: Frame, tag: int) -> bool:
        """Take what follows the fragments: their delimiter, or anything else."""
        if tag == SEQUENCE_DELIMITER:
            self._visitor.fragments_end(self.position - 8)
            self._pop()
            return True
        place = _located((self.position - 8, frame.tag, frame.node, b"OB", ""))
        return self._give_up("SR-STR-011", place, "neither an item nor the delimiter")

    def _odd_header(self, frame: Frame, tag: int, vr: bytes, data: bytes, base: int) -> bool:
        """Judge what is no element: a delimiter, an item out of place, an unknown VR, bytes behind the data set."""
        place = Located(self.position, tag, frame.node, vr, "")
        if tag == ITEM_DELIMITER and len(self._stack) > 1 and frame.end is None:
            self.position += 8
            self._pop()
            return True
        if self._in_meta and tag >> 16 != 2:
            return self._leave_meta()
        if len(self._stack) == 1 and not self._in_meta and (frame.previous > _BELOW_DATA_SETS or tag >= _GROUP_FFFE):
            rest = data[self.position - base :]
            known = allowed_vrs(tag) and tag > frame.previous
            if not known or not rest.strip(b"\0"):
                self._end_of_data_set(place._replace(label="trailing"))
                return False
        if self._in_meta:
            self._give_up("SR-META-002", place, "a VR that does not exist")
        else:
            self._give_up("SR-STR-003" if tag < _GROUP_FFFE else "SR-STR-011", place, "no element can begin so")
        return True

    def _ends_here(self, frame: Frame, place: Located, offset: int) -> bool:
        """Whether the data set has ended before this element: behind pixel data comes next to nothing."""
        tag = place.tag
        if len(self._stack) > 1 or self._in_meta or frame.previous < PIXEL_DATA:
            return False
        if tag in (_TRAILING_SIGNATURES, TRAILING_PADDING) or (tag > frame.previous and place.tag & 0x10000):
            return False
        if tag > frame.previous == PIXEL_DATA - 1:
            return False
        self._end_of_data_set(place._replace(offset=offset, label="trailing"))
        return True

    def _end_of_data_set(self, place: Located) -> None:
        self.note_place(place.offset, "trailing")
        self._visitor.rest(place, "trailing")
        self.end_walk()

    def _leave_meta(self) -> bool:
        self._in_meta = False
        coding = self._visitor.meta_end(self.position)
        if coding is None:
            self.end_walk()
            return False
        self._stack[0] = Frame(DATA_SET, None, coding, None, 0)
        return True

    def _other_vr(self, place: Located, length: int) -> None:
        tag, vr = place.tag, place.vr
        if not allowed_vrs(tag) or vr == b"UN":
            return
        group = tag >> 16
        if group == 0x0028 and tag in _IMAGE_NUMBERS:
            self._visitor.malformed("SR-STR-005", place, length, f"{vr.decode('ascii', 'replace')}, not US")
        else:
            self._visitor.malformed("SR-STR-004", place, length, vr.decode("ascii", "replace"))


_IMAGE_NUMBERS: Final = frozenset({0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103})


def _is_items(data: bytes, at: int, length: int) -> bool:
    """Whether a UN value is a sequence for all that its first item says."""
    first = int.from_bytes(data[at + 4 : at + 8], "little")
    return first == UNDEFINED_LENGTH or first + 8 <= length
