"""What is asked of a provider, how often, and what becomes of answers that are none."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

import pytest
from joserfc.jwk import ECKey

from harness.oidc_hostile import signed
from strongroom.errors import PeerUnavailable, Unauthenticated
from strongroom.net.outbound import Question, Reply
from strongroom.oidc.flow import Flow
from strongroom.oidc.provider import KEPT_S, PAUSE_S, REFETCH_S, Provider, Tokens
from strongroom.oidc.settings import ProviderSettings

ISSUER, NOW = "https://login.example", 1_800_000_000.0
FLOW = Flow("hospital", "state", "nonce", "verifier", "https://pacs.example/back", "/", 1000)
SETTINGS = ProviderSettings(
    name="hospital",
    label="St. Elsewhere",
    issuer=ISSUER,
    client_id="strong room",
    secret="s:cret%",
    scopes=("openid",),
    name_claim="name",
    roles_claim="groups",
    grants=(),
    makes_accounts=True,
    multifactor_amr=frozenset(),
    multifactor_acr=(),
    algorithms=frozenset({"ES256"}),
    leeway_s=30.0,
    timeout_s=5.0,
)


def key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid, "alg": "ES256"})


@dataclass
class Network:
    """Answers for what is asked, and a clock."""

    keys: list[ECKey] = field(default_factory=lambda: [key("k1")])
    more: dict[str, object] = field(default_factory=dict)
    replies: dict[str, Callable[[], Reply]] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    now_s: float = 1000.0

    def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        path = question.url.removeprefix(ISSUER)
        if path in self.replies:
            return self.replies[path]()
        said: dict[str, object] = {}
        if path == "/.well-known/openid-configuration":
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
            said = {"issuer": ISSUER, **{name: f"{ISSUER}/{name}" for name in names}, **self.more}
        elif path == "/jwks_uri":
            said = {"keys": [each.as_dict(private=False) for each in self.keys]}
        return Reply(200, "application/json", json.dumps(said).encode())

    def count(self, path: str) -> int:
        return sum(each.url == ISSUER + path for each in self.asked)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def provider(network: Network) -> Provider:
    return Provider(SETTINGS, None, lambda: network.now_s, network.ask)


def id_token(by: ECKey, **more: object) -> Tokens:
    claims = {"iss": ISSUER, "aud": SETTINGS.client_id, "sub": "s-1", "iat": NOW, "exp": NOW + 60, "nonce": "nonce"}
    return Tokens(signed({**claims, "name": "jdoe", "groups": [], **more}, by, kid=by.kid), "at")


def test_metadata_and_keys_are_asked_for_once_an_hour(provider: Provider, network: Network) -> None:
    for _ in range(3):
        provider.claims(provider.metadata(), FLOW, id_token(network.keys[0]), NOW)
        network.now_s += KEPT_S / 4
    assert (network.count("/.well-known/openid-configuration"), network.count("/jwks_uri")) == (1, 1)
    network.now_s += KEPT_S
    provider.claims(provider.metadata(), FLOW, id_token(network.keys[0]), NOW)
    assert (network.count("/.well-known/openid-configuration"), network.count("/jwks_uri")) == (2, 2)


def test_a_new_key_is_found_and_made_up_ones_are_not_asked_for_each_time(provider: Provider, network: Network) -> None:
    metadata = provider.metadata()
    provider.claims(metadata, FLOW, id_token(network.keys[0]), NOW)
    fresh = key("k2")
    network.keys = [fresh]
    with pytest.raises(Unauthenticated, match="jwt-unknown-key"):
        provider.claims(metadata, FLOW, id_token(fresh), NOW)
    assert network.count("/jwks_uri") == 1, "it was asked a moment ago"
    network.now_s += REFETCH_S
    assert provider.claims(metadata, FLOW, id_token(fresh), NOW)["sub"] == "s-1"
    for number in range(50):
        with pytest.raises(Unauthenticated, match="jwt-unknown-key"):
            provider.claims(metadata, FLOW, id_token(key(f"made-up-{number}")), NOW)
    assert network.count("/jwks_uri") == 2


def test_a_provider_that_has_just_failed_is_left_alone(provider: Provider, network: Network) -> None:
    network.replies["/.well-known/openid-configuration"] = lambda: Reply(503, "text/html", b"")
    for _ in range(20):
        with pytest.raises(PeerUnavailable):
            provider.metadata()
    assert len(network.asked) == 1
    network.replies.clear()
    network.now_s += PAUSE_S
    assert provider.metadata().issuer == ISSUER


def test_the_secret_goes_as_the_provider_takes_it(network: Network) -> None:
    answer = json.dumps({"id_token": "x", "access_token": "y"}).encode()
    network.replies["/token_endpoint"] = lambda: Reply(200, "application/json", answer)
    for methods, secret in ((None, "s:cret%"), (["client_secret_post"], "s:cret%"), (None, "")):
        network.more = {"token_endpoint_auth_methods_supported": methods} if methods else {}
        provider = Provider(replace(SETTINGS, secret=secret), None, lambda: 1.0, network.ask)
        assert provider.tokens(provider.metadata(), FLOW, "code") == ("x", "y")
        asked = network.asked[-1]
        form = parse_qs((asked.body or b"").decode())
        assert (form["code"], form["code_verifier"], form["redirect_uri"]) == (
            ["code"], ["verifier"], [FLOW.redirect_uri],
        )  # fmt: skip
        if secret and not methods:
            # RFC 6749 2.3.1: each of the two is encoded before they are joined.
            assert b64decode(asked.headers["Authorization"].removeprefix("Basic ")) == b"strong+room:s%3Acret%25"
            assert "client_secret" not in form
        else:
            assert "Authorization" not in asked.headers
            assert form["client_id"] == ["strong room"]
            assert form.get("client_secret", [""]) == [secret]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error": "invalid_grant"}', Unauthenticated),
        (200, b"{}", Unauthenticated),
        (200, b'{"id_token": 7}', Unauthenticated),
        (200, b'{"id_token": "x", "access_token": {}}', Unauthenticated),
        (200, b"x", PeerUnavailable),
        (302, b"", PeerUnavailable),
        (500, b"{}", PeerUnavailable),
    ],
)
def test_an_answer_without_an_id_token_lets_nobody_in(
    provider: Provider, network: Network, status: int, body: bytes, error: type[Exception]
) -> None:
    network.replies["/token_endpoint"] = lambda: Reply(status, "application/json", body)
    with pytest.raises(error):
        provider.tokens(provider.metadata(), FLOW, "code")


def test_claims_that_the_id_token_lacks_are_asked_for_and_count_after_it(provider: Provider, network: Network) -> None:
    body = {"sub": "s-1", "groups": ["a"], "name": "somebody else", "iss": "x"}
    network.replies["/userinfo_endpoint"] = lambda: Reply(200, "application/json", json.dumps(body).encode())
    metadata, by = provider.metadata(), network.keys[0]
    claims = {"iss": ISSUER, "aud": SETTINGS.client_id, "sub": "s-1", "iat": NOW, "exp": NOW + 60, "nonce": "nonce"}
    lacking = Tokens(signed({**claims, "name": "jdoe"}, by, kid=by.kid), "at")
    found = provider.claims(metadata, FLOW, lacking, NOW)
    assert (found["groups"], found["name"], found["iss"]) == (["a"], "jdoe", ISSUER)
    assert network.asked[-1].headers["Authorization"] == "Bearer at"
    body["sub"] = "s-2"
    with pytest.raises(Unauthenticated, match="userinfo-of-another"):
        provider.claims(metadata, FLOW, lacking, NOW)
    with pytest.raises(Unauthenticated, match="access-token"):
        provider.claims(metadata, FLOW, lacking._replace(access_token="a\r\nX: y"), NOW)


def test_keys_that_are_none_are_a_provider_that_is_away(provider: Provider, network: Network) -> None:
    network.replies["/jwks_uri"] = lambda: Reply(200, "application/json", b'{"keys": 7}')
    with pytest.raises(PeerUnavailable):
        provider.claims(provider.metadata(), FLOW, id_token(network.keys[0]), NOW)
