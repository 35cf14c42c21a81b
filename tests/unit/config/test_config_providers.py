"""Sections about identity providers that cannot be, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.archives import config_text
from strongroom.config import parse
from strongroom.errors import ConfigError

GOOD = {
    "name": "hospital",
    "label": "St. Elsewhere",
    "issuer": "https://login.example/realm",
    "client_id": "strongroom",
}
GRANT = {"value": "radiology", "roles": ["physician"]}


def text(changes: Mapping[str, object], grants: bool = True) -> str:
    section = {name: value for name, value in {**GOOD, "roles_claim": "groups", **changes}.items() if value is not None}
    return config_text({"oidc": [section], **({"oidc.grants": [GRANT]} if grants else {})})


def test_a_section_with_its_grants_is_read() -> None:
    [provider] = parse(text({})).oidc
    assert (provider.name, provider.grants[0].roles, provider.make_accounts) == ("hospital", ("physician",), True)
    [linked] = parse(text({"roles_claim": "", "make_accounts": False}, grants=False)).oidc
    assert linked.grants == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "http://login.example"}, "issuer"),
        ({"issuer": "https://user@login.example"}, "issuer"),
        ({"issuer": "https://login.example/?a=b"}, "issuer"),
        ({"issuer": None}, "issuer"),
        ({"name": "Hospital"}, "name"),
        ({"name": "../x"}, "name"),
        ({"label": " "}, "label"),
        ({"label": "a\\u202eb"}, "label"),
        ({"client_id": ""}, "client_id"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"name_claim": ""}, "name_claim"),
        ({"roles_claim": ""}, "go together"),
        ({"leeway_s": 301}, "leeway_s"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"client_secret": "x"}, "client_secret"),
    ],
)
def test_a_section_that_cannot_be_says_which_key(changes: Mapping[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text(changes).replace("\\\\u202e", "\\u202e"))


def test_accounts_are_made_by_grants_alone() -> None:
    with pytest.raises(ConfigError, match="make_accounts"):
        parse(text({"roles_claim": ""}, grants=False))


def test_no_two_sections_are_of_one_provider() -> None:
    for changes in ({"name": "other"}, {"issuer": "https://other.example"}):
        both = config_text({"oidc": [GOOD | {"make_accounts": False}, GOOD | changes | {"make_accounts": False}]})
        with pytest.raises(ConfigError, match="two providers"):
            parse(both)
