"""What people are to the archive, and what that lets them do. Data: ``archive.access`` decides by it.

Nothing is granted that is not named here. Whoever runs the archive, or watches over it, sees no image because of it:
somebody who also reads images has the role of those who do, besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from strongroom.errors import ConfigError
from strongroom.types import Right


class Role(StrEnum):
    """What somebody is to the archive."""

    VIEWER = "viewer"
    TECHNOLOGIST = "technologist"
    PHYSICIAN = "physician"
    RESEARCHER = "researcher"
    SECURITY_OFFICER = "security-officer"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


_READS: Final = frozenset({Right.ECHO, Right.FIND, Right.GET})

RIGHTS_OF: Final[Mapping[Role, frozenset[Right]]] = MappingProxyType(
    {
        Role.VIEWER: _READS,
        Role.TECHNOLOGIST: _READS | {Right.STORE, Right.MOVE, Right.COMMIT, Right.PROPOSE},
        Role.PHYSICIAN: _READS | {Right.STORE, Right.MOVE, Right.PROPOSE, Right.SHARE, Right.BREAK_GLASS},
        Role.RESEARCHER: frozenset({Right.ECHO}),
        Role.SECURITY_OFFICER: frozenset({Right.ECHO, Right.AUDIT, Right.REVIEW, Right.PROPOSE}),
        Role.AUDITOR: frozenset({Right.ECHO, Right.AUDIT}),
        Role.ADMINISTRATOR: frozenset({Right.ECHO, Right.ADMINISTER, Right.REVIEW, Right.PROPOSE}),
    }
)
"""Nobody deletes because of a role: one proposes it, and one who reviews agrees. A researcher has no
images until there is a de-identified view."""

NEED_SECOND_FACTOR: Final = frozenset({Role.ADMINISTRATOR, Role.SECURITY_OFFICER})
"""Who can open doors to others."""


def rights_of(roles: Iterable[Role]) -> frozenset[Right]:
    """What somebody with these roles may do: all that any of them grants."""
    return frozenset(right for role in roles for right in RIGHTS_OF[role])


def parse_roles(text: str) -> tuple[Role, ...]:
    """``physician,administrator`` -> roles, each once, in the order of ``Role``.

    Raises ConfigError for a word that is none, and for none at all.
    """
    words = {word for part in text.split(",") if (word := part.strip())}
    if not words or not words <= set(Role):
        raise ConfigError(f"a role is one of {', '.join(Role)}; several have commas between them")
    return tuple(role for role in Role if role.value in words)


def stored_roles(text: str) -> tuple[Role, ...]:
    """The roles in what is stored; a word that is none grants nothing."""
    words = set(text.split(","))
    return tuple(role for role in Role if role.value in words)


def encode_roles(roles: Iterable[Role]) -> str:
    """Roles as they are stored."""
    return ",".join(roles)
