"""An index in PostgreSQL with associations in processes of their own: DCMTK stores from four sides at once, finds, gets
and has moved; a worker is killed, and the whole server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from senders import SUCCESS, association, send, send_in_parallel

from harness import archives
from harness.archives import AET, Credentials, RunningArchive, add_peer, new_home, opened, serving
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, stored_digest
from harness.media import write
from harness.postgres import free_port
from strongroom.admin.check import check
from strongroom.app import Archive
from strongroom.archive.model import Action
from strongroom.config import Home

TOOLS = ("storescu", "findscu", "movescu", "getscu", "storescp")
PEER, OLD = "CT1", "OLD"
SENDERS, PER_SENDER, BEFORE_THE_END = 4, 40, 30
TIMEOUT_S = 60

needs_dcmtk = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="DCMTK is not installed")


@pytest.fixture
def home(tmp_path: Path, new_postgres_url: Callable[[], str]) -> Home:
    exception = {"peer": OLD, "addresses": "127.0.0.1/32", "expires": archives.SOON, "port": 0, "reason": "old"}
    settings = {"index": {"url": new_postgres_url()}, "dicom": {"workers": 3}, "unsafe_plaintext": [exception]}
    home = new_home(tmp_path / "home", settings)
    with opened(home) as archive:
        for aet in (PEER, OLD):
            add_peer(archive, aet)
    return home


def share(sender: int, count: int, first: int = 0) -> list[Sample]:
    """What one of them sends: each has a series of its own, and two have a study together."""
    sizes = (SMALL_PIXELS, LARGE_PIXELS, 4 * SMALL_PIXELS)
    return [
        Sample(first + 1000 * sender + number, study=sender // 2, series=sender, pixel_bytes=sizes[number % 3])
        for number in range(count)
    ]


def assert_sound(archive: Archive, acknowledged: dict[str, Sample]) -> None:
    """The check, of the trail too, is clean, and everything that was acknowledged is there as it was sent."""
    assert check(archive, lambda *_: None).findings == ()
    for uid, sample in acknowledged.items():
        assert stored_digest(archive, uid) == sample.sha256, uid


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=TIMEOUT_S, check=False)
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, output
    return output


def at_once(*commands: list[str | Path]) -> list[str]:
    """Run tools at the same time; what each said."""
    said: list[str] = [""] * len(commands)

    def one(number: int) -> None:
        said[number] = run(*commands[number])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(commands))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def storescu(running: RunningArchive, *files: Path) -> list[str | Path]:
    options = [*running.credentials(PEER).dcmtk, "-aet", PEER, "-aec", AET]
    return ["storescu", "-v", *options, "127.0.0.1", str(running.port), *files]


def asking(running: RunningArchive, program: str, *more: str | Path) -> list[str | Path]:
    """A tool that speaks no TLS, through the exception."""
    return [program, "-v", "-S", "-aet", OLD, "-aec", AET, *more, "127.0.0.1", str(running.plaintext_ports[0])]


def keys(**wanted: str) -> list[str]:
    return [word for name, value in wanted.items() for word in ("-k", f"{name}={value}" if value else name)]


@contextmanager
def storescp(credentials: Credentials, port: int, folder: Path) -> Iterator[None]:
    """A destination over TLS that writes what it gets, bit by bit."""
    folder.mkdir()
    options = [*credentials.dcmtk, "-aet", credentials.aet, "+xa", "+B", "-od", str(folder)]
    with (folder.parent / "storescp.txt").open("wb") as output:
        process = subprocess.Popen(["storescp", *options, str(port)], stdout=output, stderr=output)
        try:
            listens = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", re.M)
            until(lambda: any(listens.search(Path(f"/proc/net/{each}").read_text()) for each in ("tcp", "tcp6")))
            yield
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


def until(is_so: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline
        pause.wait(0.05)


@needs_dcmtk
def test_four_store_at_once_and_what_they_stored_is_found_got_and_moved(home: Home, tmp_path: Path) -> None:
    shares = [share(sender, 12) for sender in range(SENDERS)]
    files = [[write(tmp_path / "sent" / f"{each.number}.dcm", each) for each in some] for some in shares]
    with serving(home) as running:
        said = at_once(*(storescu(running, *some) for some in files))
        assert [each.count("Received Store Response (Success)") for each in said] == [12] * SENDERS
        study = shares[0][0].study_uid
        query = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=study, NumberOfStudyRelatedInstances="")
        counts = re.findall(r"\[(\d+) *\].*NumberOfStudyRelatedInstances", run(*asking(running, "findscu", *query)))
        assert counts == ["24"]
        wanted = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
        got, moved, port = tmp_path / "got", tmp_path / "moved", free_port()
        got.mkdir()
        run(*asking(running, "getscu", "+B", "-od", got, *wanted))
        with storescp(running.add_peer("DEST", "", host="127.0.0.1", port=port), port, moved):
            assert "Success" in run(*asking(running, "movescu", "-aem", "DEST", *wanted))
        for folder in (got, moved):
            assert len(list(folder.iterdir())) == 24
        assert running.stop() == 0
        assert "Traceback" not in running.output
    with opened(home) as archive:
        assert_sound(archive, {each.sop_uid: each for some in shares for each in some})


@needs_dcmtk
def test_the_same_object_from_four_sides_at_once_is_stored_once(home: Home, tmp_path: Path) -> None:
    files = [write(tmp_path / "sent" / f"{each.number}.dcm", each) for each in share(0, 6)]
    with serving(home) as running:
        for said in at_once(*([storescu(running, *files)] * SENDERS)):
            assert said.count("Received Store Response (Success)") == len(files)
        verdicts = [event.details["verdict"] for event in running.served_events() if event.action is Action.STORE]
        assert sorted(verdicts) == ["resent"] * len(files) * (SENDERS - 1) + ["stored"] * len(files)
        assert running.stop() == 0


def test_a_worker_is_killed_and_then_the_server_while_four_send(home: Home) -> None:
    acknowledged: dict[str, Sample] = {}
    lock = threading.Lock()

    def until_killed(running: RunningArchive, first: int, kill: Callable[[], None]) -> list[list[Sample]]:
        left = BEFORE_THE_END

        def note(sample: Sample) -> None:
            nonlocal left
            with lock:
                acknowledged[sample.sop_uid] = sample
                left -= 1
                if not left:
                    kill()

        shares = [share(sender, PER_SENDER, first) for sender in range(SENDERS)]
        send_in_parallel(running.port, running.credentials(PEER), shares, note)
        return [each for each in shares if all(sample.sop_uid in acknowledged for sample in each)]

    with serving(home) as running:
        victim, *others = running.dicom_workers()
        whole = until_killed(running, 0, lambda: os.kill(victim, signal.SIGKILL))
        assert 0 < len(whole) < SENDERS
        until(lambda: len(set(running.dicom_workers()) - {victim}) == 3)
        assert set(others) < set(running.dicom_workers())
        assert running.process is not None
        until_killed(running, 10_000, running.process.kill)
        assert running.process.wait(TIMEOUT_S) < 0
    with serving(home) as running:
        with association(running.port, running.credentials(PEER)) as connection:
            for sample in share(0, 4, 20_000):
                assert send(connection, sample) == SUCCESS
                acknowledged[sample.sop_uid] = sample
        with opened(home) as archive:
            assert_sound(archive, acknowledged)
        assert running.stop() == 0
