"""Every cell of DICOM PS3.8 table 9-10, by driving a real association into the state with real bytes."""

import pytest
from ul_wire import (
    ANSWER,
    LOCAL,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    abort,
    associate_ac,
    associate_rj,
    associate_rq,
    established_acceptor,
    established_requestor,
    p_data,
    pdv,
    receive,
    sent,
)

from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.ul import (
    Aborted,
    AssociateAccepted,
    AssociateRefused,
    AssociateRejected,
    AssociateRequested,
    Association,
    ConnectionClosed,
    Evt,
    Pdv,
    ReleaseConfirmed,
    ReleaseRequested,
    State,
    UlLimits,
)
from strongroom.ul.states import TRANSITIONS

# Event, then Sta1 to Sta13: action>state, "." where the standard leaves the cell empty.
GRID = """
 1  AE-1>4  .          .       .       .       .       .       .       .       .         .       .       .
 2  .       .          .       AE-2>5  .       .       .       .       .       .         .       .       .
 3  .       AA-1>13    AA-8>13 .       AE-3>6  AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13   AA-8>13 AA-8>13 AA-6>13
 4  .       AA-1>13    AA-8>13 .       AE-4>1  AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13   AA-8>13 AA-8>13 AA-6>13
 5  AE-5>2  .          .       .       .       .       .       .       .       .         .       .       .
 6  .       AE-6>3/13  AA-8>13 .       AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13   AA-8>13 AA-8>13 AA-7>13
 7  .       .          AE-7>6  .       .       .       .       .       .       .         .       .       .
 8  .       .          AE-8>13 .       .       .       .       .       .       .         .       .       .
 9  .       .          .       .       .       DT-1>6  .       AR-7>8  .       .         .       .       .
10  .       AA-1>13    AA-8>13 .       AA-8>13 DT-2>6  AR-6>7  AA-8>13 AA-8>13 AA-8>13   AA-8>13 AA-8>13 AA-6>13
11  .       .          .       .       .       AR-1>7  .       .       .       .         .       .       .
12  .       AA-1>13    AA-8>13 .       AA-8>13 AR-2>8  AR-8>9/10 AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-6>13
13  .       AA-1>13    AA-8>13 .       AA-8>13 AA-8>13 AR-3>1  AA-8>13 AA-8>13 AR-10>12  AR-3>1  AA-8>13 AA-6>13
14  .       .          .       .       .       .       .       AR-4>13 AR-9>11 .         .       AR-4>13 .
15  .       .          AA-1>13 AA-2>1  AA-1>13 AA-1>13 AA-1>13 AA-1>13 AA-1>13 AA-1>13   AA-1>13 AA-1>13 .
16  .       AA-2>1     AA-3>1  .       AA-3>1  AA-3>1  AA-3>1  AA-3>1  AA-3>1  AA-3>1    AA-3>1  AA-3>1  AA-2>1
17  .       AA-5>1     AA-4>1  AA-4>1  AA-4>1  AA-4>1  AA-4>1  AA-4>1  AA-4>1  AA-4>1    AA-4>1  AA-4>1  AR-5>1
18  .       AA-2>1     .       .       .       .       .       .       .       .         .       .       AA-2>1
19  .       AA-1>13    AA-8>13 .       AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13 AA-8>13   AA-8>13 AA-8>13 AA-7>13
"""

CELLS = {
    (int(row.split()[0]), column): cell for row in GRID.strip().splitlines() for column, cell in enumerate(row.split())
}
CELLS = {key: cell for key, cell in CELLS.items() if key[1]}

OPENING = {1, 5}  # only the two constructors can do these
FROM_PEER = {3: associate_ac(), 4: associate_rj(), 6: associate_rq(), 10: p_data(pdv(1, 2, b"data")), 12: RELEASE_RQ}
FROM_PEER |= {13: RELEASE_RP, 16: abort(2, 1), 19: b"\xff\x00\x00\x00\x00\x04abcd"}
LOCAL_CALLS = {
    2: lambda association: association.transport_connected(),
    7: lambda association: association.accept(ANSWER),
    8: lambda association: association.reject(1, 1, 3),
    9: lambda association: association.send_pdvs(1, b"command"),
    11: lambda association: association.request_release(),
    14: lambda association: association.answer_release(),
    15: lambda association: association.abort(),
}

# What each action can be seen to do: PDU type sent, event type told, ARTIM afterwards (None: as before).
EFFECTS = {
    "AE-1": (None, None, None),
    "AE-2": (1, None, None),
    "AE-3": (None, AssociateAccepted, None),
    "AE-4": (None, AssociateRejected, None),
    "AE-5": (None, None, True),
    "AE-6": (None, AssociateRequested, False),
    "AE-7": (2, None, None),
    "AE-8": (3, None, True),
    "DT-1": (4, None, None),
    "DT-2": (None, Pdv, None),
    "AR-1": (5, None, None),
    "AR-2": (None, ReleaseRequested, None),
    "AR-3": (None, ReleaseConfirmed, None),
    "AR-4": (6, None, True),
    "AR-5": (None, ConnectionClosed, False),
    "AR-6": (None, Pdv, None),
    "AR-7": (4, None, None),
    "AR-8": (None, ReleaseRequested, None),
    "AR-9": (6, None, None),
    "AR-10": (None, ReleaseConfirmed, None),
    "AA-1": (7, None, True),
    "AA-2": (None, ConnectionClosed, False),
    "AA-3": (None, Aborted, None),
    "AA-4": (None, ConnectionClosed, None),
    "AA-5": (None, ConnectionClosed, False),
    "AA-6": (None, None, None),
    "AA-7": (7, None, None),
    "AA-8": (7, None, True),
}


