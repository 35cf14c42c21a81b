"""C-MOVE between pynetdicom, DCMTK and this archive; destinations that are away, refuse, die or are somebody else."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
)

from harness.archives import ALL_RIGHTS, SOON, Credentials, RunningArchive
from harness.postgres import free_port
from harness.pynetdicom_peers import (
    PATIENT_MOVE,
    POPULATION,
    STUDY_MOVE,
    WAIT_S,
    Peer,
    associated,
    counts,
    ends_of,
    identifier,
    last,
    listening,
    store,
    tls,
    wait_for,
)
from strongroom.archive.model import Action, Outcome

pytestmark = [
    pytest.mark.interop,
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

ArchiveFactory = Callable[..., RunningArchive]


@pytest.fixture
def filled(local_archive: ArchiveFactory) -> RunningArchive:
    archive = local_archive({"SCU": ALL_RIGHTS})
    store(archive, *POPULATION)
    return archive


@pytest.fixture
def movable(filled: RunningArchive) -> tuple[RunningArchive, Credentials, int]:
    port = free_port()
    return filled, filled.add_peer("DEST", "store", host="127.0.0.1", port=port), port


Movable = tuple[RunningArchive, Credentials, int]


def move(archive: RunningArchive, asked: Dataset, to: str = "DEST", model: Any = STUDY_MOVE) -> Any:
    with associated(archive, more=[model]) as association:
        return last(association.send_c_move(asked, to, model, msg_id=77))


STUDY_ONE = identifier("STUDY", StudyInstanceUID="2.25.1")


@pytest.mark.parametrize(
    ("model", "asked", "found"),
    [
        (STUDY_MOVE, STUDY_ONE, 3),
        (PATIENT_MOVE, identifier("PATIENT", PatientID="P1"), 3),
        (STUDY_MOVE, identifier("SERIES", StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.1.2"), 1),
        (STUDY_MOVE, identifier("STUDY", StudyInstanceUID="2.25.9"), 0),
    ],
)
def test_move_sends_to_the_destination(movable: Movable, model: Any, asked: Dataset, found: int) -> None:
    archive, credentials, port = movable
    peer = Peer()
    with listening(credentials, peer, port):
        status, _, pending = move(archive, asked, model=model)
    assert status.Status == 0
    assert counts(status) == (found, 0, 0)
    assert len(pending) == found
    assert len(peer.stored) == found
    assert {event.request.MoveOriginatorApplicationEntityTitle for event in peer.stored} <= {"SCU"}
    assert {event.request.MoveOriginatorMessageID for event in peer.stored} <= {77}
    (end,) = ends_of(archive, Action.MOVE)
    assert (end.details["destination"], end.details["completed"]) == ("DEST", found)


def test_move_converts_for_the_destination(movable: Movable) -> None:
    archive, credentials, port = movable
    peer = Peer()
    with listening(credentials, peer, port, CTImageStorage, syntaxes=[ImplicitVRLittleEndian]):
        status, _, _ = move(archive, identifier("STUDY", StudyInstanceUID="2.25.2"))
    assert status.Status == 0
    assert peer.stored[0].kept == POPULATION[3]


@pytest.mark.parametrize("destination", ["NOBODY", "REVOKED", "NO_ADDRESS", "STRONGROOM"])
def test_move_to_anybody_else_is_refused(filled: RunningArchive, destination: str) -> None:
    filled.add_peer("REVOKED", "store", host="127.0.0.1", port=1)
    filled.revoke_peer("REVOKED")
    filled.add_peer("NO_ADDRESS", "store")
    status, _, _ = move(filled, STUDY_ONE, destination)
    assert status.Status == 0xA801
    (refused,) = [event for event in filled.events() if event.action is Action.MOVE]
    assert refused.outcome is Outcome.REFUSED
    assert refused.details["destination"] == destination


def test_move_to_an_impostor_sends_nothing(movable: Movable) -> None:
    """Whoever sits at the address of the destination has a certificate of this archive's CA, but another peer's."""
    archive, _, port = movable
    impostor = archive.add_peer("IMPOSTOR", "store")
    peer = Peer()
    accepted = []
    ae = AE("DEST")
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, ssl_context=tls(impostor, server=True),
        evt_handlers=[*peer.handlers, (evt.EVT_REQUESTED, accepted.append)],
    )  # fmt: skip
    try:
        status, data, _ = move(archive, STUDY_ONE)
    finally:
        server.shutdown()
    assert status.Status == 0xA702
    assert len(data.FailedSOPInstanceUIDList) == 3
    assert not accepted
    (end,) = ends_of(archive, Action.MOVE)
    assert end.details["reasons"] == ("certificate-not-of-peer",)
    assert end.details["bytes"] == 0


def test_move_to_a_destination_that_is_away_fails_all(movable: Movable) -> None:
    archive, _, _ = movable
    status, data, _ = move(archive, STUDY_ONE)
    assert status.Status == 0xA702
    assert counts(status) == (0, 3, 0)
    assert len(data.FailedSOPInstanceUIDList) == 3


def test_move_to_a_destination_that_dies_midway_fails_the_rest(movable: Movable) -> None:
    archive, credentials, port = movable
    peer = Peer()
    peer.on_first = lambda event: event.assoc.abort()
    with listening(credentials, peer, port):
        status, _, _ = move(archive, STUDY_ONE)
    assert status.Status == 0xA702
    assert counts(status) == (0, 3, 0)
    (end,) = ends_of(archive, Action.MOVE)
    assert end.details["bytes"]  # what had left by then is not denied


def test_a_destinations_refusals_and_warnings_are_counted(movable: Movable) -> None:
    archive, credentials, port = movable
    peer = Peer(statuses=[0, 0xC000, 0xB007])
    with listening(credentials, peer, port):
        status, data, _ = move(archive, STUDY_ONE)
    assert status.Status == 0xB000
    assert counts(status) == (1, 1, 1)
    assert data.FailedSOPInstanceUIDList == peer.stored_uids[1]


def test_a_cancel_ends_a_move(movable: Movable) -> None:
    archive, credentials, port = movable
    asking = threading.Event()
    asker: list[Any] = []

    def cancel(_: Any) -> None:
        assert asking.wait(WAIT_S)
        sent = threading.Event()
        asker[0].bind(evt.EVT_DATA_SENT, lambda _: sent.set())
        asker[0].send_c_cancel(5, None, STUDY_MOVE)
        assert sent.wait(WAIT_S), "another thread of pynetdicom's sends it"

    peer = Peer(on_first=cancel)
    with listening(credentials, peer, port), associated(archive, more=[STUDY_MOVE]) as association:
        responses = association.send_c_move(STUDY_ONE, "DEST", STUDY_MOVE, msg_id=5)
        asker.append(association)
        asking.set()
        status, _, _ = last(responses)
    assert status.Status == 0xFE00
    assert 1 <= len(peer.stored) < 3
    assert status.NumberOfRemainingSuboperations == 3 - len(peer.stored)
    (end,) = ends_of(archive, Action.MOVE)
    assert end.details["end"] == "cancelled"


# DCMTK: its movescu and getscu of this version have no TLS, so they come over a plaintext exception


@pytest.fixture
def plaintext_archive(local_archive: ArchiveFactory) -> tuple[RunningArchive, int]:
    for program in ("movescu", "getscu", "storescp"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} of DCMTK is not installed")
    exception = {"peer": "SCU", "addresses": "127.0.0.1/32", "port": free_port(), "reason": "DCMTK has no TLS here"}
    archive = local_archive({"SCU": ALL_RIGHTS}, unsafe_plaintext=[{**exception, "expires": SOON}])
    store(archive, *POPULATION)
    return archive, archive.plaintext_ports[0]


def dcmtk(program: str, port: int, *options: str) -> str:
    command = [program, "-v", "-aet", "SCU", "-aec", "STRONGROOM", *options, "-S", "-k", "QueryRetrieveLevel=STUDY"]
    command += ["-k", "StudyInstanceUID=2.25.1", "127.0.0.1", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr + done.stdout


def test_dcmtk_gets(plaintext_archive: tuple[RunningArchive, int], tmp_path: Path) -> None:
    _, port = plaintext_archive
    said = dcmtk("getscu", port, "-od", str(tmp_path))
    assert "Number of Completed Suboperations : 3" in said
    assert len([dcmread(path, force=True) for path in tmp_path.glob("CT.*")]) == 3


def test_dcmtk_moves_to_dcmtk_over_tls(plaintext_archive: tuple[RunningArchive, int], tmp_path: Path) -> None:
    archive, port = plaintext_archive
    destination = free_port()
    credentials = archive.add_peer("DEST", "store", host="127.0.0.1", port=destination)
    received = subprocess.Popen(
        ["storescp", *credentials.dcmtk, "-aet", "DEST", "-od", str(tmp_path), str(destination)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: _accepts(destination))
        said = dcmtk("movescu", port, "-aem", "DEST", "-d")
    finally:
        received.terminate()
        received.wait(10)
    assert "Completed Suboperations       : 3" in said
    assert len(list(tmp_path.glob("CT.*"))) == 3


def _accepts(port: int) -> bool:

    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
