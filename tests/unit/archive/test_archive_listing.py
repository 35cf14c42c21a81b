"""What somebody types becomes words to look for, or a UID."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.archive.listing import (
    MAX_TEXT_CHARS,
    MAX_WORDS,
    StudyList,
    parse_date,
    parse_physician,
    parse_words,
    search_text,
)


def test_words_are_what_stands_between_blanks_commas_and_carets() -> None:
    words, uid = parse_words("  Bergström,Åsa^X=y  4711 ")
    assert words == ("bergstrom", "asa", "x", "y", "4711")
    assert uid == ""


@pytest.mark.parametrize("text", ["1.2.840.10008.5.1", "2.25.1234567890"])
def test_a_long_number_with_dots_is_a_uid(text: str) -> None:
    assert parse_words(f" {text} ") == ((), text)


@pytest.mark.parametrize("text", ["2.25.46", "12345678901234", "1.2.3.4.5.6.x", "1..2.3.4.5.6.7.8"])
def test_what_is_no_uid_is_a_word(text: str) -> None:
    assert parse_words(text) == ((text,), "")


@pytest.mark.parametrize(
    ("typed", "begins"),
    [("Smith", "smith"), (" Smith ,  Ann ", "smith^ann"), ("van der Berg,", "van der berg"), (",", "")],
)
def test_a_physician_is_named_as_people_write_names(typed: str, begins: str) -> None:
    assert parse_physician(typed) == begins


@pytest.mark.parametrize(
    ("typed", "date"), [("2026-11-22", "20261122"), ("2026-02-29", ""), ("20261122", ""), ("2026-W47-7", ""), ("", "")]
)
def test_a_date_is_what_browsers_send(typed: str, date: str) -> None:
    assert parse_date(typed) == date


@given(st.text(max_size=500))
def test_whatever_is_typed_is_a_few_short_words(text: str) -> None:
    words, uid = parse_words(text)
    assert len(words) <= MAX_WORDS
    assert all(words)
    assert sum(map(len, words)) + len(uid) <= MAX_TEXT_CHARS
    assert not any("\0" in word for word in words)


@given(st.lists(st.text(max_size=2000), min_size=4, max_size=4), st.text(max_size=60))
def test_what_is_searched_fits_an_index_and_no_word_reaches_over_two_attributes(texts: list[str], typed: str) -> None:
    searched = search_text(texts[0], texts[1], texts[2], texts[3])
    assert len(searched.encode("utf-8", "surrogatepass")) < 2704  # a third of a page of PostgreSQL
    for word in parse_words(typed)[0]:
        assert (word in searched) is any(word in part for part in searched.split("\n"))


def test_the_trail_hears_what_was_matched_and_never_with_what() -> None:
    words, _ = parse_words("Bergström")
    wanted = StudyList(words, modality="CT", first_date="20260101", patient_of="2.25.46")
    assert wanted.matched == ("text", "00080061", "00080020", "patient")
    assert StudyList().matched == ()
    assert "ergstr" not in repr(wanted)
