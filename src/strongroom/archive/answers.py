"""The answer to a query for one record: exactly what was asked for, as a DICOM JSON data set (PS3.4 C.4.1.1.3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from strongroom.archive.keys import (
    ANSWERED_TAGS,
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    Attributes,
)
from strongroom.archive.query import Query, ReturnKey

JsonDataset = dict[str, dict[str, Any]]
_CHARSET_NAME: Final = f"{SPECIFIC_CHARACTER_SET:08X}"


@dataclass(frozen=True, slots=True)
class AboutArchive:
    """What the archive says of itself in every answer.

    ``charset`` is the term for (0008,0005) that the caller encodes text with; it is put into an answer that holds
    text outside ASCII, and left out of any other: the attribute is never empty (PS3.4 C.2.2.2).
    """

    retrieve_aet: str
    availability: str = "ONLINE"
    charset: str = "ISO_IR 192"


def answer(query: Query, attributes: Attributes, about: AboutArchive) -> JsonDataset:
    """Return the answer for one record; for more than one, keep the result of ``compile_answer``.

    ``attributes`` are those of the record's own level and all above it in one mapping, with what
    ``Query.computed`` names added. Every attribute in ``query.returned`` is there, without ``Value`` where the record
    has none; tags ascend. What is not filtered is shared with ``attributes``: change neither.
    """
    return compile_answer(query, about)(attributes)


def compile_answer(query: Query, about: AboutArchive) -> Callable[[Attributes], JsonDataset]:
    """Return a function that gives the answer for a record. It is pure and may be shared by threads."""
    fixed = _fixed(query, about)
    plan = [(f"{key.tag:08X}", key) for key in query.returned if key.tag != SPECIFIC_CHARACTER_SET]
    charset = {"vr": "CS", "Value": [about.charset]}

    def one(attributes: Attributes) -> JsonDataset:
        dataset: JsonDataset = {}
        for name, key in plan:
            if name in fixed:
                dataset[name] = fixed[name]
            else:
                dataset[name] = _element(key, attributes.get(name))
        # (0008,0005) sorts first: nothing that is returned lies in a lower group.
        return dataset if _is_ascii(dataset) else {_CHARSET_NAME: charset, **dataset}

    return one


def _fixed(query: Query, about: AboutArchive) -> JsonDataset:
    values = {
        QUERY_RETRIEVE_LEVEL: ("CS", query.level.name),
        RETRIEVE_AE_TITLE: ("AE", about.retrieve_aet),
        INSTANCE_AVAILABILITY: ("CS", about.availability),
    }
    assert values.keys() | {SPECIFIC_CHARACTER_SET} == ANSWERED_TAGS
    return {f"{tag:08X}": {"vr": vr, "Value": [text]} for tag, (vr, text) in values.items()}


def _element(key: ReturnKey, stored: dict[str, Any] | None) -> dict[str, Any]:
    values = stored.get("Value") if stored else None
    if not stored or not values or (key.vr == "SQ") is not (stored["vr"] == "SQ"):
        return {"vr": key.vr}
    if key.items:
        return {"vr": key.vr, "Value": [_item(key.items, item) for item in values if isinstance(item, dict)]}
    return _whole_sequence(stored, values) if key.vr == "SQ" else stored


def _whole_sequence(stored: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """Return a sequence without the character sets of its items, which no longer hold. Depth is bounded at ingest."""
    items = []
    for item in values:
        if isinstance(item, dict):
            items.append({name: _inner(element) for name, element in item.items() if name != _CHARSET_NAME})
    return {**stored, "Value": items}


def _inner(element: dict[str, Any]) -> dict[str, Any]:
    values = element.get("Value")
    return _whole_sequence(element, values) if values and element.get("vr") == "SQ" else element


def _item(items: tuple[ReturnKey, ...], stored: Attributes) -> JsonDataset:
    return {name: _element(key, stored.get(name)) for key in items for name in (f"{key.tag:08X}",)}


def _is_ascii(dataset: JsonDataset) -> bool:
    """Return whether all text is in the default repertoire. Depth is that of a kept record, bounded at ingest."""
    for element in dataset.values():
        for value in element.get("Value", ()):
            if isinstance(value, str):
                if not value.isascii():
                    return False
            elif isinstance(value, dict) and not _is_ascii_group(element["vr"], value):
                return False
    return True


def _is_ascii_group(vr: str, value: dict[str, Any]) -> bool:
    if vr == "SQ":
        return _is_ascii(value)
    return all(not isinstance(group, str) or group.isascii() for group in value.values())
