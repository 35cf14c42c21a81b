"""What a provider says of itself (OpenID Connect Discovery 1.0 section 3, RFC 8414, RFC 9207). Pure.

It is told over TLS by who holds the issuer's name, and counts for no other issuer (Discovery 4.3).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from strongroom.errors import PeerUnavailable

MAX_BYTES: Final = 256 * 1024
MAX_URL_CHARS: Final = 2000
PATH: Final = "/.well-known/openid-configuration"

_BASIC, _POST = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What of it is needed. ``sends_basic``: how the client's secret goes to the token endpoint (RFC 6749 2.3.1).

    ``names_itself``: every response names its issuer (RFC 9207 2.3).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    sends_basic: bool
    names_itself: bool


def metadata_url(issuer: str) -> str:
    """Where a provider tells it (Discovery 4.1)."""
    return issuer.removesuffix("/") + PATH


def parse_metadata(raw: bytes, issuer: str) -> Metadata:
    """What a provider's document says. Raises PeerUnavailable if it is another's, or lacks what is needed."""
    found = json_object(raw)
    if found.get("issuer") != issuer:
        raise PeerUnavailable("the provider's metadata is of another issuer than `oidc.issuer`")
    if "code" not in _words(found, "response_types_supported", "code"):
        raise PeerUnavailable("the provider has no authorization code flow")
    if "S256" not in _words(found, "code_challenge_methods_supported", "S256"):
        raise PeerUnavailable("the provider has no PKCE with S256")
    methods = _words(found, "token_endpoint_auth_methods_supported", _BASIC)
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_url(found, "authorization_endpoint"),
        token_endpoint=_url(found, "token_endpoint"),
        jwks_uri=_url(found, "jwks_uri"),
        userinfo_endpoint=_url(found, "userinfo_endpoint") if "userinfo_endpoint" in found else "",
        sends_basic=_BASIC in methods or _POST not in methods,
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


def json_object(raw: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises PeerUnavailable."""
    try:
        found = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise PeerUnavailable("the provider answered with something that is no JSON object")
    return found


def _words(found: Mapping[str, Any], name: str, otherwise: str) -> list[str]:
    words = found.get(name, [otherwise])
    if not isinstance(words, list):
        raise PeerUnavailable(f"the provider's metadata has no list {name}")
    return [word for word in words if isinstance(word, str)]


def _url(found: Mapping[str, Any], name: str) -> str:
    url = found.get(name)
    if not isinstance(url, str) or not is_https(url):
        raise PeerUnavailable(f"the provider's metadata has no https address as {name}")
    return url


def is_https(url: str) -> bool:
    """Whether it is an address of HTTPS with nothing in it that would lead elsewhere: no user, no fragment."""
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_whole = parts.scheme == "https" and bool(parts.hostname) and port != 0
    return is_whole and "@" not in parts.netloc and "#" not in url
