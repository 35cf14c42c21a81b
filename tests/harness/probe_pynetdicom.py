"""pynetdicom's servers as targets of the probe: its archive as a program, and what else it can serve on threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
    Verification,
)

from harness.postgres import free_port
from harness.probe_processes import Program, Running, running

ARCHIVE_AET = "QRSCP"
WAIT_S = 20.0

_SETTINGS = """\
[DEFAULT]
ae_title: {aet}
port: {port}
max_pdu: 16382
acse_timeout: 30
dimse_timeout: 30
network_timeout: 30
bind_address: {address}
instance_location: {folder}/instances
database_location: {folder}/instances.sqlite
log_identifier: False
"""


@dataclass(frozen=True)
class QrscpTarget:
    """A running archive."""

    port: int
    server: Running
    storage: Path


@contextmanager
def qrscp(folder: Path, *, port: int = 0, address: str = "127.0.0.1") -> Iterator[QrscpTarget]:
    """``python -m pynetdicom qrscp``: open to everybody, as it is shipped."""
    port = port or free_port()
    folder.mkdir(parents=True)
    config = folder / "qrscp.ini"
    config.write_text(_SETTINGS.format(aet=ARCHIVE_AET, port=port, folder=folder, address=address))
    command = (sys.executable, "-m", "pynetdicom", "qrscp", "-c", config)
    with running(Program(command, (port,), folder, address)) as server:
        yield QrscpTarget(port, server, folder / "instances")


@dataclass
class Workflow:
    """A server of procedure steps and commitment. ``events`` are the names of the requests that came."""

    port: int
    events: list[str] = field(default_factory=list)


@contextmanager
def workflow_scp(*, known: str = "", address: str = "127.0.0.1") -> Iterator[Workflow]:
    """Verification, MPPS and storage commitment for everybody, or for the calling title ``known`` alone."""
    ae = AE("WORKFLOW")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = WAIT_S
    ae.require_calling_aet = [known] if known else []
    for sop_class in (Verification, ModalityPerformedProcedureStep, StorageCommitmentPushModel):
        ae.add_supported_context(sop_class)
    running_one = Workflow(0)

    def note(event: Any, answer: Any) -> Any:
        running_one.events.append(event.event.name)
        return answer

    handlers: Any = [
        (evt.EVT_C_ECHO, note, [0x0000]),
        (evt.EVT_N_CREATE, note, [(0x0000, Dataset())]),
        (evt.EVT_N_SET, note, [(0x0000, Dataset())]),
        (evt.EVT_N_ACTION, note, [(0x0000, None)]),
    ]
    server: Any = ae.start_server((address, 0), block=False, evt_handlers=handlers)
    running_one.port = server.server_address[1]
    try:
        yield running_one
    finally:
        server.shutdown()
