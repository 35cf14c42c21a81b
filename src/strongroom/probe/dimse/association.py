"""Steps about associations: who gets one, over what, under which titles, and whether an echo is answered.

Called and calling titles are no secrets (every vendor prints its own), but some servers compare them; so a stranger
asks with titles of nobody's, and once more with those that the scope names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Final

from strongroom.net.scu import ScuConnection
from strongroom.probe.dimse.callers import (
    STRANGER_TITLES,
    accepted_callers,
    best_caller,
    callers,
    certified_caller,
    is_named,
    junk_caller,
    keep,
    open_channels,
)
from strongroom.probe.dimse.dialogue import ECHO_ONLY, VERIFICATION, Caller, Dialogue, Outcome, of_status
from strongroom.probe.dimse.implementations import shown_uid, shown_version
from strongroom.probe.dimse.services import observe_services, services_wanted
from strongroom.probe.model import Answer, Channel, Detail, Identity, Observation
from strongroom.probe.session import Session
from strongroom.types import AeTitle


def _titles(text: str) -> tuple[AeTitle, ...]:
    return tuple(AeTitle(word) for word in text.split())


GUESSES: Final = _titles(
    "PACS ORTHANC DCM4CHEE CONQUESTSRV1 DCMQRSCP STORESCP DCMTK PYNETDICOM SYNAPSE IMPAX CENTRICITY ARCHIVE STORE "
    "QRSCP COMMON SERVERAE KPServer MERGE DICOM OSIRIX"
)
"""Called titles that vendors print; 20, and each is tried once."""

MAX_IDLE_S: Final = 60
"""How long an association may say nothing before the step ends; most servers wait longer, and that is what it tells."""

_NO_DICOM: Final = frozenset({Answer.UNREACHABLE, Answer.OTHER, Answer.HOSTILE})
"""Who answers so is not asked again under another title."""


def associate(session: Session) -> None:
    """Ask for an association for Verification as each identity, and for an echo where it is granted."""
    for port in session.target.dicom_ports:
        for channel in open_channels(session, port):
            for caller in callers(session, port, channel):
                if _associate(session, caller).answer in _NO_DICOM:
                    break


def _associate(session: Session, caller: Caller) -> Outcome:
    with Dialogue(session, caller, ECHO_ONLY) as dialogue:
        echoed = dialogue.ask(_echo) if dialogue.is_open else None
        details: dict[str, Detail] = {"called": str(caller.titles.called)}
        if dialogue.outcome.is_done:
            peer = dialogue.negotiated
            details["implementation_uid"] = shown_uid(peer.peer_implementation_class_uid or "")
            details["implementation_version"] = shown_version(peer.peer_implementation_version_name)
            details["max_pdu_bytes"] = peer.peer_max_pdu_bytes
    keep(session, "dicom.associate", caller, dialogue.outcome, **details)
    if echoed is not None:
        keep(session, "dicom.echo", caller, echoed)
    return dialogue.outcome


def _echo(scu: ScuConnection) -> Outcome:
    if not scu.accepts(VERIFICATION):
        return Outcome(Answer.REFUSED, {"reason": "no presentation context"})
    return of_status(scu.echo().status)


def guess(session: Session) -> None:
    """Try called titles that vendors print, where the called title is compared and the scope does not name it."""
    for port in session.target.dicom_ports:
        for channel in open_channels(session, port):
            seen = session.found("dicom.associate", port, channel, Identity.STRANGER)
            if seen is None or seen.answer in _NO_DICOM:
                continue
            if seen.details.get("rejection") != "called title":
                reason = "no title was rejected"
            elif is_named(session):
                reason = "the scope names titles"
            elif "guess_titles" not in session.consents:
                reason = "no consent guess_titles"
            else:
                _guess(session, port, channel)
                continue
            session.skip("dicom.guess", port, reason, channel, Identity.GUESSED)


def _guess(session: Session, port: int, channel: Channel) -> None:
    tried = 0
    outcome = Outcome(Answer.REFUSED)
    for title in GUESSES:
        tried += 1
        caller = Caller(port, channel, Identity.GUESSED, replace(STRANGER_TITLES, called=title))
        with Dialogue(session, caller, ECHO_ONLY) as dialogue:
            outcome = dialogue.outcome
        if outcome.details.get("rejection") != "called title":
            break
    guessed = str(title) if outcome.is_done or outcome.details.get("rejection") == "calling title" else ""
    keep(session, "dicom.guess", caller, outcome, tried=tried, guessed=guessed)
    if outcome.is_done:
        _associate(session, caller)


def called_title(session: Session) -> None:
    """Ask with a called title that nobody has, where another was accepted."""
    for caller in _with_own_titles(session, "dicom.called_title"):
        asked = replace(caller, titles=replace(caller.titles, called=session.new_title()))
        with Dialogue(session, asked, ECHO_ONLY) as dialogue:
            outcome = dialogue.outcome
        keep(session, "dicom.called_title", asked, outcome)


def calling_title(session: Session) -> None:
    """Ask with two calling titles that nobody has, where another was accepted: the probe's own may be listed."""
    for caller in _with_own_titles(session, "dicom.calling_title"):
        tried = 0
        outcome = Outcome(Answer.REFUSED)
        for _ in range(2):
            tried += 1
            asked = replace(caller, titles=replace(caller.titles, calling=session.new_title()))
            with Dialogue(session, asked, ECHO_ONLY) as dialogue:
                # Who took one title that nobody has compares none, whatever becomes of the second.
                outcome = outcome if outcome.is_done else dialogue.outcome
            if not dialogue.outcome.is_done:
                break
        keep(session, "dicom.calling_title", caller, outcome, tried=tried)


