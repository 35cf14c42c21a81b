"""pynetdicom as the other side: what it stores, gets, takes in and asks for, always over TLS."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from harness.archives import Credentials, RunningArchive
from strongroom.archive.model import Action, Event, Outcome

STUDY_GET, STUDY_MOVE = StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove
PATIENT_GET, PATIENT_MOVE = PatientRootQueryRetrieveInformationModelGet, PatientRootQueryRetrieveInformationModelMove
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
WAIT_S = 20.0


def tls(credentials: Credentials, *, server: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(credentials.authority)
    context.load_cert_chain(credentials.certificate, credentials.key)
    return context


@dataclass
class Peer:
    """What a pynetdicom peer got; ``statuses`` are its answers to C-STORE, the last one for all that follow."""

    stored: list[Any] = field(default_factory=list)
    reports: list[tuple[int, Dataset, bool]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=lambda: [0])
    reported: threading.Event = field(default_factory=threading.Event)
    on_first: Callable[[Any], None] | None = None

    def on_store(self, event: Any) -> int:
        self.stored.append(event)
        event.kept = event.dataset
        if self.on_first is not None and len(self.stored) == 1:
            self.on_first(event)
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def on_report(self, event: Any) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information, event.assoc.is_requestor))
        self.reported.set()
        return 0, None

    @property
    def handlers(self) -> list[Any]:
        return [(evt.EVT_C_STORE, self.on_store), (evt.EVT_N_EVENT_REPORT, self.on_report)]

    @property
    def stored_uids(self) -> list[str]:
        return [event.request.AffectedSOPInstanceUID for event in self.stored]


def image(study: int, series: int, number: int, **values: Any) -> Dataset:
    """A small CT image; UIDs follow from the numbers, and so does the patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.PatientID, dataset.PatientName = f"P{study}", "TEST^ONE"
    dataset.StudyInstanceUID = f"2.25.{study}"
    dataset.SeriesInstanceUID = f"2.25.{study}.{series}"
    dataset.SOPInstanceUID = f"2.25.{study}.{series}.{number}"
    dataset.Modality = "CT"
    dataset.BitsAllocated, dataset.PixelRepresentation, dataset.PixelData = 16, 0, bytes(64)
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


class _Checkpoint(threading.Event):
    """Where the thread of a pynetdicom association stands while another one asks.

    pynetdicom takes a flag for the proof that it stands, which is up too while it passes: on a busy machine it then
    reads the answer that somebody waits for.
    """

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association = association
        self._stands = threading.Event()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is None
        while not super().wait(0.005):
            self._stands.set()
        self._stands.clear()
        return True

    def clear(self) -> None:
        self._stands.clear()  # it may have stood for the last request, and be about to pass
        super().clear()
        if self._stands.wait(WAIT_S):
            self._association._is_paused = True  # what pynetdicom waits for, without an end


@contextmanager
def associated(archive: RunningArchive, peer: Peer | None = None, aet: str = "SCU", **contexts: Any) -> Iterator[Any]:
    """pynetdicom's association. ``get`` are storage classes to take as SCP, ``syntaxes`` theirs, ``more`` others;
    ``user`` is who works there, and his passcode."""
    ae = AE(aet)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = WAIT_S
    get, syntaxes = contexts.get("get", ()), contexts.get("syntaxes", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    roles = []
    for sop_class in get:
        ae.add_requested_context(sop_class, syntaxes)
        roles.append(build_role(sop_class, scp_role=True))
    for sop_class in contexts.get("more", ()):
        ae.add_requested_context(sop_class)
    for sop_class in contexts.get("relational", ()):
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = sop_class, b"\x01"
        roles.append(item)
    if "user" in contexts:
        who = UserIdentityNegotiation()
        who.user_identity_type, who.positive_response_requested = 2, True
        who.primary_field, who.secondary_field = (each.encode() for each in contexts["user"])
        roles.append(who)
    credentials = archive.credentials(aet)
    association = ae.associate(
        "127.0.0.1", archive.port, ext_neg=roles, ae_title="STRONGROOM", tls_args=(tls(credentials), None),
        evt_handlers=peer.handlers if peer else [],
    )  # fmt: skip
    assert association.is_established
    association._reactor_checkpoint = _Checkpoint(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


@contextmanager
def listening(credentials: Credentials, peer: Peer, port: int, *classes: Any, syntaxes: Any = None) -> Iterator[None]:
    """The peer as a server with TLS."""
    ae = AE(credentials.aet)
    for sop_class in classes or (CTImageStorage, MRImageStorage):
        ae.add_supported_context(sop_class, syntaxes or [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, ssl_context=tls(credentials, server=True), evt_handlers=peer.handlers
    )
    try:
        yield
    finally:
        server.shutdown()


def store(archive: RunningArchive, *datasets: Dataset) -> None:
    with associated(archive, more=[CTImageStorage]) as association:
        for dataset in datasets:
            assert association.send_c_store(dataset).Status == 0


def identifier(level: str, **keys: Any) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(dataset, name, value)
    return dataset


def ends_of(archive: RunningArchive, action: Action) -> list[Event]:
    """What the trail says of how retrievals ended; the begin of each must be there as well."""
    events = [event for event in archive.events() if event.action is action]
    ends = [event for event in events if event.details.get("phase") == "end"]
    assert len(ends) == len([event for event in events if event.details.get("phase") == "begin"])
    return ends


def wait_for(met: Callable[[], Any]) -> Any:
    """Poll until ``met`` gives something true."""
    deadline = time.monotonic() + WAIT_S
    while not (found := met()):
        assert time.monotonic() < deadline, "it never came"
        threading.Event().wait(0.02)
    return found


def last(responses: Any) -> tuple[Any, Dataset | None, list[Any]]:
    """The final response, its identifier and the pending ones before it."""
    every = list(responses)
    status, data = every[-1]
    return status, data, [each for each, _ in every[:-1]]


def counts(status: Any) -> tuple[int, int, int]:
    return (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


# Two studies: 1 has series 1 (images 1, 2) and 2 (image 1), 2 has series 1 (image 1).
POPULATION = [image(1, 1, 1), image(1, 1, 2), image(1, 2, 1), image(2, 1, 1)]


def refusals(archive: RunningArchive) -> list[str]:
    """The reasons of everything the trail says was refused, in order."""
    return [str(event.details["reason"]) for event in archive.events() if event.outcome is Outcome.REFUSED]


def commitment_ends(archive: RunningArchive) -> list[Event]:
    """What the trail says of reports that were told, or given up."""
    return [e for e in archive.events() if e.action is Action.COMMITMENT and e.details.get("phase") == "end"]
