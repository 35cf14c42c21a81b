"""Search all bytes for the signatures of payloads, wherever they stand, a few passes in C over each block.

Signatures by the dozen, each with a pass of its own, would cost more than everything else together. Here one pass maps
bytes to classes: a lead byte of one, a following byte of the other. Every signature in ``_SIGNATURES`` is a lead and
three followers, so that one search in the classes stands for all of them; what it finds (one position in 4,000 of
random bytes, none in the pixels of a CT, whose every second byte is small) is looked up, and what remains is given to
the parser of the format, which has to bear it out. Signatures of other shapes have a pass each.

No parser confirms on random bytes: see ``executables`` for how much is compared. Text is confirmed by the 24
characters around it, all of which have to be printable (chance on random bytes below 2**-33) on top of a signature of
at least five letters in either case (2**-35): for 2**31.3 positions, together below 2**-36.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from struct import error as struct_error
from typing import Final

from strongroom.screen import containers, documents, executables
from strongroom.screen.matches import HIGH, MEDIUM, Match

LOOK_AHEAD_BYTES: Final = 4096
"""A position is judged when this much behind it is at hand, or the end has come."""

LOOK_BACK_BYTES: Final = 4096
MAX_CANDIDATES_PER_BLOCK: Final = 20_000

_TEXT_AROUND_BYTES: Final = 24
_PRINTABLE: Final = bytes([9, 10, 13, *range(0x20, 0x7F)])
_SCRIPT: Final = re.compile(rb"<script(?:[\s>/]|\Z)", re.I)
_SHEBANG: Final = re.compile(rb"#! ?/(?:usr/(?:local/)?)?bin/(?:env +)?[a-z]{2,12}[\s0-9]")
_HTML: Final = re.compile(rb"<(?:html|head|body|iframe|hta:application|svg)[\s>]", re.I)
_PHP: Final = re.compile(rb"<\?php\s+(?:[\w\\]{3,40}\s*[(\[;=]|[$/#@][\w ]{2,40}|\w{3,12}\s)", re.I)
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


def _dex(data: bytes, at: int) -> Match | None:
    return executables.dex(data, at - 3) if at >= 3 else None


_script = _text(_SCRIPT, "SR-HTML-002", "a script element")
_Parser = Callable[[bytes, int], Match | None]

_SIGNATURES: Final[dict[bytes, _Parser]] = {
    b"\x7fELF": executables.elf,
    b"\xca\xfe\xba\xbe": executables.fat_or_class,
    b"\xce\xfa\xed\xfe": executables.macho,
    b"\xcf\xfa\xed\xfe": executables.macho,
    b"\n035": _dex,
    b"\n036": _dex,
    b"\n037": _dex,
    b"\n038": _dex,
    b"\n039": _dex,
    b"\n040": _dex,
    b"\n041": _dex,
    b"ITSF": containers.help_file,
    b"\xcf\x11\xe0\xa1": lambda data, at: containers.compound(data, at - 1) if at else None,
    b"{\\rt": documents.rtf,
    b"MSCF": containers.cabinet,
    b"ar!\x1a": lambda data, at: containers.rar(data, at - 1) if at else None,
    b"asm\1": lambda data, at: executables.wasm(data, at - 1) if at else None,
    b"z\xbc\xaf\x27": lambda data, at: containers.seven_zip(data, at - 1) if at else None,
    b"%PDF": documents.pdf,
    b"<?ph": _text(_PHP, "SR-SCRIPT-001", "PHP: a line that only such programs have"),
    b"<?PH": _text(_PHP, "SR-SCRIPT-001", "PHP: a line that only such programs have"),
    b"<scr": _script,
    b"<SCR": _script,
    b"<Scr": _script,
    b"<htm": _html,
    b"<svg": _html,
    b"<ifr": _html,
    b"<bod": _html,
    b"#!/b": _text(_SHEBANG, "SR-SCRIPT-001", "a script that names its interpreter"),
    b"#!/u": _text(_SHEBANG, "SR-SCRIPT-001", "a script that names its interpreter"),
    b"#! /": _text(_SHEBANG, "SR-SCRIPT-001", "a script that names its interpreter"),
}
_LEADS: Final = frozenset(signature[0] for signature in _SIGNATURES)
_FOLLOWERS: Final = frozenset(b"".join(signature[1:] for signature in _SIGNATURES))
_CLASSES: Final = bytes(2 if byte in _FOLLOWERS - _LEADS else 1 if byte in _LEADS else 0 for byte in range(256))
_SHAPE: Final = re.compile(rb"\x01\x02\x02\x02")
_SECOND_SHAPE: Final = re.compile(rb"P[EK][\x00\x03\x05]")
_SECOND: Final[dict[bytes, _Parser]] = {
    b"PE\0\0": executables.pe_around,
    b"PK\3\4": containers.zip_local,
    b"PK\5\6": containers.zip_end,
}
_Confirmed = tuple[int, Match]


class Search:
    """Finds payloads in consecutive blocks; positions are those of the file. Not thread-safe."""

    __slots__ = ("gave_up_at",)

    def __init__(self) -> None:
        self.gave_up_at: int | None = None
        """Where there were more candidates than are followed."""

    def block(self, data: bytes, base: int, start: int, stop: int) -> Iterator[_Confirmed]:
        """Yield position and match of what begins from ``start`` to ``stop`` of ``data``, which is at ``base``."""
        for at, parser in self._candidates(data, base, start, stop):
            try:
                found = parser(data, at)
            except (struct_error, IndexError, ValueError):
                continue
            if found is not None:
                yield base + found.at, found

    def _candidates(self, data: bytes, base: int, start: int, stop: int) -> Iterator[tuple[int, _Parser]]:
        left = MAX_CANDIDATES_PER_BLOCK
        part = data[start : stop + 8]
        classes = part.translate(_CLASSES)
        for found in _SHAPE.finditer(classes):
            at = found.start()
            parser = _SIGNATURES.get(part[at : at + 4])
            if parser is not None and start + at < stop:
                left -= 1
                yield start + at, parser
                if left <= 0:
                    break
        for found in _SECOND_SHAPE.finditer(part):
            at = found.start()
            parser = _SECOND.get(part[at : at + 4])
            if parser is not None and start + at < stop:
                left -= 1
                yield start + at, parser
            if left <= 0:
                break
        if left <= 0 and self.gave_up_at is None:
            self.gave_up_at = base + start
