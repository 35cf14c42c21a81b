"""Steps that count: how many studies, images and patients a query gives away, and what its answers look like.

Answers are counted and dropped: of a study's UID and a Patient ID only keyed hashes are held, in memory, until the
count is over. Every query is cancelled at a cap, so that the numbers of a large archive are lower bounds; what lies
beyond is estimated from weeks of past years, and said to be so.
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.encode import encode_values
from strongroom.dicom.tree import parse_dataset
from strongroom.dimse import Status, is_pending
from strongroom.errors import LimitExceeded, MalformedDataset
from strongroom.net.scu import ScuConnection
from strongroom.probe.dimse.callers import accepted_callers, keep
from strongroom.probe.dimse.dialogue import BOTH_PLAIN, Caller, Dialogue, Outcome, Wanted, of_status, syntax_of
from strongroom.probe.dimse.services import accepted_model, sop_class_of
from strongroom.probe.model import Answer, Detail, Identity
from strongroom.probe.session import Session
from strongroom.probe.shapes import CANARY, LOOKED_AT_TAGS, MAX_LOOKED_AT, SPECIFIC_CHARACTER_SET, Answered, looked_at
from strongroom.types import Uid

MAX_ANSWERS: Final = 1000
"""Answers to one query, after which it is cancelled."""

MAX_SLICES: Final = 8
"""Queries of one count: everything, and a week of each of the years before."""

DAYS_OF_A_SLICE: Final = 7

_LEVEL, _STUDY_DATE, _PATIENT_ID, _STUDY_UID = 0x00080052, 0x00080020, 0x00100020, 0x0020000D
_STUDY_INSTANCES = 0x00201208
MAX_DIGITS: Final = 7
"""Of the number of images that one study may say it has; more is taken for nonsense."""

_EVERYTHING: Final = ("", "")
_LIMITS: Final = ScanLimits(max_element_depth=4, max_element_count=256, max_kept_bytes=65_536)
_MAX_MESSAGES: Final = MAX_ANSWERS + 20_000
"""As many as the cap, and what may be on its way when the query is cancelled: a fast server has filled its buffers, and
all that is on its way is dropped unread. ``max_received_bytes`` ends the connection of one that does not stop."""

_MAX_SHAPED: Final = 10 * MAX_LOOKED_AT
"""The same of the query that brings identifying values: a server that goes on sending them is cut off soon."""

# Who needs nothing that is secret, the one who knows least first; whoever has a certificate may see patients.
_COUNTED_AS: Final = (
    Identity.STRANGER, Identity.JUNK_USER, Identity.KNOWS_TITLE, Identity.GUESSED, Identity.NAMED,
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What has been counted. ``key`` is for this count alone and never leaves it."""

    key: bytes = field(repr=False)
    studies: dict[bytes, int] = field(default_factory=dict, repr=False)
    patients: set[bytes] = field(default_factory=set, repr=False)
    answers: int = 0
    canaries: int = 0
    """Answers of what the probe itself has written: they are nobody's, and not counted among the others."""
    without_images: int = 0
    malformed: int = 0

    @property
    def images(self) -> int:
        """The numbers of related instances of all studies seen, together."""
        return sum(self.studies.values())

    def add(self, values: Mapping[int, str]) -> tuple[bool, int]:
        """Count one answer; return whether it is a study not seen before, and how many images it says it has."""
        if values.get(_PATIENT_ID, "").startswith(CANARY):
            self.canaries += 1
            return False, 0
        self.answers += 1
        if not values.get(_STUDY_UID):
            self.malformed += 1
            return False, 0
        study = self._digest(values[_STUDY_UID])
        patient_id = values.get(_PATIENT_ID)
        if patient_id:
            self.patients.add(self._digest(patient_id))
        told = values.get(_STUDY_INSTANCES, "")
        images = int(told) if told.isascii() and told.isdigit() and len(told) <= MAX_DIGITS else -1
        if images < 0:
            self.without_images += 1
            images = 0
        is_new = study not in self.studies
        if is_new:
            self.studies[study] = images
        return is_new, images

    def _digest(self, value: str) -> bytes:
        return hmac.digest(self.key, value.encode(), "sha256")[:16]


