"""The probe held against servers' own logs, an association that idles, and the same server from near and from afar."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.archives import strongroom_command
from harness.probe_dicom import scp
from harness.probe_http import Page, Site, web
from harness.probe_network import network
from harness.probe_nginx import Server, nginx, proxy_to
from harness.probe_orthanc import Place, opened_settings, orthanc_with, shipped_orthanc
from harness.probe_processes import requires
from harness.probe_runs import CONSENTS, FAST, Operator, Ran, operator
from harness.probe_strongroom import PEER, strongroom

pytestmark = pytest.mark.interop


@pytest.fixture
def prober() -> Iterator[Operator]:
    """Somebody with a key."""
    with operator() as made:
        yield made


def _target(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "addresses": ["127.0.0.1"]} | keys


def _noticed(ran: Ran, log: Path, kind: str) -> tuple[int, dict[str, Any], str]:
    """Exit status of ``probe noticed``, SP-035 in the report that it wrote again, and what it printed."""
    command = strongroom_command("probe", "noticed", ran.folder, "--log", log, "--kind", kind, "--from", "127.0.0.1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    (target,) = json.loads((ran.folder / "report.json").read_text())["targets"]
    (finding,) = [each for each in target["findings"] if each["check"] == "SP-035"]
    return done.returncode, finding, done.stdout + done.stderr


def _verdict(ran: Ran, check: str) -> str:
    (target,) = ran.report["targets"]
    (finding,) = [each for each in target["findings"] if each["check"] == check]
    return str(finding["verdict"])


# --- were you seen


def test_a_verbose_orthanc_notices_and_a_quiet_one_does_not(prober: Operator, tmp_path: Path) -> None:
    with orthanc_with(Place(tmp_path / "orthanc"), opened_settings()) as target:
        ran = prober.probe(_target("orthanc", dicom_ports=[target.dicom_port]), level="L1")
        log = target.server.log
    code, finding, said = _noticed(ran, log, "orthanc")
    assert (code, finding["verdict"]) == (0, "pass"), said
    quiet, lines = tmp_path / "quiet.log", log.read_text("utf-8", "replace").splitlines(keepends=True)
    quiet.write_text("".join(line for line in lines if line.startswith("W")))
    code, finding, said = _noticed(ran, quiet, "orthanc")
    assert (code, finding["verdict"]) == (1, "fail"), said


def test_the_access_log_of_nginx_shows_the_probe_and_anothers_does_not(prober: Operator, tmp_path: Path) -> None:
    with web(Site({"/": Page(200, "hello")})) as behind, nginx(tmp_path / "n", Server(proxy_to(behind.port))) as front:
        ran = prober.probe(_target("nginx", http_ports=[front.ports[0]]), level="L1")
    log = tmp_path / "n" / "access.log"
    code, finding, said = _noticed(ran, log, "nginx")
    assert (code, finding["verdict"]) == (0, "pass"), said
    other = tmp_path / "other.log"
    other.write_text(log.read_text().replace("127.0.0.1", "192.0.2.9").replace("strongroom-probe", "curl"))
    code, finding, said = _noticed(ran, other, "nginx")
    assert (code, finding["verdict"]) == (1, "fail"), said


def test_the_trail_of_strongroom_shows_the_probe(prober: Operator, tmp_path: Path) -> None:
    with strongroom(tmp_path) as target:
        own = target.credentials
        known = {"client_certificate": str(own.certificate), "client_key": str(own.key)}
        keys = {"called_title": "STRONGROOM", "calling_title": PEER, **known}
        ports = {"dicom_ports": [target.dicom_port], "http_ports": [target.https_port]}
        ran = prober.probe(_target("strongroom", **ports, **keys), level="L3")
        trail = tmp_path / "trail.jsonl"
        home = target.archive.home.root
        command = strongroom_command("trail", "export", "--home", home, "--out", trail)
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    code, finding, said = _noticed(ran, trail, "strongroom")
    assert (code, finding["verdict"]) == (0, "pass"), said
    assert "MISSED" not in said
    (told,) = json.loads((ran.folder / "report.json").read_text())["targets"]
    assert told["grade"]["letter"] == "A"


# --- idling


def test_an_association_that_idles_is_told_of(prober: Operator, tmp_path: Path) -> None:
    rates = {"interval_s": 0.0, "connection_s": 6.0}
    consent = dict.fromkeys((*CONSENTS, "idle"), True)
    settings = {**opened_settings(), "DicomScpTimeout": 2}
    with scp() as patient, orthanc_with(Place(tmp_path / "orthanc"), settings) as strict:
        verdicts = []
        for port in (patient.port, strict.dicom_port):
            ran = prober.probe(_target("archive", dicom_ports=[port]), level="L1", rates=rates, consent=consent)
            verdicts.append(_verdict(ran, "SP-024"))
    assert verdicts == ["warn", "pass"]


# --- from near and from afar


def test_the_shipped_orthanc_is_open_to_its_own_machine_and_shut_to_others(tmp_path: Path) -> None:
    """The REST interface of Debian's Orthanc is for localhost; its C-STORE is for everybody."""
    requires("/usr/sbin/Orthanc")
    with network() as net, shipped_orthanc(Place(tmp_path / "o", net.address(9), net.inside)) as target:
        ports = {"dicom_ports": [target.dicom_port], "http_ports": [target.http_port]}
        verdicts = {}
        for where, address in (("near", "127.0.0.1"), ("afar", net.address(9))):
            with operator() as somebody:
                somebody.inside = net.inside
                ran = somebody.probe({"name": where, "addresses": [address], **ports}, rates=FAST | {"interval_s": 0.1})
                verdicts[where] = {check: _verdict(ran, check) for check in ("SP-017", "SP-025", "SP-028", "SP-010")}
    assert verdicts["near"] == {"SP-017": "fail", "SP-025": "fail", "SP-028": "fail", "SP-010": "pass"}
    assert verdicts["afar"] == {"SP-017": "fail", "SP-025": "pass", "SP-028": "pass", "SP-010": "pass"}
