"""Which media type to answer with: Accept by RFC 9110 12.5 and DICOM PS3.18 8.7.

A service says what it can send as ``Offer``s, its default first; ``negotiate`` returns what the caller takes of that,
best first. What is not understood in a list of media ranges is passed over, as PS3.18 8.7.7 wants it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from strongroom.errors import MalformedRequest, NotAcceptable

STORED: Final = "*"
"""The transfer syntax that an object is stored in, whichever it is (PS3.18 8.7.3.5.2)."""

MULTIPART: Final = "multipart/related"
MAX_HEADER_CHARS: Final = 8192
MAX_RANGES: Final = 64
MAX_PARAMETERS: Final = 16

_BEST: Final = 1000
_ESSENCE: Final = re.compile(r"[ \t]*([\w!#$%&'*+.^`|~-]+)/([\w!#$%&'*+.^`|~-]+)[ \t]*", re.ASCII)
# Unquoted values are taken with all the characters that a media type or a boundary has in practice, though only
# tokens may go without quotes.
_PARAMETER: Final = re.compile(
    r';[ \t]*(?:([\w!#$%&\'*+.^`|~-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^";,\s]*)))?[ \t]*', re.ASCII | re.DOTALL
)
_LISTED: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_QUALITY: Final = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type or range (RFC 9110 8.3.1): ``essence`` is type and subtype, lower case like parameter names."""

    essence: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Offer:
    """A representation that can be sent. ``transfer_syntaxes`` begins with what is sent to a caller that names none;
    it may hold ``STORED``, and is empty for a media type that has none."""

    media_type: str
    is_multipart: bool = False
    transfer_syntaxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A representation that the caller takes. ``transfer_syntax`` is a UID, ``STORED``, or "" if there is none to name.

    ``quality`` is in thousandths: choices of one quality are equally welcome.
    """

    media_type: str
    is_multipart: bool
    transfer_syntax: str
    quality: int

    def content_type(self, boundary: str = "") -> str:
        """Return the value of Content-Type (PS3.18 8.7.1): of the whole answer if it is multipart, else of the part."""
        if self.is_multipart:
            return f'{MULTIPART}; type="{self.media_type}"' + (f"; boundary={boundary}" if boundary else "")
        named = self.transfer_syntax not in ("", STORED)
        return self.media_type + (f"; transfer-syntax={self.transfer_syntax}" if named else "")


@dataclass(frozen=True, slots=True)
class _Range:
    essence: str
    part: str
    """Of multipart/related: the media type of its parts, "" if any."""
    transfer_syntax: str | None
    quality: int


def parse_media_type(text: str) -> MediaType:
    """Return the media type in ``text``, a Content-Type or an element of Accept; a repeated parameter counts once.

    Raises MalformedRequest.
    """
    if len(text) > MAX_HEADER_CHARS:
        raise MalformedRequest(f"a media type of more than {MAX_HEADER_CHARS} characters")
    found = _ESSENCE.match(text)
    if found is None:
        raise MalformedRequest("a media type is TYPE/SUBTYPE with parameters")
    essence, position = f"{found[1]}/{found[2]}".lower(), found.end()
    parameters: dict[str, str] = {}
    while position < len(text):
        parameter = _PARAMETER.match(text, position)
        if parameter is None:
            raise MalformedRequest(f"a parameter of {essence} is not NAME=VALUE")
        if len(parameters) == MAX_PARAMETERS:
            raise MalformedRequest(f"a media type with more than {MAX_PARAMETERS} parameters")
        name, quoted, bare = parameter.groups()
        if name is not None:
            parameters.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) if quoted is not None else bare)
        position = parameter.end()
    return MediaType(essence, MappingProxyType(parameters))


def negotiate(accept: str | None, offers: Sequence[Offer], query: str | None = None) -> tuple[Choice, ...]:
    """Return what a caller takes of ``offers``, best first and never empty (PS3.18 8.7.8).

    By quality; then what is named before what only a wildcard allows; then as offered. ``accept`` is the header field,
    several of them joined by commas; without it anything is taken. ``query`` is the Accept Query Parameter, which
    comes first if the header allows what it names.

    Raises:
        NotAcceptable: nothing of what is offered is taken.
        MalformedRequest: over ``MAX_HEADER_CHARS`` or ``MAX_RANGES``.
    """
    by_header = _choices(_parse_ranges(accept if accept and accept.strip() else "*/*"), offers)
    if query and query.strip():
        wanted = _choices(_parse_ranges(query), offers)
        allowed = {_kind(choice) for choice in by_header}
        if by_query := tuple(choice for choice in wanted if _kind(choice) in allowed):
            return by_query
    if not by_header:
        raise NotAcceptable(available(offers))
    return by_header


def available(offers: Sequence[Offer]) -> tuple[str, ...]:
    """Return what could be asked for, each as a media range that a caller may send."""
    named = []
    for offer in offers:
        base = f'{MULTIPART}; type="{offer.media_type}"' if offer.is_multipart else offer.media_type
        named += [f"{base}; transfer-syntax={syntax}" for syntax in offer.transfer_syntaxes] or [base]
    return tuple(named)


def require_utf_8(accept_charset: str | None, query: str | None = None) -> None:
    """Return if the caller takes text in UTF-8, the only character set that is sent (PS3.18 8.3.3.2, 8.4.2).

    Raises NotAcceptable, MalformedRequest.
    """
    for text in (query, accept_charset):
        if not text or not text.strip():
            continue
        qualities = {}
        for element in _elements(text):
            name, _, rest = element.partition(";")
            quality = rest.strip().lower().removeprefix("q=")
            qualities[name.strip(' \t"').lower()] = _quality(quality or "1")
        named = [qualities[name] for name in ("utf-8", "utf8", "iso_ir 192") if name in qualities]
        if not max(named or [qualities.get("*", 0)]):
            raise NotAcceptable(("utf-8",))


def _elements(text: str) -> Iterator[str]:
    if len(text) > MAX_HEADER_CHARS:
        raise MalformedRequest(f"Accept of more than {MAX_HEADER_CHARS} characters")
    for number, found in enumerate(_LISTED.finditer(text)):
        if number == MAX_RANGES:
            raise MalformedRequest(f"Accept with more than {MAX_RANGES} elements")
        if found[0].strip():
            yield found[0].strip(" \t")


def _parse_ranges(text: str) -> list[_Range]:
    ranges = []
    for element in _elements(text):
        try:
            media = parse_media_type(element)
        except MalformedRequest:
            continue  # shall be ignored (PS3.18 8.7.7)
        parameters = media.parameters
        part = parameters.get("type", "").strip().lower() if media.essence.startswith("multipart/") else ""
        syntax = parameters.get("transfer-syntax")
        quality = _quality(parameters.get("q", "1"))
        ranges.append(_Range(media.essence, "" if part == "*/*" else part, syntax, quality))
    return ranges


def _quality(text: str) -> int:
    """Return a weight in thousandths; one that is not valid is as good as none: 1 (RFC 9110 12.4.2)."""
    return round(float(text) * _BEST) if _QUALITY.fullmatch(text) else _BEST


def _choices(ranges: Sequence[_Range], offers: Sequence[Offer]) -> tuple[Choice, ...]:
    ranked = []
    for offer in offers:
        for syntax in offer.transfer_syntaxes or ("",):
            fits = [(fit, each) for each in ranges if (fit := _fit(each, offer, syntax)) is not None]
            if not fits:
                continue
            # The most specific range decides; of several that are equal, the one that likes it best.
            precedence, quality = max((fit, each.quality) for fit, each in fits)
            if quality:
                ranked.append((-quality, -precedence[0], Choice(offer.media_type, offer.is_multipart, syntax, quality)))
    return tuple(choice for _, _, choice in sorted(ranked, key=lambda each: each[:2]))


def _fit(wanted: _Range, offer: Offer, syntax: str) -> tuple[int, bool] | None:
    """Return how specifically a range names an offer, None if not at all: (2 type and subtype, 1 type, 0 any; and
    whether it names the transfer syntax)."""
    if wanted.essence == "*/*":
        named = 0
    elif offer.is_multipart:
        if wanted.essence not in (MULTIPART, "multipart/*"):
            return None
        named = _named(wanted.part, offer.media_type) if wanted.part else 1
    else:
        named = _named(wanted.essence, offer.media_type)
    if named < 0:
        return None
    asked = wanted.transfer_syntax
    if not offer.transfer_syntaxes or asked is None:
        is_default = not offer.transfer_syntaxes or syntax == offer.transfer_syntaxes[0]
        return (named, False) if is_default else None
    if asked == STORED and STORED not in offer.transfer_syntaxes:
        asked = offer.transfer_syntaxes[0]
    return (named, True) if asked == syntax else None


def _named(essence: str, media_type: str) -> int:
    if essence == media_type:
        return 2
    return 1 if essence == media_type.partition("/")[0] + "/*" else -1


def _kind(choice: Choice) -> tuple[str, bool, str]:
    return choice.media_type, choice.is_multipart, choice.transfer_syntax