def _with_own_titles(session: Session, step: str) -> Iterator[Caller]:
    """Yield who got an association on each port, as a stranger or, where only a certificate did, with that."""
    for port in session.target.dicom_ports:
        for channel in open_channels(session, port):
            best = best_caller(session, port, channel) or certified_caller(session, port, channel)
            if best is not None:
                is_certified = best.identity is Identity.CERTIFICATE
                yield best if is_certified else replace(best, identity=Identity.STRANGER)
            elif session.found("dicom.associate", port, channel) is not None:
                session.skip(step, port, "no association was accepted", channel)


def user_identity(session: Session) -> None:
    """Ask as a junk user with a junk passcode, for every service and for a positive response (PS3.7 D.3.3.7).

    Only where somebody spoke DICOM, and not where no title was accepted: a rejection would be about the title.
    """
    for port in session.target.dicom_ports:
        for channel in open_channels(session, port):
            told = [
                each for each in session.all_found("dicom.associate", port, channel) if _is_without_certificate(each)
            ]
            if not told:
                continue
            best = best_caller(session, port, channel)
            if best is None and all(str(each.details.get("rejection")).endswith("title") for each in told):
                session.skip("dicom.user_identity", port, "no title was accepted", channel, Identity.JUNK_USER)
                continue
            caller = junk_caller(session, port, channel)
            # What those titles may do is asked without a user, unless that got no association.
            has_titles = session.found("dicom.associate", port, channel, caller.identity)
            is_known = has_titles is not None and has_titles.answer is Answer.DONE
            with Dialogue(session, caller, ECHO_ONLY if is_known else services_wanted()) as dialogue:
                outcome, answered = dialogue.outcome, dialogue.answered
            details: dict[str, Detail] = {}
            if answered is not None:
                details["response"] = "positive" if answered.user.user_identity_response is not None else "none"
            keep(session, "dicom.user_identity", caller, outcome, **details)
            if not is_known and outcome.is_done:
                observe_services(session, caller, dialogue)


def _is_without_certificate(seen: Observation) -> bool:
    """Return whether DICOM was spoken with somebody who showed none; a TLS alert is no DICOM, and has a reason."""
    spoke = seen.answer in (Answer.DONE, Answer.REFUSED, Answer.FAILED, Answer.ABORTED)
    return spoke and not seen.details.get("reason") and seen.identity is not Identity.CERTIFICATE


def idle(session: Session) -> None:
    """Say nothing on an association for up to a minute, and see who ends it."""
    for port in session.target.dicom_ports:
        caller = next((each for each in accepted_callers(session) if each.port == port), None)
        if caller is None:
            continue
        if "idle" not in session.consents:
            session.skip("dicom.idle", port, "no consent idle", caller.channel, caller.identity)
            continue
        began = monotonic()
        with Dialogue(session, caller, replace(ECHO_ONLY, patience_s=MAX_IDLE_S)) as dialogue:
            outcome = dialogue.ask(_listen)
        keep(session, "dicom.idle", caller, outcome, seconds=round(monotonic() - began))


def _listen(scu: ScuConnection) -> Outcome:
    scu.receive_event_report()
    return Outcome(Answer.HOSTILE, {"reason": "a report that nobody asked for"})
