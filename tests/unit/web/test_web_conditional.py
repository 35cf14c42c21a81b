"""Conditions and ranges: which bytes of a representation leave, if any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.web.conditional import (
    MAX_HEADER_CHARS,
    Precondition,
    Unsatisfiable,
    check_conditions,
    ranges_of,
    strong_tag,
)

TAG = strong_tag("a")
MOST = 4


def ranges(field: str | None, size: int = 100, if_range: str | None = None) -> object:
    return ranges_of(field, if_range, TAG, size, MOST)


def test_a_tag_depends_on_every_part_and_on_where_it_ends() -> None:
    assert len({strong_tag(*parts) for parts in (["ab"], ["a", "b"], ["b", "a"], [""], [], ["ab", ""])}) == 6
    assert strong_tag("x", b"y") == strong_tag(b"x", "y")
    assert TAG.startswith('"')
    assert TAG.endswith('"')


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "decision"),
    [
        (None, None, Precondition.GO_ON),
        (TAG, None, Precondition.GO_ON),
        ("*", None, Precondition.GO_ON),
        (f'"x" , {TAG}', None, Precondition.GO_ON),
        ('"x"', None, Precondition.FAILED),
        (f"W/{TAG}", None, Precondition.FAILED),  # strong comparison
        ("", None, Precondition.FAILED),
        (None, TAG, Precondition.NOT_MODIFIED),
        (None, f"W/{TAG}", Precondition.NOT_MODIFIED),  # weak comparison
        (None, "*", Precondition.NOT_MODIFIED),
        (None, f',,"x",{TAG}', Precondition.NOT_MODIFIED),
        (None, '"x"', Precondition.GO_ON),
        (None, TAG.strip('"'), Precondition.GO_ON),
        (TAG, TAG, Precondition.NOT_MODIFIED),
        ('"x"', TAG, Precondition.FAILED),
    ],
)
def test_conditions(if_match: str | None, if_none_match: str | None, decision: Precondition) -> None:
    assert check_conditions(if_match, if_none_match, TAG) is decision


def test_a_flood_of_tags_is_read_only_so_far() -> None:
    flood = ",".join(['"0"'] * MAX_HEADER_CHARS)
    assert check_conditions(None, f"{flood},{TAG}", TAG) is Precondition.GO_ON
    assert check_conditions(None, '"' + "a" * 10**6, TAG) is Precondition.GO_ON


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("bytes=0-0", ((0, 1),)),
        ("bytes=10-19", ((10, 20),)),
        ("BYTES = 10 - 19", ((10, 20),)),
        ("bytes=90-", ((90, 100),)),
        ("bytes=90-1000", ((90, 100),)),
        ("bytes=-5", ((95, 100),)),
        ("bytes=-500", ((0, 100),)),
        ("bytes=0-9,20-29", ((0, 10), (20, 30))),
        ("bytes=20-29,,0-9", ((0, 10), (20, 30))),
        ("bytes=0-9,5-20,21-30", ((0, 31),)),  # overlapping and touching: no byte is sent twice
        ("bytes=0-9,200-", ((0, 10),)),
        # What is no byte range is passed over.
        ("bytes=", ()),
        ("bytes=a-b", ()),
        ("bytes=9-0", ()),
        ("bytes=-", ()),
        ("bytes=0-9,x", ()),
        ("bytes=" + "9" * 30 + "-", ()),
        ("bytes=\u0660-\u0669", ()),
        ("items=0-9", ()),
        ("0-9", ()),
        ("", ()),
        (None, ()),
    ],
)
def test_ranges(field: str | None, found: object) -> None:
    assert ranges(field) == found


@pytest.mark.parametrize("field", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=0-0,1-1,2-2,3-3,4-4"])
def test_ranges_that_are_not_there_or_too_many(field: str) -> None:
    assert isinstance(ranges(field), Unsatisfiable)


def test_nothing_is_there_of_an_empty_representation() -> None:
    assert isinstance(ranges("bytes=0-", size=0), Unsatisfiable)


def test_a_range_of_another_version_is_the_whole() -> None:
    assert ranges("bytes=0-9", if_range=TAG) == ((0, 10),)
    assert ranges("bytes=0-9", if_range='"old"') == ()
    assert ranges("bytes=0-9", if_range=f"W/{TAG}") == ()
    assert ranges("bytes=0-9", if_range="Sun, 22 Nov 2026 03:00:00 GMT") == ()


def test_a_range_bomb_is_passed_over() -> None:
    assert ranges("bytes=" + "0-,1-,2-," * 10_000) == ()


SPECS = st.one_of(
    st.tuples(st.integers(0, 120), st.integers(0, 120)).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    st.integers(0, 120).map(lambda first: f"{first}-"),
    st.integers(0, 120).map(lambda last: f"-{last}"),
)


@given(st.lists(SPECS, min_size=1, max_size=MOST), st.integers(0, 110))
def test_ranges_are_the_bytes_that_were_named_each_once(specs: list[str], size: int) -> None:
    content = range(size)
    wanted: set[int] = set()
    for spec in specs:
        first, _, last = spec.partition("-")
        if first:
            wanted |= set(content[int(first) : int(last) + 1 if last else None])
        elif int(last):
            wanted |= set(content[-int(last) :])
    found = ranges("bytes=" + ",".join(specs), size)
    if not wanted:
        assert isinstance(found, Unsatisfiable)
        return
    assert isinstance(found, tuple)
    sent = [number for start, stop in found for number in range(start, stop)]
    assert sent == sorted(wanted)


@given(st.text(max_size=60))
def test_no_field_breaks_anything(field: str) -> None:
    found = ranges(field)
    assert isinstance(found, Unsatisfiable) or all(0 <= start < stop <= 100 for start, stop in found)
    check_conditions(field, field, TAG)
