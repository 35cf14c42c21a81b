"""Text that a machine runs: what a script begins with, and words that only scripts have.

Text proves less than a header does. One line that no report of a physician holds (``#!/bin/sh``, ``<?php``,
``@echo off``) is enough; of words that a report may hold two different ones have to come together.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from strongroom.screen.matches import HIGH, LOW, MEDIUM, Match


class _Language(NamedTuple):
    name: str
    strong: re.Pattern[bytes]
    weak: re.Pattern[bytes]


def _any(*patterns: bytes) -> re.Pattern[bytes]:
    return re.compile(b"|".join(patterns) or rb"(?!)", re.I)


_LANGUAGES: Final = (
    _Language(
        "a shell script",
        _any(
            rb"#! ?/(?:usr/|bin/|sbin/|opt/|system/)[\w/.-]{1,40}",
            rb"\b(?:curl|wget)\s[^\r\n]{3,200}\|\s*(?:sudo\s+)?(?:ba|z|k|da)?sh\b",
            rb"/dev/tcp/\d",
            rb"\b(?:ba)?sh\s+-i\s*>&",
            rb"\brm\s+-rf?\s+[/~*]",
            rb"\bchmod\s+(?:\+x|[0-7]{3,4})\s+[/.$]",
            rb"(?:^|[\n;])[ \t]{0,16}if\s+\[{1,2}\s+[^\]\r\n]{1,80}\s\]{1,2}\s{0,4};?\s{0,4}then\b",
            rb"\bnc\s+-[a-z]*e\s",
            rb"\bmkfifo\s+/",
        ),
        _any(
            rb"\$\([a-z]{2,}[^)\r\n]{0,80}\)",
            rb"\bexec\s+[\w./]",
            rb"\b(?:export|unset)\s+\w+",
            rb";\s*(?:then|do)\b",
            rb"(?:^|[\n;])[ \t]{0,16}(?:fi|done|esac)\b",
            rb"\b(?:eval|source)\s+[\"'$\w]",
            rb"(?:^|[\n;])[ \t]{0,16}(?:echo|cat|cp|mv|exit|cd|touch|sleep)\s+[\"'$/\w-]",
            rb"<<\s*'?EOF",
            rb"/(?:bin|etc|tmp|dev)/\w+",
        ),
    ),
    _Language(
        "a batch file",
        _any(
            rb"@echo\s+off\b",
            rb"\bcmd(?:\.exe)?\s+/[ck]\b",
            rb"%comspec%",
            rb"\bgoto\s+:?eof\b",
            rb"\bcertutil\s+-",
            rb"(?:^|[\r\n])@(?:if\s+(?:not\s+)?exist|setlocal|endlocal|set\s+\w+=|rem\s)",
            rb"(?:^|[\r\n])set\s+\w{2,40}=%",
        ),
        _any(
            rb"\bsetlocal\b",
            rb"%~d?p?[0-9]",
            rb"(?:^|[\r\n&])[ \t]{0,16}@?(?:start|call|del|copy|set|if\s+exist|rem|pause|echo|type|for\s+/f)\s+\S",
            rb"%(?:temp|appdata|systemroot|userprofile|windir)%",
            rb"\b(?:reg\s+add|schtasks|bitsadmin|rundll32|regsvr32|mshta)\b",
            rb"\bexit\s+/b\b",
        ),
    ),
    _Language(
        "PowerShell",
        _any(
            rb"\bpowershell(?:\.exe)?\s+-",
            rb"\binvoke-(?:expression|webrequest|restmethod|command|mimikatz)\b",
            rb"\bnew-object\s+(?:net|system|io|-com)",
            rb"-encodedcommand\b",
            rb"\bstart-process\b",
            rb"\[system\.(?:net|reflection|convert|text|io)",
            rb"\bset-executionpolicy\b",
            rb"\badd-type\s+-",
            rb"\.downloadstring\(",
            rb"\$erroractionpreference\b",
            rb"\b(?:get|set|new|remove|invoke|start|stop|add|import|out|write)-[a-z]{4,20}\s+(?:\$[a-z_]|"
            rb"-(?:path|name|uri|filter|recurse|force|command|value|outfile|filepath|argumentlist|erroraction)\b)",
        ),
        _any(
            rb"\bwrite-(?:host|output)\b",
            rb"\biex\s*[\s(]",
            rb"\$(?:env:|psversion|true\b|null\b|_\.)",
            rb"\bget-(?:process|item|content|childitem|wmiobject)\b",
            rb"\bparam\s*\(",
            rb"\$\w+\s*=\s*[\[\"'@(]",
        ),
    ),
    _Language(
        "a Windows script",
        _any(
            rb"\bcreateobject\s*\(\s*[\"']",
            rb"\bwscript\s*\.\s*(?:shell|echo|createobject|sleep|quit|arguments|scriptfullname)",
            rb"\bnew\s+activexobject\b",
            rb"<hta:application",
            rb"\bgetobject\s*\(\s*[\"']",
            rb"\bexecuteglobal\b",
            rb"\bmsgbox\s*[(\"]",
            rb"\battribute\s+vb_name\b",
            rb"\bsub\s+(?:auto_?open|auto_?exec|auto_?close|document_open|workbook_open)\b",
        ),
        _any(
            rb"\bon\s+error\s+resume\s+next\b",
            rb"\boption\s+explicit\b",
            rb"(?:^|[\r\n:])[ \t]{0,16}dim\s+\w+",
            rb"(?:^|[\r\n:])[ \t]{0,16}set\s+\w+\s*=",
            rb"\bend\s+(?:sub|function|if)\b",
            rb"\bexecute\s*\(",
        ),
    ),
    _Language(
        "JavaScript",
        _any(
            rb"\beval\s*\(\s*(?:atob|unescape|string|function|\()",
            rb"\bnew\s+function\s*\(\s*[\"']",
            rb"\bdocument\s*\.\s*(?:write|cookie|location|createelement|getelement|body)\b",
            rb"\brequire\s*\(\s*[\"'](?:child_process|fs|net|http|os|vm)[\"']\s*\)",
            rb"\bwindow\s*\.\s*(?:location|open|eval|onload)\b",
            rb"\bxmlhttprequest\b",
            rb"\bstring\s*\.\s*fromcharcode\b",
            rb"\bprocess\s*\.\s*(?:mainmodule|binding|env|exit)\b",
            rb"\bmodule\s*\.\s*exports\b",
            rb"\bexport\s+(?:default\s+(?:function|class|\{)|const\s+\w+\s*=|function\s+\w+\s*\(|class\s+\w+\s*\{)",
            rb"\bfunction\s+\w+\s*\([\w, ]{0,80}\)\s*\{\s*(?:var|let|const|return|if|for)\b",
        ),
        _any(
            rb"\bfunction\s*\w*\s*\([^)]{0,80}\)\s*\{",
            rb"\b(?:var|let|const)\s+\w+\s*=",
            rb"\balert\s*\(",
            rb"\bconsole\s*\.\s*log\s*\(",
            rb"=>\s*\{",
            rb"\beval\s*\(",
            rb"\bfetch\s*\(\s*[\"'`]",
            rb"['\"]use strict['\"]",
            rb"\batob\s*\(",
        ),
    ),
    _Language(
        "PHP",
        _any(
            rb"<\?php\s+[\w$/@*#?]{2,40}",
            rb"<\?php\b",
            rb"<\?=\s*[`$\w]",
            rb"\$_(?:get|post|request|server|files|cookie)\s*\[",
        ),
        _any(),
    ),
    _Language(
        "a server page",
        _any(
            rb"<%\s*@\s*\w+\s+\w+\s*=",
            rb"<%\s*(?:@|=|eval|execute|response|runtime)",
            rb"<jsp:\w+",
            rb"\bruntime\.getruntime\(\)",
        ),
        _any(),
    ),
    _Language(
        "Python",
        _any(
            rb"\b__import__\s*\(",
            rb"\bos\.(?:system|popen|exec[lv]p?e?)\s*\(",
            rb"\bsubprocess\.(?:popen|run|call|check_\w+)\s*\(",
            rb"\bif\s+__name__\s*==",
            rb"\bexec\s*\(\s*(?:compile|base64|zlib|open|__)",
            rb"\bpty\.spawn\s*\(",
            rb"(?:^|[\r\n])[ \t]{0,16}(?:async\s+)?def\s+\w+\s*\(self\b",
            rb"(?:^|[\r\n])class\s+\w+\([\w., ]{0,80}\):\s*[\r\n]+[ \t]+(?:def\b|pass\b|[\"'#@]|\w+\s*[:=])",
            rb"\bfrom\s+__future__\s+import\b",
        ),
        _any(
            rb"(?:^|[\r\n;])[ \t]{0,16}import\s+(?:os|sys|socket|subprocess|base64|ctypes|urllib|requests|pty)\b",
            rb"(?:^|[\r\n])[ \t]{0,16}from\s+[\w.]+\s+import\s+\w",
            rb"(?:^|[\r\n])[ \t]{0,16}def\s+\w+\s*\([^)\r\n]{0,200}\)\s*:",
            rb"\bprint\s*\(",
            rb"\bexec\s*\(",
            rb"\bsocket\.socket\s*\(",
            rb"\beval\s*\(",
        ),
    ),
    _Language(
        "Perl or Ruby",
        _any(rb"\buse\s+(?:strict|warnings|socket)\s*;", rb"\brequire\s+['\"](?:socket|open3|net/http)['\"]"),
        _any(
            rb"\bmy\s+[$@%]\w+\s*=",
            rb"\b(?:print|system|exec|unlink)\s+[\"'q]",
            rb"\bsub\s+\w+\s*\{",
            rb"\bIO\.popen\b",
        ),
    ),
    _Language(
        "AppleScript, Lua or Tcl",
        _any(
            rb"\bdo\s+shell\s+script\s+\"",
            rb"\btell\s+application\s+\"",
            rb"\bos\.execute\s*\(",
            rb"\bio\.popen\s*\(",
            rb"(?:^|[\r\n])[ \t]{0,16}(?:proc\s+[\w:]+|namespace\s+eval\s+[\w:]+)\s+\{",
            rb"(?:^|[\r\n])package\s+(?:require|provide)\s+(?:Tcl|Tk|[\w:]+\s+\d)\b",
        ),
        _any(),
    ),
    _Language(
        "a Windows settings file that starts programs",
        _any(
            rb"\A[\s\xff\xfe\xef\xbb\xbf]*(?:windows registry editor version|regedit4)",
            rb"\[internetshortcut\]",
            rb"\[desktop entry\]",
            rb"\[autorun\]",
            rb"\[shell\]\s*[\r\n]+command=",
        ),
        _any(),
    ),
)
_RUN_BY: Final = re.compile(rb"\A(?:\xef\xbb\xbf)?#! ?/[\w/.-]{2,60}")
_TEST_FILE: Final = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$"
_MAX_TEXT_BYTES: Final = 65536
_MIN_TEXT_BYTES: Final = 6
_MIN_PREFIX_BYTES: Final = 20
_MIN_PROOF_BYTES: Final = 6
_WIDE_BYTES: Final = 24
_PRINTABLE: Final = bytes([9, 10, 13, *range(0x20, 0x7F)])
_SMALL_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x19\x1c-\x1f\x7f-\xff]")
_NOT_TEXT: Final = bytes(set(range(32)) - {9, 10, 12, 13, 26, 27})
_QUICK: Final = re.compile(
    rb"[$%<>(){};=@`|&#\\]|\b(?:import|echo|dim|set|call|start|goto|exec|powershell|curl|wget|rm|cmd)\b", re.I
)


def is_written(data: bytes) -> bool:
    """Whether ``data`` begins with text that somebody wrote, rather than with pixels whose values are printable.

    Words are of small letters and stand apart: the grey values of an image that has both 0x20 and 0x61 to 0x7A in such
    numbers, and nothing that is no text, would have to be drawn for it.
    """
    sample = _text_of(_plain(data[:1024])[:512])
    if len(sample) < _MIN_PREFIX_BYTES:
        return False
    small = len(sample) - len(sample.translate(None, _SMALL_LETTERS))
    apart = len(sample) - len(sample.translate(None, b" \t\r\n"))
    return 5 * small >= len(sample) and 40 * apart >= len(sample)


def script_in_pixels(data: bytes) -> Match | None:
    """Return what ``script`` does where chance cannot have made it: of a line that is long enough, in written text.

    Six bytes of it stand for a chance of 2**-39, where all pixels are printable.
    """
    if not is_written(data):
        return None
    head = _text_of(_plain(data[: 2 * _MAX_TEXT_BYTES])[:_MAX_TEXT_BYTES])
    found = script(head, 0)
    if found is None or found.confidence is not HIGH:
        return None
    strong = (language.strong.search(head) for language in _LANGUAGES)
    proof = [_TEST_FILE] * (_TEST_FILE in head) + [hit[0] for hit in (*strong, _RUN_BY.match(head)) if hit is not None]
    return found if any(len(each) >= _MIN_PROOF_BYTES for each in proof) else None


def _plain(head: bytes) -> bytes:
    """Return what is text in UTF-16, with or without a byte order mark, in one byte a character; all else as it is."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head.decode("utf-16", "replace").encode("utf-8", "replace")
    for first in (0, 1):
        letters, others = head[first:_WIDE_BYTES:2], head[1 - first : _WIDE_BYTES : 2]
        if len(head) >= _WIDE_BYTES and not others.strip(b"\0") and not letters.translate(None, _PRINTABLE):
            return head.decode("utf-16-be" if first else "utf-16-le", "replace").encode("utf-8", "replace")
    return head


