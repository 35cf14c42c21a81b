"""A data set in the DICOM JSON model as rows of a table that people read and search. Pure.

Values are those of others: a template shows them with ``shown``. What is long is cut, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from strongroom.dicom.dictionary import UID_NAMES, keyword_of

MAX_ROWS: Final = 2000
MAX_VALUE_CHARS: Final = 256
MAX_DEPTH: Final = 32
"""Sequences within sequences that are shown; ingest bounds what there is."""

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """One element, or the beginning of an item of a sequence. ``cut_chars``: how many characters are left out."""

    depth: int
    tag: str
    keyword: str
    vr: str
    value: str = field(repr=False)
    cut_chars: int = 0


def rows_of(dataset: Mapping[str, Any], text: str = "") -> tuple[list[AttributeRow], bool]:
    """The rows of a data set in which ``text`` occurs, all for "", and whether there are more than MAX_ROWS."""
    wanted = text.strip().casefold()
    rows = [row for row, _ in islice(_found(_elements(dataset, 0), wanted), MAX_ROWS + 1)]
    return rows[:MAX_ROWS], len(rows) > MAX_ROWS


def _found(rows: Iterable[tuple[AttributeRow, str]], wanted: str) -> Iterator[tuple[AttributeRow, str]]:
    for row, whole in rows:
        plain = row.tag.translate({ord(each): None for each in "(,)"})
        if not wanted or any(wanted in part.casefold() for part in (row.tag, plain, row.keyword, row.vr, whole)):
            yield row, whole


def _elements(dataset: Mapping[str, Any], depth: int) -> Iterator[tuple[AttributeRow, str]]:
    for tag in sorted(dataset):
        element = dataset[tag]
        vr, values = str(element.get("vr", "")), element.get("Value") or ()
        shown, keyword = f"({tag[:4]},{tag[4:]})", keyword_of(int(tag, 16))
        if vr != "SQ":
            whole = _value(element, vr, values)
            cut = max(0, len(whole) - MAX_VALUE_CHARS)
            yield AttributeRow(depth, shown, keyword, vr, whole[:MAX_VALUE_CHARS], cut), whole
            continue
        count = f"{len(values)} item{'' if len(values) == 1 else 's'}"
        yield AttributeRow(depth, shown, keyword, vr, count), count
        for number, item in enumerate(values, 1):
            if isinstance(item, dict) and depth < MAX_DEPTH:
                yield AttributeRow(depth + 1, "", f"Item {number}", "", ""), ""
                yield from _elements(item, depth + 2)


def _value(element: Mapping[str, Any], vr: str, values: Sequence[Any]) -> str:
    if "BulkDataURI" in element:
        return "bulk data, not shown here"
    if "InlineBinary" in element:
        return f"Base64: {element['InlineBinary']}"
    return "\\".join(_one(vr, value) for value in values)


def _one(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in _GROUPS).rstrip("=")
    text = str(value)
    return f"{text} ({UID_NAMES[text]})" if vr == "UI" and text in UID_NAMES else text
