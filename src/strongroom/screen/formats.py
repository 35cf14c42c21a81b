"""Which format some bytes are of: at their beginning, at their end, or from a signature found within them."""

from __future__ import annotations

from collections.abc import Callable
from struct import error as struct_error
from typing import Final

from strongroom.screen import containers, documents, executables, scripts
from strongroom.screen.matches import LOW, Match

Parser = Callable[[bytes, int], Match | None]

_BY_FIRST_BYTE: Final[dict[int, tuple[Parser, ...]]] = {
    0x4D: (executables.pe, executables.dos, containers.cabinet),  # M
    0x5A: (executables.pe, executables.dos, containers.package),  # Z
    0x7F: (executables.elf,),
    0xCE: (executables.macho,),
    0xCF: (executables.macho,),
    0xFE: (executables.macho,),
    0xCA: (executables.fat_or_class,),
    0x64: (executables.dex,),
    0x00: (executables.wasm,),
    0x4C: (executables.shortcut,),
    0x80: (executables.pickle,),
    0xD0: (containers.compound,),
    0x49: (containers.help_file,),
    0x50: (containers.zip_local, containers.zip_end, executables.pe_around),
    0x52: (containers.rar,),
    0x37: (containers.seven_zip,),
    0x25: (documents.pdf,),
    0x7B: (documents.rtf,),
    0x21: (containers.package,),
    0xED: (containers.package,),
    0x46: (containers.package,),
    0x43: (containers.package,),
    0x1B: (containers.package,),
    0x78: (containers.package,),
    0x42: (containers.package, containers.packed),
    0x1F: (containers.packed,),
    0xFD: (containers.packed,),
    0x28: (containers.packed,),
}
_TEXTS: Final[tuple[Parser, ...]] = (documents.markup, documents.xml, documents.mime, scripts.script)
_BLOCKS: Final[tuple[Parser, ...]] = (containers.tar, containers.disk_header)
_ISO_BYTES: Final = 0x8800
_SECTOR_BYTES: Final = 512
_PDF_WITHIN_BYTES: Final = 1024
_MOSTLY_TEXT: Final = bytes([9, 10, 13, *range(0x20, 0x7F)])
_TEXT_SAMPLE_BYTES: Final = 24


def parsed(parser: Parser, data: bytes, at: int) -> Match | None:
    """Return what ``parser`` makes of the bytes at ``at``; None also where they end within what it reads."""
    try:
        return parser(data, at)
    except (struct_error, IndexError, ValueError):
        return None


def binary_at(data: bytes, at: int) -> Match | None:
    """Return the binary format that begins at ``at``, None if none does."""
    if at >= len(data):
        return None
    for parser in _BY_FIRST_BYTE.get(data[at], ()):
        found = parsed(parser, data, at)
        if found is not None:
            return found
    return None


def begins_as_text(data: bytes) -> bool:
    """Whether the first bytes are text for the most part."""
    sample = data[:_TEXT_SAMPLE_BYTES]
    return len(sample.translate(None, _MOSTLY_TEXT)) * 6 <= len(sample)


def identify(data: bytes) -> Match | None:
    """Return the format that ``data`` is of from its first byte on, None if no structure bears one out.

    White space before markup and scripts, and up to 1,024 bytes before a PDF header, are passed over as the software
    passes over them that opens such files.
    """
    return _binary_format(data) or _text_format(data) or _late_pdf(data)


def identify_exactly(data: bytes) -> Match | None:
    """Return what ``identify`` does, of bytes that may be anything, text by chance included: pixels, samples."""
    found = _binary_format(data)
    if found is not None and found.confidence is not LOW:
        return found
    found = scripts.script_in_pixels(data) if _may_be_text(data) else None
    if found is None and _may_be_text(data) and scripts.is_written(data):
        found = parsed(documents.markup, data, 0) or parsed(documents.xml, data, 0) or parsed(documents.mime, data, 0)
    return found or _late_pdf(data)


def _binary_format(data: bytes) -> Match | None:
    found = binary_at(data, 0)
    if found is not None:
        return found
    found = parsed(executables.byte_code, data, 0)
    if found is not None:
        return found
    for parser in _BLOCKS if len(data) >= _SECTOR_BYTES else ():
        found = parsed(parser, data, 0)
        if found is not None:
            return found
    return parsed(containers.iso, data, 0) if len(data) >= _ISO_BYTES else None


def _late_pdf(data: bytes) -> Match | None:
    start = data.find(b"%PDF-", 1, _PDF_WITHIN_BYTES + 5)
    return parsed(documents.pdf, data, start) if start > 0 else None


def _may_be_text(data: bytes) -> bool:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    if not data[1:_TEXT_SAMPLE_BYTES:2].strip(b"\0") or not data[:_TEXT_SAMPLE_BYTES:2].strip(b"\0"):
        return True  # UTF-16 without a mark
    return (data[:2].isascii() or data[:3] == b"\xef\xbb\xbf") and begins_as_text(data)


def _text_format(data: bytes) -> Match | None:
    if not _may_be_text(data):
        return None
    for parser in _TEXTS:
        found = parsed(parser, data, 0)
        if found is not None:
            return found
    return None


def identify_end(data: bytes) -> Match | None:
    """Return the format that software recognises by the end of a file: ZIP, VHD, DMG. ``at`` is where it begins."""
    for length in (512, 511):
        if len(data) >= length:
            found = parsed(containers.disk_trailer, data, len(data) - length)
            if found is not None:
                return found
    start = len(data)
    for _ in range(16):
        start = data.rfind(b"PK\5\6", max(0, len(data) - 66_000), start)
        if start < 0:
            return None
        found = parsed(containers.zip_end, data, start)
        if found is not None:
            return found
    return None
