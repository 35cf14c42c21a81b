"""Damaged answers of a DICOM server, at random: the probe keeps facts about them, ends in time, and never raises."""

from __future__ import annotations

import itertools
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.probe_dicom import parse_elements, parse_pdvs, parse_request, response
from harness.probe_listener import Visit, listening
from harness.probe_planted import leaks, study
from harness.probe_session import FAST, probed, target_with
from harness.wire import A_ASSOCIATE_AC, APPLICATION_CONTEXT, C_FIND_RQ, COMMAND, IMPLICIT, P_DATA_TF, item, pdu
from strongroom.probe.dimse import association, canary, counting, services
from strongroom.probe.model import Answer

PENDING = 0xFF00
STEPS = (
    association.associate,
    association.calling_title,
    association.user_identity,
    services.services,
    services.syntaxes,
    services.ask_for_nothing,
    counting.count,
    counting.shape,
    canary.canary,
)
SHORT = replace(FAST, answer_s=1.0, connection_s=4.0, connections_per_target=60)

Damage = Callable[[int, bytes], bytes]
"""Takes the number of an answer, counted from 0 over all connections, and the answer; returns what is sent."""


def sound(pdu_type: int, body: bytes) -> bytes:
    """What an open archive with planted people answers to a PDU."""
    if pdu_type == 1:
        contexts, _ = parse_request(body)
        items = item(0x10, APPLICATION_CONTEXT.encode())
        for context_id, (_, syntaxes) in contexts.items():
            result = 0 if IMPLICIT in syntaxes else 4
            items += item(0x21, bytes((context_id, 0, result, 0)) + item(0x40, IMPLICIT.encode()))
        user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.826.0.1.3680043.9.66") + item(0x55, b"MOCK")
        return pdu(A_ASSOCIATE_AC, b"\0\1\0\0" + body[4:36] + bytes(32) + items + item(0x50, user))
    if pdu_type == P_DATA_TF:
        for context_id, control, value in parse_pdvs(body):
            if control & COMMAND:
                request = parse_elements(value)
                if 0x00000110 not in request:
                    return b""
                found = b""
                if request[0x00000100] == struct.pack("<H", C_FIND_RQ):
                    found = b"".join(response(context_id, request, PENDING, study(number)) for number in range(3))
                return found + response(context_id, request, 0)
        return b""
    return pdu(6, bytes(4)) if pdu_type == 5 else b""


def serve(damage: Damage, numbers: Iterator[int], visit: Visit) -> None:
    """Answer each PDU soundly, damaged; end the connection when the damage has made an answer shorter."""
    while True:
        head = visit.read(6)
        if len(head) < 6:
            return
        body = visit.read(min(struct.unpack(">I", head[2:])[0], 1 << 20))
        answer = sound(head[0], body)
        sent = damage(next(numbers), answer) if answer else b""
        if not visit.send(sent) or head[0] == 7 or len(sent) < len(answer):
            return


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Some bytes changed at places that count from both ends, something cut off, or something put in between.

    It befalls one answer, or all from that one on.
    """
    first, is_lasting = draw(st.integers(0, 60)), draw(st.booleans())
    changes = draw(st.lists(st.tuples(st.integers(-400, 400), st.integers(0, 255)), max_size=4))
    cut = draw(st.none() | st.integers(0, 300))
    extra = draw(st.just(b"") | st.binary(max_size=40))
    at = draw(st.integers(0, 400))

    def damage(number: int, answer: bytes) -> bytes:
        if number < first or (number > first and not is_lasting):
            return answer
        raw = bytearray(answer)
        for place, value in changes:
            if raw:
                raw[place % len(raw)] = value
        raw[at % (len(raw) + 1) : at % (len(raw) + 1)] = extra
        return bytes(raw[: len(raw) - cut] if cut else raw)

    return damage


def probe_all(damage: Damage) -> tuple[str, list[Answer]]:
    """Run every step against a server with this damage; what was written down, and all answers."""
    with listening(partial(serve, damage, itertools.count())) as server:
        made = probed(target_with(dicom_ports=(server.port,)), rates=SHORT)
        for step in STEPS:
            step(made.session)
        made.session.close()
    return made.log + repr(made.session.known), [each.answer for each in made.session.known]


def test_without_damage_the_server_is_an_open_archive() -> None:
    told, answers = probe_all(lambda _, answer: answer)
    assert set(answers) <= {Answer.DONE, Answer.NOT_ASKED}
    assert leaks(told.encode()) == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damages())
def test_no_damage_raises_leaks_or_hangs(damage: Damage) -> None:
    ended: list[tuple[str, list[Answer]]] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            ended.append(probe_all(damage))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    if failed:
        raise failed[0]
    ((told, answers),) = ended
    assert answers
    assert leaks(told.encode()) == []


@pytest.mark.parametrize("cut", range(0, 220, 7))
def test_an_answer_that_ends_anywhere_is_an_end(cut: int) -> None:
    told, answers = probe_all(lambda number, answer: answer[:cut] if number > cut % 5 else answer)
    assert answers
    assert leaks(told.encode()) == []
