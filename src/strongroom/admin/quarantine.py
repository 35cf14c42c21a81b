"""The quarantine as its operators see it: what is held and why, and released or destroyed by two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from strongroom.admin.deletion import clear_traces
from strongroom.admin.proofs import Proof, log_size, prove_event
from strongroom.admin.releasing import take_in
from strongroom.admin.two_people import Order, TakenOut, TwoPeople
from strongroom.app import Archive
from strongroom.archive.ingest import Verdict
from strongroom.archive.model import Action, Event, Outcome
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, UID_NAMES
from strongroom.errors import Refused, StrongroomError
from strongroom.screen.rules import RULES
from strongroom.store.quarantine import Entry, quarantine_id
from strongroom.store.transaction import Transaction

_CONFLICTS: Final[Mapping[str, str]] = {
    "sop-instance-altered": "another object, with other pixels, is stored under its SOP Instance UID",
    "sop-instance-metadata-altered": "the same pixels are stored under its SOP Instance UID with other attributes",
    "sop-instance-lossy-copy": "the original of this lossy copy is stored under its SOP Instance UID",
    "sop-instance-in-another-series": "its SOP Instance UID is stored in another series or study",
    "study-of-another-patient": "its study is stored under another patient",
    "series-in-another-study": "its series is stored in another study",
    Verdict.COERCED.value: "it is stored already, with other words for the patient or the request",
}
"""Why an object cannot be released, by the reason of the door."""

_WHAT_THEN: Final = "that stays. Destroy what is in quarantine, or delete the stored study first"


class Step(StrEnum):
    """What came of an order."""

    ASKED = "asked"
    RELEASED = "released"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an order. ``asked_by`` had asked for it before; ``lapses_us`` is when a request ends by itself.

    ``verdict`` says how the object came into the archive. ``problems`` are left to do, ``notes`` are to be known.
    """

    id: str
    step: Step
    asked_by: str = ""
    lapses_us: int = 0
    verdict: str = ""
    proof: Proof | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """One finding of a held object, in words. ``rule`` is "" for what was found by comparing, and not by a rule."""

    rule: str
    title: str
    severity: str
    confidence: str
    path: str
    offset: int
    length: int
    what: str
    why: str
    remedy: str


def explained(entry: Entry) -> list[Explained]:
    """What was found in a held object and where, why that is bad, and what to do. Never a byte of it."""
    found = []
    for each in msgspec.json.decode(entry.findings, type=list[dict[str, Any]]):
        rule = RULES.get(str(each.get("rule", "")))

        # Rules of engines beside ours are known by what the finding itself says of them.
        def said(name: str, ours: str = "", each: Mapping[str, Any] = each) -> str:
            return str(each.get(name) or ours)

        found.append(
            Explained(
                rule=said("rule"),
                title=said("title", rule.title if rule else ""),
                severity=said("severity"),
                confidence=said("confidence"),
                path=said("path"),
                offset=int(each.get("offset") or 0),
                length=int(each.get("length") or 0),
                what=said("what"),
                why=said("why", rule.why if rule else ""),
                remedy=said("remedy", rule.remedy if rule else ""),
            )
        )
    return found


def class_name(entry: Entry) -> str:
    """The standard's name of its SOP class, or the UID of a private one."""
    return UID_NAMES.get(entry.sop_class, entry.sop_class)


def encoding_of(entry: Entry) -> str:
    """The name of its transfer syntax."""
    syntax = TRANSFER_SYNTAXES.get(entry.transfer_syntax)
    return syntax.name if syntax else entry.transfer_syntax


def conflict_of(reason: str) -> str:
    """What a reason of the door says about what is stored, "" if it is about the object alone."""
    return _CONFLICTS.get(reason, "")


def destroy(archive: Archive, order: Order) -> Done:
    """Ask for an object's destruction, or, if somebody else has, destroy its key and remove its bytes.

    Raises Denied or NotFound, recorded, with nothing changed; StorageUnavailable. What fails later is in ``problems``.
    """
    people = TwoPeople(archive, order)
    if people.ask():
        return _asked(people)
    first_seq = log_size(archive)

    def work(transaction: Transaction) -> tuple[TakenOut, Event]:
        entry, asked = people.require(transaction)
        taken = people.take_out(transaction, entry, asked)
        details = people.details(entry, asked) | {
            "sop_class": entry.sop_class,
            "sop_uid": entry.sop_uid,
            "study_uid": entry.study_uid,
            "bytes": entry.data_bytes,
            "sha256": entry.sha256.hex(),
            "destroyed_keys": (taken.key_id.hex(),),
        }
        event = Event(Action.QUARANTINE, Outcome.SUCCESS, people.principal, details)
        transaction.record(event)
        return taken, event

    taken, event = people.write(work)
    problems, notes = clear_traces(archive)
    problems += people.remove_file(taken)
    proof = None
    try:
        proof = prove_event(archive, event, first_seq, ("what", "quarantine"))
        if proof.receipt is None:
            problems.append("no checkpoint could be written: run `strongroom trail checkpoint`")
    except StrongroomError as error:
        problems.append(f"no proof could be made: {error}")
    return Done(
        taken.entry.id,
        Step.DESTROYED,
        asked_by=taken.asked.user,
        proof=proof,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def release(archive: Archive, order: Order) -> Done:
    """Ask for an object's release, or, if somebody else has, take it into the archive under its study's key.

    Raises Denied or NotFound, recorded; Refused if it does not go with what is stored, in words; IntegrityError if it
    is not what was held; StorageUnavailable. It is still held then.
    """
    people = TwoPeople(archive, order)
    if people.ask():
        return _asked(people)
    entry = archive.quarantine.find(order.number)
    try:
        verdict, taken = take_in(archive, entry, people)
    except Refused as refusal:
        conflict = conflict_of(refusal.reason)
        said = f"{conflict}: {_WHAT_THEN}" if conflict else str(refusal)
        raise Refused(refusal.reason, f"{entry.id} cannot be released: {said}") from None
    problems = people.remove_file(taken)
    return Done(entry.id, Step.RELEASED, asked_by=taken.asked.user, verdict=verdict.value, problems=tuple(problems))


def _asked(people: TwoPeople) -> Done:
    return Done(quarantine_id(people.order.number), Step.ASKED, lapses_us=people.lapses_us)
