"""Which services a server accepts, each on its own, and what each says to a request for what nobody has.

A server may refuse every read and take writes from strangers, or the other way round: so each service is proposed as
each identity, and what is accepted is then asked once for a UID that nobody has. Nothing is named that exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from strongroom.dicom.encode import encode_values
from strongroom.dimse import is_pending
from strongroom.errors import Unanswered
from strongroom.net.scu import ScuConnection
from strongroom.probe.dimse.callers import accepted_callers, keep
from strongroom.probe.dimse.dialogue import BOTH_PLAIN, Caller, Dialogue, Outcome, Wanted, of_status, syntax_of
from strongroom.probe.model import Answer, Channel, Detail
from strongroom.probe.session import Session
from strongroom.types import Uid
from strongroom.ul import RoleSelection

MAX_CONTEXTS: Final = 128
"""Presentation contexts of one A-ASSOCIATE-RQ: all the odd identifiers of one byte (PS3.8 9.3.2.2)."""

SERVICES: Final[Mapping[str, tuple[str, str]]] = {
    "echo": ("echo", "1.2.840.10008.1.1"),
    "study-find": ("find", "1.2.840.10008.5.1.4.1.2.2.1"),
    "patient-find": ("find", "1.2.840.10008.5.1.4.1.2.1.1"),
    "patient-study-find": ("find", "1.2.840.10008.5.1.4.1.2.3.1"),
    "study-move": ("move", "1.2.840.10008.5.1.4.1.2.2.2"),
    "patient-move": ("move", "1.2.840.10008.5.1.4.1.2.1.2"),
    "patient-study-move": ("move", "1.2.840.10008.5.1.4.1.2.3.2"),
    "composite-move": ("move", "1.2.840.10008.5.1.4.1.2.4.2"),
    "study-get": ("get", "1.2.840.10008.5.1.4.1.2.2.3"),
    "patient-get": ("get", "1.2.840.10008.5.1.4.1.2.1.3"),
    "patient-study-get": ("get", "1.2.840.10008.5.1.4.1.2.3.3"),
    "composite-get": ("get", "1.2.840.10008.5.1.4.1.2.4.3"),
    "headers-get": ("get", "1.2.840.10008.5.1.4.1.2.5.3"),
    "worklist": ("worklist", "1.2.840.10008.5.1.4.31"),
    "commitment": ("commitment", "1.2.840.10008.1.20.1"),
    "mpps": ("mpps", "1.2.840.10008.3.1.2.3.3"),
    "mpps-retrieve": ("mpps", "1.2.840.10008.3.1.2.3.4"),
    "mpps-notification": ("mpps", "1.2.840.10008.3.1.2.3.5"),
    "ups-push": ("ups", "1.2.840.10008.5.1.4.34.6.1"),
    "ups-watch": ("ups", "1.2.840.10008.5.1.4.34.6.2"),
    "ups-pull": ("ups", "1.2.840.10008.5.1.4.34.6.3"),
    "ups-event": ("ups", "1.2.840.10008.5.1.4.34.6.4"),
    "ups-query": ("ups", "1.2.840.10008.5.1.4.34.6.5"),
    "instance-availability": ("instance-availability", "1.2.840.10008.5.1.4.33"),
    "print-grayscale": ("print", "1.2.840.10008.5.1.1.9"),
    "print-color": ("print", "1.2.840.10008.5.1.1.18"),
    "relevant-patient": ("relevant-patient", "1.2.840.10008.5.1.4.37.1"),
    "inventory-find": ("inventory", "1.2.840.10008.5.1.4.1.1.201.2"),
    "media-creation": ("media-creation", "1.2.840.10008.5.1.1.33"),
}
"""What is proposed beside storage: model to the service that it belongs to, and the SOP class."""

SERVICE_NAMES: Final = tuple(dict.fromkeys((*(service for service, _ in SERVICES.values()), "store")))
"""The words of ``accepted`` and ``refused`` of dicom.services."""


def _storage(tails: str) -> tuple[Uid, ...]:
    return tuple(Uid(f"1.2.840.10008.5.1.4.1.1.{tail}") for tail in tails.split())


_FIRST_STORED: Final = _storage(
    "2 4 7 1 1.1 1.2 6.1 3.1 20 128 12.1 12.2 1.3 2.1 4.1 7.1 7.2 7.3 7.4 11.1 88.11 88.22 88.33 88.67 88.59 104.1 "
    "104.2 66 66.4 9.1.1 77.1.1 77.1.4 77.1.6 481.1 481.2 481.3 481.5 130 13.1.3"
)
_RETRIEVED: Final = _storage("7 2 6.1")
"""Storage classes for which the role of an SCP is asked as well, so that C-GET could bring them (PS3.7 D.3.3.4)."""


def _storage_classes() -> tuple[Uid, ...]:
    rest = sorted(Uid(uid) for uid in STORAGE_SOP_CLASSES.difference(_FIRST_STORED))
    return (*_FIRST_STORED, *rest)


def services_wanted(part: int = 0) -> Wanted:
    """Return every service and as many storage classes as fit into one request; later parts have the other classes."""
    services = tuple(Uid(uid) for _, uid in SERVICES.values())
    room = MAX_CONTEXTS - len(services)
    storage = _storage_classes()
    if part:
        return Wanted(tuple((uid, BOTH_PLAIN) for uid in storage[room : room + MAX_CONTEXTS]))
    roles = tuple(RoleSelection(uid, scu=True, scp=True) for uid in _RETRIEVED)
    return Wanted(tuple((uid, BOTH_PLAIN) for uid in (*services, *storage[:room])), roles)


def services(session: Session) -> None:
    """Propose every service as each identity that got an association, and ask nothing.

    The storage classes that are left over are proposed once on a port and channel, as who knows least of those that
    may store at all.
    """
    counted: set[tuple[int, Channel]] = set()
    for caller in list(accepted_callers(session)):
        if session.found("dicom.services", caller.port, caller.channel, caller.identity) is not None:
            continue  # with a user, they were proposed when that was tried
        with Dialogue(session, caller, services_wanted()) as dialogue:
            pass
        more: dict[str, Detail] = {}
        if _stored(dialogue) and (caller.port, caller.channel) not in counted:
            counted.add((caller.port, caller.channel))
            with Dialogue(session, caller, services_wanted(1)) as second:
                more["rare_storage_classes"] = len(_stored(second))
        observe_services(session, caller, dialogue, **more)


def _stored(dialogue: Dialogue) -> list[Uid]:
    if not dialogue.outcome.is_done:
        return []
    return [
        context.abstract_syntax
        for context in dialogue.negotiated.contexts.values()
        if context.abstract_syntax in STORAGE_SOP_CLASSES and context.requestor_scu
    ]


def observe_services(session: Session, caller: Caller, dialogue: Dialogue, **more: Detail) -> None:
    """Keep which services an association was accepted for. ``storage_classes`` are those of the first request."""
    details: dict[str, Detail] = dict(more)
    if dialogue.outcome.is_done:
        contexts = dialogue.negotiated.contexts.values()
        accepted = {context.abstract_syntax for context in contexts}
        models = tuple(model for model, (_, uid) in SERVICES.items() if uid in accepted)
        granted = {SERVICES[model][0] for model in models}
        stored = len(_stored(dialogue))
        if stored:
            granted.add("store")
        details["accepted"] = tuple(name for name in SERVICE_NAMES if name in granted)
        details["refused"] = tuple(name for name in SERVICE_NAMES if name not in granted)
        details["models"] = models
        details["storage_classes"] = stored
        details["get_with_storage"] = "get" in granted and any(context.requestor_scp for context in contexts)
    keep(session, "dicom.services", caller, dialogue.outcome, **details)


def syntaxes(session: Session) -> None:
    """Propose two common storage classes in every transfer syntax of the standard, as the first that may store."""
    done: set[int] = set()
    for caller in list(accepted_callers(session)):
        seen = session.found("dicom.services", caller.port, caller.channel, caller.identity)
        if caller.port in done or seen is None or "store" not in _words(seen.details.get("accepted")):
            continue
        done.add(caller.port)
        wanted = Wanted(tuple((stored, (Uid(uid),)) for stored in _RETRIEVED[:2] for uid in TRANSFER_SYNTAXES))
        with Dialogue(session, caller, wanted) as dialogue:
            pass
        details: dict[str, Detail] = {}
        if dialogue.outcome.is_done:
            taken = {context.transfer_syntax for context in dialogue.negotiated.contexts.values()}
            details["accepted"] = tuple(sorted(taken))
            details["retired"] = tuple(sorted(uid for uid in taken if TRANSFER_SYNTAXES[uid].retired))
        keep(session, "dicom.syntaxes", caller, dialogue.outcome, **details)


def _words(detail: Detail | None) -> tuple[str, ...]:
    return detail if isinstance(detail, tuple) else ()


# --- Requests for what nobody has

NOBODYS_DAY: Final = "20991231"
MAX_REOPENED: Final = 5
"""How often an association is asked for again after an operation ended one."""

_LEVEL, _STUDY_DATE, _PATIENT_ID = 0x00080052, 0x00080020, 0x00100020
_STUDY_UID, _STEP_SEQUENCE, _SCHEDULED_STATUS, _STEP_STATUS = 0x0020000D, 0x00400100, 0x00400020, 0x00400252


@dataclass(frozen=True, slots=True)
class Question:
    """One request: its step, the models that it may be asked of, best first, and how it is asked of one of them."""

    step: str
    models: tuple[str, ...]
    ask: Callable[[Session, Dialogue, str, ScuConnection], Outcome]


def sop_class_of(model: str) -> Uid:
    """Return the SOP class of a model of ``SERVICES``."""
    return Uid(SERVICES[model][1])


def accepted_model(session: Session, caller: Caller, models: Iterable[str]) -> str:
    """Return the first of ``models`` that a server accepts from an identity, or ""."""
    seen = session.found("dicom.services", caller.port, caller.channel, caller.identity)
    accepted = _words(seen.details.get("models")) if seen is not None else ()
    return next((model for model in models if model in accepted), "")


def ask_for_nothing(session: Session) -> None:
    """Ask each service that an identity may use for what nobody has, over one association unless it is ended."""
    for caller in list(accepted_callers(session)):
        if session.found("dicom.services", caller.port, caller.channel, caller.identity) is None:
            continue
        left = list(_asked(session, caller))
        for _ in range(MAX_REOPENED + 1):
            if not left:
                break
            left = _ask_all(session, caller, left)
        for question, _ in left:
            session.skip(question.step, caller.port, "the server ended too many associations", caller.channel,
                         caller.identity)  # fmt: skip


def _asked(session: Session, caller: Caller) -> Iterator[tuple[Question, str]]:
    """Yield what there is to ask; what was refused when services were proposed is observed as it was."""
    for question in QUESTIONS:
        model = accepted_model(session, caller, question.models)
        if model:
            yield question, model
            continue
        seen = session.found("dicom.services", caller.port, caller.channel, caller.identity)
        answer = Answer.REFUSED if seen is not None and seen.answer is Answer.DONE else Answer.NOT_ASKED
        keep(session, question.step, caller, Outcome(answer, {"reason": "no presentation context"}))


def _ask_all(session: Session, caller: Caller, asked: list[tuple[Question, str]]) -> list[tuple[Question, str]]:
    """Ask until the association ends; return what is left to be asked over another one."""
    contexts = tuple((sop_class_of(model), BOTH_PLAIN) for _, model in asked)
    wanted = Wanted((*contexts, *((uid, BOTH_PLAIN) for uid in _RETRIEVED)),
                    tuple(RoleSelection(uid, scu=True, scp=True) for uid in _RETRIEVED))  # fmt: skip
    told: list[tuple[Question, Outcome]] = []
    with Dialogue(session, caller, wanted) as dialogue:
        for question, model in asked:
            if not dialogue.is_open:
                break
            told.append((question, dialogue.ask(partial(question.ask, session, dialogue, model))))
    if not dialogue.outcome.is_done:
        told = [(question, dialogue.outcome) for question, _ in asked]
    for question, outcome in told:
        keep(session, question.step, caller, outcome)
    return asked[len(told) :]


def _find_empty(_session: Session, dialogue: Dialogue, model: str, scu: ScuConnection) -> Outcome:
    """A query for a day on which there cannot be a study; one answer is enough to tell that keys are ignored."""
    sop_class = sop_class_of(model)
    keys: dict[int, str | None] = {_LEVEL: "STUDY", _STUDY_DATE: NOBODYS_DAY, _STUDY_UID: None}
    if model == "patient-find":
        # The unique key of the level above is required there (PS3.4 C.4.1.2.2.1).
        keys[_PATIENT_ID] = "ZZ-AUDIT-NOBODY"
    return _count_pending(scu, sop_class, encode_values(keys, syntax_of(dialogue, sop_class), ()), 1)


def _worklist(_session: Session, dialogue: Dialogue, model: str, scu: ScuConnection) -> Outcome:
    sop_class = sop_class_of(model)
    raw = encode_values({_STEP_SEQUENCE: [{_SCHEDULED_STATUS: None}]}, syntax_of(dialogue, sop_class), ())
    return _count_pending(scu, sop_class, raw, 1)


def _count_pending(scu: ScuConnection, sop_class: Uid, identifier: bytes, most: int) -> Outcome:
    """Query, count answers without looking at them, and cancel after ``most``."""
    pending, status = 0, 0
    answers = scu.find(sop_class, identifier)
    for response, _ in answers:
        if not is_pending(response.status):
            return of_status(response.status, pending=pending)
        pending, status = pending + 1, response.status
        if pending == most:
            break
    answers.close()
    return Outcome(Answer.DONE, {"status": status, "pending": pending})


def _get_nothing(session: Session, dialogue: Dialogue, model: str, scu: ScuConnection) -> Outcome:
    sop_class = sop_class_of(model)
    response, _ = scu.get(sop_class, _nobodys_study(session, dialogue, model), _refuse_object)
    return of_status(response.status)


def _refuse_object(*_: object) -> int:
    raise Unanswered(Answer.HOSTILE, "an object for a UID that nobody has")


def _move_nowhere(session: Session, dialogue: Dialogue, model: str, scu: ScuConnection) -> Outcome:
    sop_class = sop_class_of(model)
    response, _ = scu.move(sop_class, _nobodys_study(session, dialogue, model), session.new_title())
    return of_status(response.status)


def _nobodys_study(session: Session, dialogue: Dialogue, model: str) -> bytes:
    keys: dict[int, str | None] = {_LEVEL: "STUDY", _STUDY_UID: session.new_uid()}
    if model.startswith("patient"):
        keys[_PATIENT_ID] = "ZZ-AUDIT-NOBODY"
    return encode_values(keys, syntax_of(dialogue, sop_class_of(model)), ())


def _commit_nothing(session: Session, _dialogue: Dialogue, _model: str, scu: ScuConnection) -> Outcome:
    return of_status(scu.request_commitment(session.new_uid(), [(_RETRIEVED[0], session.new_uid())]).status)


def _mpps_nothing(session: Session, dialogue: Dialogue, model: str, scu: ScuConnection) -> Outcome:
    sop_class = sop_class_of(model)
    raw = encode_values({_STEP_STATUS: "IN PROGRESS"}, syntax_of(dialogue, sop_class), ())
    return of_status(scu.set(sop_class, session.new_uid(), raw).status)


QUESTIONS: Final = (
    Question("dicom.find_empty", ("study-find", "patient-find", "patient-study-find"), _find_empty),
    Question("dicom.get_nothing", ("study-get", "patient-get", "patient-study-get"), _get_nothing),
    Question("dicom.move_nowhere", ("study-move", "patient-move", "patient-study-move"), _move_nowhere),
    Question("dicom.worklist", ("worklist",), _worklist),
    Question("dicom.commit_nothing", ("commitment",), _commit_nothing),
    Question("dicom.mpps_nothing", ("mpps",), _mpps_nothing),
)
