"""totp: the codes of RFC 6238, each good once."""

from __future__ import annotations

import pytest

from strongroom.archive.totp import STEP_S, code_at, find_step, secret_text

RFC_SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("time_s", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_the_standard(time_s: int, code: str) -> None:
    """RFC 6238 appendix B has eight digits; six are the last of them (RFC 4226 5.3)."""
    assert code_at(RFC_SECRET, time_s // STEP_S) == code[-6:]


def test_a_code_is_found_one_step_to_either_side_and_no_further() -> None:
    now_s = 1_000_000 * STEP_S + 7.0
    found = [find_step(RFC_SECRET, code_at(RFC_SECRET, 1_000_000 + away), now_s, -1) for away in (-2, -1, 0, 1, 2)]
    assert found == [None, 999_999, 1_000_000, 1_000_001, None]


def test_no_code_is_good_twice_nor_one_before_it() -> None:
    now_s, step = 1_000_000 * STEP_S + 7.0, 1_000_000
    code = code_at(RFC_SECRET, step)
    assert find_step(RFC_SECRET, code, now_s, step - 1) == step
    assert find_step(RFC_SECRET, code, now_s, step) is None
    assert find_step(RFC_SECRET, code_at(RFC_SECRET, step - 1), now_s, step) is None


@pytest.mark.parametrize("typed", ["123 456", "", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\udcff"])
def test_whatever_is_typed_is_compared_and_nothing_else(typed: str) -> None:
    secret = RFC_SECRET
    is_right = typed.replace(" ", "") == code_at(secret, 5)
    assert (find_step(secret, typed, 5 * STEP_S, -1) is not None) is is_right


def test_spaces_are_passed_over() -> None:
    code = code_at(RFC_SECRET, 5)
    assert find_step(RFC_SECRET, f"{code[:3]} {code[3:]}", 5 * STEP_S, -1) == 5


def test_a_secret_is_typed_as_base32() -> None:
    assert secret_text(RFC_SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
