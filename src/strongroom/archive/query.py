"""A query and a retrieval, parsed from the identifier of C-FIND, C-MOVE or C-GET (DICOM PS3.4 C.4).

Pure: an identifier goes in as decoded text, a frozen ``Query`` comes out or the identifier is refused. A key that
cannot be honoured is never dropped in silence when that would widen the answer: what it names is either refused or
listed in ``Query.unsupported``, for which the caller answers FF01.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from strongroom.archive import keys as kept
from strongroom.archive.constraint import (
    EMPTY,
    Empty,
    InstantRange,
    Key,
    Match,
    QueryLimits,
    Range,
    SequenceMatch,
    Single,
    UidList,
    invalid,
    parse_match,
)
from strongroom.archive.model import Level
from strongroom.archive.values import local_us, offset_us
from strongroom.errors import InvalidQuery, LimitExceeded

DEFAULT_LIMITS: Final = QueryLimits()
_TAG: Final = re.compile("[0-9A-Fa-f]{8}")
_FIRST_TIME: Final = "000000000000"
_LAST_TIME: Final = "235960999999"


class Model(Enum):
    """Query/Retrieve information model (PS3.4 C.6); the value is its topmost level."""

    PATIENT_ROOT = Level.PATIENT
    STUDY_ROOT = Level.STUDY


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """What both sides agreed on for the SOP Class (PS3.4 C.5.1.1.1), in the order of its bytes."""

    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False
    timezone: bool = False
    empty_values: bool = False
    """Empty value matching (C.2.2.2.7): of searches over HTTP only."""


@dataclass(frozen=True, slots=True)
class IdentifierElement:
    """One element of an identifier: its VR and its values, text or the items of a sequence."""

    vr: str
    values: Sequence[str] | Sequence[Identifier] = field(default=(), repr=False)


Identifier = Mapping[int, IdentifierElement]
"""A parsed identifier: tag to element. Text is decoded already and split at backslashes."""


@dataclass(frozen=True, slots=True)
class ReturnKey:
    """An attribute asked for. ``items`` are those asked for inside a sequence; empty means the whole sequence."""

    tag: int
    vr: str
    items: tuple[ReturnKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: the constraints that are not universal, and the attributes to be returned.

    ``returned`` ascends by tag and holds only what the archive keeps, computes or answers at ``level`` and above;
    ``unsupported`` are the other tags of the identifier. ``zone_us`` is the querier's offset from UTC in microseconds
    when time zone adjustment was negotiated and given. ``limit`` None is no limit (C-FIND).
    """

    level: Level
    model: Model
    keys: tuple[Key, ...]
    returned: tuple[ReturnKey, ...] = ()
    relational: bool = False
    fuzzy: bool = False
    combined_datetime: bool = False
    zone_us: int | None = None
    limit: int | None = None
    offset: int = 0
    unsupported: tuple[int, ...] = ()

    @property
    def computed(self) -> frozenset[int]:
        """The computed attributes that the index has to add to a record, to match it or to answer."""
        tags = {key.tag for key in self.keys} | {key.tag for key in self.returned}
        return kept.COMPUTED_TAGS & tags

    @classmethod
    def from_identifier(
        cls,
        identifier: Identifier,
        *,
        model: Model,
        negotiated: ExtendedNegotiation = ExtendedNegotiation(),
        limits: QueryLimits = DEFAULT_LIMITS,
    ) -> Query:
        """Return the query that a C-FIND identifier asks (PS3.4 C.4.1).

        Raises:
            InvalidQuery: the identifier breaks the model: no or a wrong level, a unique key missing above it, a
                constraint below it, a value that its VR does not allow.
            LimitExceeded: more keys, depth, values or characters than ``limits``.
        """
        parser = _Parser(limits, _zone(identifier, negotiated), empty_values=negotiated.empty_values)
        parser.count_keys(identifier)
        level = _level(identifier, model)
        matched: list[Key] = []
        returned: list[ReturnKey] = []
        unsupported: list[int] = []
        for tag in sorted(identifier):
            if tag & 0xFFFF == 0:  # group length, retired and without meaning
                continue
            if not _is_supported(tag, level):
                _require_free_below(tag, level, identifier[tag])
                unsupported.append(tag)
                continue
            vr = kept.VR_OF[tag]
            match, items = parser.key(tag, vr, identifier[tag], 0)
            returned.append(ReturnKey(tag, vr, items))
            if match is not None and tag in kept.LEVEL_OF and tag != kept.TIMEZONE_OFFSET_FROM_UTC:
                matched.append(Key(tag, vr, match))
        if not negotiated.relational:
            _require_unique_above(level, model, matched)
        keys = _combined(matched, parser.zone_us) if negotiated.combined_datetime else matched
        return cls(
            level=level,
            model=model,
            keys=tuple(keys),
            returned=tuple(returned),
            relational=negotiated.relational,
            fuzzy=negotiated.fuzzy,
            combined_datetime=negotiated.combined_datetime,
            zone_us=parser.zone_us,
            unsupported=tuple(unsupported),
        )


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a C-MOVE or C-GET asks for: a level and unique keys, nothing else (PS3.4 C.4.2.1.4)."""

    level: Level
    model: Model
    keys: tuple[Key, ...]
    relational: bool = False

    @property
    def query(self) -> Query:
        """The query for the records at ``level`` that are asked for."""
        return Query(self.level, self.model, self.keys, relational=self.relational)

    @classmethod
    def from_identifier(
        cls,
        identifier: Identifier,
        *,
        model: Model,
        negotiated: ExtendedNegotiation = ExtendedNegotiation(),
        limits: QueryLimits = DEFAULT_LIMITS,
    ) -> Retrieval:
        """Return the retrieval that a C-MOVE or C-GET identifier asks.

        The unique key of the level has one value or, if it is a UID, a list; those above have one each, and may be
        absent only in a relational retrieval. Any other key with a value is refused; without one it asks for nothing.

        Raises InvalidQuery and LimitExceeded as ``Query.from_identifier`` does.
        """
        parser = _Parser(limits, None)
        parser.count_keys(identifier)
        level = _level(identifier, model)
        unique = {kept.UNIQUE_KEYS[each] for each in _levels(model, level)}
        matched: list[Key] = []
        for tag in sorted(identifier):
            if tag in unique:
                match, _ = parser.key(tag, kept.VR_OF[tag], identifier[tag], 0)
                if match is not None:
                    matched.append(Key(tag, kept.VR_OF[tag], match))
            elif tag not in _NOT_A_CONSTRAINT and tag & 0xFFFF and _has_value(identifier[tag]):
                raise invalid(tag, "a retrieval takes unique keys only, down to its level")
        if not negotiated.relational:
            _require_unique_above(level, model, matched)
        own = [key.match for key in matched if key.tag == kept.UNIQUE_KEYS[level]]
        if not own or not isinstance(own[0], Single | UidList):
            raise invalid(kept.UNIQUE_KEYS[level], "a retrieval needs the unique key of its level, without wildcards")
        return cls(level, model, tuple(matched), negotiated.relational)


def identifier_from_json(attributes: Mapping[str, Any], limits: QueryLimits = DEFAULT_LIMITS) -> Identifier:
    """Return the identifier in a data set of the DICOM JSON model (PS3.18 F.2).

    Raises InvalidQuery for what is no such data set or for a value given as binary or by reference, LimitExceeded for
    more elements, depth or values than ``limits``.
    """
    return _JsonReader(limits).identifier(attributes, 0)


class _JsonReader:
    """Counts the elements of one data set over all its items."""

    def __init__(self, limits: QueryLimits) -> None:
        self._limits = limits
        self._keys = 0

    def identifier(self, attributes: Mapping[str, Any], depth: int) -> dict[int, IdentifierElement]:
        if depth > self._limits.max_query_depth:
            raise LimitExceeded("max_query_depth", self._limits.max_query_depth)
        if not isinstance(attributes, Mapping):
            raise InvalidQuery("an item of a sequence is an object")
        self._keys += len(attributes)
        if self._keys > self._limits.max_query_keys:
            raise LimitExceeded("max_query_keys", self._limits.max_query_keys, self._keys)
        identifier = {}
        for name, element in attributes.items():
            named = isinstance(name, str) and _TAG.fullmatch(name)
            if not named or not isinstance(element, Mapping) or not isinstance(element.get("vr"), str):
                raise InvalidQuery("an attribute is eight hexadecimal digits and an object with its VR")
            tag = int(name, 16)
            # What is not kept is only named in the answer's status: its value, binary or not, is never looked at.
            heeded = depth > 0 or tag in kept.VR_OF
            identifier[tag] = self._element(tag, element, depth) if heeded else IdentifierElement(element["vr"])
        return identifier

    def _element(self, tag: int, element: Mapping[str, Any], depth: int) -> IdentifierElement:
        if element.get("BulkDataURI") or element.get("InlineBinary"):
            raise invalid(tag, "a binary value cannot be matched")
        vr, values = element["vr"], element.get("Value") or ()
        if not isinstance(values, list | tuple):
            raise invalid(tag, "Value is a list")
        if len(values) > self._limits.max_query_uids:
            raise LimitExceeded("max_query_uids", self._limits.max_query_uids, len(values))
        if vr == "SQ":
            return IdentifierElement(vr, [self.identifier(item or {}, depth + 1) for item in values])
        return IdentifierElement(vr, [_json_text(tag, value) for value in values])


def _json_text(tag: int, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        groups = [value.get(name) or "" for name in ("Alphabetic", "Ideographic", "Phonetic")]
        if all(isinstance(group, str) for group in groups):
            return "=".join(groups).rstrip("=")
    raise invalid(tag, "a value of no known form")


_NOT_A_CONSTRAINT: Final = kept.ANSWERED_TAGS | {kept.TIMEZONE_OFFSET_FROM_UTC}


class _Parser:
    """Parses the keys of one identifier and counts them over all its items."""

    def __init__(self, limits: QueryLimits, zone_us: int | None, *, empty_values: bool = False) -> None:
        self.zone_us = zone_us
        self._limits = limits
        self._empty_values = empty_values
        self._keys = 0

    def count_keys(self, identifier: Identifier) -> None:
        self._keys += len(identifier)
        if self._keys > self._limits.max_query_keys:
            raise LimitExceeded("max_query_keys", self._limits.max_query_keys, self._keys)

    def key(
        self, tag: int, vr: str, element: IdentifierElement, depth: int
    ) -> tuple[Match | None, tuple[ReturnKey, ...]]:
        """Return the constraint of one key (None if universal) and what it asks for inside a sequence."""
        if vr == "SQ":
            return self._sequence(tag, element, depth)
        texts = [value for value in element.values if isinstance(value, str)]
        if len(texts) != len(element.values):
            raise invalid(tag, f"items where values of VR {vr} belong")
        if not any(texts) or tag in _NOT_A_CONSTRAINT:
            return None, ()
        if self._empty_values and texts == [EMPTY]:
            return Empty(), ()
        return parse_match(tag, vr, texts, self._limits, self.zone_us), ()

    def _sequence(
        self, tag: int, element: IdentifierElement, depth: int
    ) -> tuple[SequenceMatch | None, tuple[ReturnKey, ...]]:
        if depth >= self._limits.max_query_depth:
            raise LimitExceeded("max_query_depth", self._limits.max_query_depth)
        items = [item for item in element.values if not isinstance(item, str)]
        if len(items) != len(element.values):
            raise invalid(tag, "values where the item of a sequence belongs")
        if len(items) > 1:
            raise invalid(tag, "a sequence in an identifier has one item")
        if not items or not items[0]:
            return None, ()
        self.count_keys(items[0])
        matched, returned = [], []
        for inner_tag in sorted(items[0]):
            if inner_tag == kept.SPECIFIC_CHARACTER_SET:  # of the identifier's own text, which is decoded already
                continue
            inner = items[0][inner_tag]
            match, inner_items = self.key(inner_tag, inner.vr, inner, depth + 1)
            returned.append(ReturnKey(inner_tag, inner.vr, inner_items))
            if match is not None:
                matched.append(Key(inner_tag, inner.vr, match))
        return (SequenceMatch(tuple(matched)) if matched else None), tuple(returned)


def _zone(identifier: Identifier, negotiated: ExtendedNegotiation) -> int | None:
    """Return the querier's offset from UTC if it was agreed to use one and it is given (PS3.4 C.2.2.2.5)."""
    element = identifier.get(kept.TIMEZONE_OFFSET_FROM_UTC)
    if not negotiated.timezone or element is None or not _has_value(element):
        return None
    text = element.values[0]
    zone_us = offset_us(text.strip(" \0")) if isinstance(text, str) else None
    if zone_us is None:
        raise invalid(kept.TIMEZONE_OFFSET_FROM_UTC, "an offset from UTC is &ZZXX")
    return zone_us


