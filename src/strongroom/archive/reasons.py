"""Why somebody does what cannot be undone, or what others have to answer for. Pure."""

from __future__ import annotations

from typing import Final

from strongroom.errors import ConfigError

MAX_REASON_CHARS: Final = 200


def parse_reason(text: str, least: int = 1) -> str:
    """Return the reason, which stays in the trail for ever. Raises ConfigError: fewer characters than ``least``, too
    many, or not one line."""
    reason = text.strip()
    if not least <= len(reason) <= MAX_REASON_CHARS or not reason.isprintable():
        raise ConfigError(
            f"a reason is one line of {least} to {MAX_REASON_CHARS} characters, without names of patients"
        )
    return reason
