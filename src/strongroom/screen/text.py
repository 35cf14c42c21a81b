"""Rules for the values of text: what harms whoever shows, lists, files or logs them.

A value is bytes here: the characters that matter are ASCII in every character set of DICOM, but for the second bytes of
the multi-byte ones, so that nothing is concluded from one odd character.
"""

from __future__ import annotations

import re
from typing import Final

from strongroom.screen.documents import ACTIVE_MARKUP
from strongroom.screen.findings import Severity
from strongroom.screen.matches import HIGH, LOW, MEDIUM, Match

TEXT_VRS: Final = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())

_UNSUSPICIOUS: Final = (
    bytes(range(0x30, 0x3A)) + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B)) + b" .-_^/:,\\\r\n\f\t"
) + bytes(range(0x80, 0x100))
_WORDS: Final = re.compile(
    rb"\.\.[/\\]|/(?:etc|bin|usr|proc|dev|root|tmp)/|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]|"
    rb"\b(?:powershell|cmd(?:\.exe)? /|rm +-|wget |curl |wscript|mshta|rundll32|certutil|regsvr32|whoami|bash|"
    rb"javascript:|vbscript:|file:/|drop +table|union +(?:all +)?select)|[\s\\][\r\n]?[+-][a-z]",
    re.I,
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_DESIGNATION: Final = re.compile(rb"\x1b(?:\$[)(*+]?[@-~]|[(-/][@-~]|%[/]?[@-~])")
_ESCAPE: Final = re.compile(rb"\x1b[\[\]P_^Xc#78=>]|\xc2?\x9b[0-9;?]")
_TAG: Final = re.compile(rb"<(?:/?[a-z][a-z0-9:-]{0,20}(?:\s[^<>]{0,400})?/?|!--|!\[CDATA\[)>?", re.I)
_PLAIN_TAG: Final = re.compile(rb"</?[a-z][a-z0-9]{0,10}(?:\s[^<>]{0,200})?>", re.I)
_FORMULA: Final = re.compile(
    rb"(?:\A|\\)[\s\"']*[=+@-][^\\]{0,300}?(?:[A-Z][A-Z0-9.]{1,30}\(|\bcmd\b|\|\s*'|![A-Z]{1,3}\$?[0-9]|DDE)", re.I
)
_TRAVERSAL: Final = re.compile(rb"(?:\A|[/\\\s\"'=])\.\.[/\\]|(?:%2e|\.){2}%(?:2f|5c)|%2e%2e[/\\]|\.{3,}//", re.I)
_ABSOLUTE: Final = re.compile(
    rb"(?:\A|[\s\"'=\\])/(?:etc|bin|usr|proc|dev|root|tmp|var|home|sbin)/\w|\bfile:/|\A[A-Za-z]:\\(?:windows|users)\b",
    re.I,
)
_TOOLS: Final = (
    rb"(?:rm|cat|ls|curl|wget|nc|ncat|bash|sh|zsh|cmd|powershell|whoami|ping|python3?|perl|ruby|touch|reboot|shutdown|"
    rb"nslookup|sleep|kill|chmod|mkfifo|telnet|id|uname|net|calc|start|del|type|dir|echo)"
)
_COMMAND: Final = re.compile(
    rb"\$\(\s*[a-z/][^)]{0,200}\)|`\s*[a-z/][^`]{1,200}`|\$\{(?:jndi|env|sys|lower|upper|IFS)\b|\{\{[^{}]{1,200}\}\}|"
    rb"(?:[;|]|&&|\|\||%0a)\s*" + _TOOLS + rb"(?:\s+[-/\w\"'.*~$][^\\]{0,200}|\s*[;|&]|\s*\Z)|"
    rb"\brm\s+-rf?\s+[/~*]|\bpowershell(?:\.exe)?\s+-|\bcmd(?:\.exe)?\s+/[ck]\b|\b(?:mshta|rundll32|regsvr32|certutil)\s|"
    rb"\b(?:curl|wget)\s+(?:-\w+\s+)*https?:|(?:/bin/(?:ba)?sh)\b|<%[=@]|\#\{[^}]{1,100}\}",
    re.I,
)
_SQL: Final = re.compile(
    rb"'\s*(?:or|and)\s+['\d(].{0,40}[=<>]|;\s*(?:drop|delete|insert|update|alter|exec)\s+\w+|"
    rb"\bunion\s+(?:all\s+)?select\b|'\s*;\s*--|\bxp_cmdshell\b|'\s*\|\|\s*'|\bwaitfor\s+delay\b|\bsleep\(\d+\)",
    re.I,
)
_TURNED: Final = re.compile(rb"\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
_MAX_LENGTH_BYTES: Final = 1 << 16


def suspicious(values: list[bytes]) -> list[int]:
    """Return which of ``values`` have more than letters, digits and the usual punctuation, or a word to look at.

    They are looked at all at once first: nearly always there is nothing in them.
    """
    bare = [value.rstrip(b"\0") for value in values]
    joined = b" \n ".join(bare)
    has_words = _WORDS.search(joined) is not None
    if not has_words and not joined.translate(None, _UNSUSPICIOUS):
        return []
    return [
        number
        for number, value in enumerate(bare)
        if value.translate(None, _UNSUSPICIOUS) or (has_words and _WORDS.search(value))
    ]


def check_text(value: bytes) -> list[tuple[Match, Severity | None]]:
    """Return what is wrong with one value; a severity where it is below that of the rule."""
    value = value[:_MAX_LENGTH_BYTES].rstrip(b"\0 ")
    found = _check_characters(value)
    active = ACTIVE_MARKUP.search(value)
    if active is not None:
        found.append((Match("SR-TXT-002", HIGH, "markup with code", active.start()), None))
    elif (tag := _PLAIN_TAG.search(value)) is not None:
        found.append((Match("SR-TXT-002", LOW, "markup", tag.start()), Severity.LOW))
    for pattern, rule, what in (
        (_FORMULA, "SR-TXT-003", "begins as a formula of a spreadsheet does, and calls something"),
        (_TRAVERSAL, "SR-TXT-004", "a path that leaves its directory"),
        (_COMMAND, "SR-TXT-006", "a command, or an expression that is evaluated"),
        (_SQL, "SR-TXT-008", "a piece of a query language"),
        (_TURNED, "SR-TXT-007", "characters that turn the direction of text"),
    ):
        hit = pattern.search(value)
        if hit is not None:
            found.append((Match(rule, MEDIUM, what, hit.start(), len(hit[0])), None))
    absolute = _ABSOLUTE.search(value)
    if absolute is not None:
        found.append((Match("SR-TXT-004", LOW, "an absolute path", absolute.start()), Severity.LOW))
    return found


def _check_characters(value: bytes) -> list[tuple[Match, Severity | None]]:
    found: list[tuple[Match, Severity | None]] = []
    if b"\x1b" in value or b"\x9b" in value:
        rest = _DESIGNATION.sub(b"", value)
        hit = _ESCAPE.search(rest)
        if hit is not None and hit[0][0] == 0x1B:
            found.append((Match("SR-TXT-005", HIGH, "an escape sequence of a terminal", value.find(b"\x1b")), None))
        elif b"\x1b" in rest:
            found.append((Match("SR-TXT-001", LOW, "ESC that designates no character set", value.find(b"\x1b")), None))
    hit = _CONTROL.search(value)
    if hit is not None:
        found.append((Match("SR-TXT-001", MEDIUM, f"control character 0x{hit[0][0]:02X}", hit.start(), 1), None))
    return found


_UID: Final = re.compile(rb"[0-9]{1,64}|(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)+")
_UNSAFE_IN_UID: Final = re.compile(rb"[/\\:*?\"<>|;&$`'()\x01-\x1f%~]|\.\.|\0.*[^\0 ]", re.S)


def check_uid(value: bytes) -> tuple[Match, Severity | None] | None:
    """Return what is wrong with one UID value, None if nothing is (PS3.5 9.1)."""
    bare = value.rstrip(b"\0 ")
    if not bare or _UID.fullmatch(bare):
        return None
    if b"\\" in bare and all(_UID.fullmatch(part.strip(b"\0 ")) or not part for part in bare.split(b"\\")):
        return None
    hit = _UNSAFE_IN_UID.search(bare)
    if hit is not None:
        return Match("SR-UID-001", HIGH, "a character that means something in paths or commands", hit.start(), 1), None
    if len(bare) > 64:
        severity = Severity.MEDIUM if len(bare) > 256 else Severity.LOW
        return Match("SR-UID-002", HIGH, f"{len(bare)} bytes", 0, len(bare)), severity
    return Match("SR-UID-002", MEDIUM, "characters other than digits and single dots", 0, len(bare)), None
