"""Look at what the walk comes to: each value, fragment and other part by the rules for its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from strongroom.dicom.dictionary import TransferSyntax, keyword_of
from strongroom.dicom.elements import PIXEL_DATA, Coding
from strongroom.screen import codestreams, containers, encoded, executables, text
from strongroom.screen.captures import Captures
from strongroom.screen.extent import value_end
from strongroom.screen.findings import Confidence, Place, Severity
from strongroom.screen.formats import begins_as_text, identify, identify_end, identify_exactly, parsed
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.matches import Match
from strongroom.screen.pixeldata import WANTED, Description, Fragments
from strongroom.screen.scripts import script
from strongroom.screen.verdict import (
    ENCAPSULATED_DOCUMENT,
    Verdict,
    document_mismatch,
    is_expected_document,
    severity_of,
)
from strongroom.screen.walk import TRAILING_PADDING, Located, Node, path_of

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
_MEDIA_TYPE: Final = 0x00420012
_ICC_PROFILE: Final = 0x00282000
_EXTENDED_OFFSETS: Final = 0x7FE00001
KEPT: Final = frozenset({SOP_CLASS, SOP_INSTANCE, _MEDIA_TYPE}) | WANTED
_MAX_KEPT_BYTES: Final = 1024
_MAX_TABLE_BYTES: Final = 1 << 20
_MAX_TABLES: Final = 16
_PIXELS: Final = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_HEAD_BYTES: Final = 1 << 17
_TAIL_BYTES: Final = 70_000
_REST_BYTES: Final = 1 << 20
_SAMPLES: Final = frozenset(b"OD OF OL OV OW".split())
MIN_BLOB_BYTES: Final = 12
_TEXT_SAMPLE_BYTES: Final = 64
_MIN_ENCODED_BYTES: Final = 40
_META_KNOWN: Final = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013}) | {
    0x00020016, 0x00020017, 0x00020018, 0x00020026, 0x00020027, 0x00020028, 0x00020031, 0x00020032, 0x00020033,
    0x00020035, 0x00020036, 0x00020037, 0x00020038,
}  # fmt: skip


class Judge:
    """The visitor of one walk. Not thread-safe."""

    def __init__(
        self, limits: ScreenLimits, verdict: Verdict, syntax: TransferSyntax | None, *, inflated: bool
    ) -> None:
        self.captures = Captures(4 * limits.max_value_bytes)
        self.kept: dict[int, bytes] = {}
        """Of the data set: the first values of the attributes that are compared."""
        self.meta: dict[int, tuple[bytes, Located]] = {}
        """Of the File Meta Information: the first value of each element, and where it stands."""
        self.pixels = (0, 0)
        """Where the value of Pixel Data begins and ends."""
        self.block = (b"", 0)
        """What is at hand, and where it begins."""
        self.meta_ends: Callable[[int], Coding | None] = lambda _: None
        self.syntax = syntax
        self._limits = limits
        self._verdict = verdict
        self._inflated = inflated
        self._texts: list[tuple[Located, bytes]] = []
        self._nested: tuple[Node | None, dict[int, bytes]] = (None, {})
        self._fragments: Fragments | None = None
        self._tables: list[tuple[Fragments, int]] = []
        self._extended = b""
        self._looks = self._text_looks = 0
        self._is_over = False
        self._document: tuple[Located, Match] | None = None

    # What the walk tells -------------------------------------------------------------------------------------------

    def value(self, at: Located, data: bytes, start: int, stop: int) -> None:
        """Look at a value that is whole at hand."""
        tag, vr = at.tag, at.vr
        if tag in KEPT:
            self._keep(at, data[start:stop])
        if vr in text.TEXT_VRS:
            if stop > start:
                self._texts.append((at, data[start:stop]))
        elif vr == b"UI":
            found = text.check_uid(data[start:stop]) if stop > start else None
            if found is not None:
                self._text_finding(at, *found)
        elif tag in _PIXELS:
            self._native(at, stop - start)
        elif stop - start >= MIN_BLOB_BYTES or tag == TRAILING_PADDING:
            self.blob(at, at.offset, data[start:stop])
        if tag >> 16 == 2:
            self._meta_element(at, data[start:stop])
        elif tag == _EXTENDED_OFFSETS and at.node is None:
            self._extended = data[start:stop][:_MAX_TABLE_BYTES]

    def long_value(self, at: Located, length: int) -> None:
        """Have a value looked at when it has come; of a very long one beginning and end."""
        if at.tag in _PIXELS:
            self._native(at, length)
            return
        if at.tag >> 16 == 2 and at.tag not in _META_KNOWN:
            self._add("SR-META-001", self.place(at, length), f"{length} bytes", Confidence.HIGH)
        limit = self._limits.max_value_bytes
        self.captures.want(at.offset, min(length, limit), lambda offset, data: self._captured(at, offset, data))
        if length > limit:
            start = at.offset + length - _TAIL_BYTES
            self.captures.want(start, _TAIL_BYTES, lambda offset, data: self._end_of(at, offset, data))

    def _captured(self, at: Located, offset: int, data: bytes) -> None:
        if at.vr in text.TEXT_VRS:
            self._look_at_text(at, data)
        elif at.vr == b"UI":
            self._text_finding(at, *(text.check_uid(data) or (Match("SR-UID-002", Confidence.LOW, "long"), None)))
        else:
            self.blob(at, offset, data)

    def fragment(self, at: Located, length: int, data: bytes, start: int) -> None:
        """Note where a fragment is; have it looked at when it has come."""
        assert at.node is not None
        if at.node[2] == 1 or self._fragments is None:
            self._fragments = table = Fragments()
            self._description(at)
            size = min(length, _MAX_TABLE_BYTES)
            self.captures.want(at.offset, size, lambda o, d: self._offset_table(table, at, o, d))
            if at.tag == PIXEL_DATA and at.node[0] is None:
                self.pixels = (at.offset, at.offset + length)
            return
        self._fragments.items.append(at.offset - 8)
        if at.node[0] is None and at.tag == PIXEL_DATA:
            self.pixels = (self.pixels[0], at.offset + length)
        if length >= MIN_BLOB_BYTES and self._may_look(at):
            limit = min(length, self._limits.max_value_bytes)
            if start + limit <= len(data):
                self._code_stream(at, at.offset, data[start : start + limit])
            else:
                self.captures.want(at.offset, limit, lambda offset, part: self._code_stream(at, offset, part))

    def _offset_table(self, fragments: Fragments, at: Located, offset: int, data: bytes) -> None:
        fragments.base, fragments.table = offset, data
        if data[:4].strip(b"\0"):  # the first frame is where the fragments begin: this is no table
            self.blob(at, offset, data)

    def fragments_end(self, offset: int) -> None:
        """Have the offset tables held against the fragments that were met, once all of them have come."""
        if self._fragments is not None and len(self._tables) < _MAX_TABLES:
            self._tables.append((self._fragments, offset))
        self._fragments = None

    def _check_tables(self) -> None:
        order = "<" if self.syntax is None or self.syntax.little_endian else ">"
        for fragments, offset in self._tables:
            extended = self._extended if len(self._tables) == 1 else b""
            for error in (fragments.table_error(order), fragments.extended_error(extended)):
                if error:
                    place = Place("(7FE0,0010)[1]", fragments.base or offset, len(fragments.table), self._inflated)
                    self._add("SR-PIX-004", place, error, Confidence.HIGH)

    def malformed(self, rule: str, at: Located, length: int, what: str) -> None:
        """Report what does not hold together."""
        if self._verdict.is_full(rule):
            self._verdict.count(rule)
            return
        self._add(rule, self.place(at, length), what, Confidence.HIGH)

    def rest(self, at: Located, label: str) -> None:
        """Have what follows looked at, in which nothing is known."""
        place = at._replace(label=label, vr=b"")
        start = at.offset

        def look(offset: int, data: bytes) -> None:
            if not data.strip(b"\0"):
                return
            if label == "trailing":
                what = f"{len(data)} bytes" + (" or more" if len(data) == _REST_BYTES else "")
                self._add("SR-TRAIL-001", self.place(place, len(data)), what, Confidence.HIGH)
            self.blob(place, offset, data)

        self.captures.want(start, _REST_BYTES, look)

    def meta_end(self, offset: int) -> Coding | None:
        """Return how the data set is encoded that begins at ``offset``."""
        return self.meta_ends(offset)

    # Values ----------------------------------------------------------------------------------------------------------

    def _keep(self, at: Located, value: bytes) -> None:
        if len(value) > _MAX_KEPT_BYTES:
            return
        if at.node is None:
            self.kept.setdefault(at.tag, value)
        elif at.tag in WANTED:
            if self._nested[0] is not at.node:
                self._nested = (at.node, {})
            self._nested[1][at.tag] = value

    def _meta_element(self, at: Located, value: bytes) -> None:
        self.meta.setdefault(at.tag, (value[:_MAX_KEPT_BYTES], at))
        if at.tag not in _META_KNOWN and value.strip(b"\0"):
            known = keyword_of(at.tag) or "unknown"
            self._add("SR-META-001", self.place(at, len(value)), f"{known}, {len(value)} bytes", Confidence.HIGH)

    def end_of_buffer(self) -> None:
        """Look at the texts met since the last time, all at once first: nearly always there is nothing in them."""
        texts, self._texts = self._texts, []
        odd = set(text.suspicious([value for _, value in texts])) if texts else ()
        for number, (at, value) in enumerate(texts):
            if number in odd or len(value) >= _MIN_ENCODED_BYTES:
                self._judge_text(at, value, is_odd=number in odd)

    def _judge_text(self, at: Located, value: bytes, *, is_odd: bool) -> None:
        if is_odd and self._may_look_at_text(at):
            self._look_at_text(at, value)
        if len(value) >= _MIN_ENCODED_BYTES and self._may_look_at_text(at):
            found = encoded.encoded(value)
            if found is not None:
                self._payload(at, at.offset, found)

    def _look_at_text(self, at: Located, value: bytes) -> None:
        for found, severity in text.check_text(value):
            self._text_finding(at, found, severity)
        if b"\0" in value.rstrip(b"\0"):
            self.blob(at, at.offset, value)
            return
        begins = identify(value) if len(value) >= MIN_BLOB_BYTES else None
        if begins is None and len(value) >= 8:
            begins = script(value, 0) or encoded.begins_under_xor(value)
        if begins is not None and begins.rule != "SR-COM-001":
            self._payload(at, at.offset, begins)

    def _may_look(self, at: Located) -> bool:
        """Whether one more close look is in proportion to the size of the file."""
        if self._looks < self._limits.min_looks + at.offset // self._limits.bytes_per_look:
            self._looks += 1
            return True
        if not self._is_over:
            self._say_over(self._looks, at)
        return False

    def _may_look_at_text(self, at: Located) -> bool:
        """The same for texts, whose turn comes when a block is walked: their looks are counted by themselves."""
        if self._text_looks < self._limits.min_looks + at.offset // self._limits.bytes_per_look:
            self._text_looks += 1
            return True
        if not self._is_over:
            self._say_over(self._text_looks, at)
        return False

    def _say_over(self, looks: int, at: Located) -> None:
        self._is_over = True
        what = f"after {looks} values that needed a close look"
        self._add("SR-LIM-001", self.place(at, 0), what, Confidence.HIGH, Severity.LOW)
        self._verdict.truncated = True

    def _text_finding(self, at: Located, match: Match, severity: Severity | None) -> None:
        place = self.place(at, match.size_bytes or self.rest_of(at, at.offset + match.at), match.at)
        self._add(match.rule, place, match.what, match.confidence, severity)

    def blob(self, at: Located, offset: int, data: bytes) -> None:
        """Look at bytes that are no text and no pixels: whole, or their beginning."""
        stripped = data.lstrip(b"\0")
        if not stripped or not self._may_look(at):
            return
        if at.tag == _ICC_PROFILE:
            self._icc(at, data)
        if at.tag == TRAILING_PADDING:
            self._add("SR-TRAIL-002", self.place(at, len(data)), f"{len(data)} bytes, not all zero", Confidence.HIGH)
        look = identify_exactly if at.vr in _SAMPLES else identify
        found = look(data)
        if found is None and len(stripped) < len(data):
            found = look(stripped)
            found = found._replace(at=found.at + len(data) - len(stripped)) if found else None
        if found is None:
            found = parsed(executables.shortcut, data, data.find(executables.LNK_HEADER))
        if found is None:
            found = identify_end(data)
        if found is None:
            found = parsed(containers.iso_within, data, -1)
        if found is None and len(data) >= _MIN_ENCODED_BYTES:
            found = (encoded.encoded(data) if begins_as_text(stripped) else None) or encoded.under_xor(stripped)
        if found is None:
            found = parsed(executables.com, stripped, 0)
            found = found if found is not None and found.confidence > Confidence.LOW else None
        if found is not None:
            self._payload(at, offset, found)
        elif at.vr in (b"UN", b"OB", b"") and begins_as_text(data):
            for match, severity in text.check_text(data):
                if match.rule in ("SR-TXT-002", "SR-TXT-006", "SR-TXT-003"):
                    self._text_finding(at, match, severity)

    def _end_of(self, at: Located, offset: int, data: bytes) -> None:
        found = identify_end(data)
        if found is not None:
            self._payload(at, offset, found)

    def _payload(self, at: Located, offset: int, match: Match) -> None:
        """Report a payload, unless it is what an encapsulated document is: that is known once its type has come."""
        length = match.size_bytes or self.rest_of(at, offset + match.at)
        if at.tag == ENCAPSULATED_DOCUMENT and at.node is None and match.at == 0:
            self._document = (at, match._replace(size_bytes=length))
            return
        place = Place(self.path(at), offset + match.at, length, self._inflated)
        severity = severity_of(match, at.label, at.tag)
        self._add(match.rule, place, match.what, match.confidence, severity)

    def _icc(self, at: Located, data: bytes) -> None:
        if len(data) < 128 or data[36:40] != b"acsp" or not 0 <= len(data) - int.from_bytes(data[:4], "big") <= 3:
            self._add("SR-ICC-001", self.place(at, len(data)), f"{len(data)} bytes", Confidence.MEDIUM)

    # Pixel data ------------------------------------------------------------------------------------------------------

    def _description(self, at: Located) -> Description:
        node = at.node[0] if at.label == "fragment" and at.node else at.node
        values = self.kept if node is None else self._nested[1] if self._nested[0] is node else {}
        described = Description(values, little_endian=self.syntax is None or self.syntax.little_endian)
        if described.is_impossible:
            what = f"{described.frames} frames, {described.native_bytes} bytes of pixels"
            self._add("SR-PIX-003", self.place(at, 0), what, Confidence.HIGH)
        return described

    def _native(self, at: Located, length: int) -> None:
        """Have beginning and end of native pixel data looked at, and what is behind the declared pixels."""
        described = self._description(at)
        declared = described.native_bytes
        if at.node is None and at.tag == PIXEL_DATA:
            self.pixels = (at.offset, at.offset + length)
        if declared and not described.is_impossible and length < declared:
            far = described.is_far_more_than(length)
            what = f"{length} bytes, of {declared} that the attributes declare"
            self._add("SR-PIX-003" if far else "SR-PIX-002", self.place(at, length), what, Confidence.HIGH)
        self.captures.want(at.offset, min(length, _HEAD_BYTES), lambda o, d: self._head_of_pixels(at, o, d))
        if declared and length > declared + 1:
            extra = min(length - declared, _REST_BYTES)
            self.captures.want(at.offset + declared, extra, lambda o, d: self._behind_pixels(at, o, d))
        elif length > _HEAD_BYTES:
            tail = min(length, _TAIL_BYTES)
            self.captures.want(at.offset + length - tail, tail, lambda o, d: self._end_of(at, o, d))

    def _head_of_pixels(self, at: Located, offset: int, data: bytes) -> None:
        found = _payload_at_beginning(data)
        if found is not None:
            self._payload(at, offset, found)

    def _behind_pixels(self, at: Located, offset: int, data: bytes) -> None:
        if data.strip(b"\0"):
            what = f"{len(data)} bytes that no attribute accounts for"
            self._add("SR-PIX-001", Place(self.path(at), offset, len(data), self._inflated), what, Confidence.HIGH)
            self.blob(at, offset, data)

    def _code_stream(self, at: Located, offset: int, data: bytes) -> None:
        found = _payload_at_beginning(data) or identify_end(data)
        if found is not None:
            self._payload(at, offset, found)
            return
        for part in codestreams.extra_parts(data):
            extra = data[part.start : part.stop]
            place = Place(self.path(at), offset + part.start, len(extra), self._inflated)
            if part.kind == "behind":
                self._add("SR-PIX-005", place, f"{len(extra)} bytes behind {part.name}", Confidence.HIGH)
            elif part.kind == "segment" and part.name.startswith("APP") and "usual" not in part.name:
                self._add("SR-PIX-006", place, f"{part.name}, {len(extra)} bytes", Confidence.HIGH)
            if len(extra) >= 8:
                self.blob(at._replace(vr=b"", offset=offset + part.start), offset + part.start, extra)

    # The end ---------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Judge what needed the whole data set."""
        self.captures.finish()
        self.end_of_buffer()
        self._check_tables()
        if self._document is None:
            return
        at, match = self._document
        media_type = self.kept.get(_MEDIA_TYPE, b"").decode("ascii", "replace").strip(" \0").lower()
        if is_expected_document(match, media_type):
            return
        place = Place(self.path(at), at.offset, match.size_bytes, self._inflated)
        if document_mismatch(match, media_type):
            self._add("SR-DOC-001", place, f"declared as another type, it is {match.what}", match.confidence)
        self._add(match.rule, place, match.what, match.confidence, severity_of(match, at.label, at.tag))

    def rest_of(self, at: Located, offset: int) -> int:
        """Return how many bytes there are from ``offset`` to the end of the value at ``at``; 0 if that is not known."""
        return max(0, value_end(at, *self.block, self.syntax) - offset)

    def path(self, at: Located) -> str:
        """Return the path of an element, or the name of another part."""
        if at.label == "fragment" and at.node is not None:
            return path_of(at.node[0], at.tag) + f"[{at.node[2]}]"
        return at.label or path_of(at.node, at.tag)

    def place(self, at: Located, length: int, inside: int = 0) -> Place:
        """Return where this is, from ``inside`` bytes into the value on."""
        return Place(self.path(at), at.offset + inside, length, self._inflated)

    def _add(
        self, rule: str, place: Place, what: str, confidence: Confidence, severity: Severity | None = None
    ) -> None:
        self._verdict.add(rule, place, what, confidence, severity)


def _payload_at_beginning(data: bytes) -> Match | None:
    """Return the payload that pixels begin with: those of an image may be anything, and are looked at less closely."""
    found = identify_exactly(data) or encoded.begins_under_xor(data)
    if found is None and begins_as_text(data[:_TEXT_SAMPLE_BYTES]):
        found = encoded.encoded(data)
    return found
