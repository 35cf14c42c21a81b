"""Search all bytes for the signatures of payloads, wherever they stand: one pass of a library over each block.

Hyperscan (Vectorscan) looks for all signatures at once, several bytes in one instruction, and lets other threads run
meanwhile. It finds next to nothing in an image; what it finds is given to the parser of the format, which has to bear
it out.

No parser confirms on random bytes: see ``executables`` for how much is compared. Text is confirmed by the 24
characters around it, all of which have to be printable (chance on random bytes below 2**-33) on top of a signature of
at least five letters in either case (2**-35): for 2**31.3 positions, together below 2**-36.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Final, NamedTuple

import hyperscan

from strongroom.screen import containers, documents, executables
from strongroom.screen.formats import Parser, parsed
from strongroom.screen.matches import HIGH, MEDIUM, Match
from strongroom.screen.phrases import PHRASES

LOOK_AHEAD_BYTES: Final = 4096
"""A position is judged when this much behind it is at hand, or the end has come."""

LOOK_BACK_BYTES: Final = 4096
MAX_CANDIDATES_PER_BLOCK: Final = 20_000

FREE_CLOSE_LOOKS: Final = 160
BYTES_PER_CLOSE_LOOK: Final = 128 << 10
"""Candidates that take up to 2 ms each are followed so often, and once more for each so many bytes."""

_TEXT_AROUND_BYTES: Final = 24
_PRINTABLE: Final = bytes([9, 10, 13, *range(0x20, 0x7F)])
_SCRIPT: Final = re.compile(rb"<script(?:[\s>/]|\Z)", re.I)
_SHEBANG: Final = re.compile(rb"#! ?/(?:usr/(?:local/)?)?bin/(?:env +)?[a-z]{2,12}[\s0-9]")
_HTML: Final = re.compile(rb"<(?:html|head|body|iframe|hta:application|svg)[\s>]", re.I)
_PHP: Final = re.compile(rb"<\?php\s+(?:[\w\\]{3,40}\s*[(\[;=]|[$/#@][\w *]{2,40}|\w{3,12}\s)", re.I)
_SECOND_TAG: Final = re.compile(
    rb"</(?:html|head|body|svg|script|iframe|title|style)>|<(?:head|body|script|title|meta|style|iframe)[\s>]|"
    rb"xmlns=|\bonload\s*=|\bonerror\s*=|\bonclick\s*=|javascript:|src=[\"']http|http-equiv",
    re.I,
)
"""Pixels of 8 bits are text in dark parts, and spell a short tag once in a thousand images: two of them never."""


def _text(pattern: re.Pattern[bytes], rule: str, what: str) -> Callable[[bytes, int], Match | None]:
    def confirm(data: bytes, at: int) -> Match | None:
        if not pattern.match(data, at) or not _stands_in_text(data, at):
            return None
        return Match(rule, MEDIUM, what, at)

    return confirm


def _stands_in_text(data: bytes, at: int) -> bool:
    around = data[at : at + _TEXT_AROUND_BYTES]
    if len(around) < _TEXT_AROUND_BYTES:
        around = data[max(0, at - _TEXT_AROUND_BYTES) : at] + around
    return len(around) >= 12 and not around.rstrip(b"\0").translate(None, _PRINTABLE)


def _html(data: bytes, at: int) -> Match | None:
    if not _HTML.match(data, at) or not _stands_in_text(data, at):
        return None
    if not _SECOND_TAG.search(data, at + 4, at + LOOK_AHEAD_BYTES):
        return None
    if documents.ACTIVE_MARKUP.search(data, at, at + LOOK_AHEAD_BYTES):
        return Match("SR-HTML-002", HIGH, "markup with code", at)
    return Match("SR-HTML-001", MEDIUM, "markup", at)


_script = _text(_SCRIPT, "SR-HTML-002", "a script element")
_php = _text(_PHP, "SR-SCRIPT-001", "PHP: a line that only such programs have")
_shebang = _text(_SHEBANG, "SR-SCRIPT-001", "a script that names its interpreter")


class _Signature(NamedTuple):
    """An expression of the syntax of PCRE that matches ``size`` bytes, and who bears out what begins with them."""

    expression: bytes
    size: int
    parser: Parser
    is_close_look: bool = False
    """Whether much of what is around it is read."""


_SIGNATURES: Final = (
    _Signature(rb"\x7fELF", 4, executables.elf),
    _Signature(rb"\xca\xfe\xba\xbe", 4, executables.fat_or_class),
    _Signature(rb"[\xce\xcf]\xfa\xed\xfe", 4, executables.macho),
    _Signature(rb"dex\n0", 5, executables.dex),
    _Signature(rb"PE\x00\x00", 4, executables.pe_around),
    _Signature(rb"\x00asm\x01", 5, executables.wasm),
    _Signature(rb"ITSF", 4, containers.help_file),
    _Signature(rb"\xd0\xcf\x11\xe0", 4, containers.compound),
    _Signature(rb"MSCF", 4, containers.cabinet),
    _Signature(rb"Rar!\x1a", 5, containers.rar),
    _Signature(rb"7z\xbc\xaf\x27", 5, containers.seven_zip),
    _Signature(rb"PK\x03\x04", 4, containers.zip_local),
    _Signature(rb"PK\x05\x06", 4, containers.zip_end),
    _Signature(rb"\{\\rt", 4, documents.rtf, is_close_look=True),
    _Signature(rb"%PDF", 4, documents.pdf, is_close_look=True),
    _Signature(rb"(?i)<\?php", 5, _php),
    _Signature(rb"(?i)<script", 7, _script),
    _Signature(rb"(?i)<(?:html|body)", 5, _html, is_close_look=True),
    _Signature(rb"(?i)<svg", 4, _html, is_close_look=True),
    _Signature(rb"(?i)<iframe", 7, _html, is_close_look=True),
    _Signature(rb"#!/(?:usr|bin)", 6, _shebang),
    _Signature(rb"#! /(?:usr|bin)", 7, _shebang),
    _Signature(rb"\xfe\xed\xfa[\xce\xcf]", 4, executables.macho),
    _Signature(rb"\xca\xfe\xba\xbf", 4, executables.fat_or_class),
    _Signature(rb"QFI\xfb", 4, containers.disk_header),
    _Signature(rb"KDMV", 4, containers.disk_header),
    _Signature(rb"QED\x00", 4, containers.disk_header),
    _Signature(rb"vhdxfile", 8, containers.disk_header),
    _Signature(rb"!<arch>\n", 8, containers.package),
    _Signature(rb"ustar[\x00 ]", 6, lambda data, at: containers.tar(data, at - 257) if at >= 257 else None),
    *(_Signature(*phrase, is_close_look=True) for phrase in PHRASES),
)
MOST_SIGNATURES: Final = 249
"""With more literals Hyperscan goes two bytes at a step, not four, and takes nearly twice the time."""

_LONGEST: Final = max(signature.size for signature in _SIGNATURES)
_Confirmed = tuple[int, Match]


@cache
def _database() -> hyperscan.Database:
    """All signatures, compiled: 60 ms, which whatever does not screen need not spend."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    count = len(_SIGNATURES)
    expressions = [signature.expression for signature in _SIGNATURES]
    database.compile(expressions=expressions, ids=range(count), elements=count, flags=hyperscan.HS_FLAG_DOTALL)
    return database


