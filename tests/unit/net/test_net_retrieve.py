"""What leaves and in which context, what is counted, and receivers that fail: without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from strongroom.archive.model import DataKey, Outcome, StoredObject
from strongroom.archive.outgoing import HELD_BYTES, opened
from strongroom.archive.peers import Binding, Peer
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from strongroom.dimse import CStoreRsp, Status
from strongroom.errors import Denied, IntegrityError, NotFound, PeerUnavailable, RemoteProtocolError
from strongroom.net import forward
from strongroom.net.forward import (
    MAX_CONTEXTS,
    MAX_FAILED_LIST_BYTES,
    MAX_REOPENED,
    Destination,
    PeerCaller,
    Sent,
    SubOperations,
    accepted_for_sending,
    choose_transfer_syntax,
    plan_associations,
)
from strongroom.types import AeTitle, Right, Uid
from strongroom.ul import Negotiated, PresentationContext

IMPLICIT, EXPLICIT = IMPLICIT_VR_LITTLE_ENDIAN.uid, EXPLICIT_VR_LITTLE_ENDIAN.uid
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
CT = "1.2.840.10008.5.1.4.1.1.2"


def stored(number: int = 1, syntax: str = EXPLICIT, sop_class: str = CT, size: int = 10) -> StoredObject:
    return StoredObject(
        object_id=number.to_bytes(16),
        sop_class=sop_class,
        sop_uid=f"1.2.{number}",
        series_uid="1.2",
        study_uid="1",
        transfer_syntax=syntax,
        data_bytes=size,
        sha256=b"",
        key=DataKey(b"k", b"k" * 32, b"w"),
        received_us=0,
    )


# -- transfer syntaxes and contexts


@pytest.mark.parametrize(
    ("held", "accepted", "chosen"),
    [
        (EXPLICIT, {EXPLICIT, IMPLICIT}, EXPLICIT),
        (IMPLICIT, {EXPLICIT, IMPLICIT}, IMPLICIT),
        (EXPLICIT, {IMPLICIT}, IMPLICIT),
        (IMPLICIT, {EXPLICIT}, EXPLICIT),
        (BIG, {IMPLICIT, EXPLICIT}, EXPLICIT),
        (DEFLATED, {IMPLICIT}, IMPLICIT),
        (IMPLICIT, {BIG, DEFLATED}, None),
        (JPEG, {EXPLICIT, IMPLICIT, RLE}, None),
        (JPEG, {JPEG}, JPEG),
        (EXPLICIT, set(), None),
    ],
)
def test_an_object_leaves_as_it_is_stored_or_converted_or_not_at_all(
    held: str, accepted: set[str], chosen: str | None
) -> None:
    assert choose_transfer_syntax(held, accepted) == chosen


def test_as_acceptor_we_send_only_where_the_peer_took_the_scp_role() -> None:
    contexts = {
        1: PresentationContext(1, Uid(CT), Uid(EXPLICIT), requestor_scu=True, requestor_scp=False),
        3: PresentationContext(3, Uid(CT), Uid(IMPLICIT), requestor_scu=False, requestor_scp=True),
    }
    assert accepted_for_sending(contexts, we_requested=False) == {CT: {IMPLICIT: 3}}
    assert accepted_for_sending(contexts, we_requested=True) == {CT: {EXPLICIT: 1}}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.sampled_from(sorted(TRANSFER_SYNTAXES))),
        min_size=1,
        max_size=400,
    )
)
def test_a_plan_has_every_object_once_in_order_and_proposes_what_it_needs(pairs: list[tuple[int, str]]) -> None:
    objects = [stored(number, syntax, f"1.2.3.{kind}") for number, (kind, syntax) in enumerate(pairs, 1)]
    plans = plan_associations(objects)
    assert sorted(each.object_id for plan in plans for each in plan.objects) == [each.object_id for each in objects]
    for plan in plans:
        assert 0 < len(plan.contexts) <= MAX_CONTEXTS
        assert [each.object_id for each in plan.objects] == sorted(each.object_id for each in plan.objects)
        for each in plan.objects:
            offered = [syntaxes for sop_class, syntaxes in plan.contexts if sop_class == each.sop_class]
            assert (each.transfer_syntax,) in offered
            if not TRANSFER_SYNTAXES[each.transfer_syntax].encapsulated:  # PS3.5 10.1: the default is always offered
                assert any(IMPLICIT in syntaxes for syntaxes in offered)
                assert any(EXPLICIT in syntaxes for syntaxes in offered)


def test_a_usual_set_needs_one_association() -> None:
    objects = [stored(number, EXPLICIT, f"1.2.3.{number % 60}") for number in range(1, 500)]
    assert len(plan_associations(objects)) == 1
    assert len(plan_associations([stored(number, EXPLICIT, f"1.2.3.{number}") for number in range(1, 66)])) == 2


# -- counts


@pytest.mark.parametrize(
    ("statuses", "final", "outcome"),
    [
        ([0, 0], Status.SUCCESS, Outcome.SUCCESS),
        ([], Status.SUCCESS, Outcome.SUCCESS),
        ([0, 0xB000], 0xB000, Outcome.WARNING),
        ([0xB007, 0xB000], 0xB000, Outcome.WARNING),
        ([0, None], 0xB000, Outcome.WARNING),
        ([0xB000, 0xA700], 0xB000, Outcome.WARNING),
        ([0xA700, None], 0xA702, Outcome.FAILED),
        ([0xFF00], 0xA702, Outcome.FAILED),
    ],
)
def test_the_final_status_follows_the_counts(statuses: list[int | None], final: int, outcome: Outcome) -> None:
    counts = SubOperations(len(statuses))
    for number, status in enumerate(statuses, 1):
        counts.add(Sent(stored(number), status, "why", 5))
    assert counts.final_status(cancelled=False) == final
    assert counts.outcome is outcome
    assert counts.remaining == 0
    assert counts.completed + counts.failed + counts.warning == len(statuses)
    assert len(counts.failed_uids) == counts.failed
    assert counts.sent_bytes == 5 * len(statuses)
    assert counts.final_status(cancelled=True) == Status.CANCEL


def test_the_list_of_failed_instances_stays_a_ui_and_the_count_right() -> None:
    counts = SubOperations(5000)
    long_uid = replace(stored(), sop_uid="1." + "2" * 62)
    for _ in range(5000):
        counts.add(Sent(long_uid, None, "no-presentation-context", 0))
    raw = counts.failed_list(EXPLICIT_VR_LITTLE_ENDIAN)
    assert raw[4:6] == b"UI"
    assert int.from_bytes(raw[6:8], "little") == len(raw) - 8 <= MAX_FAILED_LIST_BYTES
    assert counts.failed == 5000
    assert len(counts.details["failed_uids"]) == 64  # type: ignore[arg-type]


# -- the bytes


class Blob:
    """A stored object in memory; ``broken_at`` is the segment that does not open."""

    def __init__(self, data: bytes, broken_at: int = -1, segment: int = 65536) -> None:
        self.size, self.closed, self.handed_out = len(data), False, 0
        self._data, self._broken_at, self._segment = data, broken_at, segment

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        for number, start in enumerate(range(offset, len(self._data), self._segment)):
            if number == self._broken_at:
                raise IntegrityError("a segment does not open")
            self.handed_out += 1
            yield self._data[start : start + self._segment]

    def close(self) -> None:
        self.closed = True


class Shelf:
    """The archive's reader, as far as sending needs it."""

    def __init__(self, *blobs: Blob) -> None:
        self.blobs = {number.to_bytes(16): blob for number, blob in enumerate(blobs, 1)}

    def open(self, wanted: StoredObject) -> Blob:
        try:
            return self.blobs[wanted.object_id]
        except KeyError:
            raise NotFound("no object") from None


