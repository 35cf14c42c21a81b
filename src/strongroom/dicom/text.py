"""Text values: Specific Character Set and its code extensions, and the form in which names are compared.

DICOM PS3.5 6.1, 6.2 and annexes H, I, J, K; PS3.3 C.12.1.1.2. Decoding never fails: what cannot be decoded becomes
U+FFFD. Nothing here splits values: a backslash in the result separates values where the VR allows several.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

UTF_8: Final = ("ISO_IR 192",)
DEFAULT_REPERTOIRE: Final[tuple[str, ...]] = ()

CHARSET_VRS: Final = frozenset(b"SH LO ST LT UC UT PN".split())
"""VRs that Specific Character Set applies to (PS3.5 6.1.2.3)."""


class _Designation(NamedTuple):
    """What an escape sequence puts into G0 (bytes below 0x80) or G1 (above): a codec, and if it takes byte pairs."""

    escape: bytes
    codec: str
    high: bool
    pairs: bool = False


_ASCII: Final = _Designation(b"\x1b(B", "ascii", False)
_SINGLE_BYTE_SETS: Final = (
    ("100", b"\x1b-A", "latin_1"),
    ("101", b"\x1b-B", "iso8859_2"),
    ("109", b"\x1b-C", "iso8859_3"),
    ("110", b"\x1b-D", "iso8859_4"),
    ("144", b"\x1b-L", "iso8859_5"),
    ("127", b"\x1b-G", "iso8859_6"),
    ("126", b"\x1b-F", "iso8859_7"),
    ("138", b"\x1b-H", "iso8859_8"),
    ("148", b"\x1b-M", "iso8859_9"),
    ("203", b"\x1b-b", "iso8859_15"),
    ("13", b"\x1b)I", "shift_jis"),
    ("166", b"\x1b-T", "tis_620"),
)
# PS3.3 tables C.12-3 and C.12-4: by defined term without its "ISO 2022 " or "ISO_".
_SETS: Final[Mapping[str, _Designation]] = MappingProxyType(
    {
        "IR 6": _ASCII,
        **{f"IR {number}": _Designation(escape, codec, True) for number, escape, codec in _SINGLE_BYTE_SETS},
        "IR 87": _Designation(b"\x1b$B", "iso2022_jp", False, True),
        "IR 159": _Designation(b"\x1b$(D", "iso2022_jp_2", False, True),
        "IR 149": _Designation(b"\x1b$)C", "euc_kr", True, True),
        "IR 58": _Designation(b"\x1b$)A", "gb2312", True, True),
    }
)
_ROMAJI: Final = _Designation(b"\x1b(J", "ascii", False)  # JIS X 0201: yen and overline are left as in ISO 646
_BY_ESCAPE: Final[Mapping[bytes, _Designation]] = MappingProxyType(
    {**{entry.escape: entry for entry in _SETS.values()}, _ROMAJI.escape: _ROMAJI}
)
# Sets that are no ISO 2022 sets and stand alone: the codec of the whole value.
_WHOLE: Final[Mapping[str, str]] = MappingProxyType({"ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"})

_ESCAPES: Final = re.compile(b"(" + b"|".join(re.escape(escape) for escape in _BY_ESCAPE) + b")")
_TERM: Final = re.compile(r"ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?([0-9]+)", re.IGNORECASE)
_RESET_IN_TEXT: Final = re.compile(rb"[\\\r\n\f\t]")
_RESET_IN_NAMES: Final = re.compile(rb"[\\\r\n\f\t^=]")
_HIGH_RUNS: Final = re.compile(rb"[\x80-\xff]+|[\x00-\x7f]+")


def parse_charsets(raw: bytes) -> tuple[str, ...]:
    """Return the defined terms in a value of Specific Character Set (0008,0005), spelt as the standard does.

    The spellings of the field (``ISO-IR 100``, ``ISO 2022 IR-87``) are understood; an unknown term stays as it is and
    decodes as the default repertoire.
    """
    terms = []
    for part in raw.decode("ascii", "replace").split("\\"):
        term = part.strip(" \0")
        match = _TERM.fullmatch(term)
        if match:
            number = match[1]
            # A term with "2022" allows code extensions, and so does any term beside another.
            term = f"ISO 2022 IR {number}" if "2022" in term else f"ISO_IR {number}"
        terms.append(term)
    return tuple(terms) if any(terms) else DEFAULT_REPERTOIRE


def defined_terms() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the defined terms of Specific Character Set that are understood: single byte without code extensions,
    with code extensions, and those that stand alone (PS3.3 tables C.12-2 to C.12-5)."""
    single = tuple(f"ISO_{name}" for name, entry in _SETS.items() if not entry.pairs and name != "IR 6")
    return single, tuple(f"ISO 2022 {name}" for name in _SETS), tuple(_WHOLE)