@dataclass(frozen=True, slots=True)
class Slice:
    """What one query gave, of studies from ``first`` to ``last`` (VR DA; empty: all), and how it ended."""

    first: str
    last: str
    answers: int
    new_studies: int
    images: int
    status: int
    is_capped: bool
    canaries: int = 0
    """How many of ``answers`` the probe itself has written."""

    @property
    def studies(self) -> int:
        """Answers that are of somebody else's studies."""
        return self.answers - self.canaries


def week_slices(today: dt.date) -> list[tuple[str, str]]:
    """Return the first and last day (VR DA) of a week in each of the last years, none of them of the last fortnight."""
    slices = []
    for years in range(MAX_SLICES - 1):
        last = today - dt.timedelta(days=14 + 365 * years)
        slices.append((f"{last - dt.timedelta(days=DAYS_OF_A_SLICE - 1):%Y%m%d}", f"{last:%Y%m%d}"))
    return slices


def estimate(weeks: Sequence[Slice]) -> tuple[int, int]:
    """Return how many studies and images there are in the years that ``weeks`` are of: each stands for its year.

    What a capped week had beyond its cap is not in it, so that this is low rather than high.
    """
    studies = sum(each.studies for each in weeks) * 365 // DAYS_OF_A_SLICE
    return studies, sum(each.images for each in weeks) * 365 // DAYS_OF_A_SLICE


def may_be_cut(whole: Slice) -> bool:
    """Return whether there may be more than a query for everything gave: it was cancelled, failed, or came to a number
    of answers that looks like a limit of the server's own."""
    return whole.is_capped or whole.status != Status.SUCCESS or (whole.answers >= 50 and whole.answers % 50 == 0)


@dataclass(slots=True)
class Count:
    """One count on its way."""

    sop_class: Uid
    syntax: TransferSyntax
    tally: Tally
    slices: list[Slice] = field(default_factory=list)
    is_cancelled: bool = False

    def ask(self, days: tuple[str, str], scu: ScuConnection) -> Outcome:
        """Query for the studies of ``days``, count the answers, and cancel at the cap."""
        first, last = days
        keys = {
            _LEVEL: "STUDY",
            _STUDY_DATE: f"{first}-{last}" if first else None,
            _PATIENT_ID: None,
            _STUDY_UID: None,
            _STUDY_INSTANCES: None,
        }
        answers = new_studies = images = status = 0
        canaries_before = self.tally.canaries
        found = scu.find(self.sop_class, encode_values(keys, self.syntax, ()))
        for response, raw in found:
            status = response.status
            if not is_pending(status):
                break
            is_new, told = self._take(raw)
            answers, new_studies, images = answers + 1, new_studies + is_new, images + told
            if answers == MAX_ANSWERS:
                self.is_cancelled = True
                break
        found.close()
        canaries = self.tally.canaries - canaries_before
        self.slices.append(Slice(first, last, answers, new_studies, images, status, is_pending(status), canaries))
        return Outcome(Answer.DONE, {"status": status}) if is_pending(status) else of_status(status)

    def _take(self, raw: bytes) -> tuple[bool, int]:
        try:
            elements = parse_dataset(raw, self.syntax, _LIMITS)
        except (MalformedDataset, LimitExceeded):
            self.tally.malformed += 1
            return False, 0
        return self.tally.add({each.tag: str(each.value, "latin-1").strip(" \0") for each in elements})


def count(session: Session) -> None:
    """Count on each port, once, as the one who knows least of those that may query there."""
    for caller, sop_class, ignores_dates in _counting(session):
        with Dialogue(session, caller, Wanted(((sop_class, BOTH_PLAIN),), max_messages=_MAX_MESSAGES)) as dialogue:
            made = Count(sop_class, syntax_of(dialogue, sop_class), Tally(secrets.token_bytes(32)))
            outcome = dialogue.ask(partial(made.ask, _EVERYTHING))
            weeks = week_slices(session.today) if _needs_weeks(made, ignores_dates=ignores_dates) else []
            for days in weeks:
                if dialogue.is_open:
                    dialogue.ask(partial(made.ask, days))
            is_lost = not dialogue.is_open
        details = counted(made.tally, made.slices, ignores_dates=ignores_dates)
        if made.is_cancelled:
            details["cancelled"] = "ignored" if is_lost else "kept"
        answer = Outcome(Answer.DONE, outcome.details) if made.tally.answers + made.tally.canaries else outcome
        keep(session, "dicom.find_count", caller, answer, **details)