def image(pixel_bytes: int = 64) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, "1.2.1"
    dataset.PatientName, dataset.BitsAllocated, dataset.PixelRepresentation = "TEST^ONE", 16, 0
    dataset.PixelData = bytes(pixel_bytes)
    return dataset


def test_conversion_gives_the_same_data_set() -> None:
    raw = encode(image(), False, True)
    blob = Blob(raw, segment=7)
    with opened(Shelf(blob), stored(size=len(raw)), IMPLICIT) as chunks:  # type: ignore[arg-type]
        sent = b"".join(chunks)
    assert sent == encode(image(), True, True)
    assert chunks.bytes == len(sent)
    assert blob.closed


def test_a_small_object_is_read_to_its_end_before_its_first_byte_leaves() -> None:
    blob = Blob(bytes(HELD_BYTES), broken_at=15)
    with pytest.raises(IntegrityError), opened(Shelf(blob), stored(size=HELD_BYTES), EXPLICIT):  # type: ignore[arg-type]
        pytest.fail("handed out")
    assert blob.closed


def test_a_large_object_flows() -> None:
    size = 4 * HELD_BYTES
    blob = Blob(bytes(size))
    with opened(Shelf(blob), stored(size=size), EXPLICIT) as chunks:  # type: ignore[arg-type]
        next(iter(chunks))
        assert blob.handed_out == 1
    assert blob.closed


