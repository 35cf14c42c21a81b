"""What each identity may do with each service: the worst that was seen over all ports and channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom.probe.judging.findings import Access, Cell
from strongroom.probe.model import NEEDS_NO_SECRET, Answer, Identity, Observation, speaks_dicom

DIMSE: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "C-ECHO": ("echo", ("dicom.echo",)),
    "C-FIND": ("find", ("dicom.find_empty", "dicom.find_count", "dicom.find_shape")),
    "C-GET": ("get", ("dicom.get_nothing", "dicom.read_canary")),
    "C-MOVE": ("move", ("dicom.move_nowhere",)),
    "C-STORE": ("store", ("dicom.store_canary", "dicom.overwrite_canary", "dicom.cross_study_canary")),
    "Worklist": ("worklist", ("dicom.worklist",)),
    "Storage commitment": ("commitment", ("dicom.commit_nothing",)),
    "MPPS": ("mpps", ("dicom.mpps_nothing",)),
}
"""Service to its word in dicom.services, and the steps that ask it for something."""

WEB: Final[Mapping[str, tuple[str, ...]]] = {
    "QIDO-RS": ("http.qido", "http.qido_count", "http.qido_shape"),
    "WADO-RS": ("http.wado_rs",),
    "WADO-URI": ("http.wado_uri",),
    "STOW-RS": ("http.stow", "http.stow_canary"),
    "Product's interface": ("http.rest",),
}
"""Service to the steps that ask it for something."""

SERVICES: Final = (*DIMSE, *WEB)
IDENTITIES: Final = tuple(Identity)

_DOOR: Final = ("dicom.associate", "dicom.services")
_RANK: Final = {Access.NOT_TESTED: 0, Access.REFUSED: 1, Access.NEGOTIATED: 2, Access.ALLOWED: 3}
_UNKNOWN_DESTINATION: Final = 0xA801
"""Status of a C-MOVE (PS3.4 C.4.2.1.5) that was refused for where it leads: whether its sender may move is not told."""
_NOT_THERE: Final = frozenset({Answer.UNREACHABLE, Answer.NOT_ASKED, Answer.OTHER, Answer.TIMEOUT, Answer.HOSTILE})


def matrix_of(observations: Sequence[Observation]) -> Mapping[str, Mapping[str, Cell]]:
    """Return service to identity to cell, for every service, and for the identities that something was asked as."""
    asked = {each.identity for each in observations if each.answer is not Answer.NOT_ASKED and _is_service(each)}
    identities = [identity for identity in IDENTITIES if identity in asked]
    if not speaks_dicom(observations):  # who hangs up without a word has refused nobody
        observations = [each for each in observations if not each.step.startswith("dicom.")]
    return {
        service: {
            str(identity): _cell(service, [o for o in observations if o.identity is identity])
            for identity in identities
        }
        for service in SERVICES
    }


def _is_service(seen: Observation) -> bool:
    return seen.step.startswith(("dicom.", "http."))


def _cell(service: str, observations: Sequence[Observation]) -> Cell:
    if service in WEB:
        found = [(_web_access(each), each) for each in observations if each.step in WEB[service]]
    else:
        word, steps = DIMSE[service]
        found = [(_dimse_access(each), each) for each in observations if each.step in steps]
        found += [(_negotiated(each, word), each) for each in observations if each.step in _DOOR]
    # What was asked says more than what was negotiated for it.
    if any(access in (Access.ALLOWED, Access.REFUSED) and each.step not in _DOOR for access, each in found):
        found = [(access, each) for access, each in found if access is not Access.NEGOTIATED]
    worst = max((access for access, _ in found), key=_RANK.__getitem__, default=Access.NOT_TESTED)
    evidence = () if worst is Access.NOT_TESTED else tuple(each for access, each in found if access is worst)
    return Cell(worst, evidence)


def _dimse_access(seen: Observation) -> Access:
    """A status that is no refusal says that the request was taken: FAILED counts as allowed, but for the canary."""
    if seen.answer in _NOT_THERE:
        return Access.NOT_TESTED
    if seen.step == "dicom.read_canary":
        return Access.ALLOWED if seen.details.get("found") is True else Access.REFUSED
    if seen.details.get("status") == _UNKNOWN_DESTINATION and seen.identity not in NEEDS_NO_SECRET:
        return Access.NEGOTIATED
    if seen.answer is Answer.DONE or (seen.answer is Answer.FAILED and not seen.step.endswith("_canary")):
        return Access.ALLOWED
    return Access.REFUSED


def _negotiated(seen: Observation, word: str) -> Access:
    if seen.answer in _NOT_THERE or seen.answer is Answer.FAILED:  # too busy to say who may
        return Access.NOT_TESTED
    if seen.answer is not Answer.DONE:
        return Access.REFUSED
    if seen.step == "dicom.associate":
        return Access.NOT_TESTED
    accepted = seen.details.get("accepted", ())
    has_it = isinstance(accepted, tuple) and word in accepted
    return Access.NEGOTIATED if has_it else Access.REFUSED


def _web_access(seen: Observation) -> Access:
    if seen.answer is Answer.DONE:
        return Access.ALLOWED
    return Access.REFUSED if seen.answer is Answer.REFUSED else Access.NOT_TESTED
