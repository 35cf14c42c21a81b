"""What a server wrote is shown where it is a product's, and never where it could be a patient's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.probe.shown import MAX_SHOWN, shape_of, shown

WORDS = frozenset(["offis", "dcmtk", "orthanc", "pacs", "server", "apache", "nginx", "dcm", "che"])


@pytest.mark.parametrize(
    "version",
    ["OFFIS_DCMTK_367", "Orthanc 1.12.10", "dcm4che-5.33.1", "Apache/2.4.57", "nginx/1.22.1", "PACS Server 10.1.226"],
)
def test_a_known_product_is_shown_with_its_version(version: str) -> None:
    assert shown(version, WORDS) == version


@pytest.mark.parametrize(
    "private",
    [
        "123-45-6789", "123 45 6789", "123.45.6789", "123456789", "123/45/6789", "123_45_6789", "123--45--6789",
        "19800412", "1980-04-12", "1980.04.12", "12.04.80", "04.12.80", "80.12.04", "12/04/80", "1980",
        "555-1234", "555 123 4567", "(555) 123", "DOE", "Doe, Jane", "DOE^JANE", "Jane.Doe", "jane@example.org",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "PACS {}", "orthanc/{}", "dcmtk_{}", "{} PACS", "Server: {};", "PACS{}"])
def test_what_could_be_a_patients_is_not_shown_wherever_it_stands(private: str, around: str) -> None:
    told = shown(around.format(private), WORDS)
    assert private not in told
    assert not any(part in told for part in ("Doe", "DOE", "Jane", "JANE", "6789", "1980", "4567", "example"))
    assert "45" not in told or "45" not in private


def test_a_number_is_not_shown_without_a_product_before_it() -> None:
    assert shown("1.2.3", WORDS) == "9.9.9"
    assert shown("unknown 1.2.3", WORDS) == "aaa 9.9.9"


def test_a_number_that_is_cut_off_by_the_length_is_not_shown_in_part() -> None:
    text = "PACS ".ljust(MAX_SHOWN - 2) + "123456789"
    assert "12" not in shown(text, WORDS)


def test_what_a_terminal_could_obey_is_not_shown() -> None:
    assert shown("orthanc\x1b[31m\r\n\u202e\u0661", WORDS).isascii()
    assert "\x1b" not in shown("orthanc\x1b]0;x\x07", WORDS)


@given(st.text(max_size=100))
def test_nothing_but_known_words_and_versions_comes_through(text: str) -> None:
    told = shown(text, frozenset())
    assert told.isascii()
    assert told.isprintable()
    assert not any(character in "bcdefghijklmnopqrstuvwxyzBCDEFGHIJKLMNOPQRSTUVWXYZ012345678" for character in told)
    assert len(told) <= MAX_SHOWN + 3


@given(st.text(max_size=100))
def test_a_shape_tells_neither_letters_nor_digits_nor_lengths_beyond_three(text: str) -> None:
    shape = shape_of(text)
    assert not any(kind * 4 in shape for kind in "Aa9?")
    assert not any(character.isalnum() and character not in "Aa9" for character in shape)