def test_a_large_object_that_cannot_be_converted_fails_before_its_first_byte_leaves() -> None:
    raw = encode(image(2 * HELD_BYTES), False, True)
    blob = Blob(raw[:-10])
    with pytest.raises(forward.OBJECT_ERRORS), opened(Shelf(blob), stored(size=blob.size), IMPLICIT):  # type: ignore[arg-type]
        pytest.fail("handed out")
    assert blob.closed


def test_an_object_of_another_size_than_was_stored_does_not_leave() -> None:
    blob = Blob(bytes(100))
    with pytest.raises(IntegrityError), opened(Shelf(blob), stored(size=101), EXPLICIT):  # type: ignore[arg-type]
        pytest.fail("handed out")
    assert blob.closed


# -- receivers


class Receiver:
    """An association as a C-MOVE sees it: accepts what ``syntaxes`` says, answers or raises what ``answers`` says."""

    def __init__(self, answers: Iterator[int | Exception], syntaxes: tuple[str, ...] = (EXPLICIT,)) -> None:
        contexts = {
            2 * number + 1: PresentationContext(2 * number + 1, Uid(CT), Uid(syntax))
            for number, syntax in enumerate(syntaxes)
        }
        title = AeTitle("X")
        self.negotiated = Negotiated(contexts, {}, title, title, 0, None, "", 0)
        self.closed = self.released = False
        self.originators: list[Any] = []
        self._answers = answers

    def store(self, sop_class: Uid, sop_uid: Uid, syntax: Uid, chunks: Any, *, move_originator: Any) -> CStoreRsp:
        self.originators.append(move_originator)
        try:
            for _ in chunks:
                pass
            answer = next(self._answers)
            if isinstance(answer, Exception):
                raise answer
        except Exception:
            self.closed = True
            raise
        return CStoreRsp(1, answer)

    def release(self) -> None:
        self.released = True


class Exchange:
    """Stands for PeerCaller: hands out the receivers given, in order, and counts the calls."""

    def __init__(self, *receivers: Receiver | Exception) -> None:
        self.calls = 0
        self._receivers = iter(receivers)

    def call(self, peer: Any, contexts: Any) -> Any:
        self.calls += 1
        receiver = next(self._receivers)
        if isinstance(receiver, Exception):
            raise receiver
        return receiver


def destination(exchange: Exchange, shelf: Shelf) -> Destination:
    return Destination(exchange, None, shelf, ("ASKER", 7))  # type: ignore[arg-type]


def blobs(count: int) -> Shelf:
    return Shelf(*(Blob(bytes(10)) for _ in range(count)))


@pytest.mark.parametrize(
    "error", [PeerUnavailable("away"), RemoteProtocolError("odd"), Denied("certificate-not-of-peer")]
)
def test_a_destination_that_cannot_be_reached_fails_all_with_one_call(error: Exception) -> None:
    exchange = Exchange(error)
    results = list(destination(exchange, blobs(5)).store_all([stored(number) for number in range(1, 6)]))
    assert [result.status for result in results] == [None] * 5
    assert exchange.calls == 1


