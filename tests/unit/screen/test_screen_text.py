"""Text: what harms whoever shows, lists or files it, and the text of every day, which does not."""

from __future__ import annotations

import pytest

from strongroom.screen import scripts
from strongroom.screen.findings import Severity
from strongroom.screen.rules import RULES
from strongroom.screen.text import check_text, check_uid, suspicious


def worst(value: bytes) -> tuple[str, Severity] | None:
    found = [(match.rule, severity or RULES[match.rule].severity) for match, severity in check_text(value)]
    return max(found, key=lambda each: each[1], default=None)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"<script>alert(1)</script>", "SR-TXT-002"),
        (b"<img src=x onerror=alert(1)>", "SR-TXT-002"),
        (b"<SVG/ONLOAD=alert(1)>", "SR-TXT-002"),
        (b'=HYPERLINK("http://x","y")', "SR-TXT-003"),
        (b"=cmd|' /C calc'!A0", "SR-TXT-003"),
        (b"@SUM(1+1)*cmd|' /C calc'!A0", "SR-TXT-003"),
        (b"../../etc/passwd", "SR-TXT-004"),
        (b"..\\..\\windows\\win.ini", "SR-TXT-004"),
        (b"%2e%2e%2fetc", "SR-TXT-004"),
        (b"\x1b[2J\x1b[1;1H", "SR-TXT-005"),
        (b"\x1b]0;title\x07", "SR-TXT-005"),
        (b"DOE^$(id)", "SR-TXT-006"),
        (b"DOE;id;", "SR-TXT-006"),
        (b"x`reboot -f`", "SR-TXT-006"),
        (b"${jndi:ldap://x/a}", "SR-TXT-006"),
        (b"a && curl http://x", "SR-TXT-006"),
        (b"gro\xe2\x80\xae.exe", "SR-TXT-007"),
        (b"' OR '1'='1", "SR-TXT-008"),
        (b"1; DROP TABLE study", "SR-TXT-008"),
    ],
)
def test_what_harms_is_found(value: bytes, rule: str) -> None:
    assert suspicious([b"DOE^JOHN", value]) == [1]
    assert rule in {match.rule for match, _ in check_text(value)}
    found = worst(value)
    assert found is not None
    assert found[1] >= Severity.MEDIUM


@pytest.mark.parametrize(
    "value",
    [
        b"DOE^JOHN^^^",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B",
        b"Buc^J\xe9r\xf4me",
        b"CT Abdomen/Pelvis w/ contrast (portal venous, 70 s)",
        b"Size < 5 mm; stable since 2019",
        b"R&D / QA phantom #3 @ 120 kV, FOV=350",
        b"-1000\\3000",
        b"+0100",
        b"http://www.example.org/wado?x=1&y=2",
        b"No evidence of pneumothorax. Impression:\r\n1. Normal.\r\n2. Follow-up in 6 months.",
        b"\\SOLID\\PRIMARY",
        b"Smith & Sons; Radiology",
        b"100% O2, pH = 7.4",
        b"1.2.840.113619.2.55",
    ],
)
def test_text_of_every_day_is_not(value: bytes) -> None:
    found = worst(value)
    assert found is None or found[1] <= Severity.LOW


def test_a_hostile_text_takes_no_time() -> None:
    for piece in (b"<a ", b"=((", b"; ", b"../", b"${", b"' or", b"\x1b[", b"a" * 9, b" \t"):
        check_text(piece * 300_000)
        scripts.script(piece * 300_000, 0)


@pytest.mark.parametrize("value", [b"1.2.3", b"1.2.3\0", b"1.2\\1.3", b"", b"1.02.3"])
def test_a_uid_is_one(value: bytes) -> None:
    assert check_uid(value) is None


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"../../etc/x", "SR-UID-001"),
        (b"/abs", "SR-UID-001"),
        (b"1.2\0/x", "SR-UID-001"),
        (b"1..2", "SR-UID-001"),
        (b"1.2;id", "SR-UID-001"),
        (b"1.2.a", "SR-UID-002"),
        (b"1." * 2500 + b"1", "SR-UID-002"),
    ],
)
def test_what_is_no_uid_is_said(value: bytes, rule: str) -> None:
    found = check_uid(value)
    assert found is not None
    assert found[0].rule == rule


@pytest.mark.parametrize(
    "script",
    [
        b"@echo off\r\nstart calc.exe\r\n",
        b"$x = New-Object Net.WebClient; IEX $x\n",
        b'Set s = CreateObject("WScript.Shell")\r\n',
        b'require("child_process").exec("id")\n',
        b"<?php system($_GET[0]); ?>",
        b"#!/usr/bin/env python3\nprint(1)\n",
        b"import socket\nimport os\ndef f(x):\n  print(x)\n",
        "\ufeff@echo off\r\n".encode("utf-16-le"),
        b"[InternetShortcut]\r\nURL=file://x\r\n",
    ],
)
def test_programs_are_told_from_text(script: bytes) -> None:
    found = scripts.script(script, 0)
    assert found is not None
    assert found.rule == "SR-SCRIPT-001"


def test_a_report_of_a_physician_is_no_program() -> None:
    report = b"The patient was asked to start metformin; set for CT. Call Dr. X if symptoms return (see note). " * 40
    assert scripts.script(report, 0) is None
