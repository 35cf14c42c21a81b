"""Recovery codes: what somebody keeps on paper for the day when the second factor is lost. Pure.

Each has 80 random bits, so that guessing is no matter, and is good once.
"""

from __future__ import annotations

import re
from base64 import b32encode
from typing import Final

CODES: Final = 10
CODE_BYTES: Final = 10

_CODE: Final = re.compile("[a-z2-7]{16}", re.ASCII)


def recovery_code(random: bytes) -> str:
    """The text of a code, from ``CODE_BYTES`` random bytes: four groups of four."""
    assert len(random) == CODE_BYTES
    text = b32encode(random).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def parse_recovery_code(text: str) -> str:
    """The code in what somebody has typed, without its hyphens; "" if it is none."""
    bare = re.sub(r"[\s-]", "", text).lower()
    return bare if _CODE.fullmatch(bare) else ""