def test_a_destination_that_dies_midway_fails_the_rest() -> None:
    exchange = Exchange(Receiver(iter([0, 0xB000, PeerUnavailable("gone")])))
    results = list(destination(exchange, blobs(5)).store_all([stored(number) for number in range(1, 6)]))
    assert [result.status for result in results] == [0, 0xB000, None, None, None]
    assert {result.reason for result in results[2:]} == {"gone"}
    assert exchange.calls == 1


def test_the_originator_is_told_and_the_association_released() -> None:
    receiver = Receiver(iter([0, 0]))
    list(destination(Exchange(receiver), blobs(2)).store_all([stored(1), stored(2)]))
    assert receiver.originators == [("ASKER", 7)] * 2
    assert receiver.released


def test_to_stop_early_releases_the_association() -> None:
    receiver = Receiver(iter([0, 0, 0]))
    results = destination(Exchange(receiver), blobs(3)).store_all([stored(number) for number in range(1, 4)])
    next(results)
    results.close()
    assert receiver.released
    assert len(receiver.originators) == 1


def test_a_damaged_or_missing_object_fails_alone() -> None:
    shelf = Shelf(Blob(bytes(10)), Blob(bytes(10), broken_at=0), Blob(bytes(10)))
    receiver = Receiver(iter([0, 0]))
    objects = [stored(1), stored(2), stored(99), stored(3)]
    results = list(destination(Exchange(receiver), shelf).store_all(objects))
    assert [result.status for result in results] == [0, None, None, 0]
    assert [result.reason for result in results[1:3]] == ["IntegrityError", "NotFound"]


def test_a_large_object_that_breaks_midway_costs_its_association_only() -> None:
    size = 2 * HELD_BYTES
    shelf = Shelf(Blob(bytes(size), broken_at=20), Blob(bytes(10)))
    exchange = Exchange(Receiver(iter([])), Receiver(iter([0])))
    results = list(destination(exchange, shelf).store_all([stored(1, size=size), stored(2)]))
    assert [result.status for result in results] == [None, 0]
    assert results[0].sent_bytes == 20 * 65536
    assert exchange.calls == 2


def test_broken_objects_do_not_reopen_for_ever() -> None:
    size = 2 * HELD_BYTES
    shelf = Shelf(*(Blob(bytes(size), broken_at=1) for _ in range(40)))
    exchange = Exchange(*(Receiver(iter([])) for _ in range(40)))
    results = list(destination(exchange, shelf).store_all([stored(number, size=size) for number in range(1, 41)]))
    assert len(results) == 40
    assert exchange.calls == MAX_REOPENED + 1


def test_what_the_destination_does_not_take_is_not_sent() -> None:
    receiver = Receiver(iter([0]))
    results = list(destination(Exchange(receiver), blobs(2)).store_all([stored(1, JPEG), stored(2)]))
    assert [(result.status, result.reason) for result in results] == [(None, "no-presentation-context"), (0, "")]


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (None, "unknown-peer"),
        ({"revoked_us": 1, "host": "127.0.0.1"}, "peer-revoked"),
        ({"host": ""}, "no-address"),
    ],
)
def test_only_registered_peers_with_an_address_are_called(peer: dict[str, Any] | None, reason: str) -> None:
    known = None
    if peer is not None:
        known = Peer(AeTitle("X"), frozenset(Right), Binding.FINGERPRINT, "", "", "", **peer)
    caller = PeerCaller(AeTitle("STRONGROOM"), lambda _: known, lambda: pytest.fail("called"))
    with pytest.raises(Denied) as denied:
        caller.find("X")
    assert denied.value.reason == reason


def test_a_failed_list_is_a_data_set() -> None:
    counts = SubOperations(1)
    counts.add(Sent(stored(5), None, "x", 0))
    raw = BytesIO(counts.failed_list(IMPLICIT_VR_LITTLE_ENDIAN))
    assert decode(raw, True, True).FailedSOPInstanceUIDList == "1.2.5"
