"""counting: an event is counted as what it is, and nothing that a sender wrote gets into a label."""

from __future__ import annotations

import pytest

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.metrics.counting import MALFORMED, count_event
from strongroom.metrics.tally import Tally
from strongroom.serving.board import Board
from strongroom.types import AeTitle, Principal

PLANTED = "Zyxplanted^Qwertius"


def counted(action: Action, outcome: Outcome = Outcome.SUCCESS, **details: Detail) -> dict[tuple[str, ...], float]:
    tally = Tally()
    count_event(tally, Event(action, outcome, Principal("CT1", address="10.0.0.7"), details))
    series = tally.report("serve", 0.0).series
    return {(name, *labels): value for name, labels, value in series if name != "events_total"}


def test_what_is_stored() -> None:
    assert counted(Action.STORE, verdict="stored", bytes=500, sop_uid="1.2.3") == {
        ("stored_objects_total", "stored"): 1, ("stored_bytes_total",): 500,
    }  # fmt: skip


def test_what_is_asked_for_and_sent() -> None:
    assert counted(Action.QUERY, results=7) == {("queries_total",): 1, ("query_results_total",): 7}
    assert counted(Action.RETRIEVE, phase="begin", objects=9) == {}
    assert counted(Action.RETRIEVE, phase="end", objects=9, bytes=90) == {
        ("sent_objects_total",): 9, ("sent_bytes_total",): 90,
    }  # fmt: skip
    assert counted(Action.MOVE, phase="end", completed=4, bytes=40)["sent_objects_total",] == 4
    assert counted(Action.EXPORT, phase="end", objects=3, bytes=30)["sent_bytes_total",] == 30


def test_associations_and_refusals_written_as_a_sum() -> None:
    begun = {("associations_total",): 1, ("peer_associations_total", "CT1"): 1}
    assert counted(Action.ASSOCIATION, phase="begin") == begun
    assert counted(Action.ASSOCIATION, phase="end") == {}
    refused = counted(Action.ASSOCIATION, Outcome.REFUSED, reason="tls-handshake", associations=340)
    assert refused == {("refusals_total", "association", "tls-handshake"): 340}


def test_alerts_and_the_quarantine() -> None:
    assert counted(Action.ALERT, Outcome.WARNING, reason="screening", severity="critical") == {
        ("alerts_total", "screening", "critical"): 1,
    }
    assert counted(Action.QUARANTINE, reason="screening") == {("quarantined_objects_total", "screening"): 1}
    assert counted(Action.QUARANTINE, what="released", reason="ticket 4711") == {}


@pytest.mark.parametrize(
    "text", [PLANTED, f"not a number at (0028,0010) byte 77 {PLANTED}", "1.2.840.113619", "", "é", "x" * 65]
)
def test_what_is_no_word_of_ours_is_no_label(text: str) -> None:
    for found in (
        counted(Action.STORE, Outcome.REFUSED, reason=text, sop_uid=PLANTED),
        counted(Action.ALERT, Outcome.WARNING, reason=text, severity=text),
        counted(Action.STORE, verdict=text, bytes=1, study_uid=PLANTED),
    ):
        assert any(MALFORMED in labels for labels in found)
        assert not any(text in labels for labels in found if text)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_event_is_counted_by_its_action(action: Action, outcome: Outcome) -> None:
    tally = Tally()
    count_event(tally, Event(action, outcome, Principal("CT1"), {}))
    assert ("events_total", (action.value, outcome.value), 1.0) in tally.report("serve", 0.0).series


def test_what_is_counted_of_a_peer_can_be_put_on_the_board() -> None:
    """An AE title is a text of its own class, which no encoder takes for one."""
    tally, board = Tally(), Board.new(1)
    who = Principal(AeTitle("CT1"))
    count_event(tally, Event(Action.ASSOCIATION, Outcome.SUCCESS, who, {"phase": "begin"}))
    assert board.write(0, tally.report("serve", 0.0))
    report = board.read(0)
    board.close()
    assert report is not None
    assert ("peer_associations_total", ("CT1",), 1.0) in report.series
