"""The probe against real servers and mocks of the rest: for each the verdicts and the grade that it must give.

All servers run at once, and one run at L3 looks at them all. ``probe_verdicts.toml`` is the table; a test says what
differs. Beside each positive stands a negative control: the same product closed, or another server that does well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import probe_verdicts
from harness.probe_estate import Estate, estate
from harness.probe_nmap import nmap
from harness.probe_runs import FAST, Ran, operator
from harness.probe_verdicts import KINDS, of_target
from strongroom.probe.judging.catalogue import catalogue

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
EXPECTED = probe_verdicts.expected()
PATIENT = FAST | {"answer_s": 30.0, "connection_s": 120.0}
"""No verdict here is about time."""


@dataclass(frozen=True)
class Met:
    """The servers, still running, and the run that looked at them."""

    estate: Estate
    ran: Ran

    def target(self, name: str) -> dict[str, Any]:
        """What the report says of one."""
        return self.ran.target(name)


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Met]:
    """One run over all of them."""
    with estate(tmp_path_factory.mktemp("estate")) as servers, operator() as somebody:
        yield Met(servers, somebody.probe(*servers.targets.values(), rates=PATIENT))


def test_every_server_has_its_table(met: Met) -> None:
    assert set(met.estate.targets) == set(EXPECTED)
    assert met.ran.code == 1
    assert "Traceback" not in met.ran.err
    assert not [entry for entry in met.ran.log() if entry["kind"] == "fault"]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_verdicts_are_those_of_the_table(met: Met, name: str) -> None:
    found, wanted = of_target(met.target(name)), EXPECTED[name]
    differs = {
        f"{kind}, {how}": sorted(numbers)
        for kind in KINDS
        for how, numbers in (
            ("not expected", set(found[kind]) - set(wanted.get(kind, ()))),
            ("missing", set(wanted.get(kind, ())) - set(found[kind])),
        )
        if numbers
    }
    assert not differs
    assert (found["grade"], found["class"]) == (wanted["grade"], wanted["class"])


ELSEWHERE = {"SP-024", "SP-035"}
"""Checks that need a minute, or a server's log: their two servers are in test_interop_probe_seen.py."""


@pytest.mark.parametrize("check", [e.id for e in catalogue().checks if not e.untested and e.id not in ELSEWHERE])
def test_each_check_finds_something_and_lets_something_pass(check: str) -> None:
    number = int(check[3:])
    bad = [name for name, each in EXPECTED.items() if number in (*each.get("fail", ()), *each.get("warn", ()))]
    good = [name for name, each in EXPECTED.items() if number in each.get("pass", ())]
    assert bad, "no server fails it"
    assert good, "no server passes it"


def test_strongroom_gets_an_a(met: Met) -> None:
    judged = met.target("strongroom")
    assert judged["grade"]["letter"] == "A"
    assert not [each for each in judged["findings"] if each["verdict"] == "fail"]
    assert {each["severity"] for each in judged["findings"] if each["verdict"] == "warn"} <= {"low"}


# --- side by side with nmap

COMPARED = (
    "orthanc-shipped",
    "orthanc-open",
    "orthanc-locked",
    "dcmqrscp-open",
    "dcmqrscp-closed",
    "storescp",
    "storescp-tls",
    "storescp-mutual",
    "wlmscpfs",
    "qrscp",
    "write-only",
    "called-title-guessed",
    "identical",
    "ohif-open",
    "strongroom",
)
PAGE = Path(__file__).parents[2] / "docs" / "probe-compared.md"


def _compared(met: Met, name: str) -> str:
    """One row of the table: what nmap and the probe find of the same server."""
    target = met.estate.targets[name]
    (port, *_) = [*target.get("dicom_ports", ()), *target.get("http_ports", ())]
    seen = nmap(target["addresses"][0], port)
    ping = {"Any AET": "any title is taken", "Called AET": "the called title is compared"}
    pinged = next((words for begin, words in ping.items() if begin in seen.ping), "no DICOM")
    brute = f"{seen.guesses:,} titles tried, none found" if seen.guesses else "nothing"
    if "allows any" in seen.brute:
        brute = "any title is taken"
    elif "Valid credentials" in seen.brute:
        brute = "title found"
    judged = met.target(name)
    bad = [
        each for each in judged["findings"] if each["verdict"] == "fail" and each["severity"] in ("critical", "high")
    ]
    numbers = ", ".join(str(int(each["check"][3:])) for each in bad)
    return f"| {name} | {pinged} | {brute} | {judged['grade']['letter']} | {numbers or 'nothing'} |"


def test_the_page_says_what_nmap_and_the_probe_find_of_the_same_servers(met: Met) -> None:
    rows = [_compared(met, name) for name in COMPARED]
    missing = [row for row in rows if row not in PAGE.read_text().splitlines()]
    assert not missing, "\n".join(rows)
