"""A subnet of 256 addresses in a network of its own, scanned as every night in a hospital; killed, and gone on with."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest

from harness import probe_lures
from harness.archives import strongroom_command
from harness.probe_dicom import Conduct, Scp, scp
from harness.probe_http import Web, web
from harness.probe_listener import Visit, most_at_once, too_fast
from harness.probe_network import Network, network
from harness.probe_products import LOCKED, OPEN
from harness.probe_runs import Operator, Ran, operator

pytestmark = pytest.mark.interop

DICOM_PORT, HTTP_PORT = 104, 8042
OPEN_ARCHIVES, CLOSED_ARCHIVES = range(10, 34), range(40, 52)
OPEN_WEB, LOCKED_WEB = range(60, 70), range(70, 76)
ANSWERING = (*OPEN_ARCHIVES, *CLOSED_ARCHIVES, *OPEN_WEB, *LOCKED_WEB)
INTERVAL_S, BUDGET, AT_ONCE = 0.1, 40, 32
MEMORY_BYTES = 128 << 20


@dataclass(frozen=True)
class Subnet:
    """The servers of the subnet; each listens on many addresses."""

    network: Network
    archives: Scp
    closed: Scp
    sites: Web
    locked: Web

    @property
    def visits(self) -> list[Visit]:
        """Every connection to any of them."""
        servers = (self.archives, self.closed, self.sites, self.locked)
        return [visit for each in servers for visit in each.listener.visits]

    def target(self) -> dict[str, Any]:
        """The whole subnet, with the two addresses that a range leaves out."""
        ends = [f"{self.network.address(number)}/32" for number in (0, 255)]
        return {
            "name": "subnet",
            "addresses": [f"{self.network.address(0)}/24", *ends],
            "no_modalities": True,
            "dicom_ports": [DICOM_PORT],
            "http_ports": [HTTP_PORT],
        }


@pytest.fixture
def subnet() -> Iterator[Subnet]:
    """Fifty-two servers at as many of the 256 addresses."""
    with network() as net, ExitStack() as stack:
        closed = Conduct(called=frozenset({"NOBODY-KNOWS"}))
        yield Subnet(
            net,
            stack.enter_context(scp(probe_lures.real_looking(), sockets=net.sockets(OPEN_ARCHIVES, DICOM_PORT))),
            stack.enter_context(scp(closed, sockets=net.sockets(CLOSED_ARCHIVES, DICOM_PORT))),
            stack.enter_context(web(OPEN["OHIF"], sockets=net.sockets(OPEN_WEB, HTTP_PORT))),
            stack.enter_context(web(LOCKED["Stone"], sockets=net.sockets(LOCKED_WEB, HTTP_PORT))),
        )


@pytest.fixture
def prober(subnet: Subnet) -> Iterator[Operator]:
    """Somebody who probes from within the network."""
    with operator() as made:
        made.inside = subnet.network.inside
        yield made


RATES = {
    "interval_s": INTERVAL_S,
    "connections_per_target": BUDGET,
    "targets_at_once": AT_ONCE,
    "connect_s": 5.0,
    "answer_s": 30.0,
    "connection_s": 120.0,
}


def _require_gentle(visits: list[Visit]) -> None:
    """One connection at a time to each address, apart, and no more than the budget."""
    by_address = sorted(visits, key=lambda visit: visit.address[0])
    for address, each in groupby(by_address, key=lambda visit: visit.address[0]):
        own = list(each)
        assert len(own) <= BUDGET, address
        assert most_at_once(own) == 1, address
        assert not too_fast(own, INTERVAL_S), address


def _grades(ran: Ran) -> dict[str, str]:
    return {each["address"]: each["grade"]["letter"] for each in ran.report["targets"]}


def test_256_addresses_are_scanned_gently_and_in_bounded_memory(subnet: Subnet, prober: Operator) -> None:
    ran = prober.probe(subnet.target(), level="L1", rates=RATES)
    assert ran.code == 1, ran.err
    _require_gentle(subnet.visits)
    assert {visit.address[0] for visit in subnet.visits} == {subnet.network.address(number) for number in ANSWERING}
    assert ran.peak_bytes < MEMORY_BYTES
    grades = _grades(ran)
    for number in OPEN_ARCHIVES:
        assert grades[subnet.network.address(number)] == "D", "negotiated at L1, not proven"
    for number in (*CLOSED_ARCHIVES, *LOCKED_WEB):
        assert grades[subnet.network.address(number)] in ("B", "C")
    # Of 204 addresses at which nothing answers the report says how many there are, and nothing of each.
    assert set(grades) == {subnet.network.address(number) for number in ANSWERING}
    connects = {entry["address"] for entry in ran.log() if entry["kind"] == "connect"}
    assert len(connects) == 256


def test_a_scan_that_is_killed_goes_on_and_asks_nothing_twice(subnet: Subnet, prober: Operator) -> None:
    scope = prober.scope(subnet.target(), level="L1", rates=RATES)
    running = prober.start(scope)
    _wait_for(lambda: len(subnet.visits) > 150)
    running.process.kill()
    killed = running.wait()
    assert killed.code == -signal.SIGKILL
    before = len(subnet.visits)
    done = {entry["address"] for entry in killed.log() if entry["kind"] == "done"}
    visited = {address: _count(subnet, address) for address in done}
    ran = prober.run(scope, out=killed.folder)
    assert ran.code == 1, ran.err
    assert before < len(subnet.visits)
    assert {address: _count(subnet, address) for address in done} == visited, "what was done is not done again"
    assert set(_grades(ran)) == {subnet.network.address(number) for number in ANSWERING}
    by_address = sorted(visit.address[0] for visit in subnet.visits)
    assert max(len(list(each)) for _, each in groupby(by_address)) <= BUDGET
    command = strongroom_command("probe", "verify-log", ran.folder, "--trust", prober.signers)
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def _count(subnet: Subnet, address: str) -> int:
    return sum(visit.address[0] == address for visit in subnet.visits)


def _wait_for(met: Callable[[], Any], timeout_s: float = 120.0) -> None:
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while not met():
        assert time.monotonic() < deadline, "it never came"
        pause.wait(0.01)
