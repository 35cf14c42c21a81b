"""The upper layer's state machine as data: DICOM PS3.8 table 9-10 and the next states of tables 9-6 to 9-9.

This says what is legal and what follows; ``association`` performs the actions and takes no step that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import NamedTuple


class State(IntEnum):
    """The thirteen states (PS3.8 tables 9-1 to 9-5)."""

    STA1 = 1
    """Idle."""
    STA2 = 2
    """Transport connection open, awaiting A-ASSOCIATE-RQ."""
    STA3 = 3
    """Awaiting the local A-ASSOCIATE response."""
    STA4 = 4
    """Awaiting the opening of the transport connection."""
    STA5 = 5
    """Awaiting A-ASSOCIATE-AC or -RJ."""
    STA6 = 6
    """Association established, ready for data."""
    STA7 = 7
    """Awaiting A-RELEASE-RP."""
    STA8 = 8
    """Awaiting the local A-RELEASE response."""
    STA9 = 9
    """Release collision, requestor: awaiting the local A-RELEASE response."""
    STA10 = 10
    """Release collision, acceptor: awaiting A-RELEASE-RP."""
    STA11 = 11
    """Release collision, requestor: awaiting A-RELEASE-RP."""
    STA12 = 12
    """Release collision, acceptor: awaiting the local A-RELEASE response."""
    STA13 = 13
    """Awaiting the close of the transport connection."""


class Evt(IntEnum):
    """The nineteen rows of table 9-10: primitives of the local user, PDUs, the transport connection, the timer."""

    A_ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMATION = 2
    A_ASSOCIATE_AC_PDU = 3
    A_ASSOCIATE_RJ_PDU = 4
    TRANSPORT_INDICATION = 5
    A_ASSOCIATE_RQ_PDU = 6
    A_ASSOCIATE_ACCEPT = 7
    A_ASSOCIATE_REJECT = 8
    P_DATA_REQUEST = 9
    P_DATA_TF_PDU = 10
    A_RELEASE_REQUEST = 11
    A_RELEASE_RQ_PDU = 12
    A_RELEASE_RP_PDU = 13
    A_RELEASE_RESPONSE = 14
    A_ABORT_REQUEST = 15
    A_ABORT_PDU = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


class Action(Enum):
    """The actions of tables 9-6 to 9-9."""

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


class Transition(NamedTuple):
    """One cell: the action and the state after it. AE-6 and AR-8 choose between two states."""

    action: Action
    next_state: State
    other_state: State | None = None


_S = State
_A = Action

_NEXT: Mapping[Action, tuple[State, ...]] = {
    _A.AE_1: (_S.STA4,),
    _A.AE_2: (_S.STA5,),
    _A.AE_3: (_S.STA6,),
    _A.AE_4: (_S.STA1,),
    _A.AE_5: (_S.STA2,),
    _A.AE_6: (_S.STA3, _S.STA13),  # acceptable to the provider, or rejected by it
    _A.AE_7: (_S.STA6,),
    _A.AE_8: (_S.STA13,),
    _A.DT_1: (_S.STA6,),
    _A.DT_2: (_S.STA6,),
    _A.AR_1: (_S.STA7,),
    _A.AR_2: (_S.STA8,),
    _A.AR_3: (_S.STA1,),
    _A.AR_4: (_S.STA13,),
    _A.AR_5: (_S.STA1,),
    _A.AR_6: (_S.STA7,),
    _A.AR_7: (_S.STA8,),
    _A.AR_8: (_S.STA9, _S.STA10),  # association requestor, or acceptor
    _A.AR_9: (_S.STA11,),
    _A.AR_10: (_S.STA12,),
    _A.AA_1: (_S.STA13,),
    _A.AA_2: (_S.STA1,),
    _A.AA_3: (_S.STA1,),
    _A.AA_4: (_S.STA1,),
    _A.AA_5: (_S.STA1,),
    _A.AA_6: (_S.STA13,),
    _A.AA_7: (_S.STA13,),
    _A.AA_8: (_S.STA13,),
}


def _row(sta2: Action, others: Action, sta13: Action, **exceptions: Action) -> dict[State, Action]:
    """Return a row that is the same in every state with an association, but for ``exceptions``."""
    associated = (_S.STA3, _S.STA5, _S.STA6, _S.STA7, _S.STA8, _S.STA9, _S.STA10, _S.STA11, _S.STA12)
    row = {_S.STA2: sta2} | dict.fromkeys(associated, others) | {_S.STA13: sta13}
    return row | {State[name.upper()]: action for name, action in exceptions.items()}


_ROWS: Mapping[Evt, Mapping[State, Action]] = {
    Evt.A_ASSOCIATE_REQUEST: {_S.STA1: _A.AE_1},
    Evt.TRANSPORT_CONFIRMATION: {_S.STA4: _A.AE_2},
    Evt.A_ASSOCIATE_AC_PDU: _row(_A.AA_1, _A.AA_8, _A.AA_6, sta5=_A.AE_3),
    Evt.A_ASSOCIATE_RJ_PDU: _row(_A.AA_1, _A.AA_8, _A.AA_6, sta5=_A.AE_4),
    Evt.TRANSPORT_INDICATION: {_S.STA1: _A.AE_5},
    Evt.A_ASSOCIATE_RQ_PDU: _row(_A.AE_6, _A.AA_8, _A.AA_7),
    Evt.A_ASSOCIATE_ACCEPT: {_S.STA3: _A.AE_7},
    Evt.A_ASSOCIATE_REJECT: {_S.STA3: _A.AE_8},
    Evt.P_DATA_REQUEST: {_S.STA6: _A.DT_1, _S.STA8: _A.AR_7},
    Evt.P_DATA_TF_PDU: _row(_A.AA_1, _A.AA_8, _A.AA_6, sta6=_A.DT_2, sta7=_A.AR_6),
    Evt.A_RELEASE_REQUEST: {_S.STA6: _A.AR_1},
    Evt.A_RELEASE_RQ_PDU: _row(_A.AA_1, _A.AA_8, _A.AA_6, sta6=_A.AR_2, sta7=_A.AR_8),
    Evt.A_RELEASE_RP_PDU: _row(_A.AA_1, _A.AA_8, _A.AA_6, sta7=_A.AR_3, sta10=_A.AR_10, sta11=_A.AR_3),
    Evt.A_RELEASE_RESPONSE: {_S.STA8: _A.AR_4, _S.STA9: _A.AR_9, _S.STA12: _A.AR_4},
    Evt.A_ABORT_REQUEST: {
        state: _A.AA_2 if state is _S.STA4 else _A.AA_1 for state in _S if state not in (_S.STA1, _S.STA2, _S.STA13)
    },
    Evt.A_ABORT_PDU: _row(_A.AA_2, _A.AA_3, _A.AA_2),
    Evt.TRANSPORT_CLOSED: _row(_A.AA_5, _A.AA_4, _A.AR_5, sta4=_A.AA_4),
    Evt.ARTIM_EXPIRED: {_S.STA2: _A.AA_2, _S.STA13: _A.AA_2},
    Evt.INVALID_PDU: _row(_A.AA_1, _A.AA_8, _A.AA_7),
}

TRANSITIONS: Mapping[tuple[State, Evt], Transition] = MappingProxyType(
    {
        (state, event): Transition(action, *_NEXT[action])
        for event, row in _ROWS.items()
        for state, action in row.items()
    }
)
"""Table 9-10; a cell that the standard leaves empty is not here."""

COLUMNS: Mapping[State, Mapping[Evt, Transition]] = MappingProxyType(
    {state: {event: cell for (at, event), cell in TRANSITIONS.items() if at is state} for state in State}
)
"""The same by state: what may happen in it."""
