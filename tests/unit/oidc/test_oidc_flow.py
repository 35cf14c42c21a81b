"""What the browser leaves with, and which response fits it."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from strongroom.errors import PeerUnavailable, Unauthenticated
from strongroom.oidc.flow import (
    FLOW_S,
    Flow,
    authorization_url,
    challenge_of,
    code_of,
    decode_flow,
    encode_flow,
    require_state,
)
from strongroom.oidc.metadata import Metadata, is_https, metadata_url, parse_metadata
from strongroom.oidc.settings import ProviderSettings

ISSUER = "https://login.example/realm"
FLOW = Flow("hospital", "state", "nonce", "verifier", "https://pacs.example/back", "/studies?q=Åsa", 1000)
METADATA = Metadata(ISSUER, f"{ISSUER}/auth?a=b", f"{ISSUER}/token", f"{ISSUER}/keys", "", True, True)
SETTINGS = ProviderSettings(
    name="hospital",
    label="St. Elsewhere",
    issuer=ISSUER,
    client_id="strongroom",
    secret="",
    scopes=("openid", "profile"),
    name_claim="preferred_username",
    roles_claim="groups",
    grants=(),
    makes_accounts=True,
    multifactor_amr=frozenset(),
    multifactor_acr=("gold", "silver"),
    algorithms=frozenset({"ES256"}),
    leeway_s=30.0,
    timeout_s=5.0,
)
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "response_types_supported": ["code"],
}


def encoded(**changes: object) -> bytes:
    return json.dumps({name: value for name, value in {**DOCUMENT, **changes}.items() if value is not None}).encode()


def test_the_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636 appendix B."""
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_flow_is_the_same_after_the_journey() -> None:
    assert decode_flow(encode_flow(FLOW)) == FLOW


@pytest.mark.parametrize(
    ("now", "is_over"), [(998.0, True), (1000.0, False), (999.5 + FLOW_S, False), (1000.0 + FLOW_S, True)]
)
def test_a_flow_has_its_time(now: float, is_over: bool) -> None:
    assert FLOW.is_over(now) is is_over


def test_the_browser_takes_along_what_it_has_to_and_no_verifier() -> None:
    url = authorization_url(SETTINGS, METADATA, FLOW)
    assert url.startswith(f"{ISSUER}/auth?a=b&")
    asked = {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}
    assert asked == {
        "a": "b",
        "response_type": "code",
        "client_id": "strongroom",
        "redirect_uri": FLOW.redirect_uri,
        "scope": "openid profile",
        "state": "state",
        "nonce": "nonce",
        "code_challenge": challenge_of("verifier"),
        "code_challenge_method": "S256",
        "acr_values": "gold silver",
    }


@pytest.mark.parametrize(
    "response",
    [
        [],
        [("code", "c")],
        [("state", "other"), ("code", "c")],
        [("state", "state"), ("state", "state")],
        [("state", "state"), ("code", "a"), ("code", "b")],
        [("state", "\udcff")],
        [("state", "state"), *((f"p{number}", "") for number in range(16))],
    ],
)
def test_a_response_to_something_else_is_none(response: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthenticated):
        require_state(response, FLOW)


@pytest.mark.parametrize(
    ("response", "names_itself", "reason"),
    [
        ([("code", "c")], True, "response-issuer"),
        ([("code", "c"), ("iss", "https://evil.example")], True, "response-issuer"),
        ([("code", "c"), ("iss", "https://evil.example")], False, "response-issuer"),
        ([("error", "access_denied"), ("iss", ISSUER)], True, "provider-refused"),
        ([("error", "server_error"), ("code", "c")], False, "response-error"),
        ([("code", "")], False, "response-code"),
        ([("code", "c" * 4097)], False, "response-code"),
        ([("code", "c\r\nX: y")], False, "response-code"),
    ],
)
def test_a_response_without_a_good_code_says_why(
    response: list[tuple[str, str]], names_itself: bool, reason: str
) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        code_of(response, replace(METADATA, names_itself=names_itself))


def test_a_good_response_has_its_code() -> None:
    assert code_of([("code", "c"), ("iss", ISSUER), ("session_state", "x")], METADATA) == "c"
    assert code_of([("code", "c")], replace(METADATA, names_itself=False)) == "c"


def test_metadata_is_that_of_the_issuer() -> None:
    assert metadata_url("https://login.example/") == "https://login.example/.well-known/openid-configuration"
    found = parse_metadata(encoded(token_endpoint_auth_methods_supported=["client_secret_post"]), ISSUER)
    assert (found.token_endpoint, found.sends_basic, found.names_itself) == (f"{ISSUER}/token", False, False)
    assert parse_metadata(encoded(authorization_response_iss_parameter_supported=True), ISSUER).names_itself


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        encoded(issuer="https://login.example"),
        encoded(issuer=f"{ISSUER}/"),
        encoded(token_endpoint=None),
        encoded(token_endpoint="http://login.example/token"),
        encoded(jwks_uri="file:///etc/passwd"),
        encoded(authorization_endpoint="javascript:alert(1)"),
        encoded(response_types_supported=["id_token"]),
        encoded(code_challenge_methods_supported=["plain"]),
        encoded(code_challenge_methods_supported="S256"),
        encoded(userinfo_endpoint=7),
    ],
)
def test_metadata_of_another_or_without_what_is_needed_is_none(raw: bytes) -> None:
    with pytest.raises(PeerUnavailable):
        parse_metadata(raw, ISSUER)


@pytest.mark.parametrize(
    "url",
    ["", "https://", "https://a@b.example/", "https://a.example/#x", "https://a.example/ x", "https://a.example\\@b/",
     "https://a.example:99999/", "https://a.example:0/", "https://é.example/", "https://a.example/" + "x" * 2000],
)  # fmt: skip
def test_an_address_that_may_lead_elsewhere_is_none(url: str) -> None:
    assert not is_https(url)