def shape(session: Session) -> None:
    """Look at a few answers that have the identifying attributes, and keep what they look like."""
    for caller, sop_class, _ in _counting(session):
        with Dialogue(session, caller, Wanted(((sop_class, BOTH_PLAIN),), max_messages=_MAX_SHAPED)) as dialogue:
            outcome = dialogue.ask(partial(_look, sop_class, syntax_of(dialogue, sop_class)))
        keep(session, "dicom.find_shape", caller, outcome)


def _counting(session: Session) -> Iterator[tuple[Caller, Uid, bool]]:
    """Yield for each port who counts there, which model is asked, and whether dates are ignored."""
    counted_ports: set[int] = set()
    for caller in list(accepted_callers(session)):
        seen = session.found("dicom.find_empty", caller.port, caller.channel, caller.identity)
        if caller.port in counted_ports or caller.identity not in _COUNTED_AS:
            continue
        model = accepted_model(session, caller, ("study-find", "patient-study-find", "patient-find"))
        if model and seen is not None and seen.answer is Answer.DONE:
            counted_ports.add(caller.port)
            yield caller, sop_class_of(model), bool(seen.details.get("pending"))


def _needs_weeks(made: Count, *, ignores_dates: bool) -> bool:
    return not ignores_dates and (not made.slices or may_be_cut(made.slices[0]))


def counted(tally: Tally, slices: Sequence[Slice], *, ignores_dates: bool) -> dict[str, Detail]:
    """Return the details of a count: what was seen, whether there is more, and what the years are estimated to hold."""
    whole, weeks = slices[:1], slices[1:]
    is_exact = bool(whole) and not whole[0].is_capped and whole[0].status == Status.SUCCESS
    is_exact = is_exact and not any(week.new_studies for week in weeks)
    details: dict[str, Detail] = {
        "studies": len(tally.studies),
        "images": tally.images,
        "patients": len(tally.patients),
        "slices": len(slices),
        "capped": not is_exact,
        "keys": _oddities(tally, slices, ignores_dates=ignores_dates),
    }
    if weeks and not (whole and whole[0].answers):
        # The query for everything gave nothing: these days are all that was counted.
        details["from_date"] = min(week.first for week in weeks)
        details["to_date"] = max(week.last for week in weeks)
    if weeks and not is_exact:
        studies, images = estimate(weeks)
        details["estimated_studies"] = max(studies, len(tally.studies))
        details["estimated_images"] = max(images, tally.images)
    return details


def _oddities(tally: Tally, slices: Sequence[Slice], *, ignores_dates: bool) -> tuple[str, ...]:
    """Return what the server made of the keys: words that say how far the numbers can be trusted."""
    found = {
        "dates ignored": ignores_dates,
        "no image counts": bool(tally.answers) and tally.without_images == tally.answers,
        "some without image counts": 0 < tally.without_images < tally.answers,
        "canaries left out": bool(tally.canaries),
        "no patient IDs": bool(tally.answers) and not tally.patients,
        "studies repeated": any(each.studies > each.new_studies for each in slices[:1]),
        "malformed answers": bool(tally.malformed),
    }
    return tuple(word for word, is_so in found.items() if is_so)


def _look(sop_class: Uid, syntax: TransferSyntax, scu: ScuConnection) -> Outcome:
    keys: dict[int, str | None] = {_LEVEL: "STUDY"} | dict.fromkeys(LOOKED_AT_TAGS)
    keys[SPECIFIC_CHARACTER_SET] = "ISO_IR 192"
    answers: list[Answered] = []
    status = 0
    found = scu.find(sop_class, encode_values(keys, syntax, ()))
    for response, raw in found:
        status = response.status
        if not is_pending(status):
            break
        with suppress(MalformedDataset, LimitExceeded):
            answers.append(Answered.of_elements(parse_dataset(raw, syntax, _LIMITS)))
        if len(answers) == MAX_LOOKED_AT:
            break
    found.close()
    details = looked_at(answers)
    if is_pending(status) or answers:
        return Outcome(Answer.DONE, {"status": status, **details})
    return of_status(status, **details)
