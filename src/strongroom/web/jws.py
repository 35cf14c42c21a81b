"""Whether a JSON Web Token is signed (RFC 7515, and RFC 8725 for what goes wrong with that).

What decides about a token is in the configuration and never in the token: which algorithms (asymmetric ones only), and
which keys. A header that brings a key, names a place where there is one, or asks for an extension is refused.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from math import inf, isfinite
from typing import Any, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from strongroom.errors import Unauthenticated
from strongroom.web.jwks import KeyTable

MAX_HEADER_CHARS: Final = 1024

_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
"""``x5t`` only names a key in another way; it is passed over. Everything else would have to be understood."""

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_PART: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)


class Signed(NamedTuple):
    """What somebody with one of the keys has said."""

    algorithm: str
    claims: Mapping[str, Any]


def require_signed(text: str, algorithms: Collection[str], keys: KeyTable, types: Collection[str] = _TYPES) -> Signed:
    """What a token in the compact form says, if it is signed with one of the keys.

    Raises Unauthenticated: jwt-malformed, jwt-header, jwt-algorithm, jwt-unknown-key, jwt-signature.
    """
    parts = text.split(".")
    if len(parts) != 3 or len(parts[0]) > MAX_HEADER_CHARS:
        raise Unauthenticated("jwt-malformed")
    raw_header, payload, signature = map(decoded, parts)
    header = _object(raw_header)
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not header.keys() <= _HEADER_MEMBERS:
        raise Unauthenticated("jwt-header")
    if not isinstance(kind, str) or kind.lower() not in types or not isinstance(kid, str | None):
        raise Unauthenticated("jwt-header")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Unauthenticated("jwt-algorithm")
    key = keys.find(algorithm, kid)
    try:
        # The registry's own check of the header is not used: it knows more than we allow.
        signed = f"{parts[0]}.{parts[1]}".encode()
        is_good = key is not None and JWSRegistry.algorithms[algorithm].verify(signed, signature, key)
    except (JoseError, ValueError, TypeError):
        is_good = False
    if not is_good:
        raise Unauthenticated("jwt-unknown-key" if key is None else "jwt-signature")
    return Signed(algorithm, _object(payload))


def decoded(part: str) -> bytes:
    """A part of a token: base64url without padding, in its one spelling (RFC 7515 2)."""
    if _PART.fullmatch(part) and len(part) % 4 != 1:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if urlsafe_b64encode(raw).decode().rstrip("=") == part:
            return raw
    raise Unauthenticated("jwt-malformed")


def _object(raw: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice: two readers could each believe another one."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unauthenticated("jwt-malformed") from None
    if not isinstance(found, dict):
        raise Unauthenticated("jwt-malformed")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_time(claims: Mapping[str, Any], name: str) -> float:
    """A claim that is a time, in seconds since 1970. Raises Unauthenticated: jwt-times."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated("jwt-times")
    try:
        time = float(value)
    except OverflowError:  # a whole number beyond all floats
        time = inf
    if not isfinite(time):
        raise Unauthenticated("jwt-times")
    return time
