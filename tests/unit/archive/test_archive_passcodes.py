"""passcodes: long ones, and none that everybody tries first."""

from __future__ import annotations

import pytest

from strongroom.archive.passcodes import MAX_CHARS, MIN_CHARS, check_passcode, is_common

TRIED_FIRST = (
    "password1234",
    "Password2026!",
    "P@ssw0rd12345",
    "passwordpassword",
    "qwertyuiop123",
    "1qaz2wsx3edc",
    "iloveyou1234",
    "123456789012",
    "aaaaaaaaaaaa",
    "abcabcabcabc",
    "abcdefghijkl",
    "administrator",
    "Administrator1",
    "changeme1234",
    "welcome12345",
    "letmein!letmein!",
    "strongroom2026",
    "Radiology2026",
    "zyxwvutsrqpo",
    "summer2026!!",
    "dicomdicom11",
    "19840229198402",
    "000000000000",
    "mustangmustang",
    "jsmithjsmith1",
)
CHOSEN = (
    "correct horse battery",
    "tulip-gravel-ninth-boat",
    "Zr7-qpX2_mVb9k",
    "der Regen fiel auf Kopenhagen",
    "ひらがなとカタカナの文章です",
    "kF3uV-0sQwz7RmHnYtLp",
    "password of the lighthouse keeper",
)


@pytest.mark.parametrize("passcode", TRIED_FIRST)
def test_what_everybody_tries_first_is_refused(passcode: str) -> None:
    assert len(passcode) >= MIN_CHARS
    assert "first" in check_passcode(passcode, "jsmith")


@pytest.mark.parametrize("passcode", CHOSEN)
def test_what_somebody_has_thought_of_is_taken(passcode: str) -> None:
    assert check_passcode(passcode, "jsmith") == ""


def test_the_name_of_the_account_counts_for_nothing() -> None:
    assert is_common("katharina-2026", "katharina")
    assert not is_common("katharina und der lange weg", "peter")


@pytest.mark.parametrize("length", [0, MIN_CHARS - 1, MAX_CHARS + 1])
def test_a_passcode_has_a_length(length: int) -> None:
    assert "characters" in check_passcode("kF3uV-0sQwz7"[:1] * length)
