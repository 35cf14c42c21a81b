"""Access tokens: what one looks like, what it may do, and who the bearer is. Pure.

The secret is 256 random bits behind a prefix that scanners of repositories and logs can look for. Only its SHA-256 is
kept: nobody can guess such a secret, so a slow hash would only slow down the server.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from strongroom.errors import ConfigError, Denied
from strongroom.types import Principal, Right, Scope

PREFIX: Final = "strongroom_"
SECRET_BYTES: Final = 32
VIA_TOKEN: Final = "token"

RIGHTS: Final = {
    "search": Right.FIND,
    "read": Right.GET,
    "store": Right.STORE,
    "delete": Right.DELETE,
    "metrics": Right.METRICS,
}
"""What may be done over HTTPS, in its own words; the rights are those of DIMSE."""

_SECRET: Final = re.compile(PREFIX + "[A-Za-z0-9_-]{43}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """One access token without its secret. Times are microseconds since 1970; ``revoked_us`` 0 = not revoked."""

    name: str
    digest: str = field(repr=False)
    rights: frozenset[Right]
    scope: Scope | None
    added_us: int
    expires_us: int
    revoked_us: int = 0

    def is_good(self, now_us: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return not self.revoked_us and now_us < self.expires_us


def new_secret(random: bytes) -> str:
    """The text of a new token, from ``SECRET_BYTES`` random bytes."""
    assert len(random) == SECRET_BYTES
    return PREFIX + urlsafe_b64encode(random).decode().rstrip("=")


def is_secret(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _SECRET.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """What is kept of a token: the SHA-256 of its text in lower-case hex."""
    return sha256(secret.encode()).hexdigest()


def bearer(token: Token | None, now_us: int, address: str) -> Principal:
    """Who presents a token. Raises Denied: unknown-token, token-revoked or token-expired."""
    if token is None:
        raise Denied("unknown-token")
    if token.revoked_us:
        raise Denied("token-revoked")
    if not token.is_good(now_us):
        raise Denied("token-expired")
    return Principal(token.name, token.digest, "", address, token.rights, token.scope, VIA_TOKEN)


def parse_name(text: str) -> str:
    """Return ``text`` if it can name a token. Raises ConfigError."""
    if not _NAME.fullmatch(text):
        raise ConfigError("a token's name is a letter or digit, and up to 63 more of these, dots, dashes, _ and @")
    return text


def parse_token_rights(text: str) -> frozenset[Right]:
    """``search,read`` -> rights. Raises ConfigError for a word that is none, and for none at all."""
    words = [word for part in text.split(",") if (word := part.strip())]
    if not words or not RIGHTS.keys() >= set(words):
        raise ConfigError(f"a token may {', '.join(RIGHTS)}: say which, with commas between them")
    return frozenset(RIGHTS[word] for word in words)


def rights_in_words(rights: Iterable[Right]) -> tuple[str, ...]:
    """Rights in the words that ``parse_token_rights`` takes, in their own order."""
    granted = frozenset(rights)
    return tuple(word for word, right in RIGHTS.items() if right in granted)
