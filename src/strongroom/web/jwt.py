"""JSON Web Tokens of an identity provider (RFC 7519, RFC 7515, and RFC 8725 for what goes wrong with them).

Whether one is signed, ``web.jws`` says. A claim that we would have to leave unheeded although it limits the token is
refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from strongroom.archive.access import parse_scope
from strongroom.archive.tokens import RIGHTS
from strongroom.errors import ConfigError, Unauthenticated
from strongroom.types import Principal, Right, Scope
from strongroom.web.jwks import KeyTable
from strongroom.web.jws import ALGORITHMS, decoded, read_time, require_signed

VIA_JWT: Final = "jwt"
MAX_SUBJECT_CHARS: Final = 256
MAX_REMEMBERED: Final = 1024
"""Tokens whose signature need not be verified again: a viewer sends the same one with each of its requests."""


@dataclass(frozen=True, slots=True)
class JwtRules:
    """What a token has to be. ``rights_claim`` and ``scope_claim`` name claims; ``scope_claim`` "" = no limits."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    rights_claim: str
    scope_claim: str
    leeway_s: float
    max_lifetime_s: float

    def __post_init__(self) -> None:
        """Raise ConfigError for an algorithm that is none of those that need a private key to sign."""
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise ConfigError(f"jwt.algorithms takes {', '.join(sorted(ALGORITHMS))}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token with a good signature says; its times hold, or not, whenever they are looked at."""

    subject: str
    rights: frozenset[Right]
    scope: Scope | None
    not_before: float
    expires: float
    certificate_sha256: str
    """The certificate it is bound to (RFC 8705 3.1), in lower-case hex; "" if to none."""


class JwtVerifier:
    """Verifies tokens of one issuer. Thread-safe."""

    def __init__(self, rules: JwtRules, keys: Callable[[], KeyTable]) -> None:
        """``keys()`` gives the keys of now: another table as soon as there are others."""
        self._rules = rules
        self._keys = keys
        self._lock = Lock()
        self._remembered: OrderedDict[bytes, tuple[KeyTable, Claims]] = OrderedDict()

    def verify(self, text: str, now: float, address: str, fingerprint: str) -> Principal:
        """The bearer of a token at ``now`` (seconds since 1970), on a connection with this certificate or "".

        Raises Unauthenticated with a reason for the trail.
        """
        rules, keys = self._rules, self._keys()
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            known_keys, claims = self._remembered.get(digest, (None, None))
        if claims is None or known_keys is not keys:
            claims = self._claims(text, keys, now)
            self._remember(digest, keys, claims)
        if now >= claims.expires + rules.leeway_s:
            raise Unauthenticated("jwt-expired")
        if now < claims.not_before - rules.leeway_s:
            raise Unauthenticated("jwt-not-yet")
        if claims.certificate_sha256 and claims.certificate_sha256 != fingerprint:
            raise Unauthenticated("jwt-of-another-certificate")
        return Principal(rules.issuer, "", claims.subject, address, claims.rights, claims.scope, VIA_JWT)

    def _remember(self, digest: bytes, keys: KeyTable, claims: Claims) -> None:
        with self._lock:
            self._remembered[digest] = (keys, claims)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)

    def _claims(self, text: str, keys: KeyTable, now: float) -> Claims:
        signed = require_signed(text, self._rules.algorithms, keys)
        return _read_claims(signed.claims, self._rules, now)


def _read_claims(claims: Mapping[str, Any], rules: JwtRules, now: float) -> Claims:
    if claims.get("iss") != rules.issuer:
        raise Unauthenticated("jwt-issuer")
    audience = claims.get("aud")
    if audience != rules.audience and not (isinstance(audience, list) and rules.audience in audience):
        raise Unauthenticated("jwt-audience")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or len(subject) > MAX_SUBJECT_CHARS:
        raise Unauthenticated("jwt-subject")
    issued, expires = read_time(claims, "iat"), read_time(claims, "exp")
    if issued > now + rules.leeway_s:
        raise Unauthenticated("jwt-not-yet")
    if not 0 < expires - issued <= rules.max_lifetime_s:
        raise Unauthenticated("jwt-lifetime")
    not_before = read_time(claims, "nbf") if "nbf" in claims else issued
    rights = _rights(claims.get(rules.rights_claim, ""))
    return Claims(subject, rights, _scope(claims, rules), not_before, expires, _bound_to(claims))


def _rights(value: Any) -> frozenset[Right]:
    """The rights in a claim, words in a text or a list. Any other word is somebody else's, and grants nothing here."""
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Unauthenticated("jwt-rights")
    return frozenset(RIGHTS[word] for word in words if word in RIGHTS)


def _scope(claims: Mapping[str, Any], rules: JwtRules) -> Scope | None:
    """What the token is limited to. A claim that is missing or that a scope cannot express is no leave to see all."""
    if not rules.scope_claim:
        return None
    value = claims.get(rules.scope_claim)
    terms = [value] if isinstance(value, str) else value
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise Unauthenticated("jwt-scope")
    try:
        return parse_scope(terms)
    except ConfigError:
        raise Unauthenticated("jwt-scope") from None


def _bound_to(claims: Mapping[str, Any]) -> str:
    """The certificate that the token may be used with only (RFC 8705 3.1)."""
    if "cnf" not in claims:
        return ""
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or confirmation.keys() != {"x5t#S256"}:
        raise Unauthenticated("jwt-confirmation")
    thumbprint = confirmation["x5t#S256"]
    raw = decoded(thumbprint) if isinstance(thumbprint, str) else b""
    if len(raw) != 32:
        raise Unauthenticated("jwt-confirmation")
    return raw.hex()
