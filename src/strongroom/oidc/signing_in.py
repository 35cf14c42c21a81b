"""Signing in with a provider: away to it, and back (``archive.ports.Providers``)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from strongroom.archive.federation import (
    NO_ACCOUNT,
    NO_COMMON_SCOPE,
    NO_ROLE,
    PROOF_OF_ANOTHER,
    USER_DISABLED,
    Arrival,
    Departure,
    Identity,
    ProviderShown,
    claim_values,
    granted,
)
from strongroom.archive.people import Entered, Where
from strongroom.errors import NotFound, PeerUnavailable, Throttled, Unauthenticated
from strongroom.oidc.flow import (
    MAX_WANTED_BYTES,
    NOT_LET_IN,
    Flow,
    authorization_url,
    code_of,
    decode_flow,
    encode_flow,
    require_state,
)
from strongroom.oidc.provider import Provider
from strongroom.oidc.settings import ProviderSettings
from strongroom.web.jws import read_time

log = logging.getLogger(__name__)

RANDOM_BYTES: Final = 32
MAX_SEALED_CHARS: Final = 8192
NOT_OURS: Final = "response-to-nothing"
TOO_LATE: Final = "response-too-late"
AWAY: Final = "provider-unavailable"
HONEST: Final = frozenset(
    {AWAY, NOT_LET_IN, NOT_OURS, TOO_LATE, NO_ACCOUNT, NO_ROLE, PROOF_OF_ANOTHER, NO_COMMON_SCOPE, USER_DISABLED}
)
"""Why people are not let in who have tried nothing. All else has us ask a provider in vain, and counts."""


@dataclass(frozen=True, slots=True)
class ProviderPorts:
    """What signing in with a provider needs of the archive.

    ``seal`` and ``open`` make a text that only we can read of bytes, and back, or None if it is not ours. ``take`` lets
    each state pass once, and raises Unauthenticated or Throttled. ``enter`` gives somebody whom a provider vouches for
    his session, or raises Unauthenticated. ``refused`` takes note of a refusal (where, provider, reason), and ``count``
    of one that counts against where it came from. ``clock`` is seconds since 1970.
    """

    seal: Callable[[bytes], str]
    open: Callable[[str], bytes | None]
    take: Callable[[str, Where], None]
    enter: Callable[[Identity, Where], Entered]
    refused: Callable[[Where, str, str], None]
    count: Callable[[Where], None]
    clock: Callable[[], float]
    random: Callable[[int], str] = field(default=secrets.token_urlsafe)


class Providers:
    """The providers that the configuration names. Thread-safe; every call but ``shown`` blocks."""

    def __init__(self, providers: Sequence[Provider], ports: ProviderPorts) -> None:
        self._providers = {each.settings.name: each for each in providers}
        self._ports = ports

    def shown(self) -> Sequence[ProviderShown]:
        """Each of them, in the order of the configuration."""
        return [ProviderShown(each.settings.name, each.settings.label) for each in self._providers.values()]

    def depart(self, name: str, redirect_uri: str, wanted: str, before: str = "") -> Departure:
        """Where to send a browser that is to come back to ``redirect_uri``. With ``before``, the digest of a session,
        its owner is to prove there who he is, once more. Raises NotFound, PeerUnavailable."""
        provider, random = self._named(name), self._ports.random
        metadata = provider.metadata()
        flow = Flow(
            provider=name,
            state=random(RANDOM_BYTES),
            nonce=random(RANDOM_BYTES),
            verifier=random(RANDOM_BYTES),
            redirect_uri=redirect_uri,
            wanted=wanted if len(wanted.encode("utf-8", "replace")) <= MAX_WANTED_BYTES else "/",
            began_s=int(self._ports.clock()),
            before=before,
        )
        url = authorization_url(provider.settings, metadata, flow)
        return Departure(url, self._ports.seal(encode_flow(flow)))

    def arrive(self, name: str, sealed: str, response: Sequence[tuple[str, str]], where: Where) -> Arrival:
        """Let in whom a provider sends back. ``response`` are the parameters that the browser came with.

        Raises NotFound; Unauthenticated and PeerUnavailable, both with their reason in the trail; Throttled.
        """
        provider = self._named(name)
        try:
            flow = self._flow(name, sealed)
            require_state(response, flow)
            self._ports.take(flow.state, where)
            identity = self._identity(provider, flow, response)
            return Arrival(self._ports.enter(identity, where), flow.wanted)
        except Throttled:
            raise
        except Unauthenticated as error:
            self._ports.refused(where, name, error.reason)
            if error.reason not in HONEST:
                self._ports.count(where)
            raise
        except PeerUnavailable as error:
            log.error("nobody signs in: %s", error)
            self._ports.refused(where, name, AWAY)
            raise

    def _named(self, name: str) -> Provider:
        if name not in self._providers:
            raise NotFound("no such provider")
        return self._providers[name]

    def _flow(self, name: str, sealed: str) -> Flow:
        """What this browser left with. Raises Unauthenticated: not from here, to another provider, too long ago."""
        raw = self._ports.open(sealed) if len(sealed) <= MAX_SEALED_CHARS else None
        if raw is None:
            raise Unauthenticated(NOT_OURS)
        flow = decode_flow(raw)
        if flow.provider != name:
            raise Unauthenticated("response-of-another-provider")
        if flow.is_over(self._ports.clock()):
            raise Unauthenticated(TOO_LATE)
        return flow

    def _identity(self, provider: Provider, flow: Flow, response: Sequence[tuple[str, str]]) -> Identity:
        metadata = provider.metadata()
        tokens = provider.tokens(metadata, flow, code_of(response, metadata))
        claims = provider.claims(metadata, flow, tokens, self._ports.clock())
        proved_s = read_time(claims, "auth_time") if "auth_time" in claims else 0.0
        if flow.before and proved_s < flow.began_s - provider.settings.leeway_s:
            raise Unauthenticated("proof-too-old")
        identity = identity_of(provider.settings, claims)
        return replace(identity, proved_s=proved_s, before=flow.before)


def identity_of(settings: ProviderSettings, claims: Mapping[str, Any]) -> Identity:
    """Whom the claims of a good ID token are of, and what they make of him. Raises Unauthenticated."""
    name = claims.get(settings.name_claim, "")
    values = claim_values(claims.get(settings.roles_claim)) if settings.roles_claim else frozenset[str]()
    return Identity(
        provider=settings.name,
        issuer=settings.issuer,
        subject=claims["sub"],
        name=name if isinstance(name, str) else "",
        granted=granted(settings.grants, values) if settings.roles_claim else None,
        is_multifactor=_is_multifactor(settings, claims),
        may_be_new=settings.makes_accounts,
    )


def _is_multifactor(settings: ProviderSettings, claims: Mapping[str, Any]) -> bool:
    """Whether the provider says that two factors were shown, in one of the words that the operator takes for it."""
    methods = claims.get("amr")
    words = {each for each in methods if isinstance(each, str)} if isinstance(methods, list) else set()
    return bool(words & settings.multifactor_amr) or claims.get("acr") in settings.multifactor_acr
