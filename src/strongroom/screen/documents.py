"""Documents that can act: PDF with scripts, RTF with objects, HTML, SVG and XML with code or entities, MHTML."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final

from strongroom.screen.matches import HIGH, LOW, MEDIUM, Match

_NAME_ESCAPE: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_ACTIVE: Final = {
    b"JavaScript": "JavaScript",
    b"JS": "JavaScript",
    b"Launch": "a launch action",
    b"EmbeddedFile": "embedded files",
    b"EmbeddedFiles": "embedded files",
    b"RichMedia": "rich media",
    b"XFA": "XFA forms",
    b"ImportData": "an import action",
    b"SubmitForm": "a submit action",
    b"GoToR": "a remote go-to action",
    b"GoToE": "an embedded go-to action",
    b"AA": "additional actions",
    b"OpenAction": "an open action",
}
_PDF_BODY: Final = re.compile(rb"\d \d+ obj\b|%%EOF|\bxref\b|\btrailer\b|/(?:Type|Pages|Catalog|Linearized|Length)\b")
_NEAR_BYTES: Final = 4096
_HARMLESS_ALONE: Final = frozenset({"an open action", "additional actions"})
"""A page to open at is one: they count with what they start."""
_ACTIVE_NAME: Final = re.compile(rb"/(" + b"|".join(sorted(_ACTIVE, reverse=True)) + rb")(?=[\s/<(\[>{%]|\Z)")
_STREAM: Final = re.compile(rb"stream\r?\n")
_MAX_STREAMS: Final = 400
_MAX_INFLATED_BYTES: Final = 4 << 20
_MAX_STREAM_BYTES: Final = 1 << 20
_RTF_BODY: Final = re.compile(
    rb"\\(?:ansi|mac|pca?|deff|fonttbl|colortbl|pard|info|object|generator|viewkind|plain|par)\b|\\fs\d\d"
)
_MARKUP_HEAD: Final = re.compile(
    rb"\A(?:\xef\xbb\xbf)?[\s\0]*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,512}?-->\s*)*"
    rb"<(!doctype\s+(?:html|svg)|html|head|body|script|iframe|svg|hta:application|object|embed|table|meta|style|title|img|"
    rb"a\s+href|b>|h1|p>|br|div|font|frameset|link|base|form|input|xsl:stylesheet|job|package|component|scriptlet)",
    re.I | re.S,
)
ACTIVE_MARKUP: Final = re.compile(
    rb"<script[\s>/]|</script|javascript:|vbscript:|<iframe[\s>/]|<object[\s>/]|<embed[\s>/]|<hta:application|"
    rb"<(?:svg|img|body|video|audio|input|details|marquee|a|div|p|math|style|form|button|select|textarea)"
    rb"[\s/][^<>]{0,400}?\bon[a-z]{3,20}\s*=|<meta[^>]{1,60}http-equiv|data:text/html|<scriptlet|<ms:script|"
    rb"<base\s+href|<foreignobject",
    re.I,
)
_ENTITY: Final = re.compile(rb"<!DOCTYPE[^>\[]{0,512}\[[^\]]{0,4096}<!ENTITY", re.I)
_EXTERNAL: Final = re.compile(rb"<!DOCTYPE\s+[\w:.-]{1,64}\s+(?:SYSTEM|PUBLIC)\b", re.I)
_HTML_PUBLIC: Final = re.compile(rb"<!DOCTYPE\s+(?:html|svg)\b", re.I)


def pdf(data: bytes, at: int) -> Match | None:
    """A header of a known version. What in it acts makes it ``SR-PDF-002``: names are unescaped, streams inflated."""
    head = data[at : at + 16]
    if head[:5] != b"%PDF-" or head[5:6] not in (b"1", b"2") or head[6:7] != b"." or not head[7:8].isdigit():
        return None
    version = head[5:8].decode("ascii")
    if not _PDF_BODY.search(data, at, at + _NEAR_BYTES):
        return Match("SR-PDF-001", LOW, f"the header of a PDF document of version {version}, and no object near it", at)
    found = sorted(active_in_pdf(data[at:]))
    if found:
        return Match("SR-PDF-002", HIGH, f"a PDF document of version {version} with {', '.join(found)}", at)
    return Match("SR-PDF-001", HIGH, f"a PDF document of version {version}", at)


def active_in_pdf(data: bytes) -> set[str]:
    """Return what in a PDF document acts or is embedded, in words."""
    found: set[str] = set()
    for part in (data, *_inflated_streams(data)):
        plain = _NAME_ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), part) if b"#" in part else part
        found.update(_ACTIVE[name] for name in set(_ACTIVE_NAME.findall(plain)))
    return set() if found <= _HARMLESS_ALONE else found


def _inflated_streams(data: bytes) -> Iterator[bytes]:
    """Yield what the object streams inflate to: since version 1.5 objects may be hidden in them."""
    if b"/ObjStm" not in data and b"/Obj" not in data and b"#" not in data:
        return
    left = _MAX_INFLATED_BYTES
    for number, start in enumerate(_STREAM.finditer(data)):
        if number >= _MAX_STREAMS or left <= 0:
            return
        try:
            part = zlib.decompressobj().decompress(data[start.end() : start.end() + _MAX_STREAM_BYTES], left)
        except zlib.error:
            continue
        left -= len(part)
        yield part


def rtf(data: bytes, at: int) -> Match | None:
    """The group that begins every RTF document; with objects in it, it is ``SR-RTF-002``."""
    head = data[at : at + 32].lower()
    if head[:4] != b"{\\rt" or not re.match(rb"\{\\rt(?:f[0-9\\]|[\\{ ])", head):
        return None
    near = data[at : at + (4 << 20)].lower()
    if b"\\objdata" in near or b"\\objocx" in near or b"\\objupdate" in near or b"\\ddeauto" in near:
        return Match("SR-RTF-002", HIGH, "an RTF document with embedded objects", at)
    sure = MEDIUM if _RTF_BODY.search(near, 0, 512) else LOW
    return Match("SR-RTF-001", sure, "an RTF document", at)


def markup(data: bytes, at: int) -> Match | None:
    """HTML, SVG or a script host file at a beginning, as a browser sniffs it; code in it makes it ``SR-HTML-002``."""
    head = data[at : at + 1445]
    found = _MARKUP_HEAD.match(head)
    if found is None:
        return None
    near = data[at : at + (1 << 20)]
    kind = found[1].split()[0].lower().decode("ascii", "replace").strip(">!")
    active = ACTIVE_MARKUP.search(near)
    if active or kind in ("script", "hta:application", "job", "scriptlet"):
        return Match("SR-HTML-002", HIGH, f"markup that begins with <{kind}> and holds code", at)
    return Match("SR-HTML-001", HIGH, f"markup that begins with <{kind}>", at)


def xml(data: bytes, at: int) -> Match | None:
    """An XML document that declares entities or refers to an outside document type: reading it may reach out."""
    near = data[at : at + 65536]
    bare = near.lstrip(b"\xef\xbb\xbf \t\r\n\0")
    if bare[:2] != b"<?" and bare[:2] != b"<!":
        return None
    if _ENTITY.search(near):
        return Match("SR-XML-001", HIGH, "an XML document that declares entities", at)
    if _EXTERNAL.search(near) and not _HTML_PUBLIC.search(near):
        return Match("SR-XML-001", MEDIUM, "an XML document with an outside document type", at)
    return None


def mime(data: bytes, at: int) -> Match | None:
    """A web page saved as one MIME document, which a browser opens as it opens HTML."""
    head = data[at : at + 2048].lower()
    if not head.lstrip(b"\r\n\0 ").startswith((b"mime-version:", b"from:", b"content-type:", b"subject:")):
        return None
    if b"multipart/related" in head or (b"mime-version:" in head and b"text/html" in head):
        return Match("SR-HTML-002", HIGH, "a web page saved as MIME (MHTML)", at)
    return None
