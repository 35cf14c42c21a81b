"""``strongroom probe`` for somebody without an archive: from the first scope to the report, and what stops it."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from harness.archives import strongroom_command
from harness.probe_dicom import scp
from harness.probe_listener import Listener, listening
from harness.probe_session import scope_text
from harness.shell import Ran, Shell, shell

made_shell = pytest.fixture(shell, name="strongroom")

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no configuration anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STRONGROOM_PASSPHRASE", raising=False)
    return tmp_path


def window(start_h: float = -1, end_h: float = 1) -> str:
    start, end = (NOW + dt.timedelta(hours=hours) for hours in (start_h, end_h))
    return f"start = {start.isoformat()}\nend = {end.isoformat()}"


def scope_at(port: int, *, target: str = "", times: str = "", head: str = "") -> bytes:
    """A scope for one DICOM port of this host."""
    return scope_text(
        f"dicom_ports = [{port}]\nhttp_ports = []\nneighbour_ports = []\n{target}",
        window=times or window(),
        rates="interval_s = 0.0",
        head=head,
    )


def signed(strongroom: Shell, raw: bytes, name: str = "scope.toml") -> Path:
    """A scope signed with a trusted key."""
    if not Path("key").exists():
        assert strongroom("probe", "new-key", "key", "--comment", "Jo, CISO").code == 0
        assert strongroom("probe", "trust", "key.pub").code == 0
    Path(name).write_bytes(raw)
    assert strongroom("probe", "sign", name, "--key", "key").code == 0
    return Path(name)


@pytest.fixture
def listener() -> Listener:  # type: ignore[misc]
    """A port that must see nothing."""
    with listening(lambda visit: None) as made:
        yield made  # type: ignore[misc]


def test_the_quick_start_of_the_guide(strongroom: Shell, work: Path) -> None:
    template = strongroom("probe", "init-scope").out
    assert strongroom("probe", "new-key", "operator.key").code == 0
    assert strongroom("probe", "trust", "operator.key.pub").out.startswith("SHA256:")
    with scp() as mock:
        filled = template.replace('by = ""', 'by = "Jo Doe, CISO"').replace('contact = ""', 'contact = "+1 555 0100"')
        filled = re.sub(r"# dicom_ports = .*", f"dicom_ports = [{mock.port}]", filled)
        filled = re.sub(r"# (http|neighbour)_ports = .*", r"\1_ports = []", filled)
        filled = filled.replace("# interval_s = 1.0", "interval_s = 0.0")
        Path("my.toml").write_text(filled)
        told = strongroom("probe", "sign", "my.toml", "--key", "operator.key").out
        assert "Jo Doe, CISO" in told
        assert str(mock.port) in told
        ran = strongroom("probe", "--scope", "my.toml", "--out", "run")
    assert ran.code == 1
    assert "grade" in ran.out
    assert sorted(path.name for path in (work / "run").iterdir()) == [
        "report.html", "report.json", "report.sarif", "report.txt", "run.jsonl", "run.key", "scope.toml",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in (work / "run").iterdir()} == {0o600}
    assert stat.S_IMODE((work / "run").stat().st_mode) == 0o700
    assert strongroom("probe", "verify-log", "run").code == 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.with_name("scope.toml.sig").unlink(), "is not signed: strongroom probe sign"),
        (lambda path: path.write_bytes(path.read_bytes() + b"#"), "was altered after it was signed"),
        (lambda path: path.with_name("scope.toml.sig").write_text("{}"), "is no signature"),
        (lambda path: (path.parent / "config/strongroom/probe-signers").unlink(), "strongroom probe trust"),
        (
            lambda path: shutil.copy(path.parent / "other.pub", path.parent / "config/strongroom/probe-signers"),
            "not in the list of signers",
        ),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_without_a_signature_that_counts_no_packet_leaves(
    strongroom: Shell, work: Path, listener: Listener, spoil: object, says: str
) -> None:
    strongroom("probe", "new-key", "other")
    scope = signed(strongroom, scope_at(listener.port)).resolve()
    spoil(scope)  # type: ignore[operator]
    require_refused(strongroom("probe", "--scope", scope, "--out", "run"), says, listener)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (window(-3, -1), "has expired: its window ended at"),
        (window(1, 2), "not valid yet: its window begins at"),
        (
            f"{window(-30, 30)}\ndaily_from = {(NOW + dt.timedelta(hours=2)):%H:%M:%S}\n"
            f"daily_until = {(NOW + dt.timedelta(hours=3)):%H:%M:%S}",
            "not at this time of day",
        ),
    ],
    ids=["over", "to come", "another time of day"],
)
def test_out_of_its_window_no_packet_leaves(
    strongroom: Shell, work: Path, listener: Listener, times: str, says: str
) -> None:
    scope = signed(strongroom, scope_at(listener.port, times=times))
    require_refused(strongroom("probe", "--scope", scope, "--out", "run"), says, listener)


def test_who_signs_is_told_of_a_window_that_is_not_open(strongroom: Shell, work: Path) -> None:
    assert strongroom("probe", "new-key", "key").code == 0
    late = (NOW + dt.timedelta(hours=2)).time().strftime("%H:%M:%S")
    later = (NOW + dt.timedelta(hours=3)).time().strftime("%H:%M:%S")
    nightly = f"{window()}\ndaily_from = {late}\ndaily_until = {later}"
    for times, says in (
        (window(-3, -1), "the scope has expired"), (window(1, 2), "the scope is not valid yet"),
        (window(), ""), (nightly, ""),
    ):  # fmt: skip
        Path("scope.toml").write_bytes(scope_at(104, times=times))
        ran = strongroom("probe", "sign", "scope.toml", "--key", "key")
        assert ran.code == 0
        assert ran.err.startswith(f"NOTE: nothing can be probed with it now: {says}") if says else ran.err == ""


def test_a_target_that_is_not_in_the_scope_gets_no_packet(strongroom: Shell, work: Path, listener: Listener) -> None:
    scope = signed(strongroom, scope_at(listener.port))
    ran = strongroom("probe", "--scope", scope, "--out", "run", "--only", "127.0.0.2")
    require_refused(ran, "127.0.0.2 is not in the scope: add it to a target", listener)


def test_a_name_that_leads_elsewhere_gets_no_packet(
    strongroom: Shell, work: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = signed(strongroom, scope_at(listener.port, target="host = 'localhost'\naddresses = ['127.0.0.9']"))
    require_refused(strongroom("probe", "--scope", scope, "--out", "run"), "resolves to", listener)


def require_refused(ran: Ran, says: str, listener: Listener) -> None:
    """It ended with 2 and these words, and neither a packet nor a file is left of it."""
    assert ran.code == 2
    assert ran.err.startswith("strongroom: ")
    assert says in ran.err
    assert not Path("run").exists()
    assert not listener.visits


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("scope", ["unsigned", "expired"])
def test_the_kernel_has_seen_no_socket_of_a_refused_run(strongroom: Shell, work: Path, scope: str) -> None:
    """Not even a question to a name server: the target has a name."""
    raw = scope_at(4242, target="host = 'localhost'", times=window(-3, -1) if scope == "expired" else "")
    path = signed(strongroom, raw)
    if scope == "unsigned":
        Path("scope.toml.sig").unlink()
    command = strongroom_command("probe", "--scope", path, "--out", "run")
    ran = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=network", "-o", "calls", *command], capture_output=True, timeout=120
    )
    assert ran.returncode == 2
    assert Path("calls").read_text() == ""


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(strongroom: Shell, work: Path, listener: Listener) -> None:
    Path("scope.toml").write_bytes(scope_at(listener.port, target="host = 'nobody.invalid'", head="level = 'L2'"))
    ran = strongroom("probe", "--scope", "scope.toml", "--dry-run")
    assert ran.code == 0
    assert "nothing was sent" in ran.out
    assert re.search(r"L2 dicom\.find_count +C-FIND-RQs for StudyInstanceUID", ran.out)
    assert re.search(r"dicom\.guess .*LEFT OUT: consent\.guess_titles is not true", ran.out)
    assert "dicom.store_canary" not in ran.out
    told = json.loads(strongroom("probe", "--scope", "scope.toml", "--dry-run", "--format", "json").out)
    assert told["targets"][0]["ports"] == [listener.port]
    assert {"tcp.connect", "dicom.find_count"} <= {step["step"] for step in told["steps"]}
    assert strongroom("probe", "--scope", "scope.toml", "--dry-run", "--only", "10.9.9.9").code == 2
    assert not listener.visits


def test_two_systems_on_one_address_are_both_in_the_report(strongroom: Shell, work: Path) -> None:
    with scp() as first, scp() as second:
        table = f"[[target]]\nname = 'second'\naddresses = ['127.0.0.1']\ndicom_ports = [{second.port}, {first.port}]"
        raw = scope_at(first.port, target=f"addresses = ['127.0.0.1']\n{table}\nhttp_ports = []\nneighbour_ports = []")
        scope = signed(strongroom, raw)
        plan = strongroom("probe", "--scope", scope, "--dry-run").out
        both = strongroom("probe", "--scope", scope, "--out", "both", "--format", "json")
        one = strongroom("probe", "--scope", scope, "--out", "one", "--format", "json", "--only", "second")
        refused = strongroom("probe", "--scope", scope, "--out", "none", "--only", "127.0.0.2")
    assert f"at addresses that pacs has too, {first.port} tested as pacs and not again" in plan
    told = json.loads(both.out)
    assert [(target["target"], target["address"]) for target in told["targets"]] == [
        ("pacs", "127.0.0.1"),
        ("second", "127.0.0.1"),
    ]
    assert len({target["grade"]["letter"] for target in told["targets"]} - {"-"}) == 1
    assert re.search("connections to 1 address$", both.err, re.MULTILINE)
    assert [target["target"] for target in json.loads(one.out)["targets"]] == ["second"]
    assert refused.code == 2


def test_a_run_is_signed_at_its_end_and_the_report_has_three_forms(strongroom: Shell, work: Path) -> None:
    with scp() as mock:
        scope = signed(strongroom, scope_at(mock.port))
        as_json = strongroom("probe", "--scope", scope, "--out", "one", "--key", "key", "--format", "json")
        as_sarif = strongroom("probe", "--scope", scope, "--out", "two", "--format", "sarif")
    assert json.loads(as_json.out)["run"]["scope_sha256"]
    assert json.loads(as_sarif.out)["version"] == "2.1.0"
    told = json.loads(strongroom("probe", "verify-log", "one", "--format", "json").out)
    assert told["good"]
    assert told["signer"].startswith("SHA256:")
    assert "is not signed: compare the head" in strongroom("probe", "verify-log", "two").out
    strongroom("probe", "new-key", "other")
    ran = strongroom("probe", "verify-log", "one", "--trust", "other.pub")
    assert ran.code == 1
    assert "signed, but by nobody in the list" in ran.out


def test_who_does_not_answer_was_not_tested(strongroom: Shell, work: Path) -> None:
    with listening(lambda visit: None) as listener:
        port = listener.port
    codes = {}
    for posture in ("mutual-tls", "closed"):
        scope = signed(strongroom, scope_at(port, target=f"posture = '{posture}'"), f"{posture}.toml")
        ran = strongroom("probe", "--scope", scope, "--out", posture)
        codes[posture] = ran.code, ran.out.splitlines()[0].partition(": ")[2]
    assert codes["mutual-tls"][0] == 1
    assert "not tested" in codes["mutual-tls"][1]
    assert codes["closed"] == (0, "1 x -: good")


def test_a_directory_holds_one_run_of_one_scope(strongroom: Shell, work: Path) -> None:
    with scp() as mock:
        scope = signed(strongroom, scope_at(mock.port, head="level = 'L0'"))
        assert strongroom("probe", "--scope", scope, "--out", "run").code == 0
        again = strongroom("probe", "--scope", scope, "--out", "run")
        other = signed(strongroom, scope_at(mock.port, head="level = 'L0'\nvantage = 'lan'"), "other.toml")
        mixed = strongroom("probe", "--scope", other, "--out", "run")
        (work / "full").mkdir()
        (work / "full" / "mine").touch()
        full = strongroom("probe", "--scope", scope, "--out", "full")
    assert (again.code, mixed.code, full.code) == (2, 2, 2)
    assert "has come to its end: give another --out" in again.err
    assert "a run of another scope: give another --out" in mixed.err
    assert "is not empty, and holds no run" in full.err
    assert sorted(path.name for path in (work / "full").iterdir()) == ["mine"]


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"kind": "observation", "address": "127.0.0.1"},
        {"kind": "stage", "address": []},
        {"kind": "end"},
        {"kind": "observation", "address": "127.0.0.1", "step": "dicom.echo", "answer": "splendid"},
    ],
)
@pytest.mark.parametrize("chained", [False, True])
def test_a_log_that_was_altered_is_not_continued(
    strongroom: Shell, work: Path, entry: dict[str, object] | list[object], chained: bool
) -> None:
    with scp() as mock:
        scope = signed(strongroom, scope_at(mock.port, head="level = 'L0'"))
        strongroom("probe", "--scope", scope, "--out", "run")
        before = len(mock.listener.visits)
        log = work / "run" / "run.jsonl"
        first = log.read_bytes().splitlines(keepends=True)[0]
        if chained and isinstance(entry, dict):
            entry = {**entry, "n": 2, "prev": sha256(first.rstrip()).hexdigest()}
        log.write_bytes(first + json.dumps(entry).encode() + b"\n")
        again = strongroom("probe", "--scope", scope, "--out", "run")
        assert (again.code, len(mock.listener.visits)) == (2, before)
    assert "give another --out" in again.err


def test_a_passphrase_protects_a_key(strongroom: Shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "correct horse battery")
    assert "no passphrase" not in strongroom("probe", "new-key", "key").out
    Path("scope.toml").write_bytes(scope_at(104))
    assert strongroom("probe", "sign", "scope.toml", "--key", "key").code == 0
    monkeypatch.delenv("STRONGROOM_PASSPHRASE")
    ran = strongroom("probe", "sign", "scope.toml", "--key", "key")
    assert (ran.code, "needs a passphrase: set STRONGROOM_PASSPHRASE" in ran.err) == (2, True)


def test_what_cannot_be_a_scope_is_not_signed(strongroom: Shell, work: Path) -> None:
    strongroom("probe", "new-key", "key")
    Path("scope.toml").write_bytes(scope_at(104, head="levle = 'L1'"))
    ran = strongroom("probe", "sign", "scope.toml", "--key", "key")
    assert (ran.code, Path("scope.toml.sig").exists()) == (2, False)
    assert "did you mean level" in ran.err


def test_a_client_certificate_that_does_not_load_stops_the_run(
    strongroom: Shell, work: Path, listener: Listener
) -> None:
    scope = signed(strongroom, scope_at(listener.port, target="client_certificate = 'c.pem'\nclient_key = 'k.pem'"))
    require_refused(strongroom("probe", "--scope", scope, "--out", "run"), "client certificate does not load", listener)


def test_without_a_scope_it_says_where_one_comes_from(strongroom: Shell, work: Path) -> None:
    ran = strongroom("probe", "--out", "run")
    assert (ran.code, "strongroom probe init-scope prints one" in ran.err) == (2, True)


def test_it_starts_without_anything_of_an_archive(work: Path) -> None:
    program = (
        "import sys; sys.argv = ['strongroom', 'probe', 'init-scope']\n"
        "from strongroom.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.split('.')[:2] in (\n"
        "    ['strongroom', 'store'], ['strongroom', 'trail'], ['strongroom', 'archive'], ['strongroom', 'web'],\n"
        "    ['strongroom', 'app']) or name.split('.')[0] in ('sqlalchemy', 'numpy', 'PIL', 'hyperscan')),\n"
        "    file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]}
    )
    assert ran.stderr.strip() == "[]"
    assert "[[target]]" in ran.stdout


def test_nothing_of_the_probe_listens(strongroom: Shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: object) -> None:
        raise AssertionError("the probe bound a socket")

    with scp() as mock:
        scope = signed(strongroom, scope_at(mock.port))
        monkeypatch.setattr(socket.socket, "bind", bind)
        assert strongroom("probe", "--scope", scope, "--out", "run").code == 1