def new_scratch() -> hyperscan.Scratch:
    """Return working memory for the library: for one pass at a time."""
    return hyperscan.Scratch(_database())


class Search:
    """Finds payloads in consecutive blocks; positions are those of the file. Not thread-safe."""

    __slots__ = ("_close_looks", "_scratch", "gave_up_at")

    def __init__(self, scratch: hyperscan.Scratch | None = None) -> None:
        self._scratch = scratch or new_scratch()
        self._close_looks = 0
        self.gave_up_at: int | None = None
        """Where there were more candidates than are followed."""

    def block(self, data: bytes, base: int, start: int, stop: int) -> Iterator[_Confirmed]:
        """Yield position and match of what begins from ``start`` to ``stop`` of ``data``, which is at ``base``."""
        candidates = _candidates(memoryview(data)[start : stop + _LONGEST - 1], self._scratch)
        if len(candidates) == MAX_CANDIDATES_PER_BLOCK and self.gave_up_at is None:
            self.gave_up_at = base + start
        for at, number in candidates:
            signature = _SIGNATURES[number]
            if start + at >= stop or (signature.is_close_look and not self._may_look(base + start + at)):
                continue
            found = parsed(signature.parser, data, start + at)
            if found is not None:
                yield base + found.at, found

    def _may_look(self, position: int) -> bool:
        """Whether one more close look is in proportion to what has come so far."""
        if self._close_looks < FREE_CLOSE_LOOKS + position // BYTES_PER_CLOSE_LOOK:
            self._close_looks += 1
            return True
        if self.gave_up_at is None:
            self.gave_up_at = position
        return False


def _candidates(data: memoryview, scratch: hyperscan.Scratch) -> list[tuple[int, int]]:
    """Return where in ``data`` which signatures are, in order, and no more of them than are followed."""
    candidates: list[tuple[int, int]] = []

    def take(number: int, _start: int, end: int, _flags: int, _context: object) -> bool:
        candidates.append((end - _SIGNATURES[number].size, number))
        return len(candidates) == MAX_CANDIDATES_PER_BLOCK

    with suppress(hyperscan.ScanTerminated):
        _database().scan(data, match_event_handler=take, scratch=scratch)  # type: ignore[type-var]  # takes any buffer
    candidates.sort()
    return candidates