def in_state(number, as_requestor=False):
    """Return an association that real bytes and calls have brought to the state, nothing queued."""
    if number in (1, 2, 3):
        association = Association.acceptor(UlLimits(), LOCAL)
        if number == 1:
            receive(association, abort())
        elif number == 3:
            receive(association, associate_rq())
    elif number in (4, 5):
        association = Association.requestor(REQUEST, UlLimits(), connected=number == 5)
    else:
        as_requestor = as_requestor or number in (9, 11)
        association = established_requestor() if as_requestor else established_acceptor()
        if number == 8:
            receive(association, RELEASE_RQ)
        elif number == 13:
            association.abort()
        elif number != 6:
            association.request_release()
        if number in (9, 10, 11, 12):
            receive(association, RELEASE_RQ)
        if number == 11:
            association.answer_release()
        elif number == 12:
            receive(association, RELEASE_RP)
    sent(association)
    assert association.state == State(number)
    return association


def trigger(association, event):
    """Let the event happen; return the events told and the violation raised."""
    try:
        if event in FROM_PEER:
            return receive(association, FROM_PEER[event]), None
        if event == 17:
            association.receive_data(0)
        elif event == 18:
            association.artim_expired()
        else:
            LOCAL_CALLS[event](association)
        return receive(association, b""), None
    except RemoteProtocolError as violation:
        assert association.next_event() is None, "raised once, and nothing is told after it"
        return [], violation


def check_effect(action, association, told, violation, artim_before):
    pdu_type, event_type, artim = EFFECTS[action]
    out = sent(association)
    assert out[:1] == (b"" if pdu_type is None else bytes((pdu_type,)))
    assert [type(event) for event in told] == ([] if event_type is None else [event_type])
    assert association.artim_running == (artim_before if artim is None else artim)
    if action == "AA-8":
        assert out[8:10] == bytes((2, violation.abort_reason))
        assert violation.abort_source == 2
    elif action == "AA-1":
        assert out[8:10] == bytes((0, 0))


def test_the_table_has_every_cell_of_the_standard_and_no_other():
    table = {
        (int(event), int(state)): f"{cell.action.value}>{cell.next_state.value}"
        + (f"/{cell.other_state.value}" if cell.other_state else "")
        for (state, event), cell in TRANSITIONS.items()
    }
    assert table == {key: cell for key, cell in CELLS.items() if cell != "."}
    assert len(CELLS) == 13 * 19


@pytest.mark.parametrize(("event", "state"), sorted(CELLS), ids=lambda number: f"{number}")
def test_cell(event, state):
    cell = CELLS[event, state]
    if event in OPENING:
        if cell != ".":
            check_opening(event)
        else:
            assert (State(state), Evt(event)) not in TRANSITIONS
        return
    association = in_state(state)
    artim = association.artim_running
    if cell == ".":
        check_empty_cell(association, event, state)
        return
    action, next_state = cell.split(">")
    starts = association.artim_starts
    told, violation = trigger(association, event)
    assert (violation is not None) == (action == "AA-8" or (action == "AA-1" and event != 15))
    first, _, other = next_state.partition("/")
    assert association.state == int(other if action == "AR-8" else first), "in_state(7) is an acceptor"
    check_effect(action, association, told, violation, artim)
    if EFFECTS[action][2]:
        assert association.artim_starts == starts + 1, "a running timer is restarted"
    assert association.closed == (next_state == "1")


def check_opening(event):
    if event == 1:
        association = Association.requestor(REQUEST, UlLimits(), connected=False)
        assert (association.state, association.artim_running) == (State.STA4, False)
    else:
        association = Association.acceptor(UlLimits(), LOCAL)
        assert (association.state, association.artim_running) == (State.STA2, True)
    assert sent(association) == b""


def check_empty_cell(association, event, state):
    """A local call is a bug on our side; the rest cannot happen there, and is let pass if it does."""
    artim = association.artim_running
    if event in LOCAL_CALLS or (event in FROM_PEER and state == 4):
        with pytest.raises(LocalProtocolError):
            trigger(association, event)
    else:
        assert trigger(association, event) == ([], None)
    assert association.state == State(state)
    assert association.artim_running == artim
    assert sent(association) == b""


def test_ae_6_rejects_what_the_provider_cannot_serve():
    association = in_state(2)
    (event,) = receive(association, associate_rq(version=2))
    assert isinstance(event, AssociateRefused)
    assert (event.result, event.source, event.reason) == (1, 2, 2)
    assert sent(association) == associate_rj(1, 2, 2)
    assert (association.state, association.artim_running, association.artim_starts) == (State.STA13, True, 2)


def test_ar_8_depends_on_who_asked_for_the_association():
    for as_requestor, state in ((True, State.STA9), (False, State.STA10)):
        association = in_state(7, as_requestor)
        assert receive(association, RELEASE_RQ) == [ReleaseRequested(collision=True)]
        assert association.state == state


@pytest.mark.parametrize("state", range(1, 14))
def test_allows_tells_what_a_call_would_do(state):
    for event in LOCAL_CALLS:
        association = in_state(state)
        allowed = association.allows(Evt(event))
        if allowed:
            LOCAL_CALLS[event](association)
        else:
            with pytest.raises(LocalProtocolError):
                LOCAL_CALLS[event](association)
