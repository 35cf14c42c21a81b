"""Groups of people: a named part of the archive that several share. Pure.

A group only ever adds to what its members see. So nobody can be in one who is not limited otherwise: to leave it would
be all that changes anything, and to lose a group must never show more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from strongroom.errors import ConfigError
from strongroom.types import Scope

MAX_GROUPS_OF_PERSON: Final = 16
MAX_GROUP_NAME_CHARS: Final = 64
_MARKS: Final = frozenset(" ._-+&/()'")


@dataclass(frozen=True, slots=True)
class Group:
    """One group: what its members see beside their own scopes, and since when there is one (us since 1970)."""

    name: str
    scope: Scope
    added_us: int


def parse_group_name(text: str) -> str:
    """Return ``text`` if it can name a group. Raises ConfigError."""
    is_readable = all(each.isalnum() or each in _MARKS for each in text)
    if not is_readable or not 0 < len(text) <= MAX_GROUP_NAME_CHARS or not text[0].isalnum() or text[-1] == " ":
        raise ConfigError(
            f"a group's name begins with a letter or digit and has at most {MAX_GROUP_NAME_CHARS} of these, spaces and "
            f"{''.join(sorted(_MARKS)).strip()}"
        )
    return text
