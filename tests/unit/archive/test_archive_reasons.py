"""reasons: what may stand in the trail for ever as a reason."""

from __future__ import annotations

import pytest

from strongroom.archive.reasons import MAX_REASON_CHARS, parse_reason
from strongroom.errors import ConfigError


def test_a_reason_is_kept_without_the_blanks_around_it() -> None:
    assert parse_reason("  wrong patient ") == "wrong patient"
    assert parse_reason("ä" * MAX_REASON_CHARS, 10) == "ä" * MAX_REASON_CHARS


@pytest.mark.parametrize("text", ["", "   ", "x" * (MAX_REASON_CHARS + 1), "two\nlines", "turned\u202earound", "\0"])
def test_what_is_no_line_is_no_reason(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_reason(text)


def test_a_reason_may_have_to_be_more_than_a_word() -> None:
    with pytest.raises(ConfigError):
        parse_reason("because    ", 10)
