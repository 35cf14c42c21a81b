"""recovery: codes that people can read from paper and type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.archive.recovery import CODE_BYTES, parse_recovery_code, recovery_code


@given(st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES))
def test_a_code_is_read_however_it_is_typed(random: bytes) -> None:
    code = recovery_code(random)
    assert len(code) == 19
    bare = code.replace("-", "")
    for typed in (code, bare, code.upper(), f" {bare[:5]} {bare[5:]}\n"):
        assert parse_recovery_code(typed) == bare


@pytest.mark.parametrize("text", ["", "123456", "a" * 15, "a" * 17, "a" * 15 + "1", "a" * 15 + "ä", "a" * 15 + "\0"])
def test_anything_else_is_none(text: str) -> None:
    assert parse_recovery_code(text) == ""
