"""The canary: a synthetic object of nobody, written, read back, overwritten, and put into another patient's study.

It is the only thing that the probe ever writes, and only with the scope's consent ``write_canary``. Its Patient ID is
``ZZ-AUDIT-CANARY``, its UIDs are new (2.25), its picture is a pattern; ``cleanup`` says how to get rid of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.elements import PIXEL_DATA, ScanLimits
from strongroom.dicom.encode import PythonValue, encode_values
from strongroom.dicom.tree import parse_dataset
from strongroom.dimse import CStoreRq, Status, is_pending
from strongroom.errors import LimitExceeded, MalformedDataset
from strongroom.net.scu import ScuConnection
from strongroom.probe.dimse.callers import accepted_callers, keep
from strongroom.probe.dimse.dialogue import BOTH_PLAIN, Caller, Dialogue, Outcome, Wanted, of_status, syntax_of
from strongroom.probe.dimse.services import accepted_model, sop_class_of
from strongroom.probe.model import Answer, Detail, Observation
from strongroom.probe.session import Session
from strongroom.probe.shapes import CANARY
from strongroom.types import Uid
from strongroom.ul import RoleSelection

PATIENT_ID: Final = CANARY
OTHER_PATIENT_ID: Final = f"{CANARY}-2"
CONSENT: Final = "write_canary"

SECONDARY_CAPTURE: Final = Uid("1.2.840.10008.5.1.4.1.1.7")
SIDE: Final = 16
"""Rows and columns of the picture."""

MAX_READ_BYTES: Final = 64 * 1024
_LIMITS: Final = ScanLimits(max_element_depth=4, max_element_count=512, max_kept_bytes=MAX_READ_BYTES)
_LEVEL, _STUDY_UID, _INSTANCE_UID = 0x00080052, 0x0020000D, 0x00080018
_READ_MODELS: Final = ("study-get", "patient-get", "patient-study-get")
_FIND_MODELS: Final = ("study-find", "patient-find", "patient-study-find")


@dataclass(frozen=True, slots=True)
class Canary:
    """One synthetic object: its UIDs, whose it says it is, and which of two pictures it has."""

    study: Uid
    series: Uid
    instance: Uid
    day: dt.date
    patient_id: str = PATIENT_ID
    is_second_picture: bool = False

    def pixels(self) -> bytes:
        """Return the picture: a chess board, or its negative."""
        flip = 255 if self.is_second_picture else 0
        return bytes(((row ^ column) & 1) * 255 ^ flip for row in range(SIDE) for column in range(SIDE))

    def encoded(self, syntax: TransferSyntax) -> bytes:
        """Return the data set, a Secondary Capture image (PS3.3 A.8.1), in a little endian transfer syntax."""
        values: dict[int, PythonValue] = {
            0x00080008: ["DERIVED", "SECONDARY"],
            0x00080016: SECONDARY_CAPTURE,
            _INSTANCE_UID: self.instance,
            0x00080020: f"{self.day:%Y%m%d}",
            0x00080030: "000000",
            0x00080050: None,
            0x00080060: "OT",
            0x00080064: "SYN",
            0x00080070: "Strongroom",
            0x00080090: None,
            0x00081030: "STRONGROOM PROBE CANARY, PLEASE DELETE",
            0x00100010: f"{self.patient_id}^SYNTHETIC",
            0x00100020: self.patient_id,
            0x00100030: None,
            0x00100040: None,
            _STUDY_UID: self.study,
            0x0020000E: self.series,
            0x00200010: "CANARY",
            0x00200011: 1,
            0x00200013: 1,
            0x00200020: None,
            0x00280002: 1,
            0x00280004: "MONOCHROME2",
            0x00280010: SIDE,
            0x00280011: SIDE,
            0x00280100: 8,
            0x00280101: 8,
            0x00280102: 7,
            0x00280103: 0,
            0x00280301: "NO",
            PIXEL_DATA: self.pixels(),
        }
        return encode_values(values, syntax, ())


def new_canary(session: Session) -> Canary:
    """Return a canary whose UIDs nobody has."""
    return Canary(session.new_uid(), session.new_uid(), session.new_uid(), session.today)


def canary(session: Session) -> None:
    """On each port: write as the one who knows least of those that may, and do the rest as the same one."""
    written: set[int] = set()
    for caller in list(accepted_callers(session)):
        if session.found("dicom.services", caller.port, caller.channel, caller.identity) is None:
            continue
        if caller.port in written:
            _skip(session, caller, "somebody who knows less may write")
        elif CONSENT not in session.consents:
            _skip(session, caller, f"no consent {CONSENT}")
        elif not _may_store(session, caller):
            keep(session, "dicom.store_canary", caller, Outcome(Answer.REFUSED, {"reason": "no presentation context"}))
        elif _write(session, caller):
            written.add(caller.port)


def _skip(session: Session, caller: Caller, reason: str) -> None:
    session.skip("dicom.store_canary", caller.port, reason, caller.channel, caller.identity)


def _may_store(session: Session, caller: Caller) -> bool:
    seen = session.found("dicom.services", caller.port, caller.channel, caller.identity)
    accepted = seen.details.get("accepted") if seen is not None else None
    return isinstance(accepted, tuple) and "store" in accepted


def _write(session: Session, caller: Caller) -> bool:
    """Store a canary; if it was taken do everything else with it. Return whether it was."""
    first = new_canary(session)
    uids = {"sop_instance_uid": str(first.instance), "study_instance_uid": str(first.study)}
    _announce(session, caller, "dicom.store_canary", first)
    outcome = _store(session, caller, first)
    keep(session, "dicom.store_canary", caller, outcome, **uids)
    if not outcome.is_done:
        return False
    read = _read(session, caller, first)
    keep(session, "dicom.read_canary", caller, read)
    second = replace(first, is_second_picture=True)
    again = _store(session, caller, second)
    seen = _read(session, caller, second) if "same_pixels" in read.details else None
    more: dict[str, Detail] = {} if seen is None else {"overwritten": bool(seen.details.get("same_pixels"))}
    keep(session, "dicom.overwrite_canary", caller, again, **more)
    other = replace(new_canary(session), study=first.study, patient_id=OTHER_PATIENT_ID)
    _announce(session, caller, "dicom.cross_study_canary", other)
    keep(
        session,
        "dicom.cross_study_canary",
        caller,
        _store(session, caller, other),
        sop_instance_uid=str(other.instance),
        study_instance_uid=str(other.study),
    )
    return True


def _announce(session: Session, caller: Caller, step: str, made: Canary) -> None:
    session.will_write(
        step, caller.port, caller.channel, caller.identity, made.instance, study_instance_uid=str(made.study)
    )


def _store(session: Session, caller: Caller, made: Canary) -> Outcome:
    def send(scu: ScuConnection) -> Outcome:
        if not scu.accepts(SECONDARY_CAPTURE):
            return Outcome(Answer.REFUSED, {"reason": "no presentation context"})
        syntax = syntax_of(dialogue, SECONDARY_CAPTURE)
        response = scu.store(SECONDARY_CAPTURE, made.instance, Uid(syntax.uid), [made.encoded(syntax)])
        return of_status(response.status)

    with Dialogue(session, caller, Wanted(((SECONDARY_CAPTURE, BOTH_PLAIN),))) as dialogue:
        return dialogue.ask(send)


def _read(session: Session, caller: Caller, made: Canary) -> Outcome:
    """Get the canary, or at least find it. ``same_pixels`` is there only if it came."""
    model = accepted_model(session, caller, (*_READ_MODELS, *_FIND_MODELS))
    if not model:
        return Outcome(Answer.REFUSED, {"reason": "no presentation context"})
    wanted = Wanted(
        ((sop_class_of(model), BOTH_PLAIN), (SECONDARY_CAPTURE, BOTH_PLAIN)),
        (RoleSelection(SECONDARY_CAPTURE, scu=True, scp=True),),
    )
    ask = _get if model in _READ_MODELS else _find
    with Dialogue(session, caller, wanted) as dialogue:
        return dialogue.ask(partial(ask, dialogue, model, made))


def _keys(dialogue: Dialogue, model: str, made: Canary) -> bytes:
    keys: dict[int, PythonValue] = {_LEVEL: "STUDY", _STUDY_UID: made.study}
    if model.startswith("patient-"):
        keys[0x00100020] = made.patient_id
    return encode_values(keys, syntax_of(dialogue, sop_class_of(model)), ())


def _get(dialogue: Dialogue, model: str, made: Canary, scu: ScuConnection) -> Outcome:
    came: list[bool] = []

    def on_store(request: CStoreRq, transfer_syntax: Uid, chunks: Iterator[memoryview]) -> int:
        if request.affected_sop_instance_uid == made.instance:
            came.append(_pixels_of(chunks, TRANSFER_SYNTAXES[transfer_syntax]) == made.pixels())
        return Status.SUCCESS

    response, _ = scu.get(sop_class_of(model), _keys(dialogue, model, made), on_store)
    if came:
        return of_status(response.status, found=True, same_pixels=came[-1])
    return of_status(response.status, found=False)


def _pixels_of(chunks: Iterable[memoryview], syntax: TransferSyntax) -> bytes:
    """Return the pixel data of what comes, b"" if it is more than a canary can be or cannot be read."""
    raw = bytearray()
    for chunk in chunks:
        if len(raw) + len(chunk) > MAX_READ_BYTES:
            return b""
        raw += chunk
    try:
        elements = parse_dataset(bytes(raw), syntax, _LIMITS)
    except (MalformedDataset, LimitExceeded):
        return b""
    return next((element.value for element in elements if element.tag == PIXEL_DATA), b"")


def _find(dialogue: Dialogue, model: str, made: Canary, scu: ScuConnection) -> Outcome:
    found = False
    answers = scu.find(sop_class_of(model), _keys(dialogue, model, made))
    for response, _ in answers:
        if not is_pending(response.status):
            return of_status(response.status, found=found)
        found = True
    return Outcome(Answer.CLOSED, {"reason": "no final response"})


_WRITES: Final = frozenset({"dicom.store_canary", "dicom.cross_study_canary", "http.stow_canary"})
_NOT_TAKEN: Final = frozenset({Answer.REFUSED, Answer.UNREACHABLE, Answer.NOT_ASKED})
"""What says that nothing was kept. A failure status of C-STORE does (PS3.4 B.2.3), and a web server's 500 does not."""


_INSTRUCTION: Final = (
    f"Synthetic objects were sent, Patient ID {PATIENT_ID} or {OTHER_PATIENT_ID}. Delete these studies on the servers, "
    "and look for copies wherever those forward what they get:"
)


def cleanup(observations: Iterable[Observation]) -> list[str]:
    """Return the lines that say what was written where, and how to remove it; none if nothing may have been."""
    lines = []
    for seen in observations:
        instance = seen.details.get("sop_instance_uid")
        failed = seen.answer is Answer.FAILED and seen.step.startswith("dicom.")
        if seen.step in _WRITES and seen.answer not in _NOT_TAKEN and not failed and instance:
            study = seen.details.get("study_instance_uid")
            where = f"{seen.endpoint.target} ({seen.endpoint.address} port {seen.endpoint.port})"
            lines.append(f"{where}: SOP Instance UID {instance}" + (f", Study Instance UID {study}" if study else ""))
    if lines:
        lines.insert(0, _INSTRUCTION)
    return lines