def _level(identifier: Identifier, model: Model) -> Level:
    element = identifier.get(kept.QUERY_RETRIEVE_LEVEL)
    text = element.values[0] if element is not None and len(element.values) == 1 else None
    try:
        level = Level[text.strip(" \0")] if isinstance(text, str) else None
    except KeyError:
        level = None
    if level is None or level not in _levels(model, Level.IMAGE):
        raise invalid(kept.QUERY_RETRIEVE_LEVEL, "needs one level of the information model")
    return level


def _levels(model: Model, down_to: Level) -> list[Level]:
    return [level for level in Level if model.value <= level <= down_to]


def _is_supported(tag: int, level: Level) -> bool:
    return tag in kept.ANSWERED_TAGS or kept.LEVEL_OF.get(tag, Level.IMAGE + 1) <= level


def _has_value(element: IdentifierElement) -> bool:
    return any(bool(value.strip(" \0")) if isinstance(value, str) else bool(value) for value in element.values)


def _require_free_below(tag: int, level: Level, element: IdentifierElement) -> None:
    """Refuse a constraint on a lower level: to leave it out would answer with more than was asked for (C.4.1.2.1)."""
    below = tag not in _NOT_A_CONSTRAINT and kept.LEVEL_OF.get(tag, Level.PATIENT) > level
    if below and _has_value(element):
        raise invalid(tag, f"belongs below the {level.name} level")


