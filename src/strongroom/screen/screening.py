"""Screen one file or data set as its bytes arrive: the way in for the command, the import and the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from strongroom.dicom.dictionary import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    TransferSyntax,
)
from strongroom.dicom.elements import LONG_VRS, SHORT_VRS, Coding, coding_of
from strongroom.screen import containers, executables, tiff
from strongroom.screen.blocks import Blocks
from strongroom.screen.findings import DEFLATED, FILE, META, PREAMBLE, TRAILING, Confidence, Finding, Place, Report
from strongroom.screen.formats import identify, identify_end, parsed
from strongroom.screen.inflating import Inflating
from strongroom.screen.judge import SOP_CLASS, SOP_INSTANCE
from strongroom.screen.limits import DEFAULT_LIMITS, ScreenLimits
from strongroom.screen.matches import U32, Match
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.verdict import Verdict
from strongroom.screen.walk import Located

_PREAMBLE_BYTES: Final = 128
_TRANSFER_SYNTAX: Final = 0x00020010
_META_CLASS, _META_INSTANCE = 0x00020002, 0x00020003
_FAR_HEADER_BYTES: Final = 512
_OF_THE_HEADER: Final = ("SR-META-", "SR-STR-", "SR-PRE-002", "SR-PRE-003", "SR-PRE-004")
_TIFF_TABLES_BYTES: Final = 1 << 18


class Screening:
    """One pass over one object. Not thread-safe. Any chunking of the same bytes gives the same report.

    Without ``transfer_syntax`` what comes is a file (PS3.10 7), with or without preamble and File Meta Information;
    with it, a bare data set as C-STORE brings it. A ``memory`` that earlier data sets of the same sender have filled
    makes it faster, and changes nothing else. Nothing that the bytes say raises. It holds 32 MiB of them at most, some
    1.5 MiB of an ordinary image.
    """

    def __init__(
        self,
        limits: ScreenLimits = DEFAULT_LIMITS,
        transfer_syntax: TransferSyntax | None = None,
        memory: ScreenMemory | None = None,
    ) -> None:
        self._limits = limits
        self._verdict = Verdict(limits)
        self._syntax = transfer_syntax
        self._is_file = transfer_syntax is None
        self._file = Blocks(limits, self._verdict, transfer_syntax, memory=memory)
        if self._is_file:
            self._file.judge.meta_ends = self._meta_ends
        self.on_inflated: Callable[[memoryview], None] | None = None
        """Told of what a deflated data set inflates to, piece by piece, within the limits."""
        self._inner: Blocks | None = None
        self._inflating: Inflating | None = None
        self._inflate_from = 0
        self._begun = False
        self._tiff: tiff.Header | None = None
        self._tiff_pieces: list[tuple[int, bytes]] = []
        if transfer_syntax is not None and transfer_syntax.deflated:
            self._file.walker.end_walk()
            self._inflate(0)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they may be reused when this returns."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self._file.take(view) :]
            if self._file.is_full:
                self._block(is_last=False)

    def finish(self) -> Report:
        """Declare the end, and return what was found."""
        self._block(is_last=True)
        if self._inner is not None:
            self._inner.begin()
            self._inner.process(is_last=True)
            self._inner.finish()
        self._end_of_file()
        self._file.finish()
        self._judge_tiff()
        return self._report()

    def _block(self, *, is_last: bool) -> None:
        file = self._file
        known = file.begun_at
        file.begin()
        if not self._begun:
            self._begun = True
            self._begin()
        file.process(is_last=is_last)
        if self._inflating is not None:
            self._feed_inflating(max(known, self._inflate_from))

    # The beginning -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Look at what decides, from its first bytes, what software takes the file for."""
        data, walker = self._file.data, self._file.walker
        if not self._is_file:
            return
        if data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM":
            preamble = walker.note_place(0, PREAMBLE)
            walker.note_place(_PREAMBLE_BYTES, META)
            walker.position = _PREAMBLE_BYTES + 4
            self._preamble(data, preamble)
        elif data[:4] == b"DICM":
            walker.position = 4
            self._add("SR-META-004", Place(FILE, 0, 4), "no preamble")
        elif data and data[:2] != b"\2\0" and _guessed(data) is None:
            place = walker.note_place(0, FILE)
            walker.end_walk()
            self._add("SR-STR-015", Place(FILE, 0, 0), "no preamble, and no element at its beginning")
            self._file.judge.rest(place, FILE)
        for parser in (containers.iso, containers.tar, containers.boot_sector_at):
            found = parsed(parser, data, 0)
            if found is not None:
                self._file.report(0, found, Located(0, 0, None, b"", FILE))

    def _preamble(self, data: bytes, place: Located) -> None:
        head = data[:_PREAMBLE_BYTES]
        if not head.strip(b"\0"):
            return
        self._tiff = tiff.parse_header(head)
        if self._tiff is not None:
            start = max(0, self._tiff.first - _TIFF_TABLES_BYTES // 4)
            self._tiff_pieces.append((0, data))
            self._file.judge.captures.want(
                start, _TIFF_TABLES_BYTES, lambda offset, part: self._tiff_pieces.append((offset, part))
            )
            return
        found = identify(data)
        if found is None or found.at >= _PREAMBLE_BYTES or found.rule == "SR-ISO-001":
            found = identify(head) or parsed(executables.com, head, 0)
        if found is not None and found.rule == "SR-PE-002" and len(head) >= 64:
            target = U32.unpack_from(head, 0x3C)[0]
            self._file.judge.captures.want(target, _FAR_HEADER_BYTES, self._far_header)
        if found is not None:
            self._file.report(found.at, found, place)
            return
        stripped = head.lstrip(b"\0")
        found = identify(stripped)
        if found is not None:
            self._file.report(len(head) - len(stripped), found, place)
        else:
            self._file.judge.blob(place, 0, head)
            what = f"{len(head) - head.count(0)} bytes that are not zero"
            self._add("SR-PRE-001", Place(PREAMBLE, 0, _PREAMBLE_BYTES), what)

    def _far_header(self, offset: int, data: bytes) -> None:
        found = parsed(executables.coff, data, 0)
        if found is not None:
            what = f"a DOS header whose e_lfanew 0x{offset:X} leads to {found.what}"
            self._file.report(0, Match("SR-PE-001", Confidence.HIGH, what), Located(0, 0, None, b"", PREAMBLE))

    def _meta_ends(self, offset: int) -> Coding | None:
        """Decide how the data set at ``offset`` is encoded: as the File Meta Information says, if it can be."""
        file = self._file
        uid = file.judge.meta.get(_TRANSFER_SYNTAX, (b"",))[0].decode("ascii", "replace").strip("\0 ")
        syntax = TRANSFER_SYNTAXES.get(uid)
        guessed = _guessed(file.data[offset - file.base : offset - file.base + 8])
        if syntax is None:
            self._add(
                "SR-META-004", Place(META, offset, 0), "no transfer syntax" if not uid else "unknown transfer syntax"
            )
            syntax = guessed or EXPLICIT_VR_LITTLE_ENDIAN
        elif not syntax.deflated and guessed is not None and guessed.explicit != syntax.explicit:
            self._add("SR-META-004", Place(META, offset, 0), "the data set is not encoded as the transfer syntax says")
            syntax = guessed
        self._syntax = syntax
        file.judge.syntax = syntax
        if syntax.deflated:
            self._inflate(offset)
            return None
        return coding_of(syntax)

    # Deflated data sets ----------------------------------------------------------------------------------------------

    def _inflate(self, offset: int) -> None:
        self._inflate_from = offset
        self._file.search_until = offset
        self._file.walker.note_place(offset, DEFLATED)
        self._inflating = Inflating(self._limits)
        self._inner = Blocks(self._limits, self._verdict, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, inflated=True)

    def _feed_inflating(self, known: int) -> None:
        """Inflate what of the block at hand is new, from ``known`` on."""
        inflating, inner, file = self._inflating, self._inner, self._file
        if inflating is None or inner is None or inflating.ended:
            return
        for piece in inflating.feed(file.data[known - file.base :]):
            view = memoryview(piece)
            if self.on_inflated is not None:
                self.on_inflated(view)
            while view:
                view = view[inner.take(view) :]
                if inner.is_full:
                    inner.begin()
                    inner.process(is_last=False)
        if inflating.problem:
            place = Place(DEFLATED, self._inflate_from, inflating.bytes_in)
            self._add(inflating.problem, place, inflating.what)
            self._verdict.truncated = True
        elif inflating.behind_from is not None:
            behind = self._inflate_from + inflating.behind_from
            file.search_until = None
            place_behind = file.walker.note_place(behind, TRAILING)
            file.judge.captures.want(behind, 1 << 20, lambda offset, data: self._behind(place_behind, offset, data))
            file.judge.captures.feed(file.data, file.base)
            file.search_from(behind)

    def _behind(self, at: Located, offset: int, data: bytes) -> None:
        if data.strip(b"\0"):
            self._add("SR-TRAIL-003", Place(TRAILING, offset, len(data)), f"{len(data)} bytes")
            self._file.judge.blob(at, offset, data)

    # The end ---------------------------------------------------------------------------------------------------------

    def _end_of_file(self) -> None:
        file = self._file
        found = identify_end(file.data) if self._is_file else None
        if found is not None:
            file.report(file.base + found.at, found)
        inner = self._inner or file
        meta, kept = file.judge.meta, inner.judge.kept
        for meta_tag, tag, name in ((_META_CLASS, SOP_CLASS, "Class"), (_META_INSTANCE, SOP_INSTANCE, "Instance")):
            if meta_tag not in meta or tag not in kept:
                continue
            (first, at), second = meta[meta_tag], kept[tag]
            if first.strip(b"\0 ") != second.strip(b"\0 "):
                what = f"the SOP {name} UID of the file meta information is not that of the data set"
                self._add("SR-META-003", file.judge.place(at, len(first)), what)

    def _judge_tiff(self) -> None:
        if self._tiff is None:
            return
        verdict, strips = tiff.judge(self._tiff, self._read, self._file.judge.pixels, self._file.size)
        place = Place(PREAMBLE, 0, 16)
        rule, what = {
            tiff.Verdict.SHOWS_PIXEL_DATA: ("SR-PRE-002", f"{strips} strips or tiles, all within Pixel Data"),
            tiff.Verdict.LEADS_NOWHERE: ("SR-PRE-003", "its directories lead to no picture"),
            tiff.Verdict.SHOWS_OTHER_BYTES: ("SR-PRE-004", f"strip or tile {strips} lies outside of Pixel Data"),
            tiff.Verdict.NOT_AT_HAND: ("SR-PRE-003", "its tables were not at hand to be followed"),
            tiff.Verdict.NO_TIFF: ("SR-PRE-001", "no TIFF header"),
        }[verdict]
        self._add(rule, place, what)

    def _read(self, offset: int, length: int) -> bytes | None:
        for start, piece in (*self._tiff_pieces, (self._file.base, self._file.data)):
            if start <= offset and offset + length <= start + len(piece):
                return piece[offset - start : offset - start + length]
        return None

    def _add(self, rule: str, place: Place, what: str) -> None:
        self._verdict.add(rule, place, what, Confidence.HIGH)

    def _report(self) -> Report:
        judge = (self._inner or self._file).judge

        def uid(tag: int) -> str:
            return judge.kept.get(tag, b"").decode("ascii", "replace").strip("\0 ")

        return Report(
            self._verdict.findings(),
            MappingProxyType(dict(self._verdict.counts)),
            self._file.size,
            self._verdict.truncated,
            self._syntax.uid if self._syntax is not None else "",
            uid(SOP_CLASS),
            uid(SOP_INSTANCE),
        )


def _guessed(head: bytes) -> TransferSyntax | None:
    """Return the encoding that the first element header makes evident, None if none is."""
    if len(head) < 8:
        return None
    vr, group = head[4:6], head[0] | head[1] << 8
    if vr in SHORT_VRS or vr in LONG_VRS:
        if group in (0x0008, 0x0010, 0x0002, 0x0004) or not group & 0xFF00:
            return EXPLICIT_VR_LITTLE_ENDIAN
        return EXPLICIT_VR_BIG_ENDIAN if not group & 0xFF else None
    length = U32.unpack_from(head, 4)[0]
    return IMPLICIT_VR_LITTLE_ENDIAN if 0 < group < 0x0100 and length <= 1 << 16 else None


def screen_header(header: bytes, limits: ScreenLimits = DEFAULT_LIMITS) -> tuple[Finding, ...]:
    """Return what is hidden in preamble and File Meta Information of a file of which only the data set is kept.

    Nothing is said of how well they are made, nor of a TIFF header, whose pictures are not kept either (PS3.10 7.1).
    """
    found = [each for each in screen_bytes(header, limits).findings if not each.rule.id.startswith(_OF_THE_HEADER)]
    return tuple([replace(each, what=f"{each.what}; in front of the data set, and not kept with it") for each in found])


def screen_bytes(
    data: bytes | memoryview, limits: ScreenLimits = DEFAULT_LIMITS, transfer_syntax: TransferSyntax | None = None
) -> Report:
    """Return what a file, or with ``transfer_syntax`` a bare data set, that is in memory holds."""
    screening = Screening(limits, transfer_syntax)
    screening.feed(data)
    return screening.finish()
