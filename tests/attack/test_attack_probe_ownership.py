"""A public address is not probed before its owner has said so, in a network of our own that has one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from harness.probe_http import Page, Site, web
from harness.probe_listener import listening_sockets
from harness.probe_network import Network, network
from harness.probe_runs import Operator, Ran, operator
from strongroom.probe.permits.permit import TOKEN_PATH, proof_text
from strongroom.probe.permits.signing import read_signers

MINE, SOMEBODY_ELSES = "203.0.113.5", "203.0.113.66"
"""Of a network for documentation (RFC 5737), which nobody has: here they are addresses of the namespace alone."""


@pytest.fixture(scope="module")
def world() -> Iterator[Network]:
    """A network with two public addresses."""
    with network() as made:
        for address in (MINE, SOMEBODY_ELSES):
            subprocess.run(
                ["ip", "-n", made.name, "address", "add", f"{address}/32", "dev", "lo"], check=True, timeout=30
            )
        yield made


@pytest.fixture
def prober(world: Network) -> Iterator[Operator]:
    """Somebody with a key, who probes from within that network."""
    with operator() as made:
        made.inside = world.inside
        yield made


def target_at(port: int) -> dict[str, Any]:
    return {"name": "mine", "addresses": [MINE], "http_ports": [port], "ownership": "token"}


def run(prober: Operator, target: dict[str, Any]) -> Ran:
    return prober.run(prober.scope(target, level="L1", rates={"interval_s": 0.1}))


def token_of(prober: Operator) -> str:
    return proof_text(read_signers(prober.signers)[0])


@pytest.mark.parametrize("token", ["", "strongroom-probe=SHA256:somebodyelses", "<html>it works</html>"])
def test_without_a_token_only_the_token_is_asked_for(world: Network, prober: Operator, token: str) -> None:
    sockets = world.do(lambda: listening_sockets([MINE]))
    with web(Site({TOKEN_PATH: Page(200, token)}), sockets=sockets) as site:
        ran = run(prober, target_at(site.listener.port))
        asked = {request.path for request in site.asked}
    assert ran.code == 2
    assert "nothing proves that it is yours: serve the line strongroom-probe=SHA256:" in ran.err
    assert asked == {TOKEN_PATH}
    assert not ran.folder.exists()


def test_with_the_token_it_is_probed_and_the_log_says_why(world: Network, prober: Operator) -> None:
    sockets = world.do(lambda: listening_sockets([MINE]))
    with web(Site({TOKEN_PATH: Page(200, token_of(prober))}), sockets=sockets) as site:
        ran = run(prober, target_at(site.listener.port))
        asked = {request.path for request in site.asked}
    assert ran.code in (0, 1), ran.err
    assert asked > {TOKEN_PATH}
    assert [(entry["address"], entry["how"]) for entry in ran.log() if entry["kind"] == "proof"] == [(MINE, "token")]


def test_a_token_at_the_end_of_a_redirect_is_none(world: Network, prober: Operator) -> None:
    elsewhere = world.do(lambda: listening_sockets([SOMEBODY_ELSES]))
    sockets = world.do(lambda: listening_sockets([MINE]))
    with web(Site({"/*": Page(200, token_of(prober))}), sockets=elsewhere) as other:
        location = f"http://{SOMEBODY_ELSES}:{other.listener.port}{TOKEN_PATH}"
        with web(Site({"/*": Page(302, "", headers={"Location": location})}), sockets=sockets) as site:
            ran = run(prober, target_at(site.listener.port))
        assert not other.asked
    assert ran.code == 2
    assert "without a redirect" in ran.err


def test_an_address_that_serves_my_token_says_nothing_of_another(world: Network, prober: Operator) -> None:
    """One token in a scope of two addresses: neither is probed."""
    sockets = world.do(lambda: listening_sockets([MINE, SOMEBODY_ELSES]))

    def by_address(_: object) -> Site:
        return Site({TOKEN_PATH: Page(200, token_of(prober))})

    with web(by_address, sockets=sockets[:1]) as site:
        port = site.listener.port
        with web(Site({"/*": Page(404)}), sockets=sockets[1:]) as other:
            target = target_at(port) | {"addresses": [MINE, SOMEBODY_ELSES]}
            ran = run(prober, target)
            asked = {request.path for request in (*site.asked, *other.asked)}
    assert ran.code == 2
    assert SOMEBODY_ELSES in ran.err
    assert asked == {TOKEN_PATH}
