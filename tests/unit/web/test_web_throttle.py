"""throttle: an address that fails too often waits; whoever has been good does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strongroom.web.throttle import BURST, MAX_ADDRESSES, MAX_KNOWN, REFILL_S, Throttle

BAD, GOOD = b"bad", b"good"


def exhausted(address: str = "10.0.0.7", now: float = 1000.0) -> Throttle:
    throttle = Throttle()
    for _ in range(BURST):
        assert throttle.wait_s(address, BAD, now) == 0
        throttle.failed(address, BAD, now)
    return throttle


def test_a_burst_is_let_through_and_then_one_at_a_time() -> None:
    throttle = exhausted()
    assert throttle.wait_s("10.0.0.7", BAD, 1000.0) == REFILL_S
    assert throttle.wait_s("10.0.0.7", BAD, 1000.0 + REFILL_S) == 0
    throttle.failed("10.0.0.7", BAD, 1000.0 + REFILL_S)
    assert throttle.wait_s("10.0.0.7", BAD, 1000.0 + REFILL_S) == REFILL_S
    assert throttle.wait_s("10.0.0.7", BAD, 1000.0 + REFILL_S * (BURST + 2)) == 0


def test_nobody_else_waits() -> None:
    throttle = exhausted()
    assert throttle.wait_s("10.0.0.8", BAD, 1000.0) == 0
    throttle.succeeded(GOOD)
    assert throttle.wait_s("10.0.0.7", GOOD, 1000.0) == 0
    throttle.failed("10.0.0.7", GOOD, 1000.0)  # revoked meanwhile
    assert throttle.wait_s("10.0.0.7", GOOD, 1000.0) > 0


def test_one_subscriber_is_one_address() -> None:
    throttle = exhausted("2001:db8::1")
    assert throttle.wait_s("2001:db8::ffff:1", BAD, 1000.0) > 0
    assert throttle.wait_s("2001:db8:0:1::1", BAD, 1000.0) == 0
    assert exhausted("10.0.0.7").wait_s("::ffff:10.0.0.7", BAD, 1000.0) > 0
    assert exhausted("").wait_s("", BAD, 1000.0) > 0


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MAX_ADDRESSES + 100):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", BAD, 0.0)
    for number in range(MAX_KNOWN + 100):
        throttle.succeeded(number.to_bytes(4))
    assert len(throttle._forgiven_at) == MAX_ADDRESSES
    assert len(throttle._known) == MAX_KNOWN


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_no_more_get_through_than_the_rate_allows(pauses: list[float]) -> None:
    throttle, now, tried = Throttle(), 0.0, []
    for pause in pauses:
        now += pause
        if not throttle.wait_s("10.0.0.7", BAD, now):
            throttle.failed("10.0.0.7", BAD, now)
            tried.append(now)
    for first in range(len(tried)):
        for last in range(first, len(tried)):
            assert last - first + 1 <= BURST + (tried[last] - tried[first]) / REFILL_S + 1e-6 + 1
