"""The probe among servers that mean it harm: what each costs, and that it never does more than its scope allows."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import probe_hostile, probe_planted, probe_products
from harness.archives import strongroom_command
from harness.probe_certificates import Issuer, Subject
from harness.probe_dicom import scp
from harness.probe_http import Page, Site, web
from harness.probe_listener import Listener, listening, listening_sockets, most_at_once, too_fast
from harness.probe_processes import requires
from harness.probe_runs import Operator, Ran, operator
from strongroom.probe.permits.signing import signature_path

BUDGET = 40
MEMORY_BYTES = 192 << 20
RATES = {
    "interval_s": 0.0,
    "connect_s": 2.0,
    "answer_s": 2.5,
    "connection_s": 8.0,
    "connections_per_target": BUDGET,
    "targets_at_once": 16,
    "max_received_bytes": 1 << 20,
}


@pytest.fixture
def prober() -> Iterator[Operator]:
    """Somebody with a key, in a folder of their own."""
    with operator() as made:
        yield made


# --- hostile servers, all in one run


@dataclass
class Hostile:
    """The servers by the name of their target, and the run that met them."""

    folder: Path
    servers: dict[str, Listener] = field(default_factory=dict)
    targets: list[Mapping[str, Any]] = field(default_factory=list)
    ran: Ran | None = None

    def done(self) -> Ran:
        """The run."""
        assert self.ran is not None
        return self.ran


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """Every hostile server at an address of its own, DICOM, HTTP and HTTP within TLS, met in one run at L3."""
    folder = tmp_path_factory.mktemp("hostile")
    probe_hostile.bomb()  # made once: its making is no slowness of the server
    tls = Issuer(folder).issue("server", Subject("hostile", ())).server_context()
    kinds = (
        ("dicom", probe_hostile.DICOM, None),
        ("http", probe_hostile.HTTP, None),
        ("https", probe_hostile.HTTP, tls),
    )
    with ExitStack() as stack, operator() as somebody:
        made = Hostile(somebody.folder)
        for number, (kind, handlers, context) in enumerate(kinds, 3):
            for last, (name, handler) in enumerate(sorted(handlers.items()), 1):
                address = f"127.0.{number}.{last}"
                target = f"{kind} {name}"
                server = listening(handler, listening_sockets([address]), context)
                made.servers[target] = stack.enter_context(server)
                ports = {"dicom_ports" if kind == "dicom" else "http_ports": [made.servers[target].port]}
                made.targets.append({"name": target, "addresses": [address], **ports})
        made.ran = somebody.probe(*made.targets, rates=RATES)
        yield made


TARGETS = [
    f"{kind} {name}"
    for kind, names in (("dicom", probe_hostile.DICOM), ("http", probe_hostile.HTTP), ("https", probe_hostile.HTTP))
    for name in sorted(names)
]


def test_hostile_servers_cost_a_bounded_time_and_memory_and_no_crash(hostile: Hostile) -> None:
    ran = hostile.done()
    assert ran.code == 1, ran.err[-2000:]
    assert "Traceback" not in ran.out + ran.err
    assert ran.peak_bytes < MEMORY_BYTES
    rounds = -(-len(TARGETS) // RATES["targets_at_once"])
    assert ran.seconds < rounds * BUDGET * (RATES["connect_s"] + RATES["connection_s"])
    assert ran.log()[-1]["kind"] in ("end", "signature")


@pytest.mark.parametrize("name", TARGETS)
def test_a_hostile_server_gets_no_more_than_its_budget(hostile: Hostile, name: str) -> None:
    server = hostile.servers[name]
    assert 1 <= len(server.visits) <= BUDGET
    # What a server managed to push into the kernel's buffers is not what the probe has read.
    assert max(visit.sent_bytes for visit in server.visits) < 32 << 20


NO_HARM = {
    # Other protocols, an end at once, texts that are only ugly, and what a bound makes harmless.
    "dicom": {"http_on_dicom", "ssh_banner", "immediate_close", "immediate_reset", "markup", "formula", "traversal",
              "never_releases"},
    "http": {"another protocol", "immediate reset", "hostile versions", "redirect loop"},
}  # fmt: skip
WITHOUT_END = {
    "dicom": {"one_byte_a_second", "dripping_tls", "unfinished_tls", "endless_answers"},
    "http": {"one byte a second"},
}
SILENT = {"dicom": {"slow_silence"}, "http": {"no answer"}}


@pytest.mark.parametrize("name", TARGETS)
def test_a_hostile_server_costs_one_finding_that_says_so(hostile: Hostile, name: str) -> None:
    kind, _, server = name.partition(" ")
    kind = "http" if kind == "https" else kind
    found = [each for each in hostile.done().target(name)["findings"] if each["check"] == "SP-051"]
    expected = "fail"
    for verdict, names in (("pass", NO_HARM), ("warn", WITHOUT_END), ("not-tested", SILENT)):
        expected = verdict if server in names[kind] else expected
    verdicts = [each["verdict"] for each in found]
    # An end at once may come before the connection is known to be one.
    assert verdicts == [expected] or ("immediate" in server and verdicts == ["not-tested"]), found


def test_nothing_that_a_server_sends_is_obeyed_by_a_terminal_or_a_browser(hostile: Hostile) -> None:
    ran = hostile.done()
    texts = {"stdout": ran.out, "stderr": ran.err}
    texts |= {path.name: path.read_text("utf-8") for path in ran.folder.iterdir()}
    for name, text in texts.items():
        bad = {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co") and each not in "\n\t"}
        assert not bad, (name, sorted(map(ascii, bad)))
        for planted in (
            "owned",
            "alert(1)",
            "onerror=alert",
            "cmd|",
            "strongroom-probe-was-here",
            "\\u001b",
            "\\u202e",
        ):
            assert planted not in text, (name, planted)


def test_no_file_lies_outside_of_the_output_directory(hostile: Hostile) -> None:
    ran = hostile.done()
    for name in ("home", "tmp", "work"):
        assert not list((hostile.folder / name).iterdir())
    assert not list(Path("/tmp").glob("strongroom-probe-was-here*"))
    expected = {"run.jsonl", "run.key", "scope.toml", "report.json", "report.txt", "report.sarif", "report.html"}
    assert {path.name for path in ran.folder.iterdir()} - {"cleanup.txt"} == expected
    assert all(path.stat().st_mode & 0o077 == 0 for path in ran.folder.iterdir())


def test_no_file_is_written_anywhere_else_as_the_kernel_sees_it(prober: Operator, tmp_path: Path) -> None:
    requires("strace")
    calls = tmp_path / "calls"
    prober.inside = ("strace", "-f", "-qq", "-y", "-e", "trace=%file", "-s", "300", "-o", str(calls))
    handlers = [probe_hostile.DICOM["traversal"], probe_hostile.HTTP["hostile headers"]]
    handlers.append(probe_hostile.HTTP["hostile versions"])
    with ExitStack() as stack:
        ports = [stack.enter_context(listening(handler)).port for handler in handlers]
        ran = prober.probe(_target(ports[0], http_ports=ports[1:]), rates=RATES)
    assert ran.code == 1
    changing = re.compile(r"(O_WRONLY|O_RDWR|O_CREAT|\b(?:mkdir|rename|unlink|link|symlink|chmod|truncate)\w*\()")
    written = [line for line in calls.read_text(errors="replace").splitlines() if changing.search(line)]
    assert any(str(ran.folder) in line for line in written), "the control: what it does write is seen"
    allowed = (str(ran.folder), "/dev/null", "/dev/tty", "ENOENT", "EEXIST")
    assert not [line for line in written if not any(each in line for each in allowed)]


# --- rates, budgets and scope, counted by the servers


def _target(*ports: int, kind: str = "dicom_ports", name: str = "mock", **keys: Any) -> dict[str, Any]:
    return {"name": name, "addresses": ["127.0.0.1"], kind: list(ports)} | keys


def test_connections_are_one_at_a_time_apart_and_within_the_budget(prober: Operator) -> None:
    interval_s, budget = 0.5, 14
    with scp() as mock:
        rates = {"interval_s": interval_s, "connections_per_target": budget}
        ran = prober.probe(_target(mock.port), rates=rates)
    server = mock.listener
    assert len(server.visits) == budget
    assert server.most_at_once == 1
    assert not too_fast(server.visits, interval_s)
    assert sum(entry["kind"] == "connect" for entry in ran.log()) == budget


def test_ports_of_one_address_take_turns(prober: Operator) -> None:
    """One address is one machine: its ports share the rate, and no two of them are connected to at once."""
    with scp() as first, scp() as second, web(Site({"/": Page(200, "page")})) as page:
        interval_s = 0.3
        rates = {"interval_s": interval_s, "connections_per_target": 12}
        prober.probe(_target(first.port, second.port, http_ports=[page.port]), rates=rates)
    visits = [visit for each in (first, second, page) for visit in each.listener.visits]
    assert len(visits) == 12
    assert not too_fast(visits, interval_s)
    assert most_at_once(visits) == 1


@pytest.mark.parametrize(
    ("level", "asked"),
    [
        ("L0", set()),
        ("L1", {"associate", "release", "C-ECHO"}),
        ("L2", {"associate", "release", "C-ECHO", "C-FIND", "C-CANCEL", "C-GET", "C-MOVE", "N-ACTION", "N-SET"}),
    ],
)
def test_no_level_asks_for_more_than_it_may(prober: Operator, level: str, asked: set[str]) -> None:
    with scp(probe_planted.planted_scp()) as mock, web(probe_planted.planted_site()) as page:
        prober.probe(_target(mock.port, http_ports=[page.port]), level=level)
    assert {each.what for each in mock.asked} <= asked
    assert not mock.stored
    if level == "L0":
        assert not page.asked
    else:
        assert mock.requests("associate")
    if level == "L1":
        studies = [each.target for each in page.asked if "/studies" in each.target and each.method != "OPTIONS"]
        assert not studies
    assert page.methods <= {"GET", "HEAD", "OPTIONS", "POST"}
    assert not [each for each in page.asked if each.method == "POST" and b"DICM" in each.body]


def test_only_canaries_are_written_and_each_is_named_for_removal(prober: Operator) -> None:
    with scp() as mock, web(probe_products.OPEN["OHIF"]) as page:
        ran = prober.probe(_target(mock.port, http_ports=[page.port]))
    cleanup = (ran.folder / "cleanup.txt").read_text()
    assert mock.stored
    assert all(uid in cleanup for uid in mock.stored)
    posted = [each.body for each in page.asked if each.method == "POST" and b"DICM" in each.body]
    assert posted
    assert all(b"ZZ-AUDIT-CANARY" in data for data in (*posted, *(d for each in mock.stored.values() for d in each)))
    uids = {uid.decode() for body in posted for uid in re.findall(rb"2\.25\.\d{30,39}", body)}
    assert any(uid in cleanup for uid in uids)


def test_nothing_is_written_without_consent(prober: Operator) -> None:
    consent = dict.fromkeys(("private_addresses", "guess_titles", "default_credentials"), True)
    with scp() as mock, web(probe_products.OPEN["OHIF"]) as page:
        target = _target(mock.port, http_ports=[page.port])
        assert prober.run(prober.scope(target, level="L3", consent=consent)).code == 2
        assert not mock.listener.visits
        prober.probe(target, level="L2", consent=consent)
    assert mock.requests("C-FIND")
    assert not mock.stored
    assert not [each for each in page.asked if b"DICM" in each.body]


def test_nothing_is_ever_deleted_or_run(prober: Operator) -> None:
    with web(probe_planted.planted_site()) as page:
        prober.probe(_target(page.port, kind="http_ports"))
    assert page.asked
    assert page.methods <= {"GET", "HEAD", "OPTIONS", "POST"}
    words = ("execute-script", "delete", "shutdown", "reset", "tools/find", "anonymize", "modify")
    assert not [each.target for each in page.asked if any(word in each.target.lower() for word in words)]


def test_a_redirect_to_elsewhere_is_not_followed(prober: Operator) -> None:
    with web(Site({"/*": Page(200, "elsewhere")})) as elsewhere:
        for location in (f"http://127.0.0.1:{elsewhere.port}/", f"//localhost:{elsewhere.port}/x", "http://192.0.2.7/"):
            with web(probe_hostile.redirecting_site(location)) as mock:
                ran = prober.probe(_target(mock.port, kind="http_ports"))
            assert mock.asked, location
            assert {entry["port"] for entry in ran.log() if entry["kind"] == "connect"} == {mock.port}
    assert not elsewhere.listener.visits


def test_without_a_valid_scope_no_packet_leaves(prober: Operator) -> None:
    with scp() as mock:
        target = _target(mock.port)
        unsigned = prober.scope(target)
        signature_path(unsigned).unlink()
        altered = prober.scope(target)
        altered.write_text(altered.read_text().replace('level = "L3"', 'level = "L2"'))
        early, late = (datetime.now(UTC) + timedelta(days=days) for days in (-3, 3))
        windows = ({"start": early, "end": early + timedelta(days=1)}, {"start": late, "end": late + timedelta(days=1)})
        for scope in (unsigned, altered, *(prober.scope(target, window=window) for window in windows)):
            ran = prober.run(scope)
            assert ran.code == 2
            assert not ran.folder.exists()
            assert ran.err.startswith("strongroom: ")
        somebody_elses = prober.scope(target)
        with operator() as other:
            assert other.run(somebody_elses).code == 2
    assert not mock.listener.visits


# --- patients


def test_nothing_of_a_patient_is_in_anything_that_the_probe_writes(prober: Operator, tmp_path: Path) -> None:
    """Names and numbers in answers, comments, titles, versions, pages, headers, cookies and certificates."""
    subject = Subject(probe_planted.NAME, (), organisation=probe_planted.SSN)
    tls = Issuer(tmp_path, probe_planted.FAMILY).issue("planted", subject).server_context()
    site = probe_planted.planted_site()
    servers = (
        lambda sockets: scp(probe_planted.planted_scp(), sockets=sockets),
        lambda sockets: scp(probe_planted.planted_scp(), sockets=sockets, tls=tls),
        lambda sockets: web(site, sockets=sockets),
        lambda sockets: web(site, sockets=sockets, tls=tls),
    )
    with ExitStack() as stack:
        targets = []
        for number, server in enumerate(servers, 1):
            address = f"127.0.7.{number}"
            port = stack.enter_context(server(listening_sockets([address]))).listener.port
            kind = "dicom_ports" if number < 3 else "http_ports"
            targets.append(_target(port, kind=kind, name=f"mock {number}", addresses=[address]))
        for form in ("text", "json", "sarif"):
            ran = prober.run(prober.scope(*targets), "--format", form)
            assert ran.code == 1, ran.err
            assert not probe_planted.leaks((ran.out + ran.err).encode("utf-8", "surrogateescape"))
    looked_at = [
        entry["details"]
        for entry in ran.log()
        if entry["kind"] == "observation" and entry["step"] in ("dicom.find_shape", "http.qido_shape")
    ]
    assert {"dicom.find_shape", "http.qido_shape"} <= {
        entry["step"] for entry in ran.log() if entry["kind"] == "observation" and entry["answer"] == "done"
    }, "the control: it has seen what it must not tell"
    assert all(details["has_name"] and details["ssn_shaped"] for details in looked_at if details.get("looked_at"))
    assert not probe_planted.leaks_below([prober.folder])


def test_nothing_of_a_patient_is_left_by_a_run_that_is_killed(prober: Operator) -> None:
    with scp(probe_planted.planted_scp()) as mock:
        running = prober.start(prober.scope(_target(mock.port)))
        _wait_for(lambda: mock.requests("C-FIND"))
        running.process.kill()
        assert running.wait().code == -signal.SIGKILL
    assert not probe_planted.leaks_below([prober.folder])


# --- ends


def _wait_for(met: Callable[[], Any], timeout_s: float = 60.0) -> None:
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while not met():
        assert time.monotonic() < deadline, "it never came"
        pause.wait(0.01)


def _require_valid_log(prober: Operator, folder: Path) -> None:
    command = strongroom_command("probe", "verify-log", folder, "--trust", prober.signers)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_interrupt_leaves_a_valid_partial_report(prober: Operator) -> None:
    with scp() as mock:
        running = prober.start(prober.scope(_target(mock.port), rates={"interval_s": 0.3}))
        _wait_for(lambda: len(mock.requests("associate")) >= 3)
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        ran = running.wait()
        took = time.monotonic() - began
    assert took < 10
    assert ran.code in (0, 1)
    assert ran.report["run"]["stopped"]
    assert "Traceback" not in ran.err
    _require_valid_log(prober, ran.folder)
    before = len(mock.listener.visits)
    assert before < 20


def test_an_interrupt_ends_a_wait_for_a_silent_server(prober: Operator) -> None:
    rates = {"interval_s": 0.0, "answer_s": 60.0, "connection_s": 300.0}
    with listening(probe_hostile.DICOM["slow_silence"]) as silent:
        running = prober.start(prober.scope(_target(silent.port), rates=rates))
        _wait_for(lambda: any(visit.received_bytes for visit in silent.visits))
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        ran = running.wait()
    assert time.monotonic() - began < 20
    assert ran.code in (0, 1)
    _require_valid_log(prober, ran.folder)


def test_a_killed_run_goes_on_where_it_was_and_within_its_budget(prober: Operator) -> None:
    budget = 20
    with scp() as mock:
        scope = prober.scope(_target(mock.port), rates={"interval_s": 0.1, "connections_per_target": budget})
        running = prober.start(scope)
        _wait_for(lambda: len(mock.requests("associate")) >= 4)
        running.process.kill()
        killed = running.wait()
        before = len(mock.listener.visits)
        ran = prober.run(scope, out=killed.folder)
    assert 4 <= before < budget
    assert ran.code in (0, 1), ran.err
    assert len(mock.listener.visits) <= budget
    stages = [entry["stage"] for entry in ran.log() if entry["kind"] == "stage"]
    assert len(stages) == len(set(stages)), "no step is finished twice"
    assert not ran.report["run"]["stopped"]
    _require_valid_log(prober, ran.folder)


def test_an_altered_log_is_found(prober: Operator) -> None:
    with scp() as mock:
        ran = prober.probe(_target(mock.port), level="L1")
    log = ran.folder / "run.jsonl"
    log.write_text(log.read_text().replace('"answer":"done"', '"answer":"refused"', 1))
    command = strongroom_command("probe", "verify-log", ran.folder, "--trust", prober.signers)
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 1
