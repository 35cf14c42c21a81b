"""The exact matcher: does a record answer a query (DICOM PS3.4 C.2.2.2)?

The index only narrows; this decides, so that every database gives the same answer. A query is compiled once into
closures, one call of which costs microseconds, and every wildcard pattern into a regular expression that cannot
backtrack over a ``*``: time is bounded by the pattern's length times the value's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from strongroom.archive.constraint import (
    LONG_TEXT_VRS,
    NUMBER_VRS,
    AnyOf,
    Empty,
    InstantRange,
    Key,
    Range,
    SequenceMatch,
    Single,
    UidList,
    Wildcard,
)
from strongroom.archive.keys import COLUMN_OF, TIMEZONE_OFFSET_FROM_UTC, Attributes
from strongroom.archive.query import Query
from strongroom.archive.values import (
    date_text,
    instant_span,
    local_us,
    long_text,
    name_groups,
    number_text,
    offset_us,
    short_text,
    time_text,
)

Matcher = Callable[[Attributes], bool]
_ValueTest = Callable[[object], bool]

_WORDS: Final = re.compile(r"[^\^= ,\-]+")
_TIMEZONE: Final = f"{TIMEZONE_OFFSET_FROM_UTC:08X}"


def matches(query: Query, attributes: Attributes) -> bool:
    """Return whether a record answers ``query``; for more than one record, keep the result of ``compile_matcher``.

    ``attributes`` are those of the record's own level and all above it in one mapping, with what
    ``Query.computed`` names added.
    """
    return compile_matcher(query)(attributes)


def compile_matcher(query: Query) -> Matcher:
    """Return a function that tells whether a record answers ``query``. It is pure and may be shared by threads."""
    return _all([_compile_key(key, query.fuzzy, in_item=False) for key in query.keys])


def _all(tests: list[Matcher]) -> Matcher:
    if not tests:
        return lambda _attributes: True
    if len(tests) == 1:
        return tests[0]

    def every_key(attributes: Attributes) -> bool:
        for test in tests:  # noqa: SIM110  all() over a generator costs twice as much here
            if not test(attributes):
                return False
        return True

    return every_key


def _compile_key(key: Key, fuzzy: bool, *, in_item: bool) -> Matcher:
    match key.match:
        case InstantRange() as instants if instants.time_tag:
            return _combined_test(key.tag, instants)
        case InstantRange() as instants:
            return _date_time_test(key.tag, instants)
        case Empty():
            return _empty_test(key.tag)
        case SequenceMatch(keys):
            return _item_test(key.tag, _all([_compile_key(inner, fuzzy, in_item=True) for inner in keys]))
        case UidList(values):
            test = _member_test(frozenset(values))
        case Range() as ends:
            test = _range_test(key.vr, ends)
        case AnyOf(alternatives):
            test = _any_test([_text_test(key.vr, each, fuzzy) for each in alternatives])
        case Single() | Wildcard() as text:
            test = _text_test(key.vr, text, fuzzy)
    # A column holds the first value of its attribute, which has only one by the standard; the matcher must agree.
    column = None if in_item else COLUMN_OF.get(key.tag)
    only_first = column is not None and not column.maintained
    return _first_value_test(key.tag, test) if only_first else _any_value_test(key.tag, test)


def _empty_test(tag: int) -> Matcher:
    name = f"{tag:08X}"

    def no_value(attributes: Attributes) -> bool:
        element = attributes.get(name)
        return not element or not any(value not in (None, "", {}) for value in element.get("Value") or ())

    return no_value


def _first_value_test(tag: int, test: _ValueTest) -> Matcher:
    name = f"{tag:08X}"

    def first_value(attributes: Attributes) -> bool:
        element = attributes.get(name)
        values = element.get("Value") if element else None
        return test(values[0]) if values else False

    return first_value


def _any_value_test(tag: int, test: _ValueTest) -> Matcher:
    name = f"{tag:08X}"

    def any_value(attributes: Attributes) -> bool:
        element = attributes.get(name)
        values = element.get("Value") if element else None
        return any(map(test, values)) if values else False

    return any_value


def _item_test(tag: int, every_key: Matcher) -> Matcher:
    def one_item(item: object) -> bool:
        return isinstance(item, dict) and every_key(item)

    return _any_value_test(tag, one_item)


def _any_test(tests: list[_ValueTest]) -> _ValueTest:
    return lambda value: any(test(value) for test in tests)


def _member_test(wanted: frozenset[str]) -> _ValueTest:
    return lambda value: value in wanted if isinstance(value, str) and value in wanted else short_text(value) in wanted


def _range_test(vr: str, ends: Range) -> _ValueTest:
    canonical = date_text if vr == "DA" else time_text
    lo, hi = ends.lo or "0", ends.hi or "9" * 12  # digits of one length compare as text; "" is below every "0…"
    return lambda value: lo <= canonical(value) <= hi


def _text_test(vr: str, match: Single | Wildcard, fuzzy: bool) -> _ValueTest:
    if vr == "PN":
        text = match.value if isinstance(match, Single) else match.pattern
        return _name_test(text, fuzzy and isinstance(match, Single))
    canonical = number_text if vr in NUMBER_VRS else long_text if vr in LONG_TEXT_VRS else short_text
    if isinstance(match, Single):
        wanted = match.value
        return lambda value: canonical(value) == wanted
    found = compile_pattern(match.pattern).fullmatch
    return lambda value: found(canonical(value)) is not None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return ``pattern`` (``*`` and ``?``) for ``fullmatch``, in time linear in ``*``.

    What lies between two stars is matched at its first place and never given back (an atomic group): if any match
    exists, there is one with every piece as far left as it can be.
    """
    first, *middle = pattern.split("*")
    return re.compile(_with_stars(_literal(first), [_literal(each) for each in middle]), re.DOTALL)


