"""Whatever a server does on a DICOM port is one outcome in the words of the model, in time, and no exception."""

from __future__ import annotations

import pytest

from harness.probe_dicom import Conduct, scp
from harness.probe_hostile import DICOM
from harness.probe_listener import Handler, Visit, listening
from harness.probe_session import probed, target_with
from strongroom.errors import BudgetSpent
from strongroom.net.scu import ScuConnection
from strongroom.probe.dimse.callers import STRANGER_TITLES
from strongroom.probe.dimse.dialogue import ECHO_ONLY, VERIFICATION, Caller, Dialogue, Outcome, of_status, rejection
from strongroom.probe.model import Answer, Channel, Identity
from strongroom.probe.permits.scope import Rates
from strongroom.ul import AssociateRejected

SHORT = Rates(interval_s=0.0, connect_s=2.0, answer_s=0.5, connection_s=2.0, max_received_bytes=1 << 20)
ENDS = {
    "huge_pdu": (Answer.HOSTILE, "PDU length"),
    "huge_pdu_and_silence": (Answer.HOSTILE, "PDU length"),
    "endless_items": (Answer.HOSTILE, "PDU length"),
    "overlapping_items": (Answer.HOSTILE, "malformed PDU"),
    "one_byte_a_second": (Answer.TIMEOUT, ""),
    "slow_silence": (Answer.TIMEOUT, "timed out"),
    "immediate_reset": (Answer.CLOSED, ""),
    "immediate_close": (Answer.CLOSED, ""),
    "http_on_dicom": (Answer.OTHER, "HTTP"),
    "ssh_banner": (Answer.OTHER, "SSH"),
    "random_bytes": (Answer.HOSTILE, "PDU length"),
    "unfinished_tls": (Answer.OTHER, "TLS"),
    "dripping_tls": (Answer.TIMEOUT, ""),
    "wrong_reject": (Answer.HOSTILE, "malformed PDU"),
    "escapes": (Answer.HOSTILE, "malformed PDU"),
    "bidi": (Answer.HOSTILE, "malformed PDU"),
}
"""What comes of asking those for an association who do not give one."""

ANSWERS = {
    "endless_fragments": Answer.HOSTILE,
    "long_command": Answer.HOSTILE,
    "asks_back": Answer.HOSTILE,
    "endless_answers": Answer.DONE,
    "never_releases": Answer.DONE,
    "traversal": Answer.FAILED,
    "markup": Answer.FAILED,
    "formula": Answer.FAILED,
}
"""What comes of an echo with those who give one."""


def ask(handler: Handler) -> tuple[Outcome, Outcome | None, int]:
    """What came of an association and of an echo in it, and how many bytes were received."""
    with listening(handler) as server:
        made = probed(target_with(dicom_ports=(server.port,)), rates=SHORT)
        caller = Caller(server.port, Channel.PLAIN, Identity.STRANGER, STRANGER_TITLES)
        with Dialogue(made.session, caller, ECHO_ONLY) as dialogue:
            echoed = dialogue.ask(_echo) if dialogue.is_open else None
        made.session.close()
        return dialogue.outcome, echoed, sum(len(each) for each in made.log.splitlines())


def _echo(scu: ScuConnection) -> Outcome:
    return of_status(scu.echo().status)


def test_every_hostile_server_of_the_harness_is_named_here() -> None:
    assert set(ENDS) | set(ANSWERS) == set(DICOM)
    assert not set(ENDS) & set(ANSWERS)


@pytest.mark.parametrize("name", ENDS)
def test_what_is_no_association_is_told_in_a_word(name: str) -> None:
    outcome, echoed, logged_bytes = ask(DICOM[name])
    answer, reason = ENDS[name]
    assert outcome.answer is answer
    assert str(outcome.details["reason"]).startswith(reason)
    assert echoed is None
    assert logged_bytes < 16_384


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_no_answer_is_told_in_a_word(name: str) -> None:
    outcome, echoed, logged_bytes = ask(DICOM[name])
    assert outcome.is_done
    assert echoed is not None
    assert echoed.answer is ANSWERS[name]
    assert logged_bytes < 200_000


@pytest.mark.parametrize("name", DICOM)
def test_no_text_of_a_hostile_server_is_shown(name: str) -> None:
    outcome, echoed, _ = ask(DICOM[name])
    for each in (outcome, echoed or outcome):
        for value in each.details.values():
            assert not isinstance(value, str) or (value.isascii() and value.isprintable())
            assert not any(word in str(value) for word in ("owned", "script", "..", "calc"))


