"""Challenges for passkeys that need no row until they are answered: whoever asks for many fills nothing.

A challenge says when it ends, and has a mark that only the archive makes: of the purpose, and of the session or cookie
of the browser that asked for it. Once it is answered it is noted, so that no answer is good twice.
"""

from __future__ import annotations

import hmac
import secrets
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

from strongroom.archive.people import digest_of
from strongroom.errors import Unauthenticated
from strongroom.people.sealing import PeopleKey

GOOD_FOR_US: Final = 360_000_000
"""A little longer than browsers ask for."""

_RANDOM_BYTES: Final = 24
_TIME_BYTES: Final = 8
_MARK_BYTES: Final = 32


class Purpose(StrEnum):
    """What a passkey is asked for."""

    SIGN_IN = "sign-in"
    SECOND_FACTOR = "second-factor"
    PROOF = "proof"
    ADD = "add"


class Challenge(NamedTuple):
    """One that holds: what is noted of it once it is answered, and until when."""

    digest: str
    ends_us: int


def new_challenge(key: PeopleKey, purpose: Purpose, bound: str, now_us: int) -> bytes:
    """A challenge for the browser that shows the secret ``bound``."""
    text = secrets.token_bytes(_RANDOM_BYTES) + (now_us + GOOD_FOR_US).to_bytes(_TIME_BYTES, "big")
    return text + _mark(key, purpose, bound, text)


def require_challenge(key: PeopleKey, purpose: Purpose, bound: str, challenge: bytes, now_us: int) -> Challenge:
    """Return what was challenged if it was us, for this, this browser, and not long ago. Raises Unauthenticated."""
    text, mark = challenge[:-_MARK_BYTES], challenge[-_MARK_BYTES:]
    if len(text) != _RANDOM_BYTES + _TIME_BYTES or not hmac.compare_digest(mark, _mark(key, purpose, bound, text)):
        raise Unauthenticated("passkey-challenge-wrong")
    ends_us = int.from_bytes(text[_RANDOM_BYTES:], "big")
    if now_us >= ends_us:
        raise Unauthenticated("passkey-challenge-old")
    return Challenge(sha256(challenge).hexdigest(), ends_us)


def _mark(key: PeopleKey, purpose: Purpose, bound: str, text: bytes) -> bytes:
    return key.sign_challenge(f"{purpose}\0{digest_of(bound)}\0".encode() + text)
