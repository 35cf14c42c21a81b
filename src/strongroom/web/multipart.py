"""multipart/related, read as it arrives and written as it leaves (RFC 2046 5.1, RFC 2387, DICOM PS3.18 8.7.1).

Sans-IO: bytes in, events out. The reader finds delimiters with one search of each buffer and hands out views of it, so
that it costs little more than touching the bytes once. Any chunking of a body gives the same parts. What two readers
could understand in two ways is refused: a delimiter with something else on its line, header fields that are folded,
doubled or not terminated by CRLF, a multipart body within a part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from strongroom.errors import LimitExceeded, MalformedRequest
from strongroom.web.negotiation import parse_media_type

MAX_BOUNDARY_CHARS: Final = 70
MAX_AROUND_BYTES: Final = 65536
"""Of the preamble, and of the epilogue: neither means anything."""

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_LINE_END: Final = re.compile(rb"--|[ \t]{0,64}\r\n")
_UNFINISHED_LINE_END: Final = re.compile(rb"-?|[ \t]{0,64}\r?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_HEADERS_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """Caps on one body. ``max_part_header_bytes`` and ``max_part_header_fields`` are of one part."""

    max_request_parts: int
    max_part_header_bytes: int
    max_part_header_fields: int = 32


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins. ``headers`` are its header fields, their names in lower case."""

    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        """Its media type as written, "" if it names none."""
        return self.headers.get("content-type", "")

    @property
    def content_location(self) -> str:
        """Its Content-Location, by which other parts name it, or ""."""
        return self.headers.get("content-location", "")


@dataclass(frozen=True, slots=True)
class PartEnd:
    """A part is complete: the delimiter behind it has been read to its end."""


PART_END: Final = PartEnd()
Event = PartStart | memoryview | PartEnd


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


def parse_multipart(content_type: str) -> tuple[bytes, str]:
    """Return boundary and part type of a multipart/related Content-Type; the type is lower case, "" if not given.

    Raises MalformedRequest: another media type, or no boundary that RFC 2046 5.1.1 allows.
    """
    media = parse_media_type(content_type)
    boundary = media.parameters.get("boundary", "")
    if media.essence != "multipart/related":
        raise MalformedRequest("a multipart body is multipart/related")
    if not _BOUNDARY.fullmatch(boundary):
        raise MalformedRequest(f"a boundary has 1 to {MAX_BOUNDARY_CHARS} of the characters that RFC 2046 allows")
    return boundary.encode("ascii"), media.parameters.get("type", "").strip().lower()


