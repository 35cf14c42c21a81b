"""Make a clean copy of a file: the same pixels and clinical attributes, and nothing that any rule finds (PS3.10 7.5).

What a file has beside its data set is written anew: preamble, File Meta Information. What no reader needs is left out:
padding, bytes behind the end, behind the pixels and between the frames. What a finding stands in goes with what belongs
to it: a private element, an overlay, an icon. What cannot go without the object being another one is refused, in words.
An element that is not named in ``removed`` has the same value, byte by byte. The original is only read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from strongroom.dicom.convert import is_length_of_others
from strongroom.dicom.dictionary import keyword_of
from strongroom.dicom.elements import LONG_VRS, PIXEL_DATA
from strongroom.dicom.inflate import deflated
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, encode_file_meta
from strongroom.dicom.stream import Read
from strongroom.errors import Refused
from strongroom.screen import contributing
from strongroom.screen.findings import DEFLATED, META, PREAMBLE, TRAILING, Finding, Report, Severity
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.opened import TREE_LIMITS, Opened, open_file
from strongroom.screen.rebuild import Node, Tree, parse_tree
from strongroom.screen.repacking import rebuild_pixel_data
from strongroom.screen.screening import Screening

CLEAN_BELOW: Final = Severity.LOW
"""A copy has no finding of this severity or a higher one; what is only worth knowing stays."""

_ROUNDS: Final = 6
_PIECE_BYTES: Final = 1 << 20
_ALL_FINDINGS: Final = ScreenLimits(max_findings=20_000, max_findings_per_rule=20_000)
_TAG_LENGTH: Final = len("(0010,0010)")
_AE_TITLE: Final = re.compile(r"[ !-\[\]-~]{1,16}")

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_PHOTOMETRIC: Final = 0x00280004
_TRAILING_PADDING: Final = 0xFFFCFFFC

_FREE_TEXT: Final = frozenset(b"LO LT PN SH ST UC UR UT".split())
"""VRs whose values may be emptied: nothing is computed with them."""

_IDENTITY: Final = frozenset({0x00080050, 0x00100010, 0x00100020, 0x00100021, 0x0020000D, 0x0020000E, 0x00200010})
"""Accession Number, Patient's Name and ID with its issuer, study and series: they say whose images these are."""

_PALETTE: Final = frozenset(
    {0x00281101, 0x00281102, 0x00281103, 0x00281199, *range(0x00281201, 0x00281204), *range(0x00281221, 0x00281224)}
)
_OBJECT_ITSELF: Final = {
    PIXEL_DATA: "the pixels themselves",
    0x7FE00008: "the pixels themselves",
    0x7FE00009: "the pixels themselves",
    0x00283000: "the look-up table that gives the pixels their meaning",
    0x0040A730: "the content of the report",
    0x00420011: "the document itself",
    0x54000100: "the waveform itself",
    0x56000020: "the spectrum itself",
}
"""What an object is about: without it, it is another one."""

_TOGETHER: Final = {
    0x00282000: frozenset({0x00282000, 0x00282002}),
    0x04000500: frozenset({0x04000500, 0x04000510}),
    0x4FFE0001: frozenset({0x4FFE0001, 0xFFFAFFFA}),
    0xFFFAFFFA: frozenset({0x4FFE0001, 0xFFFAFFFA}),
    **dict.fromkeys(_PALETTE, _PALETTE),
}
"""What goes together: one says something only beside the other."""

_WHOLE_SEQUENCES: Final = frozenset({0x00283010, 0x00880200, 0x04000500, 0xFFFAFFFA, 0x4FFE0001})
"""Sequences that go whole: what is left of them would not be valid."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What the copy does not have: where it stood in the original, and its digest. ``inflated`` as in ``Place``."""

    path: str
    what: str
    offset: int
    length: int
    sha256: str
    inflated: bool = False


@dataclass(frozen=True, slots=True)
class Disarmed:
    """A clean copy: ``pieces`` yields its bytes, from the source again each time. ``after`` has no finding of
    ``CLEAN_BELOW`` or higher; ``original_sha256`` is that of the whole file."""

    before: Report
    after: Report
    removed: tuple[Removed, ...]
    original_sha256: str
    pieces: Callable[[], Iterator[bytes]]


def disarm(read: Read, size_bytes: int, when: datetime | None = None) -> Disarmed:
    """Return a clean copy of the file behind ``read``, which stays as it is and has to stay there.

    A copy that lacks something says so, with ``when``, in its Contributing Equipment Sequence (PS3.3 C.12.1.1.5).

    Raises:
        Refused: "payload-in-object": what is found stands in what the object is about; "frames", "not-dicom",
            "unknown-transfer-syntax", "not-rebuilt": nothing is known that makes it clean.
        MalformedDataset, LimitExceeded: the data set does not hold together, so that nothing can be written again.
    """
    digest = sha256()
    before = _screened(_chunks(read, size_bytes, digest.update))
    return _Disarming(read, size_bytes, before).run(digest.hexdigest(), when)


