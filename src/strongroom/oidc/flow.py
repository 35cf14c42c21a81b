"""One sign-in with a provider, from the redirection there to the redirection back. Pure.

What has to be known again when the browser comes back is in the browser, sealed: nobody else's response fits it (login
CSRF), and no other provider's (mix-up). What is in it is good once (``people.provided``).
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import urlencode

from strongroom.errors import Unauthenticated
from strongroom.oidc.metadata import Metadata
from strongroom.oidc.settings import ProviderSettings

FLOW_S: Final = 600
MAX_CODE_CHARS: Final = 4096
MAX_PARAMETERS: Final = 16
MAX_WANTED_BYTES: Final = 1500
"""Of a path that somebody wanted to go to: browsers keep cookies of 4 KiB."""

_ERRORS: Final = frozenset({"access_denied", "login_required", "interaction_required", "consent_required",
                            "account_selection_required"})  # fmt: skip
"""What a provider says when the person did not go on, and nothing is wrong (RFC 6749 4.1.2.1, Core 3.1.2.6)."""

NOT_LET_IN: Final = "provider-refused"


@dataclass(frozen=True, slots=True)
class Flow:
    """What was sent there, and what for. ``wanted`` is the path to go to afterwards; times are seconds since 1970.

    ``before`` is the digest of the session that somebody has who is to prove who he is once more, "" if he signs in.
    """

    provider: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str
    wanted: str
    began_s: int
    before: str = ""

    def is_over(self, now: float) -> bool:
        """Whether it has taken too long, or began in the future."""
        return not self.began_s - 1 <= now < self.began_s + FLOW_S


def encode_flow(flow: Flow) -> bytes:
    """A flow as it is sealed."""
    return json.dumps(asdict(flow), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def decode_flow(raw: bytes) -> Flow:
    """What ``encode_flow`` made."""
    return Flow(**json.loads(raw))


def challenge_of(verifier: str) -> str:
    """The code challenge of a verifier, method S256 (RFC 7636 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def authorization_url(settings: ProviderSettings, metadata: Metadata, flow: Flow) -> str:
    """Where the browser is sent (Core 3.1.2.1)."""
    parameters = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": flow.redirect_uri,
        "scope": " ".join(settings.scopes),
        "state": flow.state,
        "nonce": flow.nonce,
        "code_challenge": challenge_of(flow.verifier),
        "code_challenge_method": "S256",
    }
    if flow.before:  # not by a session that he has there, for that proves nothing (Core 3.1.2.1)
        parameters |= {"prompt": "login", "max_age": "0"}
    if settings.multifactor_acr:
        parameters["acr_values"] = " ".join(settings.multifactor_acr)
    endpoint = metadata.authorization_endpoint
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def require_state(parameters: Sequence[tuple[str, str]], flow: Flow) -> None:
    """Return if a response is to this flow, and has no parameter twice (RFC 6749 3.1). Raises Unauthenticated."""
    names = [name for name, _ in parameters]
    if len(set(names)) != len(names) or len(names) > MAX_PARAMETERS:
        raise Unauthenticated("response-parameters")
    state = dict(parameters).get("state", "")
    if not hmac.compare_digest(state.encode("utf-8", "surrogatepass"), flow.state.encode()):
        raise Unauthenticated("response-state")


def code_of(parameters: Sequence[tuple[str, str]], metadata: Metadata) -> str:
    """The code in a response, of which ``require_state`` has let the state pass.

    Raises Unauthenticated: response-issuer (RFC 9207 2.4), provider-refused if the person did not go on there,
    response-error for any other error, response-code.
    """
    found = dict(parameters)
    if (metadata.names_itself or "iss" in found) and found.get("iss") != metadata.issuer:
        raise Unauthenticated("response-issuer")
    if "error" in found:
        raise Unauthenticated(NOT_LET_IN if found["error"] in _ERRORS else "response-error")
    code = found.get("code", "")
    if not 0 < len(code) <= MAX_CODE_CHARS or not code.isascii() or not code.isprintable():
        raise Unauthenticated("response-code")
    return code