class MultipartReader:
    """One body on its way in. Not thread-safe."""

    def __init__(self, boundary: bytes, limits: MultipartLimits) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._limits = limits
        self._state = _State.PREAMBLE
        # The first delimiter may be the very first bytes: so they always follow a line.
        self._held = b"\r\n"
        self._lead = 0  # bytes at the front of a body that are still the header's, though a delimiter may begin there
        self._around = 0
        self.parts = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what ``data`` adds, to be taken to the end: starts and ends of parts, and views of their bytes.

        Raises MalformedRequest, or LimitExceeded for ``max_request_parts``, ``max_part_header_bytes`` or
        ``max_part_header_fields``; the reader is of no further use then.
        """
        buffer = self._held + data if self._held else data
        self._held = b""
        view = memoryview(buffer)
        position = 0
        while position < len(buffer):
            if self._state is _State.EPILOGUE:
                self._count_around(len(buffer) - position)
                return
            if self._state is _State.HEADERS:
                end = buffer.find(_HEADERS_END, position)
                if (len(buffer) - 3 if end < 0 else end) - position > self._limits.max_part_header_bytes:
                    raise LimitExceeded("max_part_header_bytes", self._limits.max_part_header_bytes)
                if end < 0:
                    self._held = buffer[position:]
                    return
                yield PartStart(self._headers(buffer[position + 2 : end]))
                self._state, self._lead = _State.BODY, 2
                position = end + 2
                continue
            found = buffer.find(self._delimiter, position)
            end = self._open_end(buffer, position) if found < 0 else found
            body = position + self._lead
            if found < 0 and end < body:
                end = position  # of the body, only what may begin a delimiter has come
            else:
                self._lead = 0
                if self._state is _State.PREAMBLE:
                    self._count_around(end - position)
                elif body < end:
                    yield view[body:end]
            if found < 0:
                self._held = buffer[end:]
                return
            line_end = self._line_end(buffer, found)
            if line_end is None:
                self._held = buffer[found:]
                return
            if self._state is _State.BODY:
                yield PART_END
            position = self._begin(line_end)

    def finish(self) -> None:
        """Say that the body has ended. Raises MalformedRequest if it is not complete."""
        if self._state is not _State.EPILOGUE:
            raise MalformedRequest("a multipart body that ends before its closing delimiter")
        if not self.parts:
            raise MalformedRequest("a multipart body without a part")

    def _open_end(self, buffer: bytes, position: int) -> int:
        """Return where a delimiter begins of which only the first bytes have come, the end if none does."""
        # A delimiter has one CR, its first byte: so only the last one can begin it.
        start = buffer.rfind(b"\r", max(position, len(buffer) - len(self._delimiter) + 1))
        return start if start >= 0 and self._delimiter.startswith(buffer[start:]) else len(buffer)

    def _line_end(self, buffer: bytes, found: int) -> re.Match[bytes] | None:
        """Return what follows the delimiter at ``found``, None if that has not come yet."""
        start = found + len(self._delimiter)
        line_end = _LINE_END.match(buffer, start)
        if line_end is None and not _UNFINISHED_LINE_END.fullmatch(buffer, start):
            raise MalformedRequest("a multipart delimiter with something else on its line")
        return line_end

    def _begin(self, line_end: re.Match[bytes]) -> int:
        """Begin what a delimiter leads to; returns where that stands."""
        if line_end[0] == b"--":
            self._state, self._around = _State.EPILOGUE, 0
            return line_end.end()
        self.parts += 1
        if self.parts > self._limits.max_request_parts:
            raise LimitExceeded("max_request_parts", self._limits.max_request_parts)
        self._state = _State.HEADERS
        return line_end.end() - 2  # with the CRLF: of a part without header fields it is the first of two

    def _count_around(self, more_bytes: int) -> None:
        self._around += more_bytes
        if self._around > MAX_AROUND_BYTES:
            raise MalformedRequest(f"more than {MAX_AROUND_BYTES} bytes outside the parts of a multipart body")

    def _headers(self, block: bytes) -> Mapping[str, str]:
        fields: dict[str, str] = {}
        lines = block.split(b"\r\n", self._limits.max_part_header_fields) if block else []
        if len(lines) > self._limits.max_part_header_fields:
            raise LimitExceeded("max_part_header_fields", self._limits.max_part_header_fields)
        for line in lines:
            found = _FIELD.fullmatch(line)
            if found is None:
                raise MalformedRequest("a header field of a part is not NAME: VALUE on one line")
            name = found[1].decode("ascii").lower()
            if name in fields:
                raise MalformedRequest("a header field of a part stands there twice")
            fields[name] = found[2].decode("latin-1")
        if fields.get("content-type", "").lstrip().lower().startswith(("multipart/", "message/")):
            raise MalformedRequest("a part that has parts itself")
        if fields.get("content-transfer-encoding", "binary").lower() not in ("binary", "7bit", "8bit"):
            raise MalformedRequest("a part under a Content-Transfer-Encoding: HTTP has none")
        return MappingProxyType(fields)


def boundary_of(random: bytes) -> str:
    """Return a boundary made of ``random``, at least 16 bytes that nobody could foresee: no stored byte meets it."""
    assert len(random) >= 16
    return "strongroom-" + random.hex()


class MultipartWriter:
    """One body on its way out: for each part ``part``, then its bytes; after the last one ``end``."""

    __slots__ = ("_delimiter", "_is_first")

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"--" + boundary.encode("ascii")
        self._is_first = True

    def part(self, content_type: str, content_location: str = "") -> bytes:
        """Return the delimiter and header of a part, which the part's own bytes follow.

        Both values are ours, or have been checked: they hold no line break.
        """
        lead = self._delimiter if self._is_first else b"\r\n" + self._delimiter
        self._is_first = False
        header = f"\r\nContent-Type: {content_type}\r\n"
        if content_location:
            header += f"Content-Location: {content_location}\r\n"
        return lead + header.encode("ascii") + b"\r\n"

    def end(self) -> bytes:
        """Return the closing delimiter."""
        return b"\r\n" + self._delimiter + b"--\r\n"
