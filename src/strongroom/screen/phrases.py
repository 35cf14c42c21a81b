"""Lines of scripts and the beginnings of encoded files, to be searched for in all bytes: behind headers, in pixels.

What begins a value is looked at whole; these are for what does not. Each expression matches a fixed number of bytes, so
that where it begins is known from where it ends, and only leads to the text around it, which has to be a script, or to
the run of digits behind it, which has to decode to a format.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Final

from strongroom.screen import documents, encoded, scripts
from strongroom.screen.matches import MEDIUM, Match

_BEFORE_BYTES: Final = 2048
_BEHIND_BYTES: Final = 4096
_LINE_BEFORE_BYTES: Final = 512
_LINE_BEHIND_BYTES: Final = 1024
"""Where the one line stands that a phrase is of. To look further costs up to 10 ms for each lure that somebody lays."""
_MIN_TEXT_BYTES: Final = 20
_DIGITS: Final = 32
_PLAIN: Final = re.compile(rb"[\t\n\r -~]*")
_PLAIN_END: Final = re.compile(rb"[\t\n\r -~]*\Z")
_WIDE: Final = re.compile(rb"(?:[\t\n\r -~]\0)*")
_WIDE_END: Final = re.compile(rb"(?:[\t\n\r -~]\0)*\Z")

_WINDOWS_LINES: Final = (
    "@echo off", "@setlocal", "@if exist ", "cmd /c ", "cmd.exe /c ", "certutil -", "powershell -", "powershell.exe -",
    "invoke-expression", "invoke-webrequest", "new-object ", "downloadstring", "-encodedcommand",
    "$erroractionpreference", "get-childitem ", "wscript.shell", "wscript.echo", "createobject(", "activexobject(",
    "attribute vb_name", "sub autoopen", "sub auto_open", "sub document_open", "eval(atob", "fromcharcode",
    "document.write(", "xmlhttprequest", "[autorun]", "[internetshortcut]", "windows registry editor",
)  # fmt: skip
"""What Windows runs from text of two bytes a character as well; a shell, PHP or Python reads no such text."""

_LINES: Final = (
    *_WINDOWS_LINES, "child_process", "document.cookie", "document.location", "$_request[", "$_server[", "$_get[",
    "$_post[", "<%@ page", "getruntime()", "__import__(", "from __future__ import", "module.exports", "os.system(",
    "os.popen(", "subprocess.", "use strict;", "use socket;", "require 'open3'", "/dev/tcp/", "| bash", "| sh", "|sh\n",
    "rm -rf ", "chmod +x ", "sh -i >&", "if [ -", "do shell script", "namespace eval ", "package require ",
    "os.execute(", "io.popen(", "[desktop entry]", "x5o!p%@ap[4", "<?= `", "<?=`", "(self):", "(self, ",
)  # fmt: skip
_MARKUP: Final = ("onerror=", "onload=", "javascript:", "http-equiv=")
_HEADS: Final = (
    b"MZ", b"\x7fELF", b"PK\3\4", b"%PDF", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"dex\n",
    b"Rar!", b"7z\xbc\xaf", b"\xd0\xcf\x11\xe0", b"MSCF", b"{\\rt", b"\0asm", b"\x4c\0\0\0", b"#!/", b"<?php", b"<html",
    b"<script",
)  # fmt: skip
_HEXADECIMAL: Final = (
    (b"", rb"[0-9a-f\r\n]"),
    (b" ", rb"[0-9a-f \r\n]"),
    (b"\\x", rb"[0-9a-fx\\]"),
    (b",0x", rb"[0-9a-fx,\r\n]"),
    (b", 0x", rb"[0-9a-fx, \r\n]"),
)
"""What stands between two bytes, and what the digits are of that follow."""

_INSIDE: Final = 4
_ANY_DIGIT: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"

Phrase = tuple[bytes, int, Callable[[bytes, int], Match | None]]
"""An expression, how many bytes it matches, and who bears it out."""


def _script(data: bytes, at: int) -> Match | None:
    start, text = _around(data, at, _LINE_BEFORE_BYTES, _LINE_BEHIND_BYTES)
    found = scripts.certain_script(text) if len(text) >= _MIN_TEXT_BYTES else None
    return found._replace(at=start) if found is not None else None


def _markup(data: bytes, at: int) -> Match | None:
    start, text = _around(data, at)
    if len(text) < _MIN_TEXT_BYTES or documents.ACTIVE_MARKUP.search(text) is None:
        return None
    return Match("SR-HTML-002", MEDIUM, "markup with code", start)


def _around(
    data: bytes, at: int, before_bytes: int = _BEFORE_BYTES, behind_bytes: int = _BEHIND_BYTES
) -> tuple[int, bytes]:
    """Return the text that the bytes at ``at`` stand in, of one or two bytes a character, and where it begins."""
    before = data[max(0, at - before_bytes) : at]
    if data[at + 1 : at + 2] == b"\0":
        start = at - len(_longest(_WIDE_END, before))
        return start, data[start:at][::2] + _longest(_WIDE, data[at : at + behind_bytes])[::2]
    start = at - len(_longest(_PLAIN_END, before))
    return start, data[start:at] + _longest(_PLAIN, data[at : at + behind_bytes])


def _longest(pattern: re.Pattern[bytes], data: bytes) -> bytes:
    found = pattern.search(data)
    return found[0] if found is not None else b""


def _encoded(data: bytes, at: int) -> Match | None:
    if at >= _INSIDE and not data[at - _INSIDE : at].translate(None, _ANY_DIGIT):
        return None  # in the middle of digits, whose beginning says what they are
    found = encoded.encoded(data[at : at + _BEHIND_BYTES])
    return found._replace(at=at, size_bytes=0) if found is not None and found.at == 0 else None


def _wide(line: str) -> bytes:
    return b"".join(re.escape(each).encode() + rb"\x00" for each in line)


def _base64(head: bytes) -> bytes:
    """The digits that ``head`` decides, all six bits of each."""
    return b64encode(head + b"\0\0")[: len(head) * 8 // 6]


def _all() -> Iterator[Phrase]:
    for line in _LINES:
        yield rb"(?i)" + re.escape(line).encode(), len(line), _script
    for line in _WINDOWS_LINES:
        yield rb"(?i)" + _wide(line), 2 * len(line), _script
    for line in _MARKUP:
        yield rb"(?i)" + re.escape(line).encode(), len(line), _markup
    for head in _HEADS:
        begun = _base64(head)
        yield re.escape(begun) + rb"[A-Za-z0-9+/_\-\r\n]{%d}" % _DIGITS, len(begun) + _DIGITS, _encoded
        for joined, digits in _HEXADECIMAL:
            begun = joined.join(b"%02x" % byte for byte in head)
            yield rb"(?i)" + re.escape(begun) + digits + rb"{%d}" % _DIGITS, len(begun) + _DIGITS, _encoded


PHRASES: Final = tuple(_all())
