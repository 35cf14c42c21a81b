"""What the actions of the state machine do, as data: DICOM PS3.8 tables 9-6 to 9-9.

Opening and closing the transport connection belongs to the shell; ``Association.closed`` tells it when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, NamedTuple

from strongroom.ul import pdu
from strongroom.ul.events import (
    Aborted,
    AssociateAccepted,
    AssociateRefused,
    AssociateRejected,
    AssociateRequested,
    ConnectionClosed,
    Event,
    ReleaseConfirmed,
    ReleaseRequested,
)
from strongroom.ul.states import Action


class Artim(Enum):
    """What an action does with the ARTIM timer (PS3.8 9.1.5)."""

    UNTOUCHED = auto()
    START = auto()
    STOP = auto()


class Effect(NamedTuple):
    """One action: what it sends and what it tells the user, both made from the detail of the step."""

    artim: Artim = Artim.UNTOUCHED
    sends: Callable[[Any], bytes] | None = None
    tells: Callable[[Any], Event] | None = None


def _send_rejection(refused: AssociateRefused) -> bytes:
    return pdu.encode_associate_rj(refused.result, refused.source, refused.reason)


def _tell_abort(fields: tuple[int, int]) -> Event:
    source, reason = fields
    return Aborted(source, reason, by_provider=source != pdu.AbortSource.SERVICE_USER)


_NOTHING = Effect()
_SEND_RELEASE_RP = Effect(sends=lambda _: pdu.encode_release_rp())
_TELL_RELEASED = Effect(tells=lambda _: ReleaseConfirmed())
_SEND_ABORT = Effect(sends=lambda fields: pdu.encode_abort(*fields))
_STOP_AND_CLOSE = Effect(Artim.STOP, tells=lambda _: ConnectionClosed(lost=False))

EFFECTS: Mapping[Action, Effect] = MappingProxyType(
    {
        Action.AE_1: _NOTHING,
        Action.AE_2: Effect(sends=pdu.encode_associate_rq),
        Action.AE_3: Effect(tells=AssociateAccepted),
        Action.AE_4: Effect(tells=lambda fields: AssociateRejected(*fields)),
        Action.AE_5: Effect(Artim.START),
        Action.AE_6: Effect(Artim.STOP, tells=AssociateRequested),
        Action.AE_7: Effect(sends=bytes),  # the detail is the encoded A-ASSOCIATE-AC
        Action.AE_8: Effect(Artim.START, sends=lambda fields: pdu.encode_associate_rj(*fields)),
        Action.DT_1: _NOTHING,  # send_pdvs and stream_pdvs queue the P-DATA-TF
        Action.DT_2: _NOTHING,  # next_event hands out the PDVs one by one
        Action.AR_1: Effect(sends=lambda _: pdu.encode_release_rq()),
        Action.AR_2: Effect(tells=lambda _: ReleaseRequested()),
        Action.AR_3: _TELL_RELEASED,
        Action.AR_4: _SEND_RELEASE_RP._replace(artim=Artim.START),
        Action.AR_5: _STOP_AND_CLOSE,
        Action.AR_6: _NOTHING,
        Action.AR_7: _NOTHING,
        Action.AR_8: Effect(tells=lambda _: ReleaseRequested(collision=True)),
        Action.AR_9: _SEND_RELEASE_RP,
        Action.AR_10: _TELL_RELEASED,
        Action.AA_1: _SEND_ABORT._replace(artim=Artim.START),
        Action.AA_2: _STOP_AND_CLOSE,
        Action.AA_3: Effect(tells=_tell_abort),
        Action.AA_4: Effect(tells=lambda _: ConnectionClosed(lost=True)),
        Action.AA_5: _STOP_AND_CLOSE,
        Action.AA_6: _NOTHING,
        Action.AA_7: _SEND_ABORT,
        Action.AA_8: _SEND_ABORT._replace(artim=Artim.START),  # its indication is the RemoteProtocolError
    }
)

OTHER_EFFECTS: Mapping[Action, Effect] = MappingProxyType(
    {
        Action.AE_6: Effect(Artim.START, sends=_send_rejection, tells=lambda refused: refused),
        Action.AR_8: EFFECTS[Action.AR_8],
    }
)
"""The same for the two actions that choose between two states, when they take the second one."""
