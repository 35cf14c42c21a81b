"""What may be shown of a text that a server chose.

A name of a product is evidence, and a patient's name is not; who sends a text could put either where the other
belongs. So only words that are known are shown as they are. Everything else is reduced to its shape, in which a reader
still sees a name, a number or a script, and nobody sees whose.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN: Final = 64
"""Characters of a text that are looked at; a title, a version or a header is shorter."""

_KNOWN_CHARACTERS: Final = " -_./+()[]:;,"
_WORD: Final = re.compile(r"[A-Za-z]+|[0-9]+|.", re.DOTALL)


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

    ``known_words`` are lower case. A number of up to four digits between points is taken for a part of a version. What
    could be obeyed (control and non-ASCII characters) is a ``?``.
    """
    out: list[str] = []
    previous = ""
    cut = text[:MAX_SHOWN]
    for match in _WORD.finditer(cut):
        word = match.group()
        if word[0].isdigit() and word.isascii():
            follows_hyphen = previous == "-" or cut[match.end() : match.end() + 1] == "-"
            out.append(word if len(word) <= 4 and not follows_hyphen else shape_of(word))
        elif word.isascii() and word.isalpha():
            out.append(word if word.lower() in known_words else shape_of(word))
        else:
            out.append(word if word in _KNOWN_CHARACTERS else "?" if word != "^" else "^")
        previous = word
    return "".join(out) + ("..." if len(text) > MAX_SHOWN else "")
