"""What an archive says of itself, from another process: before it runs, while it does, and once it is stopped."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness import archives
from harness.archives import clean_environment, strongroom_command
from harness.people import signed_in
from strongroom.admin.posture import posture
from strongroom.archive.posture import Line, State
from strongroom.archive.roles import Role
from strongroom.config import Home
from strongroom.store.served import read_served

pytestmark = pytest.mark.interop

DEADLINE_S = 180.0


def status(home: Home, *more: str) -> subprocess.CompletedProcess[str]:
    command = strongroom_command("status", "--home", home.root, *more)
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=DEADLINE_S)


def lines(home: Home) -> dict[str, Line]:
    """What a process beside the server makes of it."""
    with archives.opened(home) as archive:
        return {line.about: line for line in posture(archive)}


def until(is_so: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        pause.wait(0.2)


def test_the_command_says_what_the_server_knows(tmp_path: Any) -> None:
    far = tmp_path / "far"
    settings = {"https": {"workers": 1}, "trail": {"checkpoint_dirs": [str(far)], "checkpoint_interval_s": 1}}
    home = archives.new_home(tmp_path / "home", settings)
    before = lines(home)
    assert before["Server"].state is State.ACT
    assert before["Listening"].says.startswith("nothing")
    with archives.serving(home) as running:
        shown = lines(home)
        assert f"127.0.0.1:{running.port}" in shown["DICOM"].says
        assert f"127.0.0.1:{running.https_port}" in shown["HTTPS"].says
        assert shown["Server"].state == shown["Processes"].state == shown["Exceptions"].state == State.OK
        assert shown["Trail"].state is State.LOOK
        verify = strongroom_command("trail", "verify", "--home", home.root)
        assert subprocess.run(verify, env=clean_environment(), capture_output=True, timeout=DEADLINE_S).returncode == 0
        assert lines(home)["Trail"].state is State.OK
        page = signed_in(running, "root", Role.ADMINISTRATOR).page("/posture").content.decode()
        assert f"127.0.0.1:{running.port}" in page
        assert str(far) in page
        running.stop()
    assert lines(home)["Server"].says.startswith("stopped")
    said = json.loads(status(home, "--format", "json").stdout)
    assert said["state"] == "act now"
    assert {each["about"] for each in said["lines"]} == lines(home).keys()
    text = status(home)
    assert text.returncode == 1
    assert "strongroom serve" in text.stdout


def test_a_peer_was_seen_when_it_had_an_association(tmp_path: Any) -> None:
    home = archives.new_home(tmp_path / "home", {"dicom": {"workers": 1}})
    with archives.serving(home) as running:
        credentials = running.add_peer("CT_1", "echo")
        echo = ["echoscu", *credentials.dcmtk, "-aet", "CT_1", "-aec", archives.AET, "127.0.0.1", str(running.port)]
        began = time.time()
        assert subprocess.run(echo, capture_output=True, timeout=DEADLINE_S).returncode == 0

        def is_seen() -> bool:
            with archives.opened(home) as archive:
                return read_served(archive.index).seen.get("CT_1", 0) >= int(began)

        until(is_seen)
        assert running.stop() == 0
        with archives.opened(home) as archive:
            assert read_served(archive.index).seen.keys() == {"CT_1"}
            assert read_served(archive.index).stopped_s
