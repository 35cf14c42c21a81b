"""One identity provider, as it is asked: its metadata and keys, which are kept for a while; tokens; claims.

A provider that is away is not asked again for a moment: whoever waits for it takes a thread from who could be served.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote_plus, urlencode

from strongroom.errors import PeerUnavailable, Unauthenticated
from strongroom.net.outbound import Question, Reply
from strongroom.oidc.flow import Flow
from strongroom.oidc.idtoken import IdTokenRules, Sent, require_id_token
from strongroom.oidc.metadata import MAX_BYTES, Metadata, json_object, metadata_url, parse_metadata
from strongroom.oidc.settings import ProviderSettings
from strongroom.web.jwks import KeyTable, parse_published_keys

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

log = logging.getLogger(__name__)

KEPT_S: Final = 3600.0
"""How long metadata and keys are taken for what they were."""

REFETCH_S: Final = 60.0
"""Keys are asked for again when a token names one that is not there, this often at most."""

PAUSE_S: Final = 5.0
"""After a failure to tell metadata or keys; until then nobody asks for them."""

JSON: Final = "application/json"


class Tokens(NamedTuple):
    """What the token endpoint gives for a code (Core 3.1.3.3)."""

    id_token: str
    access_token: str


@dataclass(slots=True)
class _Known:
    """What is kept of a provider, and when that was asked for."""

    metadata: Metadata | None = None
    metadata_s: float = 0.0
    keys: KeyTable | None = field(default=None, repr=False)
    keys_s: float = 0.0
    failed_s: float = -PAUSE_S


class Provider:
    """Thread-safe; every call may block for a few times ``timeout_s``, and raises PeerUnavailable.

    ``monotonic`` is seconds of a clock that never goes back; ``ask`` is ``net.outbound.ask``.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        trust: ssl.SSLContext | None,
        monotonic: Callable[[], float],
        ask: Callable[[Question], Reply],
    ) -> None:
        self.settings = settings
        self._trust, self._monotonic, self._ask = trust, monotonic, ask
        self._lock = Lock()
        self._known = _Known()

    def metadata(self) -> Metadata:
        """What the provider says of itself."""
        with self._lock:
            return self._metadata()

    def tokens(self, metadata: Metadata, flow: Flow, code: str) -> Tokens:
        """What the provider gives for a code (Core 3.1.3.1). Raises Unauthenticated if it gives nothing."""
        settings = self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": JSON}
        if settings.secret and metadata.sends_basic:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.secret)}"  # RFC 6749 2.3.1
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": settings.client_id}
            form |= {"client_secret": settings.secret} if settings.secret else {}
        reply = self._question(metadata.token_endpoint, headers, urlencode(form).encode())
        if 400 <= reply.status < 500:
            raise Unauthenticated("code-refused")
        found = json_object(_require_ok(reply).body)
        id_token, access_token = found.get("id_token"), found.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise Unauthenticated("no-id-token")
        return Tokens(id_token, access_token)

    def claims(self, metadata: Metadata, flow: Flow, tokens: Tokens, now: float) -> Mapping[str, Any]:
        """What the provider says of who has signed in: in the ID token, and else at the UserInfo endpoint (Core 5.3).

        What the ID token says counts before the rest. Raises Unauthenticated.
        """
        settings = self.settings
        rules = IdTokenRules(settings.issuer, settings.client_id, settings.algorithms, settings.leeway_s)
        sent = Sent(tokens.id_token, tokens.access_token, flow.nonce)
        keys = self._keys(metadata)
        try:
            claims = require_id_token(sent, rules, keys, now)
        except Unauthenticated as error:
            if error.reason != "jwt-unknown-key":
                raise
            claims = require_id_token(sent, rules, self._keys(metadata, instead_of=keys), now)
        is_missing = {settings.name_claim, settings.roles_claim} - {""} - claims.keys()
        if is_missing and metadata.userinfo_endpoint and tokens.access_token:
            return {**self._userinfo(metadata, tokens.access_token, claims["sub"]), **claims}
        return claims

    def _userinfo(self, metadata: Metadata, access_token: str, subject: str) -> Mapping[str, Any]:
        if not access_token.isascii() or not access_token.isprintable():
            raise Unauthenticated("access-token")
        headers = {"Authorization": f"Bearer {access_token}", "Accept": JSON}
        found = json_object(_require_ok(self._question(metadata.userinfo_endpoint, headers)).body)
        if found.get("sub") != subject:  # Core 5.3.2
            raise Unauthenticated("userinfo-of-another")
        return found

    def _metadata(self) -> Metadata:
        known, now = self._known, self._monotonic()
        if known.metadata is None or now >= known.metadata_s + KEPT_S:
            raw = self._told(metadata_url(self.settings.issuer))
            known.metadata, known.metadata_s = parse_metadata(raw, self.settings.issuer), now
        return known.metadata

    def _keys(self, metadata: Metadata, instead_of: KeyTable | None = None) -> KeyTable:
        """The provider's keys; fresh ones instead of those if they may be asked for again already, else the same."""
        with self._lock:
            known, now = self._known, self._monotonic()
            is_another = known.keys is not None and known.keys is not instead_of
            if known.keys is not None and now < known.keys_s + (KEPT_S if is_another else REFETCH_S):
                return known.keys
            raw = self._told(metadata.jwks_uri)
            try:
                known.keys, known.keys_s = parse_published_keys(raw), now
            except ValueError:
                raise PeerUnavailable("the provider publishes no keys") from None
            return known.keys

    def _told(self, url: str) -> bytes:
        """A document that the provider publishes."""
        known = self._known
        if self._monotonic() < known.failed_s + PAUSE_S:
            raise PeerUnavailable("the provider did not answer a moment ago")
        try:
            return _require_ok(self._question(url, {"Accept": JSON})).body
        except PeerUnavailable:
            known.failed_s = self._monotonic()
            raise

    def _question(self, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        who = f"the identity provider {self.settings.name}"
        return self._ask(Question(url, who, MAX_BYTES, self.settings.timeout_s, body, headers, self._trust))


def _require_ok(reply: Reply) -> Reply:
    if reply.status != HTTPStatus.OK:
        raise PeerUnavailable(f"the provider answered with HTTP status {reply.status}")
    return reply
