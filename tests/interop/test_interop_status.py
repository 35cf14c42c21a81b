"""What an archive says of itself, from another process: before it runs, while it does, and once it is stopped."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness import archives
from harness.archives import clean_environment, strongroom_command
from harness.people import PASSCODE, signed_in
from harness.web import client_of
from strongroom.admin import users
from strongroom.admin.agreeing import Agreement, Wish
from strongroom.admin.exceptions import approve, exceptions
from strongroom.admin.posture import posture
from strongroom.app import now_utc
from strongroom.archive.facts import Standing
from strongroom.archive.posture import Line, State
from strongroom.archive.proposals import Matter
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


def exception(peer: str) -> dict[str, object]:
    expires = now_utc().date() + dt.timedelta(days=9)
    return {"peer": peer, "addresses": "127.0.0.1/32", "expires": expires, "reason": f"of {peer}", "port": 0}


def withdraw(home: Home) -> None:
    """Propose the first exception once more, and decline it."""
    with archives.opened(home) as archive:
        first = exceptions(archive)[0]
        users.add(archive, "ann", PASSCODE, Role.ADMINISTRATOR)
        proposed = approve(archive, first.digest, "ann", time.time_ns() // 1000)
        wish = Wish(Matter.UNSAFE, first.digest, "ann", "it has TLS now", archive.principal, time.time_ns() // 1000)
        Agreement(archive, wish).decline(proposed.number)


def test_an_exception_is_said_to_be_in_effect_if_somebody_listens_there(tmp_path: Any) -> None:
    first, second = exception("OLD_1"), exception("OLD_2")
    settings = {"https": {"workers": 1}, "unsafe_plaintext": [first]}
    home = archives.new_home(tmp_path / "home", settings)  # where both people have agreed to what it has now
    home.config.write_text(archives.config_text(settings | {"unsafe_plaintext": [first, second]}))

    def stands() -> dict[str, str]:
        """What is said of each, by its reason."""
        with archives.opened(home) as archive:
            found = [line for line in posture(archive) if line.about == "Exception"]
        return {line.says.partition(": ")[2].partition(";")[0]: line.says.partition("; ")[2] for line in found}

    assert stands() == {"of OLD_1": Standing.NEXT_START, "of OLD_2": Standing.NOT_AGREED}
    with archives.opened(home) as archive:
        for peer in ("OLD_1", "OLD_2"):
            archives.add_peer(archive, peer, "echo")
    with archives.serving(home) as running:
        assert len(running.plaintext_ports) == 1
        assert stands()["of OLD_1"].startswith(Standing.IN_EFFECT)
        assert stands()["of OLD_2"] == Standing.NOT_AGREED
        administrator = signed_in(running, "root", Role.ADMINISTRATOR)
        for peer, words in (("OLD_1", Standing.IN_EFFECT), ("OLD_2", Standing.NOT_AGREED)):
            page = administrator.page(f"/peers/peer?aet={peer}").content.decode()
            assert words in page
            assert (">plaintext<" in page) == (peer == "OLD_1")
        prometheus = client_of(running, running.add_token("prometheus", "metrics"))
        until(lambda: b"unsafe_plaintext_end_time_seconds{" in prometheus.get("/metrics").content)
        assert b'peer="OLD_2"' not in prometheus.get("/metrics").content
        withdraw(home)
        assert stands()["of OLD_1"] == Standing.WITHDRAWN


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