def _with_stars(first: str, rest: list[str]) -> str:
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + last


def _literal(piece: str, one_character: str = ".") -> str:
    return re.escape(piece).replace(r"\?", one_character)


def _name_test(text: str, fuzzy: bool) -> _ValueTest:
    groups = text.split("=")
    if len(groups) == 1:
        regular = _one_group_test(groups[0])
    else:
        patterns = [_group_pattern(group).fullmatch if group else None for group in groups]

        def regular(stored: list[str]) -> bool:
            padded = stored + [""] * (len(patterns) - len(stored))
            return all(
                found is None or (group != "" and found(group + "^") is not None)
                for found, group in zip(patterns, padded, strict=False)
            )

    if not fuzzy:
        return lambda value: regular(name_groups(value))
    words = words_of(text)

    def fuzzily(value: object) -> bool:
        stored = name_groups(value)
        return regular(stored) or (bool(words) and _begin(words, words_of("=".join(stored))))

    return fuzzily


def _one_group_test(group: str) -> Callable[[list[str]], bool]:
    found = _group_pattern(group).fullmatch
    if is_alphabetic_only(group):
        return lambda stored: stored[0] != "" and found(stored[0] + "^") is not None
    return lambda stored: any(each != "" and found(each + "^") is not None for each in stored)


def is_alphabetic_only(group: str) -> bool:
    """Return whether a folded one-group name key is compared with the alphabetic group only.

    So it is if it is in ASCII and holds a letter or digit: then an index of names that begins with that group serves.
    """
    return group.isascii() and any(map(str.isalnum, group))


def _group_pattern(group: str) -> re.Pattern[str]:
    """Return a component group of a key for ``fullmatch`` with a stored one that has a caret added to its end.

    Components not given match any, those left empty too; ``*`` runs over carets, ``?`` does not.
    """
    first, *rest = (group + "^*").split("*")
    return re.compile(_with_stars(_components(first, starts=True), [_components(each) for each in rest]), re.DOTALL)


def _components(piece: str, *, starts: bool = False) -> str:
    """Return the expression of what lies between two stars. Its end moves right as its start does, so first is best."""
    parts = piece.split("^")
    inner_from = 0 if starts else 1
    return r"\^".join(
        "[^^]*+" if not part and inner_from <= i < len(parts) - 1 else _literal(part, "[^^]")
        for i, part in enumerate(parts)
    )


def words_of(text: str) -> list[str]:
    """Return the words of folded component groups, which fuzzy matching compares in any order."""
    return _WORDS.findall(text)


def _begin(words: Iterable[str], stored: list[str]) -> bool:
    return all(any(each.startswith(word) for each in stored) for word in words)


def _date_time_test(tag: int, ends: InstantRange) -> Matcher:
    name = f"{tag:08X}"

    def any_instant(attributes: Attributes) -> bool:
        element = attributes.get(name)
        for value in (element.get("Value") if element else None) or ():
            span = instant_span(value)
            if span and _within(span[0], _zone_of(attributes) if span[2] is None else span[2], ends):
                return True
        return False

    return any_instant


def _combined_test(date_tag: int, ends: InstantRange) -> Matcher:
    date_name, time_name = f"{date_tag:08X}", f"{ends.time_tag:08X}"

    def date_and_time(attributes: Attributes) -> bool:
        day = date_text(_first(attributes, date_name))
        time = time_text(_first(attributes, time_name))
        instant = local_us(day, time) if day and time else None
        return instant is not None and _within(instant, _zone_of(attributes), ends)

    return date_and_time


def _first(attributes: Attributes, name: str) -> Any:
    element = attributes.get(name)
    values = element.get("Value") if element else None
    return values[0] if values else None


def _zone_of(attributes: Attributes) -> int | None:
    return offset_us(short_text(_first(attributes, _TIMEZONE)))


def _within(local: int, zone: int | None, ends: InstantRange) -> bool:
    """Return whether a local instant lies between ``ends``: as UTC where both sides have an offset, else as written."""
    lo_shift = 0 if zone is None or ends.lo_zone_us is None else zone - ends.lo_zone_us
    hi_shift = 0 if zone is None or ends.hi_zone_us is None else zone - ends.hi_zone_us
    return (ends.lo_us is None or ends.lo_us <= local - lo_shift) and (
        ends.hi_us is None or local - hi_shift <= ends.hi_us
    )
