"""As whom the probe asks: a stranger, one who knows a title, a junk user, one who has a client certificate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from strongroom.probe.dimse.dialogue import Caller, Outcome
from strongroom.probe.model import Answer, Channel, Detail, Identity
from strongroom.probe.permits.scope import CALLED_DEFAULT, CALLING_DEFAULT
from strongroom.probe.session import Session, Titles
from strongroom.types import AeTitle
from strongroom.ul import UserIdentity, UserIdentityType

STRANGER_TITLES: Final = Titles(AeTitle(CALLED_DEFAULT), AeTitle(CALLING_DEFAULT))

_JUNK_USER: Final = b"strongroom-probe-nobody"


def open_channels(session: Session, port: int) -> Iterator[Channel]:
    """Yield what a port can be spoken to through: plain if it accepts connections, TLS if a handshake got an answer."""
    connected = session.found("tcp.connect", port)
    if connected is not None and connected.answer is not Answer.DONE:
        return
    yield Channel.PLAIN
    if any(seen.answer in (Answer.DONE, Answer.REFUSED) for seen in session.all_found("tls.handshake", port)):
        yield Channel.TLS


def is_named(session: Session) -> bool:
    """Whether the scope names a title, so that there is another identity than that of a stranger."""
    return session.titles != STRANGER_TITLES


def callers(session: Session, port: int, channel: Channel) -> Iterator[Caller]:
    """Yield the identities that need no guessing, a stranger first."""
    stranger = Caller(port, channel, Identity.STRANGER, STRANGER_TITLES)
    yield stranger
    is_known_caller = session.titles.calling != STRANGER_TITLES.calling
    # Who is let in by any name needs no title; where a calling title is named that leaves nothing to ask.
    if is_named(session) and not (is_known_caller and _has_done(session, "dicom.associate", stranger)):
        titles = replace(STRANGER_TITLES, called=session.titles.called)
        if titles != STRANGER_TITLES:
            yield Caller(port, channel, Identity.KNOWS_TITLE, titles)
    if is_known_caller:
        yield Caller(port, channel, Identity.NAMED, session.titles)
    if channel is Channel.TLS and session.target.certificate:
        yield Caller(port, channel, Identity.CERTIFICATE, session.titles)


def accepted_callers(session: Session) -> Iterator[Caller]:
    """Yield those who got an association: port by port, plain before TLS, who knows least first."""
    for port in session.target.dicom_ports:
        for channel in Channel:
            for caller in (*callers(session, port, channel), *_guessed(session, port, channel)):
                if _has_done(session, "dicom.associate", caller):
                    yield caller
                if caller.identity is Identity.STRANGER:
                    yield from _junk(session, port, channel)


def _junk(session: Session, port: int, channel: Channel) -> Iterator[Caller]:
    caller = junk_caller(session, port, channel)
    if _has_done(session, "dicom.user_identity", caller) and not _has_done(session, "dicom.associate", caller):
        yield caller


def _has_done(session: Session, step: str, caller: Caller) -> bool:
    seen = session.found(step, caller.port, caller.channel, caller.identity)
    return seen is not None and seen.answer is Answer.DONE


def _guessed(session: Session, port: int, channel: Channel) -> Iterator[Caller]:
    seen = session.found("dicom.guess", port, channel, Identity.GUESSED)
    if seen is not None and seen.details.get("guessed"):
        titles = replace(STRANGER_TITLES, called=AeTitle(str(seen.details["guessed"])))
        yield Caller(port, channel, Identity.GUESSED, titles)


def best_caller(session: Session, port: int, channel: Channel) -> Caller | None:
    """Return who got an association without a certificate, of those the one who knows least; None if nobody did."""
    for caller in (*callers(session, port, channel), *_guessed(session, port, channel)):
        if caller.identity is not Identity.CERTIFICATE and _has_done(session, "dicom.associate", caller):
            return caller
    return None


def certified_caller(session: Session, port: int, channel: Channel) -> Caller | None:
    """Return who got an association with the client certificate of the scope, or None."""
    for caller in callers(session, port, channel):
        if caller.identity is Identity.CERTIFICATE and _has_done(session, "dicom.associate", caller):
            return caller
    return None


def junk_caller(session: Session, port: int, channel: Channel) -> Caller:
    """Return the caller with a user that nobody is, under the best titles that are known.

    Whoever needs those titles keeps the identity that has them: a junk user is somebody who knows nothing.
    """
    user = UserIdentity(
        UserIdentityType.USERNAME_AND_PASSCODE, _JUNK_USER, _JUNK_USER, positive_response_requested=True
    )
    best = best_caller(session, port, channel)
    if best is None:
        most = [each for each in callers(session, port, channel) if each.identity is not Identity.CERTIFICATE][-1]
        identity = most.identity if is_named(session) else Identity.JUNK_USER
        return replace(most, identity=identity, user=user)
    identity = Identity.JUNK_USER if best.identity is Identity.STRANGER else best.identity
    return replace(best, identity=identity, user=user)


def keep(session: Session, step: str, caller: Caller, outcome: Outcome, **more: Detail) -> None:
    """Observe what came of a step for ``caller``."""
    details = {**outcome.details, **more}
    session.observe(step, caller.port, caller.channel, caller.identity, outcome.answer, **details)
