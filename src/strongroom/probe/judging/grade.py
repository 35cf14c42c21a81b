"""One letter for a subject, with its reasons. It says what a stranger can do, and no more than was tested.

F  a stranger reads or writes: searches, retrieves, reads the worklist, stores, over DICOM or the web; image files lie
   open; or a shipped password works
D  strangers get associations that offer reading or writing, or open a viewer, or the only key is a title
C  there is a gate, but what passes it is in the clear, or under encryption that is none
B  encrypted and gated, with something of medium severity or worse left, or neither certificate nor verified user
A  encrypted; nobody gets an association without a client certificate or a verified user, no web operation is answered
   without a login, and nothing of medium severity or worse was found
-  nothing answered, or not in time, or the level was too low to tell. It is no good news, unless the scope expects the
   target to be closed and no port of it answered, or the level asks nothing

From where was tested does not soften a letter: a stranger in the house is one. A run that asks for no more than an
association (L1) can earn an A, because who gets none can neither search nor store; where there is a web interface,
only if it refuses to say even what its DICOMweb service can do, for its searches are asked at L2. What the letter rests
on is said with it. That an alarm is raised is never seen from outside; a log that was looked at and does not show the
probe (SP-035) costs the A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from strongroom.probe.judging.findings import CLOSED, Finding, Grade, Severity, Verdict
from strongroom.probe.model import BUDGET, NEEDS_NO_SECRET, REACHED, Answer, Level, Observation

_OPEN: Final = (
    "SP-010", "SP-011", "SP-012", "SP-013", "SP-014", "SP-015", "SP-017", "SP-018", "SP-020", "SP-025", "SP-026",
    "SP-027", "SP-028", "SP-032", "SP-049",
)  # fmt: skip
_IN_THE_CLEAR: Final = ("SP-002", "SP-003", "SP-004", "SP-030")
_FALSE_ENCRYPTION: Final = ("SP-038", "SP-039")
_READ_OR_WRITE: Final = frozenset({"find", "get", "move", "store", "worklist"})
_SPOKE: Final = frozenset({Answer.DONE, Answer.REFUSED, Answer.FAILED, Answer.ABORTED})
_SAID_SOMETHING: Final = frozenset({Answer.CLOSED, Answer.OTHER, Answer.HOSTILE})
_SERVICES: Final = ("dicom.", "http.")


def grade(findings: Sequence[Finding], observations: Sequence[Observation], level: Level, posture: str = "") -> Grade:
    """Return the grade of one subject from its findings, and from the associations that were seen.

    ``posture`` is what the scope expects; it changes no letter. Silence is good only where that is expected.
    """
    verdicts = {finding.check_id: finding for finding in findings}
    if not any(each.step.startswith(_SERVICES) and each.answer in _SPOKE for each in observations):
        return _nothing(observations, level, posture)
    for letter, reasons in (
        ("F", _failing(verdicts, _OPEN)),
        ("D", _weak_door(verdicts, observations)),
        ("C", [*_failing(verdicts, _IN_THE_CLEAR), *_failing(verdicts, _FALSE_ENCRYPTION, Severity.HIGH)]),
        ("B", _short_of_a(verdicts, findings, observations, level)),
    ):
        if reasons:
            return Grade(letter, tuple(reasons), _not_looked_at(verdicts, level) if letter == "B" else ())
    return Grade("A", tuple(_why_a(observations)), _not_looked_at(verdicts, level))


def _nothing(observations: Sequence[Observation], level: Level, posture: str) -> Grade:
    """Why there is no letter, and whether that is what was wanted."""
    if not any(each.answer in REACHED for each in observations):
        if posture == CLOSED and any(each.answer is Answer.UNREACHABLE for each in observations):
            return Grade("-", ("Nothing answered, as the scope expects.",), is_enough=True)
        words = "Not tested: nothing answered. The server is shut to this vantage point, or off: that looks the same."
        return Grade("-", (words,))
    if level is Level.CONNECT:
        words = "Ports answer. Level L0 asks nothing of them, which is too little for a grade."
        return Grade("-", (words,), is_enough=True)
    asked = [each for each in observations if each.step.startswith(_SERVICES) and each.answer is not Answer.NOT_ASKED]
    if any(each.answer in _SAID_SOMETHING for each in asked):
        return Grade("-", ("Not tested: ports answer, and none of them speaks DICOM or HTTP as far as was tried.",))
    ports = sorted({each.endpoint.port for each in observations if each.answer in REACHED})
    where = f"port{'s' * (len(ports) > 1)} {', '.join(map(str, ports))}"
    if asked:
        return Grade(
            "-", (f"Not tested: no answer in time. Connections were taken, and no question answered, {where}.",)
        )
    return Grade("-", (f"Not tested: connections are taken, and nothing was asked, {where}.",))


def _failing(verdicts: Mapping[str, Finding], checks: Iterable[str], at_least: Severity = Severity.INFO) -> list[str]:
    found = [verdicts[check] for check in checks if check in verdicts]
    return [
        f"{each.says} ({each.check_id})" for each in found if each.verdict is Verdict.FAIL and each.severity >= at_least
    ]


def _weak_door(verdicts: Mapping[str, Finding], observations: Sequence[Observation]) -> list[str]:
    reasons = _failing(verdicts, ("SP-042", "SP-029"))
    offered: set[str] = set()
    for each in observations:
        accepted = each.details.get("accepted", ())
        if each.step == "dicom.services" and each.identity in NEEDS_NO_SECRET and isinstance(accepted, tuple):
            offered |= _READ_OR_WRITE.intersection(accepted)
    if offered:
        words = ", ".join(sorted(offered))
        reasons.append(f"Strangers get associations that offer {words}; what of it is carried out was not proven open.")
    return reasons


def _short_of_a(
    verdicts: Mapping[str, Finding], findings: Sequence[Finding], observations: Sequence[Observation], level: Level
) -> list[str]:
    reasons = [f"{each.says} ({each.check_id})" for each in findings if each.counts]
    if _speaks(observations, "dicom.associate"):
        door = verdicts.get("SP-041"), verdicts.get("SP-008")
        if not any(each is not None and each.verdict is Verdict.PASS for each in door):
            reasons.append("Neither a client certificate nor a verified user was seen to be required for DICOM.")
        if not _passes(verdicts, "SP-002") or not _passes(verdicts, "SP-006"):
            reasons.append("That DICOM is spoken over TLS only, and to no stranger, was not seen of every port.")
    web = [each for each in observations if each.step.startswith("http.") and each.answer in _SPOKE]
    if web and not any(each.answer is Answer.REFUSED for each in web):
        reasons.append("No operation of the web interface was seen to ask for a login.")
    refused = {each.endpoint.port for each in web if each.step == "http.methods" and each.answer is Answer.REFUSED}
    if level < Level.COUNT and not {each.endpoint.port for each in web} <= refused:
        reasons.append(f"Whether the web interface lets strangers search and retrieve is not asked at {level}.")
    if any(each.details.get("reason") == BUDGET for each in observations if each.answer is Answer.NOT_ASKED):
        reasons.append("The connections that the scope allows were spent before all was asked.")
    return reasons


def _passes(verdicts: Mapping[str, Finding], check_id: str) -> bool:
    return check_id in verdicts and verdicts[check_id].verdict is Verdict.PASS


def _why_a(observations: Sequence[Observation]) -> Iterable[str]:
    if _speaks(observations, "dicom.associate"):
        yield "DICOM is spoken over TLS only, and no stranger got an association."
    if _speaks(observations, "http.root"):
        yield "The web is served over TLS only, and every operation that was asked for without a login was refused."
    yield "Nothing of medium severity or worse was found."


def _not_looked_at(verdicts: Mapping[str, Finding], level: Level) -> tuple[str, ...]:
    """What somebody who relies on the letter has to know."""
    words = [f"The run was {level}: see the checks that were not tested."]
    noticed = verdicts.get("SP-035")
    if noticed is None or noticed.verdict is Verdict.NOT_TESTED:
        words.append("That the server's log shows the probe was not tested (strongroom probe noticed).")
    words.append("That somebody is told in time is not seen from outside.")
    words.append("What those may do who have a certificate or a login was not judged.")
    return tuple(words)


def _speaks(observations: Sequence[Observation], step: str) -> bool:
    return any(each.step == step and each.answer in _SPOKE for each in observations)
