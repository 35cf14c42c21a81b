"""Servers that hold nobody's images: honeypots, teaching files, phantoms. The probe has to tell them from real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.probe_dicom import Conduct, Identifier
from harness.probe_planted import PATIENT_BIRTH_DATE, PATIENT_ID, PATIENT_NAME, STUDY_DESCRIPTION, STUDY_UID, study

TCIA_ROOT = "1.3.6.1.4.1.14519.5.2.1"
"""The root of the UIDs that The Cancer Imaging Archive gives to what it publishes."""


def real_looking(count: int = 30) -> Conduct:
    """The control beside them: other people, dates and UIDs in every answer."""
    answers = []
    for number in range(count):
        made = dict(study(number, date=f"2023{number % 12 + 1:02d}{number % 28 + 1:02d}"))
        # The numbers of the answers alone would look like test data.
        made[PATIENT_NAME] = f"{_FAMILIES[number % len(_FAMILIES)]}^{_GIVEN[number % len(_GIVEN)]}".encode()
        made[PATIENT_ID] = f"MR{70000 + 37 * number}".encode()
        made[PATIENT_BIRTH_DATE] = f"{1940 + number}0{number % 9 + 1}{number % 18 + 10}".encode()
        made[STUDY_DESCRIPTION] = b"CT CHEST"
        made[STUDY_UID] = f"1.2.840.113619.2.55.3.{604688119 + 7919 * number}.{number + 1}".encode()
        answers.append(made)
    return Conduct(answers=tuple(answers), implementation=(b"1.2.40.0.13.1.3", b"dcm4che-5.29.0"))


_FAMILIES = ("ALDERBROOK", "BYWATERS", "CRANMORE", "DUNSTABLE", "EVERTHORPE", "FENWICKE", "GOSFORTHE")
_GIVEN = ("MARLA", "ODETTE", "RUFUS", "TAMSIN", "WILFRED")


def tcia() -> Conduct:
    """A teaching archive: all its UIDs are of The Cancer Imaging Archive."""
    return _with(real_looking(), lambda number: {STUDY_UID: f"{TCIA_ROOT}.7695.4164.{number + 1}".encode()})


def phantoms() -> Conduct:
    """Quality control: every patient is a phantom."""
    names = (b"PHANTOM^WATER", b"QA^DAILY", b"ACR^PHANTOM", b"CATPHAN^600", b"TEST^PATIENT")
    return _with(
        real_looking(),
        lambda number: {PATIENT_NAME: names[number % 5], PATIENT_ID: b"QA-PHANTOM", STUDY_DESCRIPTION: b"DAILY QA"},
    )


def identical() -> Conduct:
    """A cheap honeypot: the same study over and over."""
    first = real_looking().answers[0]
    return replace(real_looking(), answers=(first,) * 30)


def yes_to_all() -> Conduct:
    """A honeypot that says yes: whatever is proposed, asked for or moved succeeds, and nothing is there."""
    return Conduct(statuses={}, implementation=(b"1.2.826.0.1.3680043.9.3811.2.0.2", b"PYNETDICOM_202"))


def _with(conduct: Conduct, change: Callable[[int], Identifier]) -> Conduct:
    answers: tuple[Identifier, ...] = tuple({**each, **change(n)} for n, each in enumerate(conduct.answers))
    return replace(conduct, answers=answers)
