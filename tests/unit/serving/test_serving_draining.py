"""SIGTERM: what is under way is finished within the configured time, what is idle ends at once, what hangs is cut."""

from __future__ import annotations

import hashlib
import http.client
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import archives
from harness.archives import AET, Credentials, RunningArchive, add_peer, new_home, opened
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, LARGE_PIXELS, Sample, store, stored_digest
from strongroom.admin.check import check
from strongroom.archive.model import Action, Event
from strongroom.config import Home
from strongroom.errors import StrongroomError
from strongroom.net.scu import Proposal, ScuConnection, Target
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters

SUCCESS = 0
LONG_S, SHORT_S = 120.0, 1.0
"""A time to drain that no test waits for, and one that each does."""
MOST_S = 60.0
"""In which the server has to end although it may drain for LONG_S; the machine may be busy."""
SAMPLE = Sample(1, pixel_bytes=40 * LARGE_PIXELS)
WORKERS = [0, 2]
"""Associations on threads of the server, and in processes of their own."""


def prepared(root: Path, drain_s: float, workers: int = 0) -> Home:
    https = {"workers": 1, "drain_timeout_s": drain_s}
    home = new_home(
        root / "home", {"dicom": {"port": 0, "drain_timeout_s": drain_s, "workers": workers}, "https": https}
    )
    with opened(home) as archive:
        add_peer(archive, "CT1")
    return home


def associated(running: RunningArchive) -> ScuConnection:
    credentials: Credentials = running.credentials("CT1")
    tls = ssl.create_default_context(cafile=str(credentials.authority))
    tls.check_hostname = False
    tls.load_cert_chain(credentials.certificate, credentials.key)
    contexts = ((CT_IMAGE_STORAGE, (EXPLICIT_VR_LITTLE_ENDIAN,)),)
    local = LocalParameters(Uid("2.25.1"), "SENDER")
    proposal = Proposal(AeTitle.parse(AET), AeTitle.parse("CT1"), contexts, local)
    return ScuConnection.open(Target("127.0.0.1", running.port, tls), proposal)


def terminate(running: RunningArchive) -> None:
    """SIGTERM, and return when the server takes no connection any more."""
    assert running.process is not None
    running.process.send_signal(signal.SIGTERM)
    deadline, pause = time.monotonic() + MOST_S, threading.Event()
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", running.port), 5).close()
        except OSError:
            return
        pause.wait(0.02)
    raise AssertionError("the server still listens")


def ended(running: RunningArchive) -> int:
    assert running.process is not None
    return running.process.wait(MOST_S)


def end_of_association(home: Home) -> Event:
    with opened(home) as archive:
        events = archives.trail_events(archive)
        assert check(archive, lambda *_: None).findings == ()
    return [each for each in events if each.action is Action.ASSOCIATION and each.details.get("phase") == "end"][-1]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_store_in_the_middle_is_finished(tmp_path: Path, workers: int) -> None:
    home = prepared(tmp_path, LONG_S, workers)
    sample = Sample(1, pixel_bytes=2_000_000)  # so much that half of it leaves before the rest is there
    dataset = sample.dataset
    with archives.serving(home) as running:

        def pieces() -> Iterator[bytes]:
            yield dataset[: len(dataset) // 2]
            threading.Event().wait(0.3)  # until then the other side may still take the association for idle
            terminate(running)
            yield dataset[len(dataset) // 2 :]

        with associated(running) as connection:
            response = connection.store(CT_IMAGE_STORAGE, sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, pieces())
            assert response.status == SUCCESS
            with pytest.raises(StrongroomError):  # and nothing more is taken
                connection.store(CT_IMAGE_STORAGE, Sample(2).sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, [Sample(2).dataset])
        assert ended(running) == 0
        assert "Traceback" not in running.output
    with opened(home) as archive:
        assert stored_digest(archive, sample.sop_uid) == sample.sha256
        assert stored_digest(archive, Sample(2).sop_uid) is None
    end = end_of_association(home)
    assert (end.details["end"], end.details["stored"]) == ("service-stop", 1)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_idle_association_and_a_silent_connection_hold_nothing_up(tmp_path: Path, workers: int) -> None:
    home = prepared(tmp_path, LONG_S, workers)
    with (
        archives.serving(home) as running,
        associated(running),
        socket.create_connection(("127.0.0.1", running.port)),
    ):
        began = time.monotonic()
        terminate(running)
        assert ended(running) == 0
        assert time.monotonic() - began < LONG_S
    assert end_of_association(home).details["end"] == "service-stop"


@pytest.mark.parametrize("workers", WORKERS)
def test_a_store_that_never_ends_is_cut_off_in_time(tmp_path: Path, workers: int) -> None:
    home = prepared(tmp_path, SHORT_S, workers)
    with archives.serving(home) as running, associated(running) as connection:
        dataset = SAMPLE.dataset

        def pieces() -> Iterator[bytes]:
            yield dataset[: len(dataset) // 2]
            terminate(running)
            assert ended(running) == 0
            yield dataset[len(dataset) // 2 :]

        with pytest.raises(StrongroomError):
            connection.store(CT_IMAGE_STORAGE, SAMPLE.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, pieces())
    with opened(home) as archive:
        assert stored_digest(archive, SAMPLE.sop_uid) is None
    end_of_association(home)


def download(running: RunningArchive) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
    token = running.add_token("reader", "read")
    context = ssl.create_default_context(cafile=str(running.home.root / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", running.https_port, context=context, timeout=MOST_S)
    connection.connect()
    path = (
        f"/dicomweb/studies/{SAMPLE.study_uid}/series/{SAMPLE.series_uid}/instances/{SAMPLE.sop_uid}/bulkdata/7FE00010"
    )
    headers = {"Authorization": f"Bearer {token}", "Accept": "multipart/related; type=application/octet-stream"}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return connection, response


def test_a_download_in_the_middle_is_finished(tmp_path: Path) -> None:
    home = prepared(tmp_path, LONG_S)
    with opened(home) as archive:
        store(archive, SAMPLE)
    with archives.serving(home) as running:
        connection, response = download(running)
        begun = response.read(1000)
        terminate(running)
        whole = begun + response.read()
        connection.close()
        assert ended(running) == 0
    pixels = SAMPLE.dataset[-SAMPLE.pixel_bytes :]
    assert hashlib.sha256(pixels).digest() in {
        hashlib.sha256(whole[at : at + len(pixels)]).digest() for at in [whole.index(pixels[:64])]
    }


def test_a_download_that_nobody_reads_is_cut_off_in_time(tmp_path: Path) -> None:
    home = prepared(tmp_path, SHORT_S)
    with opened(home) as archive:
        store(archive, Sample(1, pixel_bytes=300 * LARGE_PIXELS))
    with archives.serving(home) as running:
        connection, response = download(running)
        try:
            terminate(running)
            assert ended(running) == 0
            with pytest.raises((http.client.IncompleteRead, OSError)):
                response.read()
        finally:
            connection.close()
    with opened(home) as archive:
        ends = [each for each in archives.trail_events(archive) if each.details.get("phase") == "end"]
    assert ends[-1].action is Action.RETRIEVE
