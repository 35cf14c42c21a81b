"""Which ID tokens are for us, of now, and of this sign-in."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from strongroom.errors import Unauthenticated
from strongroom.oidc.idtoken import IdTokenRules, Sent, half_hash, require_id_token
from strongroom.web.jwks import parse_published_keys

ISSUER, CLIENT, NOW = "https://login.example", "strongroom", 1_800_000_000.0
KEY = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256"})
OTHER = ECKey.generate_key("P-256", {"kid": "k1"})
PUBLISHED = json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()
KEYS = parse_published_keys(PUBLISHED)
RULES = IdTokenRules(ISSUER, CLIENT, frozenset({"ES256", "RS256"}), 30.0)
CLAIMS = {"iss": ISSUER, "aud": CLIENT, "sub": "s-1", "iat": NOW - 5, "exp": NOW + 300, "nonce": "n"}


def signed(claims: Mapping[str, Any], key: Any = KEY, **header: object) -> str:
    head = {"alg": "ES256", "kid": "k1", **header}
    return jws.serialize_compact(
        {name: value for name, value in head.items() if value is not None},
        json.dumps(claims).encode(),
        key,
        algorithms=["ES256", "HS256", "RS256"],
        registry=jws.JWSRegistry(algorithms=["ES256", "HS256", "RS256"], strict_check_header=False),
    )


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def checked(token: str, access_token: str = "at") -> Mapping[str, Any]:
    return require_id_token(Sent(token, access_token, "n"), RULES, KEYS, NOW)


def test_a_good_token_says_who_it_is() -> None:
    assert checked(signed(CLAIMS))["sub"] == "s-1"
    assert checked(signed({**CLAIMS, "aud": [CLIENT, "other"], "azp": CLIENT}))["sub"] == "s-1"
    assert checked(signed({**CLAIMS, "at_hash": half_hash("at", "ES256")}))["sub"] == "s-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.example"}, "jwt-issuer"),
        ({"iss": ISSUER + "/"}, "jwt-issuer"),
        ({"aud": "other"}, "jwt-audience"),
        ({"aud": []}, "jwt-audience"),
        ({"aud": {CLIENT: 1}}, "jwt-audience"),
        ({"aud": [CLIENT, "other"]}, "id-token-party"),
        ({"azp": "other"}, "id-token-party"),
        ({"sub": ""}, "jwt-subject"),
        ({"sub": 7}, "jwt-subject"),
        ({"sub": "x" * 256}, "jwt-subject"),
        ({"sub": "a\u202eb"}, "jwt-subject"),
        ({"exp": NOW - 31}, "jwt-expired"),
        ({"exp": None}, "jwt-times"),
        ({"iat": None}, "jwt-times"),
        ({"iat": NOW + 31}, "jwt-not-yet"),
        ({"nbf": NOW + 31}, "jwt-not-yet"),
        ({"iat": NOW - 700}, "id-token-old"),
        ({"nonce": "other"}, "id-token-nonce"),
        ({"nonce": None}, "id-token-nonce"),
        ({"at_hash": half_hash("another", "ES256")}, "id-token-access-token"),
    ],
)
def test_one_that_is_for_others_or_another_time_is_none(changes: dict[str, object], reason: str) -> None:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    with pytest.raises(Unauthenticated, match=reason):
        checked(signed(claims))


def test_whoever_has_no_key_of_the_provider_signs_nothing() -> None:
    shared = OctKey.import_key(PUBLISHED)
    rsa = RSAKey.generate_key(2048, {"kid": "k2"})
    none = f"{part({'alg': 'none'})}.{part(CLAIMS)}."
    for token, reason in (
        (signed(CLAIMS, OTHER), "jwt-signature"),
        (none, "jwt-malformed"),
        (f"{none}AA", "jwt-algorithm"),
        (signed(CLAIMS, shared, alg="HS256"), "jwt-algorithm"),
        (signed(CLAIMS, rsa, alg="RS256", kid="k2"), "jwt-unknown-key"),
        (signed(CLAIMS, OTHER, kid="k9"), "jwt-unknown-key"),
        (signed(CLAIMS, OTHER, jwk=OTHER.as_dict(private=False)), "jwt-header"),
        (signed(CLAIMS, OTHER, jku="https://evil.example/keys"), "jwt-header"),
        (signed(CLAIMS, typ="at+jwt"), "jwt-header"),
        ("x" * 65_537, "jwt-malformed"),
        ("", "jwt-malformed"),
    ):
        with pytest.raises(Unauthenticated, match=reason):
            checked(token)


def test_published_keys_are_taken_without_those_of_no_use() -> None:
    weak = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    strange = {"kty": "AKP", "pub": "x"}
    curve = {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}
    mixed = [
        strange,
        curve,
        weak,
        7,
        {"kty": "oct", "k": "AAAA"},
        KEY.as_dict(private=True),
        KEY.as_dict(private=False),
    ]
    assert len(parse_published_keys(json.dumps({"keys": mixed}).encode()).keys) == 1
    for raw in (b"", b"[]", b'{"keys": 7}', json.dumps({"keys": [strange] * 65}).encode(), b"\xff"):
        with pytest.raises(ValueError):
            parse_published_keys(raw)
