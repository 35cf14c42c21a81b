"""What the DICOM steps find out about real servers, as tables of what each was asked and what it answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.probe_certificates import Issuer, Subject
from harness.probe_dcmtk import (
    ARCHIVE_AET,
    KNOWN_PEER,
    WORKLIST_AET,
    dcmqrscp,
    store_files,
    storescp,
    tls_options,
    wlmscpfs,
)
from harness.probe_orthanc import Place, opened_settings, orthanc_with, shipped_orthanc
from harness.probe_pynetdicom import qrscp, workflow_scp
from harness.probe_session import Probed, probed, target_with
from harness.probe_strongroom import PEER, strongroom
from harness.samples import sample
from strongroom.probe.model import Answer, Detail, Level
from strongroom.probe.plan import steps_for

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")]

NOBODY = "no presentation context"
QUESTIONS = ("find_empty", "get_nothing", "move_nowhere", "worklist", "commit_nothing", "mpps_nothing")


def run(port: int, **target: Any) -> Probed:
    made = probed(target_with(dicom_ports=(port,), **target), consents=frozenset({"write_canary"}))
    for step in steps_for(Level.CANARY):
        step(made.session)
    return made


def table(made: Probed, identity: str, channel: str = "plain") -> dict[str, str]:
    """What was answered to each DICOM step that was asked: in brackets a status that is not Success, or why."""
    found = {}
    for seen in made.session.known:
        is_dicom = seen.step.startswith("dicom.") and seen.answer is not Answer.NOT_ASKED
        if is_dicom and (seen.identity, seen.channel) == (identity, channel):
            status = seen.details.get("status")
            why = f"{status:04X}" if isinstance(status, int) and status else _why(seen.details.get("rejection"))
            found[seen.step.removeprefix("dicom.")] = f"{seen.answer} ({why})" if why else str(seen.answer)
    return found


def _why(rejection: Detail | None) -> str:
    return rejection if isinstance(rejection, str) else ""


def detail(made: Probed, step: str, name: str, identity: str) -> Detail | None:
    (seen,) = [
        each
        for each in made.session.all_found(f"dicom.{step}")
        if each.identity == identity and each.answer is not Answer.NOT_ASKED
    ]
    return seen.details.get(name)


OPEN_DOOR = {"associate": "done", "echo": "done", "called_title": "done", "calling_title": "done"}
WRITTEN = {"store_canary": "done", "overwrite_canary": "done", "cross_study_canary": "done"}


def test_dcmqrscp_asks_for_its_own_title_and_nothing_else(tmp_path: Path) -> None:
    files = [sample("CT_small.dcm"), sample("MR_small.dcm")]
    with dcmqrscp(tmp_path / "archive") as server:
        store_files(server.port, ARCHIVE_AET, files)
        made = run(server.port, called=ARCHIVE_AET)
    assert table(made, "knows-title") == {
        "associate": "done",
        "echo": "done",
        "user_identity": "done",
        "services": "done",
        "syntaxes": "done",
        "find_empty": "done",
        "get_nothing": "done",
        "move_nowhere": "done",
        "worklist": "refused",
        "commit_nothing": "refused",
        "mpps_nothing": "refused",
        "find_count": "done",
        "find_shape": "done",
        "read_canary": "done",
        **WRITTEN,
    }
    assert table(made, "stranger") == {
        "associate": "refused (called title)",
        "called_title": "refused (called title)",
        "calling_title": "done",
    }
    assert detail(made, "services", "accepted", "knows-title") == ("echo", "find", "move", "get", "store")
    assert (
        detail(made, "find_count", "studies", "knows-title"),
        detail(made, "find_count", "patients", "knows-title"),
    ) == (2, 2)
    assert detail(made, "find_count", "capped", "knows-title") is False
    assert detail(made, "overwrite_canary", "overwritten", "knows-title") is True


def test_dcmqrscp_for_one_peer_alone(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "archive", peers="known") as server:
        made = run(server.port, called=ARCHIVE_AET)
        known = run(server.port, called=ARCHIVE_AET, calling=KNOWN_PEER)
    assert table(made, "knows-title") == {"associate": "refused (called title)"}
    assert table(known, "named")["find_empty"] == table(known, "named")["store_canary"] == "done"


def test_storescp_takes_writes_from_strangers_and_gives_nothing(tmp_path: Path) -> None:
    with storescp(tmp_path / "store") as server:
        made = run(server.port)
    assert table(made, "stranger") == {
        **OPEN_DOOR,
        "services": "done",
        "syntaxes": "done",
        **dict.fromkeys(QUESTIONS, "refused"),
        "read_canary": "refused",
        **WRITTEN,
    }
    assert detail(made, "services", "accepted", "stranger") == ("echo", "store")
    assert detail(made, "get_nothing", "reason", "stranger") == NOBODY
    assert table(made, "junk-user")["user_identity"] == "done"


def test_a_worklist_tells_strangers_who_comes(tmp_path: Path) -> None:
    with wlmscpfs(tmp_path / "worklist") as server:
        made = run(server.port, called=WORKLIST_AET)
    assert table(made, "knows-title")["worklist"] == "done (FF00)"
    assert detail(made, "worklist", "pending", "knows-title") == 1
    assert detail(made, "services", "accepted", "knows-title") == ("echo", "worklist")
    assert table(made, "knows-title")["find_empty"] == table(made, "knows-title")["store_canary"] == "refused"


def test_procedure_steps_and_commitment_of_strangers() -> None:
    with workflow_scp() as server:
        made = run(server.port)
    assert {step: table(made, "stranger")[step] for step in QUESTIONS} == {
        **dict.fromkeys(QUESTIONS, "refused"),
        "commit_nothing": "done",
        "mpps_nothing": "done",
    }
    assert set(server.events) == {"EVT_C_ECHO", "EVT_N_ACTION", "EVT_N_SET"}


def test_pynetdicom_as_it_is_shipped(tmp_path: Path) -> None:
    with qrscp(tmp_path / "archive") as server:
        made = run(server.port)
    assert {step: table(made, "stranger")[step] for step in QUESTIONS} == {
        "find_empty": "done",
        "get_nothing": "done",
        "move_nowhere": "refused (A801)",
        "worklist": "done",
        "commit_nothing": "refused",
        "mpps_nothing": "refused",
    }
    assert detail(made, "read_canary", "same_pixels", "stranger") is True


def test_orthanc_as_debian_ships_it_refuses_reads_and_takes_writes(tmp_path: Path) -> None:
    with shipped_orthanc(Place(tmp_path / "orthanc")) as server:
        made = run(server.dicom_port)
    found = table(made, "stranger")
    assert {step: found[step] for step in QUESTIONS} == {
        "find_empty": "aborted",
        "get_nothing": "aborted",
        "move_nowhere": "aborted",
        "worklist": "refused",
        "commit_nothing": "aborted",
        "mpps_nothing": "refused",
    }
    assert found["store_canary"] == "done"
    assert "find_count" not in found


def test_orthanc_opened_keeps_the_first_of_two_pictures(tmp_path: Path) -> None:
    with orthanc_with(Place(tmp_path / "orthanc"), opened_settings()) as server:
        made = run(server.dicom_port)
    assert table(made, "stranger")["find_empty"] == table(made, "stranger")["store_canary"] == "done"
    assert detail(made, "read_canary", "same_pixels", "stranger") is True
    assert detail(made, "overwrite_canary", "overwritten", "stranger") is False


def test_a_store_that_requires_a_certificate(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "authority")
    pair = issuer.issue("server", Subject("server"))
    client = issuer.issue("client", Subject("client", client=True))
    with storescp(tmp_path / "store", *tls_options(pair)) as server:
        without = run(server.port)
        made = run(server.port, certificate=str(client.certificate), certificate_key=str(client.key))
    assert set(table(without, "stranger", "tls").values()) <= {"closed", "refused"}
    assert set(table(without, "stranger").values()) <= {"closed"}
    certified = table(made, "certificate", "tls")
    assert certified["calling_title"] == certified["associate"] == certified["store_canary"] == "done"


def test_strongroom_holds_the_certificate_against_the_titles(tmp_path: Path) -> None:
    with strongroom(tmp_path) as target:
        peer = target.credentials
        made = run(
            target.dicom_port,
            called="STRONGROOM",
            calling=PEER,
            certificate=str(peer.certificate),
            certificate_key=str(peer.key),
        )
    for identity in ("stranger", "knows-title", "named"):
        assert set(table(made, identity, "tls").values()) <= {"closed", "refused"}
    assert table(made, "certificate", "tls") == {
        "associate": "done",
        "echo": "done",
        "called_title": "refused (called title)",
        "calling_title": "refused (calling title)",
        "services": "done",
        "syntaxes": "done",
        "find_empty": "done",
        "get_nothing": "done",
        "move_nowhere": "refused",
        "worklist": "refused",
        "commit_nothing": "refused",
        "mpps_nothing": "refused",
        "store_canary": "done",
        "read_canary": "done",
        "overwrite_canary": "failed (C010)",
        "cross_study_canary": "failed (C012)",
    }
    assert detail(made, "overwrite_canary", "overwritten", "certificate") is False
