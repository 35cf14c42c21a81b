"""JWTs: what is taken, and every known way to talk a verifier into taking something else (RFC 8725)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from strongroom.errors import ConfigError, Unauthenticated
from strongroom.types import Part, Right, Scope
from strongroom.web.jwks import KeyFile, KeyTable, parse_keys
from strongroom.web.jwt import JwtRules, JwtVerifier

NOW = 1_800_000_000.0
ISSUER, AUDIENCE = "https://id.hospital.example", "strongroom"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
OKP = OKPKey.generate_key("Ed25519", {"kid": "okp"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
ALL = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
NUMBERS = {"iat": NOW - 10, "exp": NOW + 600}
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "dr. who",
    "scope": "openid search read",
    "strongroom_scope": ["patient=123", "modality=CT"],
    **NUMBERS,
}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def token(claims: Any = None, key: Any = EC, header: Any = None, algorithm: str = "ES256", **more: Any) -> str:
    """A token signed as its header says, whatever the header says."""
    head = {"alg": algorithm, "typ": "JWT", "kid": key.kid} if header is None else header
    payload = claims if claims is not None else CLAIMS | more
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(head if isinstance(head, bytes) else json.dumps(head).encode())}.{b64(raw)}"
    return f"{signed}.{b64(JWSRegistry.algorithms[algorithm].sign(signed.encode(), key))}"


def rules(**more: Any) -> JwtRules:
    made: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": frozenset(ALL),
        "rights_claim": "scope",
        "scope_claim": "strongroom_scope",
        "leeway_s": 30.0,
        "max_lifetime_s": 3600.0,
    }
    return JwtRules(**made | more)


def jwks(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) | more for key in keys]}).encode()


KEYS = parse_keys(jwks(RSA, EC, OKP))


def verifier(keys: KeyTable = KEYS, **more: Any) -> JwtVerifier:
    return JwtVerifier(rules(**more), lambda: keys)


def refusal(text: str, now: float = NOW, fingerprint: str = "", **more: Any) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verifier(**more).verify(text, now, "10.0.0.7", fingerprint)
    return refused.value.reason


# --- what is taken


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (OKP, "EdDSA"), (OKP, "Ed25519")]
)
def test_the_bearer_is_whom_the_issuer_names(key: Any, algorithm: str) -> None:
    found = verifier().verify(token(key=key, algorithm=algorithm), NOW, "10.0.0.7", "")
    assert (found.aet, found.user, found.address, found.via) == (ISSUER, "dr. who", "10.0.0.7", "jwt")
    assert found.rights == {Right.FIND, Right.GET}
    assert found.scope == Scope((Part(patients=(("123", None),), modalities=("CT",)),))


@pytest.mark.parametrize(
    ("more", "rights"),
    [
        ({"scope": ["search", "store", "delete"]}, {Right.FIND, Right.STORE, Right.DELETE}),
        ({"scope": ""}, set()),
        ({"scope": "find get move commit Search READ searchread"}, set()),
    ],
)
def test_rights_are_the_words_it_has_and_no_others(more: dict[str, Any], rights: set[Right]) -> None:
    assert verifier().verify(token(**more), NOW, "", "").rights == rights


def test_a_token_is_limited_by_nothing_only_if_it_says_so_or_nobody_asks() -> None:
    assert verifier().verify(token(strongroom_scope=["all"]), NOW, "", "").scope is None
    assert verifier(scope_claim="").verify(token(), NOW, "", "").scope is None


@pytest.mark.parametrize("header", [{"alg": "ES256"}, {"alg": "ES256", "typ": "at+JWT", "x5t": "abc"}])
def test_a_header_may_leave_out_what_one_key_alone_decides(header: dict[str, str]) -> None:
    assert verifier().verify(token(header=header), NOW, "", "").user == "dr. who"
    assert verifier().verify(token(aud=["x", AUDIENCE]), NOW, "", "").user == "dr. who"


# --- whose signature


def public_pem(key: Any) -> bytes:
    return bytes(key.as_pem(private=False))


def hs256(secret: bytes, header: dict[str, Any]) -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize(
    "secret",
    [public_pem(RSA), jwks(RSA), b"", json.dumps(RSA.as_dict(private=False)).encode()],
    ids=["pem", "jwks", "empty", "jwk"],
)
@pytest.mark.parametrize("algorithm", ["HS256", "hs256", "HS512"])
def test_a_public_key_is_never_a_shared_secret(secret: bytes, algorithm: str) -> None:
    assert refusal(hs256(secret, {"alg": algorithm, "kid": "rsa"})) == "jwt-algorithm"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 0, ["ES256"], {}])
@pytest.mark.parametrize("end", ["", "AA"])
def test_an_unsigned_token_is_nothing(name: Any, end: str) -> None:
    text = f"{b64(json.dumps({'alg': name}).encode())}.{b64(json.dumps(CLAIMS).encode())}.{end}"
    assert refusal(text) in ("jwt-algorithm", "jwt-malformed")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS1", ""])
def test_no_configuration_lets_such_algorithms_in(algorithm: str) -> None:
    with pytest.raises(ConfigError):
        rules(algorithms=frozenset({"ES256", algorithm}))
    with pytest.raises(ConfigError):
        rules(algorithms=frozenset())


def test_an_algorithm_that_is_not_configured_is_refused_although_the_key_is_there() -> None:
    assert refusal(token(key=RSA, algorithm="RS256"), algorithms=frozenset({"ES256"})) == "jwt-algorithm"


def test_a_key_of_one_kind_does_not_verify_another_algorithm() -> None:
    header = {"alg": "ES256", "kid": "rsa"}
    assert refusal(token(key=RSA, algorithm="RS256", header=header)) == "jwt-unknown-key"
    bound = parse_keys(json.dumps({"keys": [RSA.as_dict(private=False) | {"alg": "PS256"}]}).encode())
    assert refusal(token(key=RSA, algorithm="RS256"), keys=bound) == "jwt-unknown-key"
    for_encryption = parse_keys(jwks(RSA, use="enc"))
    assert refusal(token(key=RSA, algorithm="RS256"), keys=for_encryption) == "jwt-unknown-key"


@pytest.mark.parametrize(
    "kid", ["", "RSA", "rsa\0", "../../dev/null", "/dev/null", "' UNION SELECT 'x", "|cat /etc/passwd", "http://a/k"]
)
def test_a_key_that_is_not_there_is_not_looked_for_anywhere(kid: str) -> None:
    assert refusal(token(key=RSA, algorithm="RS256", header={"alg": "RS256", "kid": kid})) == "jwt-unknown-key"


@pytest.mark.parametrize("kid", [1, [], {}, True, ["rsa"]])
def test_a_key_is_named_by_a_text(kid: Any) -> None:
    assert refusal(token(header={"alg": "ES256", "kid": kid})) == "jwt-header"


def test_another_key_under_the_same_name_does_not_do() -> None:
    assert refusal(token(key=OTHER_RSA, algorithm="RS256")) == "jwt-signature"


def test_without_a_name_nothing_is_tried_out() -> None:
    second = RSAKey.generate_key(2048, {"kid": "second"})
    text = token(key=second, algorithm="RS256", header={"alg": "RS256"})
    assert refusal(text, keys=parse_keys(jwks(RSA, second))) == "jwt-unknown-key"


OWN = RSAKey.generate_key(2048, {"kid": "own"})


@pytest.mark.parametrize(
    "more",
    [
        {"jwk": OWN.as_dict(private=False)},
        {"jku": "https://attacker.example/keys"},
        {"x5u": "https://attacker.example/chain"},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"typ": "JWE"},
        {"typ": 1},
        {"typ": None},
        {"unheard-of": 1},
    ],
)
def test_a_header_that_brings_a_key_or_asks_for_more_is_refused(more: dict[str, Any]) -> None:
    # Signed with the right key, so that it is the header alone.
    assert refusal(token(header={"alg": "ES256", "kid": "ec"} | more)) == "jwt-header"
    assert refusal(token(key=OWN, algorithm="RS256", header={"alg": "RS256", "kid": "own"} | more)) == "jwt-header"


def test_one_bit_of_anything_that_is_signed_decides() -> None:
    head, payload, signature = token().split(".")
    forged = b64(json.dumps(CLAIMS | {"scope": "delete"}).encode())
    assert refusal(f"{head}.{forged}.{signature}") == "jwt-signature"
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[-1] ^= 1
    assert refusal(f"{head}.{payload}.{b64(bytes(raw))}") == "jwt-signature"
    assert refusal(f"{head}.{payload}.{b64(bytes(raw[:-1]))}") == "jwt-signature"
    assert refusal(f"{head}.{payload}.{b64(bytes(64))}") == "jwt-signature"  # r = s = 0 (CVE-2022-21449)


# --- its form


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + ".",
        lambda text: "." + text,
        lambda text: text + "=",
        lambda text: text.replace(".", "..", 1),
        lambda text: text.replace(".", "=.", 1),
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.rpartition(".")[0],
        lambda text: text.rpartition(".")[0] + ".",
        lambda text: text.partition(".")[0],
        lambda text: "",
        lambda text: "...",
        lambda text: "a.b.c",
        lambda text: "\ud800." + text,
        lambda text: text.rpartition(".")[0] + ".é",
        lambda text: text + ".AA.AA",
        lambda text: b64(b" " * 2000 + b"{}") + "." + text.split(".", 1)[1],
    ],
)
def test_a_token_has_one_form(change: Callable[[str], str]) -> None:
    assert refusal(change(token())) == "jwt-malformed"


def test_base64url_has_one_spelling() -> None:
    head, payload, signature = token().split(".")
    last = {"A": "B", "Q": "R", "g": "h", "w": "x"}[signature[-1]]  # the bits that do not count
    assert refusal(f"{head}.{payload}.{signature[:-1]}{last}") == "jwt-malformed"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"ES256","alg":"none"}',
        b'{"alg":"none","alg":"ES256"}',
        b"[]",
        b'"x"',
        b"null",
        b"{",
        b"\xff",
        b'{"alg":NaN}',
        b"[" * 700,
    ],
)
def test_a_header_is_one_object_in_which_no_name_stands_twice(header: bytes) -> None:
    assert refusal(token(header=header)) == "jwt-malformed"


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(CLAIMS).encode()[:-1] + b',"scope":"delete"}',
        b"[]",
        b"",
        b"x",
        b"[" * 5000,
        b'{"iss":"' + b"\xff" + b'"}',
        json.dumps(CLAIMS | {"exp": float("inf")}).encode(),
        json.dumps(CLAIMS | {"exp": 1}).encode().replace(b'"exp": 1', b'"exp": ' + b"9" * 5000),
    ],
)
def test_so_are_the_claims(payload: bytes) -> None:
    assert refusal(token(payload)) == "jwt-malformed"


# --- what it says


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"iss": ISSUER + "/"}, "jwt-issuer"),
        ({"iss": [ISSUER]}, "jwt-issuer"),
        ({"iss": None}, "jwt-issuer"),
        ({"aud": "other"}, "jwt-audience"),
        ({"aud": []}, "jwt-audience"),
        ({"aud": {"strongroom": 1}}, "jwt-audience"),
        ({"aud": "strongroom2"}, "jwt-audience"),
        ({"aud": None}, "jwt-audience"),
        ({"sub": ""}, "jwt-subject"),
        ({"sub": 7}, "jwt-subject"),
        ({"sub": "x" * 257}, "jwt-subject"),
        ({"exp": 10**400}, "jwt-times"),
        ({"exp": None}, "jwt-times"),
        ({"exp": "1900000000"}, "jwt-times"),
        ({"exp": True}, "jwt-times"),
        ({"iat": None}, "jwt-times"),
        ({"nbf": "soon"}, "jwt-times"),
        ({"nbf": None}, "jwt-times"),
        ({"exp": NOW - 31, "iat": NOW - 600}, "jwt-expired"),
        ({"exp": NOW - 600}, "jwt-lifetime"),
        ({"iat": NOW + 31, "exp": NOW + 600}, "jwt-not-yet"),
        ({"nbf": NOW + 31}, "jwt-not-yet"),
        ({"iat": NOW - 10, "exp": NOW + 3591}, "jwt-lifetime"),
        ({"exp": 1e300}, "jwt-lifetime"),
        ({"iat": -1e300}, "jwt-lifetime"),
        ({"scope": {"search": True}}, "jwt-rights"),
        ({"scope": ["search", 1]}, "jwt-rights"),
        ({"scope": None}, "jwt-rights"),
        ({"scope": 7}, "jwt-rights"),
        ({"strongroom_scope": None}, "jwt-scope"),
        ({"strongroom_scope": []}, "jwt-scope"),
        ({"strongroom_scope": ""}, "jwt-scope"),
        ({"strongroom_scope": ["ward=7"]}, "jwt-scope"),
        ({"strongroom_scope": ["patient=1", "ward=7"]}, "jwt-scope"),
        ({"strongroom_scope": ["patient=*"]}, "jwt-scope"),
        ({"strongroom_scope": ["patient=1", "all"]}, "jwt-scope"),
        ({"strongroom_scope": {"patient": "1"}}, "jwt-scope"),
        ({"strongroom_scope": [["patient=1"]]}, "jwt-scope"),
        ({"cnf": None}, "jwt-confirmation"),
        ({"cnf": {}}, "jwt-confirmation"),
        ({"cnf": {"jkt": "x"}}, "jwt-confirmation"),
        ({"cnf": {"x5t#S256": "x", "jkt": "y"}}, "jwt-confirmation"),
        ({"cnf": {"x5t#S256": b64(bytes(31))}}, "jwt-confirmation"),
        ({"cnf": {"x5t#S256": b64(bytes(32))}}, "jwt-of-another-certificate"),
    ],
)
def test_what_does_not_hold_is_refused(more: dict[str, Any], reason: str) -> None:
    assert refusal(token(**more)) == reason


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp", "iat", "strongroom_scope"])
def test_a_claim_that_is_missing_is_no_leave(name: str) -> None:
    refusal(token({key: value for key, value in CLAIMS.items() if key != name}))


def test_a_token_bound_to_a_certificate_is_good_with_that_one_only() -> None:
    certificate = secrets.token_bytes(32)
    bound = token(cnf={"x5t#S256": b64(certificate)})
    assert verifier().verify(bound, NOW, "", certificate.hex()).user == "dr. who"
    assert refusal(bound, fingerprint=bytes(32).hex()) == "jwt-of-another-certificate"
    assert refusal(bound) == "jwt-of-another-certificate"


def test_a_token_that_was_good_is_looked_at_again() -> None:
    """The signature is verified once; its times and its certificate each time."""
    one = verifier()
    bound = token(cnf={"x5t#S256": b64(bytes(32))}, nbf=NOW - 5)
    one.verify(bound, NOW, "", bytes(32).hex())
    for now, fingerprint in ((NOW + 630, bytes(32).hex()), (NOW - 36, bytes(32).hex()), (NOW, "")):
        with pytest.raises(Unauthenticated):
            one.verify(bound, now, "", fingerprint)
    assert one.verify(bound, NOW + 629, "", bytes(32).hex()).user == "dr. who"


def test_a_key_that_is_withdrawn_takes_its_tokens_with_it() -> None:
    keys = [KEYS]
    one = JwtVerifier(rules(), lambda: keys[0])
    text = token()
    one.verify(text, NOW, "", "")
    keys[0] = parse_keys(jwks(RSA))
    with pytest.raises(Unauthenticated, match="jwt-unknown-key"):
        one.verify(text, NOW, "", "")


# --- the keys


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":["x"]}',
        b'{"keys":[{}]}',
        b'{"keys":[null]}',
        b'{"keys":' + b"[" * 100_000,
        b"x" * 300_000,
        b"\xff\xfe",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        json.dumps({"keys": [RSA.as_dict(private=True)]}).encode(),
        json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}).encode(),
        jwks(RSA, OTHER_RSA),
        bytes(RSA.as_pem(private=True)),
        public_pem(EC) + bytes(OKP.as_pem(private=True)),
    ],
    ids=itertools.count(),
)
def test_only_sets_of_public_keys_are_taken(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_keys(content)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_key_that_can_be_factored_is_not_taken() -> None:
    weak = RSAKey.generate_key(1024)
    for content in (jwks(weak), public_pem(weak)):
        with pytest.raises(ConfigError, match="2048"):
            parse_keys(content)


def test_pem_is_as_good_as_a_key_set() -> None:
    keys = parse_keys(public_pem(RSA) + b"\n" + public_pem(EC) + public_pem(OKP))
    for key, algorithm in ((RSA, "RS256"), (EC, "ES256"), (OKP, "EdDSA")):
        text = token(key=key, algorithm=algorithm, header={"alg": algorithm})
        assert verifier(keys).verify(text, NOW, "", "").user == "dr. who"


def test_a_rotated_key_file_is_read_again_and_a_broken_one_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(ConfigError):
        KeyFile(path)
    path.write_bytes(jwks(RSA))
    file = KeyFile(path)
    one = JwtVerifier(rules(), file.keys)

    def reason() -> str:
        try:
            one.verify(token(), NOW, "", "")
        except Unauthenticated as refused:
            return refused.reason
        return "good"

    assert reason() == "jwt-unknown-key"
    replace(path, jwks(RSA, EC))
    assert reason() == "good"
    replace(path, b"{")
    assert reason() == "jwt-keys-unreadable"
    path.unlink()
    assert reason() == "jwt-keys-unreadable"
    replace(path, jwks(EC))
    assert reason() == "good"


def replace(path: Path, content: bytes) -> None:
    """As an operator should: the new file takes the place of the old one at once."""
    new = path.with_name("new")
    new.write_bytes(content)
    os.replace(new, path)