def decode(raw: bytes, charsets: tuple[str, ...], vr: bytes) -> str:
    """Return the text of ``raw``, padding included. ``charsets`` is from ``parse_charsets``.

    Bytes that the character set does not have come out as U+FFFD, never as an error.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if vr not in CHARSET_VRS:
        return raw.decode("ascii", "replace")
    first = charsets[0] if charsets else ""
    whole = _WHOLE.get(first)
    if whole is not None:
        return raw.decode(whole, "replace")
    initial = _set_of(first)
    if len(charsets) < 2 and not first.startswith("ISO 2022"):
        return raw.decode(initial.codec, "replace")
    return "".join(_decode_extended(raw, initial, _RESET_IN_NAMES if vr == b"PN" else _RESET_IN_TEXT))


def _set_of(term: str) -> _Designation:
    return _SETS.get(term.removeprefix("ISO 2022 ").removeprefix("ISO_"), _ASCII)


def _decode_extended(raw: bytes, initial: _Designation, resets: re.Pattern[bytes]) -> Iterator[str]:
    """Yield the text piece by piece: what is designated holds until the next escape sequence or delimiter."""
    initial_high = initial if initial.high else _ASCII
    low, high = _ASCII, initial_high
    for piece in _ESCAPES.split(raw):
        designation = _BY_ESCAPE.get(piece)
        if designation is not None:
            if designation.high:
                high = designation
            else:
                low = designation
            continue
        if low.pairs:
            # The delimiters are half of a character here; the standard has one byte sets back before any of them.
            yield (low.escape + piece).decode(low.codec, "replace")
            continue
        start = 0
        for delimiter in resets.finditer(piece):
            yield _decode_runs(piece[start : delimiter.start()], high)
            yield delimiter[0].decode("ascii")
            start = delimiter.end()
            low, high = _ASCII, initial_high
        yield _decode_runs(piece[start:], high)


def _decode_runs(piece: bytes, high: _Designation) -> str:
    if piece.isascii():
        return piece.decode("ascii")
    return "".join(run.decode("ascii" if run[0] < 0x80 else high.codec, "replace") for run in _HIGH_RUNS.findall(piece))


def encode(text: str, charsets: tuple[str, ...]) -> bytes | None:
    """Return ``text`` in ``charsets``, or None if they do not have all of its characters.

    With code extensions each component between delimiters is written in the first set that has it, announced by its
    escape sequence, and ends in the initial state (PS3.5 6.1.2.5.3).
    """
    if text.isascii():
        return text.encode("ascii")
    first = charsets[0] if charsets else ""
    whole = _WHOLE.get(first)
    initial = _set_of(first)
    try:
        if whole is not None:
            return text.encode(whole)
        if len(charsets) < 2:
            encoded = text.encode(initial.codec)
        else:
            # A name's delimiters are taken for all text: resetting more often than needed does no harm.
            parts = re.split(r"([\\\r\n\f\t^=])", text)
            encoded = b"".join(_encode_extended(part, initial, charsets) for part in parts)
    except UnicodeEncodeError:
        return None
    # Not every codec stays within its set: a yen sign may come out as 0x5C, which separates values.
    return encoded if decode(encoded, charsets, b"PN") == text else None


def _encode_extended(part: str, initial: _Designation, charsets: tuple[str, ...]) -> bytes:
    for term in ("", *charsets):
        designation = _set_of(term) if term else initial
        if term and designation is initial:
            continue
        try:
            encoded = part.encode(designation.codec)
        except UnicodeEncodeError:
            continue
        # Python's Shift JIS has more than the single bytes of JIS X 0201, which is all that IR 13 is.
        if designation.codec == "shift_jis" and len(encoded) != len(part):
            continue
        if not term and not designation.pairs:
            return encoded
        if not designation.high:
            return encoded  # the ISO 2022 codecs write their own escape sequences, back to ASCII included
        return designation.escape + encoded
    raise UnicodeEncodeError("dicom", part, 0, len(part), "in none of the character sets")


_ACCENTS: Final = re.compile("[\u0300-\u036f]+")


def normalise_pn(text: str) -> str:
    """Return a person name in the form that names are compared in (PS3.4 C.2.2.2.1 leaves it to the archive).

    Each component group case-folded, without accents, without padding around components and without empty components
    and groups at the end. Marks of other scripts than Latin, Greek and Cyrillic stay: there they make other letters.
    """
    if text.isascii():
        folded = text.lower()
    else:
        bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
        folded = unicodedata.normalize("NFKC", bare.casefold())
    if "^" not in folded and "=" not in folded:
        return folded.strip(" \0")
    groups = ("^".join(component.strip(" \0") for component in group.split("^")) for group in folded.split("="))
    return "=".join(group.rstrip("^") for group in groups).rstrip("=")
