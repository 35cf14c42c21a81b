"""Elements as people read them: whatever others put into a number, it is one or none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.web.ui.elements import number_of

NUMBER = "00200013"


def held(*values: Any) -> dict[str, Any]:
    return {NUMBER: {"vr": "IS", "Value": list(values)}}


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), ("-7", -7), (-7, -7), ("--7", 0), ("-", 0), ("", 0), (None, 0), ("7.5", 0), ("9" * 12, 0)],
)
def test_a_number_is_what_it_says_or_none(value: Any, number: int) -> None:
    assert number_of(held(value), NUMBER) == number


@given(st.text(alphabet="-+0123456789. \u0663\u00b2", max_size=14))
def test_no_text_breaks_a_page(text: str) -> None:
    assert isinstance(number_of(held(text), NUMBER), int)


def test_what_is_not_there_is_none() -> None:
    assert number_of({}, NUMBER) == 0
    assert number_of(held(), NUMBER) == 0
