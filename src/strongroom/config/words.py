"""What is wrong with a configuration file, in the words of somebody who writes TOML. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from datetime import date

import msgspec

_AT = re.compile(r" - at `(?:key in )?\$\.?(?P<key>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_TYPE = re.compile(r"Expected `(?P<wanted>.*)`, got `(?P<found>.*)`")
_CHOICE = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_TYPES_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": 'text in "quotes"',
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "date": "a date",
    "datetime": "a date with a time",
}


def in_words(said: str, keys_of: Callable[[str], Sequence[str]]) -> str:
    """What msgspec says, in the words of a TOML file, with the key of that section that may have been meant."""
    at = _AT.search(said)
    place, what = (at["key"], said[: at.start()]) if at else ("", said)
    prefix = f"{place}." if place else ""
    if unknown := _UNKNOWN.fullmatch(what):
        near = difflib.get_close_matches(unknown["name"], keys_of(place.partition("[")[0]), 1, 0.5)
        meant = f": did you mean {near[0]}?" if near else "."
        return f"unknown key {prefix}{unknown['name']}{meant} See docs/configuration.md"
    if missing := _MISSING.fullmatch(what):
        return f"{prefix}{missing['name']} is missing. See docs/configuration.md"
    if wrong := _TYPE.fullmatch(what):
        wanted, found = (_TYPES_IN_WORDS.get(wrong[name], wrong[name]) for name in ("wanted", "found"))
        return f"{place} must be {wanted}, not {found}"
    if value := _CHOICE.fullmatch(what):
        return f"{place} cannot be {value['value']}. See docs/configuration.md"
    return f"{place}: {what}" if place else what


def in_toml(config: msgspec.Struct) -> str:
    """A configuration as the text of a file, without what has its default. Raises TypeError for a value TOML lacks."""
    own, tables = [], []
    for field in msgspec.structs.fields(type(config)):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        if isinstance(value, msgspec.Struct):
            tables.append(f"[{field.name}]\n{in_toml(value)}")
        elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            tables += [f"[[{field.name}]]\n{in_toml(each)}" for each in value]
        else:
            own.append(f"{field.name} = {_toml_value(value)}\n")
    return "".join(own) + "\n".join(tables)


def _toml_value(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)  # of these JSON's spelling is TOML's
    raise TypeError(f"a configuration holds no {type(value).__name__}")