def _require_unique_above(level: Level, model: Model, matched: list[Key]) -> None:
    """Refuse an identifier that does not name one record at each level above (PS3.4 C.4.1.2.1)."""
    single = {key.tag for key in matched if isinstance(key.match, Single)}
    for above in _levels(model, level):
        if above < level and kept.UNIQUE_KEYS[above] not in single:
            raise invalid(kept.UNIQUE_KEYS[above], f"one value is needed above the {level.name} level")


def _combined(matched: list[Key], zone_us: int | None) -> list[Key]:
    """Join each date and time that are both constrained into one range (PS3.4 C.2.2.2.5)."""
    by_tag = {key.tag: key for key in matched}
    joined: list[Key] = []
    for key in matched:
        time = by_tag.get(kept.DATE_TIME_PAIRS.get(key.tag, 0))
        if time is not None and isinstance(key.match, Range) and isinstance(time.match, Range):
            by_tag.pop(time.tag)
            joined.append(Key(key.tag, key.vr, _instants(key, key.match, time, zone_us)))
    dates = {key.tag for key in joined}
    return sorted(joined + [key for key in by_tag.values() if key.tag not in dates], key=lambda key: key.tag)


def _instants(date: Key, days: Range, time: Key, zone_us: int | None) -> InstantRange:
    times = time.match
    assert isinstance(times, Range)
    lo_us = None if days.lo is None else local_us(days.lo, times.lo or _FIRST_TIME)
    hi_us = None if days.hi is None else local_us(days.hi, times.hi or _LAST_TIME)
    if (lo_us is None and days.lo is not None) or (hi_us is None and days.hi is not None):
        raise invalid(date.tag, "no such day")
    return InstantRange(lo_us, hi_us, zone_us, zone_us, time.tag)
