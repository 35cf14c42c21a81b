"""supervisor: a service manager hears READY once everything is served, and STOPPING before it ends."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness.archives import START_TIMEOUT_S, clean_environment, new_home, strongroom_command
from strongroom.serving.supervisor import Supervisor


@pytest.mark.parametrize("is_abstract", [False, True])
def test_serve_says_when_it_is_ready_and_when_it_stops(tmp_path: Path, is_abstract: bool) -> None:
    home = new_home(tmp_path / "home", {"https": {"workers": 1}})
    name = f"strongroom-{secrets.token_hex(8)}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name if is_abstract else name)
        listener.settimeout(START_TIMEOUT_S)
        environment = clean_environment() | {"NOTIFY_SOCKET": f"@{name}" if is_abstract else name}
        command = strongroom_command("serve", "--home", home.root)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                said = listener.recv(4096).decode().split("\n")
                assert said[0] == "READY=1"
                assert said[1].startswith("STATUS=ready dicom=127.0.0.1:")
                assert " https=127.0.0.1:" in said[1]
                process.send_signal(signal.SIGTERM)
                said = listener.recv(4096).decode().split("\n")
                assert said[0] == "STOPPING=1"
                assert int(said[-1].removeprefix("EXTEND_TIMEOUT_USEC=")) > 10_000_000
                assert process.wait(START_TIMEOUT_S) == 0
            finally:
                process.kill()


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", None)
    Supervisor().ready("ready")
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    Supervisor().stopping(1.0)


def test_a_manager_that_is_gone_or_deaf_keeps_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Supervisor().ready("ready")
    assert "could not be told" in caplog.text
    caplog.clear()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "deaf"))
        for _ in range(2000):
            Supervisor().ready("ready")
            if caplog.records:
                break
    assert "could not be told" in caplog.text
