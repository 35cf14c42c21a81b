"""Workers and server killed in the middle of STOW-RS and WADO-RS: what was acknowledged is there, nothing by halves."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import web
from harness.archives import RunningArchive, new_home, opened, serving
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, stored_digest
from harness.media import part10
from harness.web import DICOM_JSON, Answer, WebClient
from strongroom.admin.check import check
from strongroom.app import Archive
from strongroom.config import Home

SENDERS, READERS = 3, 2
REQUESTS, PER_REQUEST = 15, 8
MOST_BEFORE_KILL = 10
RESTART_S = 30.0
GONE = (OSError, http.client.HTTPException)
"""What a client sees of a server that is killed: a reset, an end in the middle, nobody there."""


def requests_of(round_: int, sender: int) -> Iterator[list[Sample]]:
    """What one sender stores, request by request; every sender has a series of its own."""
    sizes = (SMALL_PIXELS, LARGE_PIXELS, 4 * SMALL_PIXELS)
    for request in range(REQUESTS):
        numbers = range(request * PER_REQUEST, (request + 1) * PER_REQUEST)
        yield [
            Sample(round_ * 10_000 + number, study=100 + sender, series=sender, pixel_bytes=sizes[number % 3])
            for number in numbers
        ]


class Ledger:
    """What was acknowledged, and the answers that readers had in full; strikes at the ``moment``-th acknowledgement."""

    def __init__(self, moment: int, strike: Callable[[], None]) -> None:
        self.acknowledged: dict[str, Sample] = {}
        self.read = 0
        self.wrong: list[str] = []
        self._left, self._strike, self._lock = moment, strike, threading.Lock()
        self.over = threading.Event()

    def note(self, samples: list[Sample], answer: Answer) -> None:
        """An answer to a request that stored."""
        taken = {item["00081155"]["Value"][0] for item in answer.json.get("00081199", {}).get("Value", ())}
        with self._lock:
            self.acknowledged |= {each.sop_uid: each for each in samples if each.sop_uid in taken}
            self._left -= 1
            if not self._left:
                self._strike()
                self.over.set()

    def note_read(self, answer: Answer) -> None:
        """An answer with whole objects: every part that came has to be one of those stored."""
        with self._lock:
            known = dict(self.acknowledged)
            self.read += 1
        for _, file in answer.parts:
            uid = file[file.index(b"\x08\x00\x18\x00UI") + 8 :].split(b"\0")[0].split(b"\x08\x00")[0].decode("ascii")
            if uid in known and not file.endswith(known[uid].dataset):
                self.wrong.append(uid)


def store_all(client: WebClient, requests: Iterator[list[Sample]], ledger: Ledger) -> None:
    """Store until everything is sent or the archive is gone."""
    for samples in requests:
        headers, body = web.multipart([("application/dicom", part10(each)) for each in samples])
        try:
            answer = client.request("POST", "/studies", {**headers, "Accept": DICOM_JSON}, body)
        except GONE:
            return
        if answer.media_type == DICOM_JSON:
            ledger.note(samples, answer)


def read_all(client: WebClient, study: str, ledger: Ledger) -> None:
    """Retrieve a study again and again until the archive is gone."""
    while not ledger.over.is_set():
        try:
            answer = client.get(f"/studies/{study}", 'multipart/related; type="application/dicom"; transfer-syntax=*')
        except GONE:
            continue
        if answer.status == 200:
            ledger.note_read(answer)


def use(client: WebClient, round_: int, ledger: Ledger) -> None:
    """Store and read at once, until everything is sent or the archive is gone."""
    threads = [
        threading.Thread(target=store_all, args=(client, requests_of(round_, sender), ledger))
        for sender in range(SENDERS)
    ]
    readers = [
        threading.Thread(target=read_all, args=(client, Sample(0, study=100 + reader).study_uid, ledger))
        for reader in range(READERS)
    ]
    for thread in (*threads, *readers):
        thread.start()
    for thread in threads:
        thread.join()
    ledger.over.set()
    for thread in readers:
        thread.join()


def workers_of(running: RunningArchive, module: str = "webworker") -> list[int]:
    """The processes that answer over HTTPS, or others."""
    assert running.process is not None
    threads = Path(f"/proc/{running.process.pid}/task").iterdir()
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    return [int(each) for each in children if module in Path(f"/proc/{each}/cmdline").read_text()]


def assert_sound(archive: Archive, acknowledged: dict[str, Sample]) -> None:
    assert check(archive, lambda *_: None).findings == ()
    for uid, sample in acknowledged.items():
        assert stored_digest(archive, uid) == sample.sha256, uid


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home", {"https": {"workers": 2}})


def test_server_and_workers_killed_while_they_store_and_send(home: Home) -> None:
    acknowledged: dict[str, Sample] = {}
    moments = random.Random(21)
    for round_ in range(2):
        with serving(home) as running:
            assert running.process is not None
            client = web.client_of(running, running.add_token(f"round-{round_}"))
            ledger = Ledger(moments.randrange(2, MOST_BEFORE_KILL), running.process.kill)
            use(client, round_, ledger)
            assert running.process.wait(10) < 0
        assert ledger.acknowledged
        assert ledger.wrong == []
        acknowledged |= ledger.acknowledged
        with serving(home), opened(home) as archive:
            assert_sound(archive, acknowledged)


def test_a_worker_killed_while_it_stores_and_sends_costs_its_own_requests(home: Home) -> None:
    with serving(home) as running:
        client = web.client_of(running, running.add_token("sender"))
        killed = workers_of(running)
        assert len(killed) == 2

        def strike() -> None:
            os.kill(killed[0], signal.SIGKILL)

        ledger = Ledger(4, strike)
        use(client, 0, ledger)
        assert ledger.acknowledged
        assert ledger.wrong == []
        wait_for_another_worker(running, killed)
        again = Ledger(10**6, strike)
        use(client, 1, again)
        assert again.read
        assert len(again.acknowledged) == SENDERS * REQUESTS * PER_REQUEST, "both workers serve again"
        assert running.stop() == 0
    with serving(home), opened(home) as archive:
        assert_sound(archive, ledger.acknowledged | again.acknowledged)


def test_a_process_killed_while_it_takes_objects_in_costs_those_and_each_is_answered(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home", {"https": {"workers": 2}, "dicom": {"workers": 2}})
    with serving(home) as running:
        client = web.client_of(running, running.add_token("sender"))
        killed = workers_of(running, "dicomworker")
        assert len(killed) > 1

        def strike() -> None:
            os.kill(killed[0], signal.SIGKILL)

        ledger = Ledger(4, strike)
        use(client, 0, ledger)
        assert len(ledger.acknowledged) > SENDERS * REQUESTS * PER_REQUEST / 2, "the others go on"
        assert ledger.wrong == []
        assert len(workers_of(running)) == 2, "who answers lives on"
        again = Ledger(10**6, strike)
        use(client, 1, again)
        assert len(again.acknowledged) == SENDERS * REQUESTS * PER_REQUEST
        assert running.stop() == 0
    with serving(home), opened(home) as archive:
        assert_sound(archive, ledger.acknowledged | again.acknowledged)


def test_what_is_being_uploaded_when_the_archive_is_stopped_is_taken_in(tmp_path: Path) -> None:
    """Who takes it in ends after it, though nothing of it had come to that process yet."""
    home = new_home(tmp_path / "home", {"https": {"workers": 1}, "dicom": {"workers": 2}})
    samples = [Sample(number, pixel_bytes=20_000) for number in range(3)]
    headers, body = web.multipart([("application/dicom", part10(each)) for each in samples])
    with serving(home) as running:
        assert running.process is not None
        client = web.client_of(running, running.add_token("sender"))
        with socket.create_connection(("127.0.0.1", running.https_port), timeout=30) as plain:
            line = client.context().wrap_socket(plain, server_hostname="127.0.0.1")
            lines = {
                "Host": "127.0.0.1",
                "Authorization": f"Bearer {client.token}",
                "Accept": DICOM_JSON,
                "Content-Length": str(len(body)),
                **headers,
            }
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            line.sendall(f"POST /dicomweb/studies HTTP/1.1\r\n{head}\r\n".encode() + body[:30_000])
            threading.Event().wait(0.5)  # the head has been read
            running.process.terminate()
            threading.Event().wait(1.0)
            line.sendall(body[30_000:])
            assert line.recv(100).startswith(b"HTTP/1.1 200 ")
            line.close()
        assert running.process.wait(30) == 0
    with opened(home) as archive:
        assert_sound(archive, {each.sop_uid: each for each in samples})


def wait_for_another_worker(running: RunningArchive, killed: list[int]) -> None:
    """Return when the worker that was killed has a successor that answers."""
    nobody, pause = web.client_of(running), threading.Event()
    for _ in range(int(RESTART_S / 0.1)):
        now = workers_of(running)
        if len(now) == 2 and killed[0] not in now:
            break
        pause.wait(0.1)
    else:
        raise AssertionError("no other worker was started")
    assert nobody.request("GET", "/health").content == b"ok\n"