def script(data: bytes, at: int) -> Match | None:
    """Return which language the text at ``at`` is a program of, None if it is text for people, or no text."""
    head = _text_of(_plain(data[at : at + _MAX_TEXT_BYTES]))
    if len(head) < _MIN_TEXT_BYTES:
        return None
    certain = certain_script(head)
    if certain is not None:
        return certain._replace(at=at)
    if _QUICK.search(head) is None:
        return None
    best: Match | None = None
    for language in _LANGUAGES:
        weak = {found[:5] for found in _limited(language.weak, head)}
        if len(weak) >= 3:
            best = best or Match("SR-SCRIPT-001", MEDIUM, f"{language.name}: {len(weak)} different words of it", at)
        elif len(weak) == 2 and best is None:
            best = Match("SR-SCRIPT-002", LOW, f"{language.name}, perhaps: two words of it", at)
    return best


def certain_script(text: bytes) -> Match | None:
    """Return what one line of ``text`` proves by itself, None if none does."""
    if _TEST_FILE in text:
        return Match("SR-SCRIPT-003", HIGH, "the EICAR test file for virus scanners", 0)
    if _RUN_BY.match(text) is not None:
        return Match("SR-SCRIPT-001", HIGH, "a script that names its interpreter", 0)
    if _QUICK.search(text) is None:
        return None
    for language in _LANGUAGES:
        if language.strong.search(text):
            return Match("SR-SCRIPT-001", HIGH, f"{language.name}: a line that only such programs have", 0)
    return None


def _limited(pattern: re.Pattern[bytes], text: bytes) -> list[bytes]:
    found = []
    for number, each in enumerate(pattern.finditer(text)):
        if number == 64:
            break
        found.append(each[0].strip().lower())
    return found


def _text_of(head: bytes) -> bytes:
    """Return the text that ``head`` begins with, up to the first bytes that no text has; b"" if that is too little."""
    end = head.find(b"\0\0\0")
    if end >= 0:
        head = head[:end]
    sample = head[:512]
    odd = len(sample) - len(sample.translate(None, _NOT_TEXT + bytes(range(0x7F, 0xA0))))
    if sample and odd * 8 > len(sample):
        binary = _BINARY.search(head)
        head = head[: binary.start()] if binary is not None and binary.start() >= _MIN_PREFIX_BYTES else b""
    return head
