"""A search over HTTP, parsed from the query parameters of QIDO-RS (DICOM PS3.18 8.3.4 and 10.6).

Pure: names and values go in, percent-decoded, and the same ``Query`` comes out that a C-FIND identifier becomes. What
each resource answers with, if nothing else is asked for, is a table here.

Choices the standard leaves to the archive: an attribute that is repeated, a comma between UIDs or codes and a backslash
between other values all mean several values, of which any matches. A space where the offset of a time zone belongs was
a plus sign that nobody encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from strongroom.archive import keys as kept
from strongroom.archive.constraint import QueryLimits
from strongroom.archive.model import Level
from strongroom.archive.query import (
    DEFAULT_LIMITS,
    ExtendedNegotiation,
    IdentifierElement,
    Model,
    Query,
    ReturnKey,
)
from strongroom.dicom.dictionary import keyword_of, parse_tag, vr_of
from strongroom.errors import InvalidQuery, LimitExceeded

RETRIEVE_URL: Final = 0x00081190
"""Where a record can be retrieved: made from its UIDs by whoever encodes the answer, in every answer."""

MAX_OFFSET: Final = 2**53
MAX_SHOWN_CHARS: Final = 64
"""Of the name of a parameter that is unknown, in the answer to it."""
CONTROL: Final = frozenset(
    ("accept", "charset", "fuzzymatching", "includefield", "limit", "offset", "emptyvaluematching")
) | {"multiplevaluematching"}
"""Parameters that are no attribute (PS3.18 table 8.3.4-1 and 8.3.3)."""

_STUDY: Final = (
    0x00080020, 0x00080030, 0x00080050, kept.INSTANCE_AVAILABILITY, kept.MODALITIES_IN_STUDY, 0x00080090,
    kept.TIMEZONE_OFFSET_FROM_UTC, 0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x0020000D, 0x00200010,
    0x00201206, 0x00201208,
)  # fmt: skip
_SERIES: Final = (
    0x00080060, kept.TIMEZONE_OFFSET_FROM_UTC, 0x0008103E, 0x0020000D, 0x0020000E, 0x00200011, 0x00201209, 0x00400244,
    0x00400245, 0x00400275,
)  # fmt: skip
_INSTANCE: Final = (
    0x00080016, 0x00080018, kept.INSTANCE_AVAILABILITY, kept.TIMEZONE_OFFSET_FROM_UTC, 0x0020000D, 0x0020000E,
    0x00200013, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
)  # fmt: skip
DEFAULTS: Final[Mapping[Level, tuple[int, ...]]] = MappingProxyType(
    {Level.STUDY: _STUDY, Level.SERIES: _SERIES, Level.IMAGE: _INSTANCE}
)
"""What is answered about each level (PS3.18 tables 10.6.3-3 to 10.6.3-5), and in what lies below it the UIDs above."""

_ONLY_IF_KNOWN: Final = frozenset(
    (kept.TIMEZONE_OFFSET_FROM_UTC, 0x0008103E, 0x00400244, 0x00400245, 0x00400275, 0x00280008, 0x00280010, 0x00280011)
) | {0x00280100}
"""Of those, what is left out where the record has none (type C)."""

_CODE_VRS: Final = frozenset(("CS", "UI"))
_WHOLE_VRS: Final = frozenset(("LT", "ST", "UC", "UR", "UT"))


@dataclass(frozen=True, slots=True)
class Search:
    """A search as it was understood: the query, which attributes are left out where a record has none, and what could
    not be done as asked, in words that hold no value."""

    query: Query
    optional: frozenset[int] = frozenset()
    warnings: tuple[str, ...] = ()


def parse_search(
    level: Level,
    above: Mapping[int, str],
    parameters: Iterable[tuple[str, str]],
    limits: QueryLimits = DEFAULT_LIMITS,
) -> Search:
    """Return the search for records at ``level``.

    ``above`` are the UIDs in the path by tag; ``parameters`` the names and values of the query, decoded, in order.

    Raises:
        InvalidQuery: a name that is neither a parameter nor an attribute, a value that does not parse, a constraint on
            what lies below ``level``, or on what the path says already.
        LimitExceeded: more keys, depth, values or characters than ``limits``.
    """
    reader = _Reader(limits)
    for name, value in parameters:
        reader.take(name, value)
    if any(tag in reader.identifier for tag in above):
        raise InvalidQuery("a UID of the path is asked for again")
    identifier = reader.identifier | {tag: IdentifierElement("UI", (uid,)) for tag, uid in above.items()}
    identifier[kept.QUERY_RETRIEVE_LEVEL] = IdentifierElement("CS", (level.name,))
    asked = Query.from_identifier(
        identifier,
        model=Model.PATIENT_ROOT,
        negotiated=ExtendedNegotiation(
            relational=True,
            combined_datetime=True,
            fuzzy=reader.fuzzy,
            timezone=True,
            empty_values=reader.empty_matching,
        ),
        limits=limits,
    )
    unknown = sorted(set(asked.unsupported) - {RETRIEVE_URL})
    defaults = _defaults(level, above)
    returned = _returned(level, defaults, asked, reader)
    query = replace(asked, returned=returned, limit=reader.limit, offset=reader.offset)
    missing = reader.not_kept | {tag for tag in unknown if reader.identifier[tag].values}
    named = reader.included | {key.tag for key in asked.returned}
    optional = {key.tag for key in returned if key.tag in _ONLY_IF_KNOWN or key.tag not in defaults} - named
    return Search(query, frozenset(optional), tuple(_warnings(missing)))


def _defaults(level: Level, above: Mapping[int, str]) -> frozenset[int]:
    """The attributes that a resource is answered with: those above a level, unless the path names the record there."""
    tags = set(DEFAULTS[level])
    for upper, uid in ((Level.STUDY, kept.UNIQUE_KEYS[Level.STUDY]), (Level.SERIES, kept.UNIQUE_KEYS[Level.SERIES])):
        if upper < level and uid not in above:
            tags.update(DEFAULTS[upper])
    return frozenset(tags)


def _returned(level: Level, defaults: frozenset[int], asked: Query, reader: _Reader) -> tuple[ReturnKey, ...]:
    tags = set(defaults)
    if reader.include_all:
        tags.update(tag for tag, its_level in kept.LEVEL_OF.items() if its_level == level)
        if level is Level.STUDY:  # a patient is no resource of its own: what is known of it belongs to its studies
            tags.update(tag for tag, its_level in kept.LEVEL_OF.items() if its_level is Level.PATIENT)
            tags -= kept.PATIENT_TOTALS
    tags.update(key.tag for key in asked.returned)
    tags.update(reader.included)
    tags -= {kept.QUERY_RETRIEVE_LEVEL, kept.SPECIFIC_CHARACTER_SET}
    return tuple(
        ReturnKey(tag, kept.VR_OF[tag])
        for tag in sorted(tags)
        if tag in kept.ANSWERED_TAGS or kept.LEVEL_OF[tag] <= level
    )


def _warnings(missing: Iterable[int]) -> Iterable[str]:
    names = [keyword_of(tag) or f"{tag:08X}" for tag in sorted(missing)]
    if names:
        yield f"The archive does not keep {', '.join(names[:16])}: not matched and not returned."


class _Reader:
    """Gathers the parameters of one search."""

    def __init__(self, limits: QueryLimits) -> None:
        self._limits = limits
        self._count = 0
        self._seen: set[str] = set()
        self.identifier: dict[int, IdentifierElement] = {}
        self.included: set[int] = set()
        self.not_kept: set[int] = set()
        self.include_all = False
        self.fuzzy = self.empty_matching = False
        self.limit: int | None = None
        self.offset = 0

    def take(self, name: str, value: str) -> None:
        """One parameter."""
        self._count += 1
        if self._count > self._limits.max_query_keys:
            raise LimitExceeded("max_query_keys", self._limits.max_query_keys)
        if name not in CONTROL:
            self._match(name, value)
            return
        if name != "includefield":
            if name in self._seen:
                raise InvalidQuery(f"{name} is given twice")
            self._seen.add(name)
        if name == "includefield":
            self._include(value)
        elif name == "fuzzymatching":
            self.fuzzy = _flag(name, value)
        elif name == "emptyvaluematching":
            self.empty_matching = _flag(name, value)
        elif name == "multiplevaluematching":
            _flag(name, value)
        elif name == "limit":
            self.limit = _uint(name, value)
        elif name == "offset":
            self.offset = _uint(name, value)

    def _include(self, value: str) -> None:
        for part in value.split(","):
            text = part.strip()
            if text == "all":
                self.include_all = True
            elif text:
                self._include_one(text)

    def _include_one(self, text: str) -> None:
        # A path names something inside a sequence, which is answered as a whole.
        tag = _path(text, self._limits)[0]
        self._count += 1
        if self._count > self._limits.max_query_keys:
            raise LimitExceeded("max_query_keys", self._limits.max_query_keys)
        if tag in kept.LEVEL_OF or tag in kept.ANSWERED_TAGS:
            self.included.add(tag)
        elif tag != RETRIEVE_URL:
            self.not_kept.add(tag)

    def _match(self, name: str, value: str) -> None:
        path = _path(name, self._limits)
        if not value.strip():  # universal matching: asks for the attribute and nothing more (PS3.4 C.2.2.2.3)
            self._include_one(name)
            return
        tag = path[-1]
        vr = kept.VR_OF.get(tag) or vr_of(tag).decode("ascii")
        if vr == "SQ":
            raise InvalidQuery("a sequence is matched by the attributes of its items: Sequence.Attribute=value")
        where = self.identifier
        for sequence in path[:-1]:
            element = where.setdefault(sequence, IdentifierElement("SQ", [{}]))
            inner = element.values[0] if element.values else None
            if not isinstance(inner, dict):
                raise InvalidQuery("a path leads through an attribute that is no sequence")
            where = inner
        before = where.get(tag)
        if before is not None and before.vr == "SQ":
            raise InvalidQuery("a sequence has no value")
        texts = [*(_texts(before)), *_values(vr, tag, value)]
        where[tag] = IdentifierElement(vr, texts)


def _texts(element: IdentifierElement | None) -> list[str]:
    return [text for text in element.values if isinstance(text, str)] if element is not None else []


def _path(name: str, limits: QueryLimits) -> list[int]:
    """The tags in an attribute's name. Raises InvalidQuery if it is none."""
    parts = name.split(".")
    if len(parts) > limits.max_query_depth + 1:
        raise LimitExceeded("max_query_depth", limits.max_query_depth)
    tags = [parse_tag(part) for part in parts]
    known = [tag for tag in tags if tag is not None]
    if len(known) != len(tags):
        shown = name if len(name) <= MAX_SHOWN_CHARS and name.isascii() and name.isprintable() else ""
        raise InvalidQuery("a parameter that is neither one of QIDO-RS nor an attribute by keyword or tag", shown)
    return known


def _values(vr: str, tag: int, value: str) -> Sequence[str]:
    if vr in _WHOLE_VRS:
        return (value,)
    if vr == "DT" or tag == kept.TIMEZONE_OFFSET_FROM_UTC:
        return (value.replace(" ", "+"),)
    if vr in _CODE_VRS:
        value = value.replace(",", "\\")
    return value.split("\\")


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise InvalidQuery(f"{name} is true or false")
    return value == "true"


def _uint(name: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or len(value) > 16 or int(value) > MAX_OFFSET:
        raise InvalidQuery(f"{name} is a whole number")
    return int(value)
