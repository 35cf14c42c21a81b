"""Elements of the DICOM JSON model as people read them. Pure; what others wrote is not made harmless here: templates do
that with ``shown``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

JsonDataset = Mapping[str, Mapping[str, Any]]

_NUMBER: Final = re.compile("-?[0-9]{1,10}")


def values_of(dataset: JsonDataset, tag: str) -> Sequence[Any]:
    """The values of an element, none if it is not there."""
    return dataset.get(tag, {}).get("Value") or ()


def text_of(dataset: JsonDataset, tag: str) -> str:
    """The first value of an element, "" if there is none."""
    values = values_of(dataset, tag)
    return "" if not values or values[0] is None else str(values[0])


def number_of(dataset: JsonDataset, tag: str) -> int:
    """The first value of an element as a whole number, 0 if it is none."""
    text = text_of(dataset, tag)
    return int(text) if _NUMBER.fullmatch(text) else 0


def name_of(dataset: JsonDataset, tag: str) -> str:
    """A person's name as people write it: family name, given names (PS3.5 6.2.1)."""
    values = values_of(dataset, tag)
    return written_name(values[0]) if values else ""


def written_name(groups: Any) -> str:
    """One value of VR PN as people write it, its component groups with dots between them."""
    shown = []
    for group in ("Alphabetic", "Ideographic", "Phonetic"):
        if text := str(groups.get(group, "") if isinstance(groups, dict) else "").strip("^ "):
            family, _, rest = text.partition("^")
            given = " ".join(rest.replace("^", " ").split())
            shown.append(f"{family}, {given}" if given else family)
    return " · ".join(shown)


def date_of(dataset: JsonDataset, tag: str) -> str:
    """A date as YYYY-MM-DD, as it stands if it is none."""
    text = text_of(dataset, tag)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text


def time_of(dataset: JsonDataset, tag: str) -> str:
    """A time as HH:MM, as it stands if it is none."""
    text = text_of(dataset, tag)
    return f"{text[:2]}:{text[2:4]}" if len(text) >= 4 and text[:4].isdecimal() else text