def _chunks(read: Read, size_bytes: int, watch: Callable[[bytes], None]) -> Iterator[bytes]:
    for start in range(0, size_bytes, _PIECE_BYTES):
        piece = read(start, _PIECE_BYTES)
        watch(piece)
        yield piece


def _screened(pieces: Iterator[bytes]) -> Report:
    screening = Screening(_ALL_FINDINGS)
    for piece in pieces:
        screening.feed(piece)
    return screening.finish()


class _Disarming:
    """One file on its way to a clean copy."""

    def __init__(self, read: Read, size_bytes: int, before: Report) -> None:
        self._before = before
        self._removed: list[Removed] = []
        self._file = open_file(read, size_bytes)
        self._tree = self._parsed()
        self._by_path: dict[str, tuple[Node, list[Node]]] = {}

    def run(self, original_sha256: str, when: datetime | None) -> Disarmed:
        """Rebuild, look again, take out what is found, until nothing is."""
        self._leave_out_head()
        self._leave_out_padding(self._tree)
        rebuild_pixel_data(self._tree, self._file.transfer_syntax, self._note)
        for _ in range(_ROUNDS):
            if self._removed:
                parts = [(each.path, each.what) for each in self._removed]
                contributing.sign(self._tree, contributing.describe(parts, original_sha256), when)
            after = _screened(self._pieces())
            found = after.at_least(CLEAN_BELOW)
            if not found:
                return Disarmed(self._before, after, tuple(self._removed), original_sha256, self._pieces)
            self._take_out_all(found)
        raise Refused("not-rebuilt", f"{found[0].rule.title} at {found[0].place.path} is still there")

    def _pieces(self) -> Iterator[bytes]:
        tree, file = self._tree, self._file
        sop_class, sop_uid = tree.text(_SOP_CLASS) or file.sop_class, tree.text(_SOP_INSTANCE) or file.sop_uid
        source = file.source_aet if _AE_TITLE.fullmatch(file.source_aet) else ""
        try:
            yield encode_file_meta(
                sop_class,
                sop_uid,
                file.transfer_syntax.uid,
                IMPLEMENTATION_CLASS_UID,
                IMPLEMENTATION_VERSION_NAME,
                source,
            )
        except UnicodeEncodeError:
            raise Refused("not-rebuilt", "a UID of the data set is none") from None
        yield from deflated(tree.pieces()) if file.transfer_syntax.deflated else tree.pieces()

    # -- what is always left out

    def _parsed(self) -> Tree:
        file = self._file
        ends = [
            finding.place.offset
            for finding in self._before.findings
            if finding.place.path == TRAILING and finding.place.inflated == file.is_inflated
        ]
        end = min([file.end, *(offset - file.base for offset in ends if offset > file.base)])
        tree = parse_tree(file.read, 0, end, file.coding, TREE_LIMITS)
        if tree.end < file.end:
            self._note(TRAILING, "bytes behind the data set", tree.end, file.read(tree.end, file.end - tree.end))
        return tree

    def _leave_out_head(self) -> None:
        file = self._file
        if any(file.preamble):
            self._note_at(PREAMBLE, "preamble", 0, file.preamble)
        for path, offset, value in file.left_out:
            self._note_at(path or META, "an element of the file meta information", offset, value)
        if file.is_inflated:
            behind = (DEFLATED, TRAILING)
            places = [each.place for each in self._before.findings if each.place.path in behind]
            offsets = [place.offset for place in places if not place.inflated]
            if offsets:
                raw = file.raw_read(min(offsets), file.size_bytes - min(offsets))
                self._note_at(DEFLATED, "bytes behind the deflate stream", min(offsets), raw)

    def _leave_out_padding(self, tree: Tree) -> None:
        self._leave_out_twice(tree.elements)
        for node in tree.elements:
            if node.tag == _TRAILING_PADDING or node.tag >> 16 < 0x0004:
                self._drop(node, "padding, or an element that belongs into no data set")

    def _leave_out_twice(self, elements: list[Node]) -> None:
        seen: set[int] = set()
        for node in elements:
            if node.tag in seen:
                self._drop(node, "an element that is there already")
            seen.add(node.tag)
            for item in node.items or ():
                self._leave_out_twice(item)

    # -- what a finding stands in

    def _take_out_all(self, found: tuple[Finding, ...]) -> None:
        """Take out what these stand in, once for each place; what went with another one is gone already.

        Raises Refused if nothing can go any more.
        """
        before, done = len(self._removed), set[str]()
        self._by_path = self._tree.by_path()
        refusal: Refused | None = None
        for finding in found:
            if finding.place.path in done:
                continue
            done.add(finding.place.path)
            try:
                self._take_out(finding)
            except Refused as error:
                refusal = refusal or error
        if refusal is not None and len(self._removed) == before:
            raise refusal

    def _take_out(self, finding: Finding) -> None:
        path = finding.place.path
        chain = self._chain(path)
        if not chain:
            if path.startswith("(0002,0016)") and self._file.source_aet:
                self._file.source_aet = ""
                return
            raise Refused("not-rebuilt", f"{finding.rule.title} ({path}): nothing is known that makes it clean")
        what = f"{finding.rule.id} {finding.rule.title}"
        for node in chain:
            if node.tag & 0x10000:
                self._drop_private(node, what)
                return
            if self._is_object(node, chain):
                raise Refused("payload-in-object", self._refusal(finding, node))
            if node.tag >> 24 in (0x50, 0x60) and node is chain[0]:
                self._drop_group(node.tag >> 16, what)
                return
            if node.tag in _WHOLE_SEQUENCES or node.tag in _TOGETHER:
                self._drop_with(node, what, at_top=node is chain[0])
                return
        self._take_value(chain[-1], finding, what)

    def _take_value(self, node: Node, finding: Finding, what: str) -> None:
        if not keyword_of(node.tag) or (node.items is None and node.vr in LONG_VRS - _FREE_TEXT - {b"SQ"}):
            self._drop(node, what)
        elif node.items is None and node.vr in _FREE_TEXT and node.tag not in _IDENTITY:
            self._empty(node, what)
        else:
            raise Refused("payload-in-object", self._refusal(finding, node))

    def _is_object(self, node: Node, chain: list[Node]) -> bool:
        if node.tag in _PALETTE:
            return node is chain[0] and self._tree.text(_PHOTOMETRIC) == "PALETTE COLOR"
        if node.tag in (0x7FE00008, 0x7FE00009):
            return self._tree.find(PIXEL_DATA) is None
        if node.tag == PIXEL_DATA:
            return node is chain[0]
        return node.tag in _OBJECT_ITSELF

    @staticmethod
    def _refusal(finding: Finding, node: Node) -> str:
        name = keyword_of(node.tag) or "the element"
        itself = _OBJECT_ITSELF.get(node.tag, f"{name}, which cannot be taken out of the object")
        return (
            f"{finding.rule.title} ({finding.rule.id}) stands in {itself} at {finding.place.path}: "
            "without it this would be another object, and it is not altered silently"
        )

    def _chain(self, path: str) -> list[Node]:
        """The elements that lead to ``path``, the outermost first, as far as the tree goes and nothing is gone."""
        chain: list[Node] = []
        prefix = ""
        for part in path.split("."):
            prefix += part[:_TAG_LENGTH]
            node, _ = self._by_path.get(prefix, (None, None))
            if node is None or node.is_gone:
                break
            chain.append(node)
            prefix += part[_TAG_LENGTH:] + "."
        return chain

    # -- how it goes

    def _drop_private(self, node: Node, what: str) -> None:
        number = node.tag & 0xFFFF
        if not 0x10 <= number <= 0xFF:
            self._drop(node, what)
            return
        block = node.tag & 0xFFFF0000 | number << 8  # what it reserves means nothing without it (PS3.5 7.8.1)
        _, beside = self._by_path[node.path]
        for each in beside:
            if each is node or block <= each.tag <= block | 0xFF:
                self._drop(each, what)

    def _drop_with(self, node: Node, what: str, *, at_top: bool) -> None:
        together = _TOGETHER.get(node.tag, frozenset()) if at_top else frozenset()
        self._drop(node, what)
        for each in self._tree.elements:
            if each.tag in together:
                self._drop(each, what)

    def _drop_group(self, group: int, what: str) -> None:
        for node in self._tree.elements:
            if node.tag >> 16 == group:
                self._drop(node, what)

    def _drop(self, node: Node, what: str) -> None:
        if node.is_gone:
            return
        node.is_gone = True
        raw_digest, is_used = self._digest(node)
        if not is_length_of_others(node.tag) and (is_used or node.tag != _TRAILING_PADDING):
            self._list(node.path, what, node.offset, node.length, raw_digest)

    def _empty(self, node: Node, what: str) -> None:
        raw_digest, _ = self._digest(node)
        self._list(node.path, what, node.offset, node.length, raw_digest)
        node.content = ()

    def _digest(self, node: Node) -> tuple[str, bool]:
        """The SHA-256 of a value, and whether it is anything but zeros."""
        digest, is_used = sha256(), False
        for start in range(0, node.length, _PIECE_BYTES):
            piece = self._tree.read(node.offset + start, min(_PIECE_BYTES, node.length - start))
            digest.update(piece)
            is_used = is_used or any(piece)
        return digest.hexdigest(), is_used

    def _note(self, path: str, what: str, offset: int, raw: bytes) -> None:
        self._list(path, what, offset, len(raw), sha256(raw).hexdigest())

    def _note_at(self, path: str, what: str, offset: int, raw: bytes) -> None:
        self._removed.append(Removed(path, what, offset, len(raw), sha256(raw).hexdigest()))

    def _list(self, path: str, what: str, offset: int, length: int, digest: str) -> None:
        file: Opened = self._file
        self._removed.append(Removed(path, what, file.base + offset, length, digest, file.is_inflated))
