"""What a step may do to an address, and what it may remember: nothing beside what the session lets it."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from harness.probe_listener import listening
from harness.probe_session import FAST, Probed, probed, target_with
from strongroom.errors import BudgetSpent, LocalProtocolError, RunStopped, Unanswered
from strongroom.net.tls import probing_context
from strongroom.probe import connecting
from strongroom.probe.line import Line
from strongroom.probe.model import Answer, Channel, Identity
from strongroom.probe.permits.scope import NEIGHBOUR_PORTS
from strongroom.probe.plan import PHASES, steps_for
from strongroom.probe.session import MAX_NUMBER
from strongroom.types import AeTitle, Uid


def entries(made: Probed, kind: str) -> list[dict[str, object]]:
    return [entry for entry in map(json.loads, made.log.splitlines()) if entry["kind"] == kind]


def test_a_port_that_is_not_the_targets_is_never_connected_to() -> None:
    with listening(lambda visit: None) as other:
        made = probed(target_with(dicom_ports=(1,)))
        with pytest.raises(LocalProtocolError, match="none of the target's"):
            made.session.line(other.port)
    assert not other.visits
    assert made.log == ""


def test_a_second_line_closes_the_first() -> None:
    with listening(lambda visit: visit.read(1)) as silent:
        session = probed(target_with(dicom_ports=(silent.port,))).session
        first = session.line(silent.port)
        session.line(silent.port)
        with pytest.raises(OSError, match="closed"):
            first.send(b"x")
        session.close()


def test_the_budget_is_of_connections_that_were_tried_and_of_those_before_a_kill() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    made = probed(target_with(dicom_ports=(port,)), rates=replace(FAST, connections_per_target=5))
    made.session.connections = 3
    for _ in range(2):
        with pytest.raises(Unanswered):
            made.session.line(port)
    with pytest.raises(BudgetSpent):
        made.session.line(port)
    assert len(entries(made, "connect")) == 2


def test_connections_begin_an_interval_apart_whatever_came_of_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    session = probed(target_with(dicom_ports=(port,)), rates=replace(FAST, interval_s=0.2)).session
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unanswered):
            session.line(port)
    assert time.monotonic() - began >= 0.4


def test_who_waits_for_a_turn_is_told_of_the_end_at_once() -> None:
    made = probed(target_with(dicom_ports=(1,)), rates=replace(FAST, interval_s=3600))
    with pytest.raises(Unanswered):
        made.session.line(1)
    threading.Timer(0.1, made.run.stop.set).start()
    with pytest.raises(RunStopped):
        made.session.line(1)


def test_a_detail_that_a_step_does_not_keep_cannot_be_kept() -> None:
    made = probed()
    with pytest.raises(KeyError, match="patient_name"):
        made.session.observe("dicom.echo", 104, Channel.PLAIN, Identity.STRANGER, Answer.DONE, patient_name="DOE^JANE")
    with pytest.raises(KeyError):
        made.session.observe("dicom.steal", 104, Channel.PLAIN, Identity.STRANGER, Answer.DONE)
    assert made.log == ""
    assert made.session.known == []


def test_no_number_of_a_server_is_long_enough_for_one_of_a_person() -> None:
    """A social security number has nine digits, and what a server counts or announces is anything that it likes."""
    made = probed(target_with(dicom_ports=(104,)))
    for told, kept in ((123_456_789, MAX_NUMBER), (99_999_999, 99_999_999), (16_384, 16_384), (True, True)):
        seen = made.session.observe(
            "dicom.associate", 104, Channel.PLAIN, Identity.STRANGER, Answer.DONE, max_pdu_bytes=told
        )
        assert seen.details["max_pdu_bytes"] == kept
        assert type(seen.details["max_pdu_bytes"]) is type(told)
    assert "123456789" not in made.log


def test_an_observation_names_the_entries_that_bear_it_out() -> None:
    def answer(visit: object) -> None:
        visit.read(10)  # type: ignore[attr-defined]
        visit.send(bytes.fromhex("07000000000400000000"))  # type: ignore[attr-defined]

    with listening(answer) as server:
        made = probed(target_with(dicom_ports=(server.port,)))
        with made.session.line(server.port) as line:
            line.send_all(bytes.fromhex("05000000000400000000"))
            line.receive()
    seen = made.session.observe("dicom.echo", server.port, Channel.PLAIN, Identity.STRANGER, Answer.ABORTED)
    log = [json.loads(text) for text in made.log.splitlines()]
    assert [(entry["n"], entry["kind"]) for entry in log] == [
        (1, "connect"), (2, "sent"), (3, "received"), (4, "observation"),
    ]  # fmt: skip
    assert seen.entries == (1, 2, 3)
    assert (log[1]["message"], log[2]["message"]) == ("A-RELEASE-RQ", "A-ABORT")


def test_the_latest_of_what_was_found_is_told() -> None:
    session = probed().session
    for answer, port in ((Answer.REFUSED, 104), (Answer.DONE, 11112), (Answer.FAILED, 104)):
        session.observe("dicom.echo", port, Channel.PLAIN, Identity.STRANGER, answer)
    found = session.found("dicom.echo", 104)
    assert found is not None
    assert found.answer is Answer.FAILED
    assert [seen.answer for seen in session.all_found("dicom.echo")] == [Answer.REFUSED, Answer.DONE, Answer.FAILED]
    assert session.found("dicom.echo", 104, Channel.TLS) is None
    assert session.found("dicom.echo", identity=Identity.NAMED) is None


def test_what_nobody_has_is_new_each_time() -> None:
    session = probed().session
    titles, uids = ({make() for _ in range(50)} for make in (session.new_title, session.new_uid))
    assert len(titles) == len(uids) == 50
    assert all(AeTitle.parse(title) == title and len(title) == 10 for title in titles)
    assert all(Uid.parse(uid) == uid and uid.startswith("2.25.") for uid in uids)


def test_a_handshake_that_is_answered_otherwise_is_told_and_leaves_no_line() -> None:
    with listening(lambda visit: visit.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        session = probed(target_with(http_ports=(server.port,))).session
        with pytest.raises(Unanswered) as caught:
            session.line(server.port, framing="http", tls=probing_context())
    assert caught.value.answer in (Answer.OTHER, Answer.CLOSED)


def test_every_port_is_connected_to_and_nothing_is_sent() -> None:
    with listening(lambda visit: visit.read(1)) as server, socket.create_server(("127.0.0.1", 0)) as gone:
        free = gone.getsockname()[1]
        gone.close()
        made = probed(target_with(dicom_ports=(server.port,), http_ports=(free,), neighbour_ports=(server.port, free)))
        connecting.connect(made.session)
        connecting.connect_neighbours(made.session)
    assert [(seen.step, seen.answer) for seen in made.session.known] == [
        ("tcp.connect", Answer.DONE), ("tcp.connect", Answer.UNREACHABLE),
        ("neighbour.connect", Answer.DONE), ("neighbour.connect", Answer.UNREACHABLE),
    ]  # fmt: skip
    assert sum(visit.received_bytes for visit in server.visits) == 0
    assert not entries(made, "sent")


def test_every_neighbour_of_the_default_has_a_name() -> None:
    assert set(NEIGHBOUR_PORTS) <= set(connecting.SERVICES)


def test_a_level_takes_the_steps_of_those_below_it_and_no_step_twice() -> None:
    steps = [steps_for(level) for level, _ in PHASES]
    assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(steps))
    assert len(set(steps[-1])) == len(steps[-1])
    assert all(callable(step) for step in steps[-1])


def test_a_line_can_stand_where_a_socket_does() -> None:
    wanted = ("settimeout", "recv_into", "recv", "send", "setsockopt", "close", "fileno")
    assert all(hasattr(Line, name) for name in wanted)
