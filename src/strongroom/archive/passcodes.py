"""Which passcodes people may choose: long ones, and none that everybody tries first. Pure.

Nobody is told to use a digit. What is refused is what lists of leaked passwords begin with, in any length: a common
word with what people put after it, a common word twice, a run of the keyboard, one character many times, and the name
of the account or of the product. The words are of our own choosing, after what published counts of leaked passwords
agree on. Beside them stands a list of leaked passwords (``leaked``).
"""

from __future__ import annotations

import re
from typing import Final

from strongroom.archive.leaked import is_leaked

MIN_CHARS: Final = 12
MAX_CHARS: Final = 1024

_WORDS: Final = """
    abcdef access account admin administrator adobe amanda andrea andrew angel animal anthony apple archive
    arsenal ashley august autumn azerty bailey banana barcelona baseball basketball batman beautiful blink
    buster butterfly cameron changeme charlie cheese chelsea chicken chocolate christian christmas clinic coffee
    college computer cookie daniel database december default desktop diamond dicom dictionary doctor dolphin
    donald dragon eagles easter elephant everton family february fender finance firewall flower football forever
    forget freedom friday friends fuckyou gateway ginger google guest guitar hannah happy harley health heaven
    hello hospital hotmail hunter iceman iloveyou imaging internet jackson jasmine jennifer jessica jordan
    joshua justin keyboard killer lakers letmein liverpool login lovely loveme machine madison maggie manager
    manchester master matrix matthew maverick medical melissa mercedes michael michelle microsoft midnight
    modality monday money monkey morning mother mustang mypassword network newpassword nicholas nicole ninja
    november nurse october office olivia orange orthanc pacs passcode passphrase password passwort patient
    patrick peanut pepper phoenix physician picture please pokemon prince princess private purple qazwsx qwerty
    qwertz rabbit radiology ranger remote robert root router samantha samsung saturday school scooter secret
    secure security september server service shadow silver soccer spider spring starwars steelers storage
    strongroom summer sunday sunflower sunshine superman support swordfish sysadmin system taylor teacher
    temporary test testing thomas thunder thursday tigger trustno tuesday ultrasound unknown username vanilla
    viewer wednesday welcome whatever william windows winter wizard workstation xray yankees yellow zxcvbn
"""
COMMON: Final = frozenset(_WORDS.split())
"""Words that a guesser has on the first page."""

_RUNS: Final = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm",
                "azertyuiopqsdfghjklmwxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm", "qazwsxedcrfvtgbyhnujm")  # fmt: skip
_MIN_RUN: Final = 4
_SPELLED: Final = str.maketrans("013457@$!|", "oieastasii")
_WORD: Final = re.compile("[a-z]+")
_MIN_OWN_CHARS: Final = 5
"""So many characters have to be left of a passcode once everything is taken away that is easily guessed."""


def check_passcode(passcode: str, name: str = "") -> str:
    """What is wrong with a passcode for the account ``name``, "" if it is good."""
    if len(passcode) < MIN_CHARS:
        return f"a passcode has at least {MIN_CHARS} characters"
    if len(passcode) > MAX_CHARS:
        return f"a passcode has at most {MAX_CHARS} characters"
    if is_common(passcode, name) or is_leaked(passcode):
        return "that passcode is among the first that somebody would try: three or four unrelated words are better"
    return ""


def is_common(passcode: str, name: str = "") -> bool:
    """Whether little is left of it without common words, runs, repetitions, years and the account's own name."""
    lower = passcode.casefold()
    guessed = COMMON | {word for word in _WORD.findall(name.casefold()) if len(word) > 2}
    for text in (lower, lower.translate(_SPELLED)):
        left = _without_runs(text)
        for word in sorted(guessed, key=lambda each: (-len(each), each)):
            left = left.replace(word, " ")
        left = re.sub(r"(.)\1{2,}", " ", left)  # one character again and again
        own = re.sub(r"[^a-z\u0080-\U0010ffff]", "", left)
        halves = re.fullmatch(r"(.{1,8}?)\1+", text)
        if halves is not None or len(set(own)) < _MIN_OWN_CHARS:
            # Digits alone may be long enough to be random, but are a date or a telephone number more often.
            return not _is_random(text, left)
    return False


def _is_random(text: str, left: str) -> bool:
    """Whether what is left is long and varied enough, whatever it is made of."""
    rest = left.replace(" ", "")
    return len(rest) >= MIN_CHARS and len(set(rest)) >= 8 and not text.isdecimal()


def _without_runs(text: str) -> str:
    """The text without pieces of the alphabet or of rows of a keyboard, either way."""
    found = list(text)
    for run in (*_RUNS, *(each[::-1] for each in _RUNS)):
        at = 0
        while at < len(text):
            end = at + 1
            while end < len(text) and text[at : end + 1] in run:
                end += 1
            if end - at >= _MIN_RUN:
                found[at:end] = " " * (end - at)
                at = end
            else:
                at += 1
    return "".join(found)
