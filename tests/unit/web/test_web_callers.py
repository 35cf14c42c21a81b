"""Callers of a running server: the configured keys of JWTs, and what the trail hears of who is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from joserfc.jws import serialize_compact

from harness.archives import RunningArchive
from harness.web import client_of
from strongroom.archive.model import Action, Event, Outcome
from strongroom.config import parse
from strongroom.errors import ConfigError
from strongroom.web.throttle import BURST

ISSUER, AUDIENCE = "https://id.hospital.example", "strongroom"
ArchiveFactory = Callable[..., RunningArchive]


def jwt(key: ECKey, **more: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "dr. who", "iat": now, "exp": now + 60, "scope": "search"}
    claims |= {"strongroom_scope": "patient=7"} | more
    return serialize_compact({"alg": "ES256"}, json.dumps(claims).encode(), key)


def of(running: RunningArchive, action: Action, count: int = 1) -> list[Event]:
    """The first events of that action, in whatever worker's log."""
    deadline = time.monotonic() + 10
    while len(found := [event for event in running.events() if event.action is action]) < count:
        assert time.monotonic() < deadline, [event.action for event in running.events()]
    return found


def test_a_jwt_of_the_configured_issuer_gets_in_and_the_trail_names_its_bearer(
    running_archive: ArchiveFactory, tmp_path: Path
) -> None:
    key = ECKey.generate_key("P-256")
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    section = {"issuer": ISSUER, "audience": AUDIENCE, "keys": str(keys)}
    running = running_archive(jwt=section, https={"port": 0, "workers": 1})
    assert client_of(running, jwt(key)).get("/studies", "application/dicom+json").status == 204
    (event,) = of(running, Action.QUERY)
    assert (event.principal.aet, event.principal.user, event.principal.via) == (ISSUER, "dr. who", "jwt")
    assert client_of(running, jwt(key, scope="read")).get("/studies").status == 403
    assert client_of(running, jwt(key, aud="other")).get("/studies").status == 401
    assert client_of(running, jwt(ECKey.generate_key("P-256"))).get("/studies").status == 401
    refused = of(running, Action.AUTHENTICATION, 3)
    assert [event.details["reason"] for event in refused] == ["no-right-find", "jwt-audience", "jwt-signature"]
    assert refused[0].principal.user == "dr. who"
    keys.write_text("{}")
    assert client_of(running, jwt(key)).get("/studies").status == 401


def test_whoever_tries_too_often_has_to_wait_and_the_trail_has_the_sum(running_archive: ArchiveFactory) -> None:
    running = running_archive(https={"port": 0, "workers": 1})
    stranger = client_of(running, "strongroom_" + "A" * 43)
    statuses = [stranger.get("/studies").status for _ in range(BURST)]
    assert set(statuses) == {401}
    answer = stranger.get("/studies")
    while answer.status == 401:  # one is forgiven every few seconds
        answer = stranger.get("/studies")
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    refused = of(running, Action.AUTHENTICATION, BURST + 1)
    assert {event.outcome for event in refused} == {Outcome.REFUSED}
    assert {event.details["reason"] for event in refused} == {"unknown-token", "too-many-failures"}
    assert {event.principal.address for event in refused} == {"127.0.0.1"}
    # Somebody who has no credential at all is asked for one, and is seen to have tried.
    count = len(refused)
    assert [client_of(running).get("/studies").status for _ in range(5)] == [401] * 5
    assert running.stop() == 0
    assert len([event for event in running.events() if event.action is Action.AUTHENTICATION]) == count + 5


def test_a_credential_in_the_address_is_refused_also_beside_a_good_one(running_archive: ArchiveFactory) -> None:
    running = running_archive(https={"port": 0, "workers": 1})
    token = running.add_token("viewer", "search")
    assert client_of(running, token).get("/studies").status == 204
    assert client_of(running, token).get(f"/studies?access_token={token}").status == 400
    assert client_of(running).get(f"/studies?access_token={token}").status == 401


@pytest.mark.parametrize(
    "section",
    [
        'audience = "a"',
        'keys = "k"',
        'issuer = "i"',
        'issuer = "i"\naudience = "a"',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nalgorithms = []',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nalgorithms = ["HS256"]',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nalgorithms = ["none"]',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nrights_claim = ""',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nleeway_s = 301',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nleeway_s = nan',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nmax_lifetime_s = 0',
        'issuer = "i"\naudience = "a"\nkeys = "k"\nmax_lifetime_s = 90000',
    ],
)
def test_a_configuration_that_would_let_too_much_in_is_none(section: str) -> None:
    with pytest.raises(ConfigError, match="jwt"):
        parse(f'[archive]\nid = "0123456789abcdef0123456789abcdef"\n[jwt]\n{section}')
