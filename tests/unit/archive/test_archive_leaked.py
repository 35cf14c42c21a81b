"""leaked: what lists of leaked passwords begin with is known again, and nothing else is."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.archive.leaked import _KNOWN, DIGEST_BYTES, is_leaked, pack, stem_of
from strongroom.archive.passcodes import check_passcode, is_common


@pytest.mark.parametrize(
    "passcode",
    [
        "iseedeadpeople",
        "ISeeDeadPeople",
        "iseedeadpeople7",
        "needforspeed",
        "entertainment2024!",
        "qwerty",
        "Yosemite1999",
    ],
)
def test_what_stands_in_the_lists_is_known_in_whatever_case_and_with_whatever_after_it(passcode: str) -> None:
    assert is_leaked(passcode)


@pytest.mark.parametrize("passcode", ["", "1", "123!", "correct horse battery", "mother tulip calendar"])
def test_what_does_not_is_not(passcode: str) -> None:
    assert not is_leaked(passcode)


def test_the_list_refuses_what_no_rule_does() -> None:
    for passcode in ("iseedeadpeople", "Yosemite1999", "Production2023"):
        assert not is_common(passcode)
        assert "among the first" in check_passcode(passcode)


def test_random_passcodes_are_not_in_it() -> None:
    assert not any(is_leaked(secrets.token_urlsafe(12)) for _ in range(2000))


def test_the_file_is_sorted_whole_and_as_long_as_it_is_said_to_be() -> None:
    found = [_KNOWN[at : at + DIGEST_BYTES] for at in range(0, len(_KNOWN), DIGEST_BYTES)]
    assert len(found) > 30_000
    assert found == sorted(set(found))
    assert len(found[-1]) == DIGEST_BYTES


@given(st.lists(st.text(min_size=12, max_size=20), max_size=20))
def test_packing_keeps_each_of_them_once_in_order(passwords: list[str]) -> None:
    packed = pack([*passwords, *passwords], 12)
    found = [packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES)]
    assert found == sorted(set(found))
    assert len(found) <= 2 * len({each.casefold() for each in passwords})


@given(st.text(), st.text(alphabet="0123456789!?. -_"))
def test_a_stem_is_what_is_left_before_digits_and_signs(text: str, after: str) -> None:
    assert stem_of(text + after) == stem_of(text)
    assert not stem_of(text) or stem_of(text)[-1].isalpha()
