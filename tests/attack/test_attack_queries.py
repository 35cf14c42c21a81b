"""What one peer stored or sent must not cost another its answers, nor anybody the association."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from harness import wire
from harness.archives import RunningArchive, trail_events
from harness.wire import CT_IMAGE_STORAGE, EXPLICIT, IMPLICIT, STUDY_ROOT_FIND, Asks, RawPeer, command, explicit
from strongroom.archive import read
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import IntegrityError

ArchiveFactory = Callable[..., RunningArchive]
STORE, FIND = 1, 3
PATIENT_SEX, STUDY_UID = 0x00100040, 0x0020000D


@contextmanager
def peer_of(running: RunningArchive, aet: str = "PEER") -> Iterator[RawPeer]:
    with RawPeer(running.port, running.credentials(aet)) as peer:
        contexts = ((CT_IMAGE_STORAGE, (EXPLICIT,)), (STUDY_ROOT_FIND, (IMPLICIT,)))
        assert peer.associate(Asks(aet, contexts=contexts))[0] == wire.A_ASSOCIATE_AC
        yield peer


def store(peer: RawPeer, number: int, sex: bytes = b"F") -> int:
    sop, dataset = wire.ct_image(number)
    at = dataset.index(struct.pack("<HH", 0x0020, 0x000D))
    peer.ask(
        wire.store_command(number, CT_IMAGE_STORAGE, sop),
        dataset[:at] + explicit(PATIENT_SEX, "CS", sex) + dataset[at:],
        context_id=STORE,
    )
    return peer.read_status()


def find(peer: RawPeer, keys: dict[int, bytes]) -> list[int]:
    asked = wire.identifier("STUDY", keys)
    peer.ask(command(wire.C_FIND_RQ, 9, STUDY_ROOT_FIND, dataset=True), asked, context_id=FIND)
    statuses: list[int] = []
    while not statuses or statuses[-1] in (0xFF00, 0xFF01):
        kind, body = peer.read_pdu()
        if kind != wire.P_DATA_TF:
            return [*statuses, -1]
        at = body.find(struct.pack("<HHI", 0, 0x0900, 2))
        while at >= 0:
            statuses.append(struct.unpack_from("<H", body, at + 8)[0])
            at = body.find(struct.pack("<HHI", 0, 0x0900, 2), at + 8)
    return statuses


def refusals(running: RunningArchive, action: Action) -> list[Event]:
    assert running.archive is not None
    events = trail_events(running.archive)
    return [event for event in events if event.action is action and event.outcome is not Outcome.SUCCESS]


def test_a_latin_1_code_string_costs_nobody_an_answer(local_archive: ArchiveFactory) -> None:
    with peer_of(local_archive({"PEER": "store,find"})) as peer:
        assert [store(peer, 1, b"M"), store(peer, 2, b"\xc4"), store(peer, 3, b"F")] == [0, 0, 0]
        for _ in range(2):
            assert find(peer, {PATIENT_SEX: b"", STUDY_UID: b""}) == [0xFF00] * 3 + [0x0000]


@pytest.mark.parametrize(
    ("field", "sop_class", "more", "status", "action"),
    [
        (wire.C_FIND_RQ, STUDY_ROOT_FIND, b"", 0xA700, Action.QUERY),
        (wire.C_GET_RQ, wire.STUDY_ROOT_GET, b"", 0xA702, Action.RETRIEVE),
        (wire.C_MOVE_RQ, wire.STUDY_ROOT_MOVE, wire.element(0x00000600, b"PEER"), 0xA702, Action.MOVE),
    ],
)
def test_an_identifier_over_the_limit_is_answered_and_recorded(
    local_archive: ArchiveFactory, field: int, sop_class: str, more: bytes, status: int, action: Action
) -> None:
    running = local_archive({"PEER": "echo,store,find,get,move"}, limits={"max_identifier_bytes": 4096})
    with RawPeer(running.port, running.credentials("PEER")) as peer:
        peer.associate(Asks("PEER", contexts=((sop_class, (IMPLICIT,)), (wire.VERIFICATION, (IMPLICIT,)))))
        for size in (5_000, 300_000):
            asked = wire.identifier("STUDY", {0x00100010: b"A" * size})
            body = wire.command(field, 1, sop_class, dataset=True)
            if more:  # Move Destination comes between Message ID and Priority
                at = body.index(struct.pack("<HH", 0, 0x0700))
                body = wire.element(0, struct.pack("<I", len(body) - 12 + len(more))) + body[12:at] + more + body[at:]
            peer.ask(body, asked, context_id=1)
            assert peer.read_status() == status
        peer.ask(wire.command(wire.C_ECHO_RQ, 2, wire.VERIFICATION), context_id=3)
        assert peer.read_status() == 0
    reasons = [event.details["reason"] for event in refusals(running, action)]
    assert reasons == ["over-max_identifier_bytes"] * 2


@pytest.mark.parametrize("invalid", ["1.2.840.ABC", "1." * 40 + "1", "1..2", "DOE^JANE", "\x01" * 4])
def test_an_invalid_sop_instance_uid_is_refused_alone(local_archive: ArchiveFactory, invalid: str) -> None:
    running = local_archive({"PEER": "store,find"})
    with peer_of(running) as peer:
        _, dataset = wire.ct_image(1)
        for number in (1, 2):
            peer.ask(wire.store_command(number, CT_IMAGE_STORAGE, invalid), dataset, context_id=STORE)
            assert peer.read_status() == 0x0117
        assert store(peer, 3) == 0
    events = refusals(running, Action.STORE)
    assert [event.details["reason"] for event in events] == ["affected-sop-instance-uid-invalid"] * 2
    assert "DOE" not in repr(events)


def test_answers_are_counted_in_bytes_too(local_archive: ArchiveFactory) -> None:
    running = local_archive({"PEER": "store,find"}, limits={"max_query_bytes": 4096})
    with peer_of(running) as peer:
        assert {store(peer, number, b"F" * 1000) for number in range(1, 9)} == {0}
        statuses = find(peer, {PATIENT_SEX: b"", STUDY_UID: b""})
        assert statuses[-1] == 0xB001
        assert 1 <= len(statuses) - 1 < 8
        assert find(peer, {PATIENT_SEX: b"", STUDY_UID: b"2.25.1000.8.1"}) == [0xFF00, 0x0000]


def test_a_record_that_cannot_be_answered_leaves_the_others(
    local_archive: ArchiveFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = local_archive({"PEER": "store,find"})
    merged, calls = read.merged, iter((False, True, False))

    def second_is_broken(row: object) -> dict[str, object]:
        if next(calls, False):
            raise IntegrityError("a row of the index")
        return merged(row)  # type: ignore[arg-type]  # it is what the reader hands over

    with peer_of(running) as peer:
        assert [store(peer, number) for number in (1, 2, 3)] == [0, 0, 0]
        monkeypatch.setattr(read, "merged", second_is_broken)
        assert find(peer, {STUDY_UID: b""}) == [0xFF00, 0xFF00, 0xC000]
        assert find(peer, {STUDY_UID: b""}) == [0xFF00] * 3 + [0x0000]
    (event,) = refusals(running, Action.QUERY)
    assert (event.outcome, event.details["end"]) == (Outcome.FAILED, "IntegrityError")
