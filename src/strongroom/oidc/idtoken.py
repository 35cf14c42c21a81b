"""Whether an ID token is one for us, of now, and of this one sign-in (OpenID Connect Core 1.0, 3.1.3.7). Pure."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256, sha384, sha512
from typing import Any, Final

from strongroom.errors import Unauthenticated
from strongroom.web.jwks import KeyTable
from strongroom.web.jws import read_time, require_signed

MAX_TOKEN_CHARS: Final = 65_536
MAX_SUBJECT_CHARS: Final = 255
MAX_AGE_S: Final = 600.0
"""Since it was issued: it comes straight from the provider."""

_TYPES: Final = frozenset({"jwt"})
"""No access token is taken for an ID token (RFC 9068 2.1)."""

_HASHES: Final = {"256": sha256, "384": sha384, "512": sha512}


@dataclass(frozen=True, slots=True)
class IdTokenRules:
    """What an ID token has to be."""

    issuer: str
    client_id: str
    algorithms: frozenset[str]
    leeway_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """What came with it, or went before it. ``access_token`` "" if none came."""

    id_token: str
    access_token: str
    nonce: str


def require_id_token(sent: Sent, rules: IdTokenRules, keys: KeyTable, now: float) -> Mapping[str, Any]:
    """The claims of an ID token at ``now`` (seconds since 1970). Raises Unauthenticated with a reason for the trail."""
    if len(sent.id_token) > MAX_TOKEN_CHARS:
        raise Unauthenticated("jwt-malformed")
    algorithm, claims = require_signed(sent.id_token, rules.algorithms, keys, _TYPES)
    if claims.get("iss") != rules.issuer:
        raise Unauthenticated("jwt-issuer")
    _require_audience(claims, rules.client_id)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS or not subject.isprintable():
        raise Unauthenticated("jwt-subject")
    _require_now(claims, rules.leeway_s, now)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), sent.nonce.encode()):
        raise Unauthenticated("id-token-nonce")
    if "at_hash" in claims and claims["at_hash"] != half_hash(sent.access_token, algorithm):
        raise Unauthenticated("id-token-access-token")
    return claims


def _require_audience(claims: Mapping[str, Any], client_id: str) -> None:
    """Raise Unauthenticated unless it is for us: alone, or by the word of ``azp`` (Core 3.1.3.7, 3 to 5)."""
    audience, party = claims.get("aud"), claims.get("azp")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise Unauthenticated("jwt-audience")
    if (party is not None or len(audiences) > 1) and party != client_id:
        raise Unauthenticated("id-token-party")


def _require_now(claims: Mapping[str, Any], leeway_s: float, now: float) -> None:
    issued, expires = read_time(claims, "iat"), read_time(claims, "exp")
    not_before = read_time(claims, "nbf") if "nbf" in claims else issued
    if now >= expires + leeway_s:
        raise Unauthenticated("jwt-expired")
    if max(issued, not_before) > now + leeway_s:
        raise Unauthenticated("jwt-not-yet")
    if issued < now - MAX_AGE_S - leeway_s:
        raise Unauthenticated("id-token-old")


def half_hash(text: str, algorithm: str) -> str:
    """The left half of a hash of an access token, as ``at_hash`` has it (Core 3.1.3.6); Ed25519 hashes with SHA-512."""
    digest = _HASHES.get(algorithm[-3:], sha512)(text.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
