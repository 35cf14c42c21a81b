"""Passcodes that everybody's lists of leaked passwords begin with. Pure.

``leaked.bin`` holds the first bytes of the SHA-256 of each, sorted: enough to know one again, and nothing to read. One
passcode in thirty million that is in no list is taken for one that is. ``leaked.LICENSE`` says where they are from, and
``tools/make_leaked.py`` makes the file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from typing import Final

DIGEST_BYTES: Final = 5
MIN_STEM_CHARS: Final = 6
"""Shorter words are in too much that is good."""

_KNOWN: Final = files(__package__).joinpath("leaked.bin").read_bytes()


def is_leaked(passcode: str) -> bool:
    """Whether a passcode is in the lists, in whatever case, or is what stands there with digits and signs after it."""
    whole = passcode.casefold()
    stem = stem_of(whole)
    return _is_known(whole) or (len(stem) >= MIN_STEM_CHARS and _is_known(stem))


def stem_of(text: str) -> str:
    """A passcode without what people put after it: digits and signs."""
    end = len(text)
    while end and not text[end - 1].isalpha():
        end -= 1
    return text[:end]


def pack(passwords: Iterable[str], least_chars: int) -> bytes:
    """The content of ``leaked.bin``: of those of ``least_chars`` or more, and of all without what is put after them."""
    folded = [each.casefold() for each in passwords]
    kept = {each for each in folded if len(each) >= least_chars}
    kept |= {stem for each in folded if len(stem := stem_of(each)) >= MIN_STEM_CHARS}
    return b"".join(sorted(_digest(each) for each in kept))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]


def _is_known(text: str) -> bool:
    wanted = _digest(text)
    at = bisect_left(range(len(_KNOWN) // DIGEST_BYTES), wanted, key=_at)
    return _at(at) == wanted


def _at(number: int) -> bytes:
    return _KNOWN[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
