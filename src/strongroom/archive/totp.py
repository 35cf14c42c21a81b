"""Time-based one-time passwords (RFC 6238, over RFC 4226) as every authenticator app makes them: SHA-1, six digits,
steps of 30 seconds. Pure.

SHA-1 is what the apps can do; the HMAC does not depend on collisions.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from hashlib import sha1
from typing import Final

SECRET_BYTES: Final = 20
"""The length that RFC 4226 4 recommends, that of the digest."""

STEP_S: Final = 30
DIGITS: Final = 6
SKEW_STEPS: Final = 1
"""How far a telephone's clock may be away, in steps either way (RFC 6238 5.2)."""


def code_at(secret: bytes, step: int) -> str:
    """The code of one time step (RFC 4226 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), sha1)
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def find_step(secret: bytes, code: str, now_s: float, after_step: int) -> int | None:
    """The time step that a code is of, None if it is of none near ``now_s``.

    Only steps after ``after_step`` count, the last one that was taken: no code is good twice (RFC 6238 5.2).
    """
    bare = code.replace(" ", "").encode("utf-8", "surrogatepass")
    now = int(now_s) // STEP_S
    found = None
    for step in range(now - SKEW_STEPS, now + SKEW_STEPS + 1):
        # All of them, whichever it is: how long it takes tells nothing.
        if hmac.compare_digest(code_at(secret, step).encode(), bare) and step > after_step and found is None:
            found = step
    return found


def secret_text(secret: bytes) -> str:
    """A secret as people type it into an app: base32 without padding."""
    return b32encode(secret).decode().rstrip("=")