@pytest.mark.parametrize(
    ("said", "answer", "reason"),
    [
        (b"\x00\x0dhello, world", Answer.OTHER, "another protocol"),
        (b"\xff\xfb\x01\xff\xfb\x03login:", Answer.OTHER, "another protocol"),
        (b"\x0bMSH|^~\\&|", Answer.OTHER, "HL7 MLLP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", Answer.OTHER, "TLS"),
        (b"<html><body>", Answer.OTHER, "markup"),
        (b"\x04\x00\x00\x00\x00\x0c" + bytes(12), Answer.HOSTILE, "PDU out of order"),
    ],
)
def test_another_protocol_is_named_and_a_wrong_pdu_is_none(said: bytes, answer: Answer, reason: str) -> None:
    def handle(visit: Visit) -> None:
        visit.read_some()
        visit.send(said)
        visit.wait_until_closed()

    outcome, _, _ = ask(handle)
    assert (outcome.answer, outcome.details["reason"]) == (answer, reason)


def test_an_operation_that_was_not_agreed_upon_sends_nothing() -> None:
    with scp(Conduct(classes=frozenset({"1.2.840.10008.5.1.4.31"}))) as server:
        made = probed(target_with(dicom_ports=(server.port,)))
        caller = Caller(server.port, Channel.PLAIN, Identity.STRANGER, STRANGER_TITLES)
        with Dialogue(made.session, caller, ECHO_ONLY) as dialogue:
            assert not dialogue.scu.accepts(VERIFICATION)
            assert dialogue.ask(_echo) == Outcome(Answer.REFUSED, {"reason": "no presentation context"})
    assert server.requests("C-ECHO") == []
    assert len(server.requests("release")) == 1


def test_an_association_is_released_and_names_the_probe() -> None:
    with scp() as server:
        made = probed(target_with(dicom_ports=(server.port,)))
        caller = Caller(server.port, Channel.PLAIN, Identity.STRANGER, STRANGER_TITLES)
        with Dialogue(made.session, caller, ECHO_ONLY):
            pass
    (asked,) = server.requests("associate")
    assert (asked.called, asked.calling) == ("ANY-SCP", "STRONGROOM-PRB")
    assert [each.what for each in server.asked] == ["associate", "release"]
    assert b"STRONGROOM" in bytes(server.listener.visits[0].raw)


def test_a_budget_that_is_spent_is_nobodys_outcome() -> None:
    with scp() as server:
        made = probed(target_with(dicom_ports=(server.port,)), rates=Rates(interval_s=0.0, connections_per_target=1))
        caller = Caller(server.port, Channel.PLAIN, Identity.STRANGER, STRANGER_TITLES)
        with Dialogue(made.session, caller, ECHO_ONLY) as dialogue:
            assert dialogue.outcome.is_done
        with pytest.raises(BudgetSpent):
            Dialogue(made.session, caller, ECHO_ONLY)
        assert len(server.requests("associate")) == 1


@pytest.mark.parametrize(
    ("told", "source", "reason"),
    [
        (AssociateRejected(1, 1, 3), "user", "calling title"),
        (AssociateRejected(1, 1, 7), "user", "called title"),
        (AssociateRejected(1, 1, 1), "user", "no reason"),
        (AssociateRejected(2, 3, 1), "presentation", "congestion"),
        (AssociateRejected(2, 3, 2), "presentation", "local limit"),
        (AssociateRejected(1, 2, 2), "acse", "protocol version"),
        (AssociateRejected(1, 1, 99), "user", "unknown reason"),
    ],
)
def test_a_rejection_in_words(told: AssociateRejected, source: str, reason: str) -> None:
    outcome = rejection(told)
    # Who is too busy for everybody refuses nobody.
    assert outcome.answer is (Answer.FAILED if source == "presentation" else Answer.REFUSED)
    assert (outcome.details["source"], outcome.details["rejection"]) == (source, reason)
    assert outcome.details["result"] == {1: "permanent", 2: "transient"}[told.result]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, Answer.DONE),
        (0xB000, Answer.DONE),
        (0xFE00, Answer.DONE),
        (0x0122, Answer.REFUSED),
        (0x0124, Answer.REFUSED),
        (0x0211, Answer.REFUSED),
        (0xA700, Answer.REFUSED),
        (0xA702, Answer.FAILED),
        (0xA801, Answer.REFUSED),
        (0x0112, Answer.FAILED),
        (0xC001, Answer.FAILED),
    ],
)
def test_a_status_says_done_refused_or_failed(status: int, answer: Answer) -> None:
    assert of_status(status) == Outcome(answer, {"status": status})
