"""What may be shown of a text that a server chose.

A name of a product is evidence, and a patient's name is not; who sends a text could put either where the other
belongs. So only words that are known are shown as they are. Everything else is reduced to its shape, in which a reader
still sees a name, a number or a script, and nobody sees whose.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN: Final = 64
"""Characters of a text that are shown; a title, a version or a header is shorter. None is cut within a number."""

_KNOWN_CHARACTERS: Final = " -_./+()[]:;,"
_OF_PEOPLE: Final = "^=@,"
"""Between the parts of a name (PS3.5 6.2.1), or in an address: a text with one of these is shown by its shape alone."""
_TOKEN: Final = re.compile(r"[A-Za-z]+|[0-9](?:[^A-Za-z]*[0-9])?|.", re.DOTALL)
"""A word; or numbers with all that lies between them, for a date or an SSN is one number in parts; or a character."""
_VERSION: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}")
_DATE: Final = re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}")
_MAX_VERSION_DIGITS: Final = 7
_BEFORE_VERSION: Final = " -_/"


def shape_of(text: str) -> str:
    """Return the shape of ``text``: ``A`` and ``a`` for letters, ``9`` for digits, ``?`` for what could be obeyed.

    Runs are cut to three, so that not even the length of a name is told: "DOE^JANE" is "AAA^AAA".
    """
    shape: list[str] = []
    for character in text[:MAX_SHOWN]:
        if character.isdigit():
            kind = "9"
        elif character.isalpha():
            kind = "A" if character.isupper() else "a"
        elif character in _KNOWN_CHARACTERS or character in "^=@\\":
            kind = character
        else:
            kind = "?"
        if shape[-3:] != [kind] * 3:
            shape.append(kind)
    return "".join(shape) + ("..." if len(text) > MAX_SHOWN else "")


def shown(text: str, known_words: frozenset[str]) -> str:
    """Return ``text`` as it is where its words are known, and the shape of every other word.

    ``known_words`` are lower case. A number is shown after a known word, if it can be a version and no date, telephone
    number or identifier. What could be obeyed (control and non-ASCII characters) is a ``?``.
    """
    if any(character in text for character in _OF_PEOPLE):
        return shape_of(text)
    out: list[str] = []
    is_known = False
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.end() > MAX_SHOWN:
            return "".join(out) + "..."
        if token[0].isascii() and token[0].isalpha():
            is_known = token.lower() in known_words
            out.append(token if is_known else shape_of(token))
        elif token[0].isascii() and token[0].isdigit():
            out.append(token if is_known and is_version(token) else shape_of(token))
            is_known = False
        else:
            is_known &= token in _BEFORE_VERSION
            out.append(token if token in _KNOWN_CHARACTERS else "?")
    return "".join(out)


def is_version(number: str) -> bool:
    """Return whether numbers between points can be a version and no date, telephone number or identifier."""
    digits = sum(character.isdigit() for character in number)
    return bool(_VERSION.fullmatch(number)) and digits <= _MAX_VERSION_DIGITS and not _DATE.fullmatch(number)
