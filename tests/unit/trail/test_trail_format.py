"""The format page is enough: its own program, which knows nothing of Strongroom, verifies what Strongroom writes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateTable

from harness import media
from harness.ingesting import Sample
from strongroom.archive.model import Action, Event, Outcome
from strongroom.trail.log import TrailLog, TrailReader, metadata
from strongroom.trail.note import Signer
from strongroom.trail.receipt import encode_receipt
from strongroom.trail.verify import prove
from strongroom.types import Principal

PAGE = (Path(__file__).parents[3] / "docs" / "trail-format.md").read_text(encoding="utf-8")
SIGNER = Signer("strongroom/a1", bytes(32))


@pytest.fixture(scope="module")
def exported():
    dialect = create_engine("sqlite://").dialect
    lines = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        for table in metadata.sorted_tables:
            cursor.execute(str(CreateTable(table).compile(dialect=dialect)))
        event = Event(Action.ECHO, Outcome.SUCCESS, Principal("CT\u00e9\n1"))
        for name, count in (("main", 21), ("web", 1)):
            log = TrailLog(name, dialect)
            log.append(cursor, [event] * count, [1.75e9] * count, random=os.urandom)
            log.checkpoint(cursor, SIGNER, "a1", 1.75e9)
            log.append(cursor, [event], [1.75e9], random=os.urandom)
            lines += TrailReader(dialect).export(cursor, name)
    return b"".join(lines)


def run(tmp_path, exported):
    program, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "verify.py").write_text(program, encoding="utf-8")
    (tmp_path / "trail.jsonl").write_bytes(exported)
    (tmp_path / "key.pem").write_bytes(SIGNER.verifier.to_pem())
    command = [sys.executable, "verify.py", "trail.jsonl", "key.pem"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)


def test_the_page_s_program_accepts_what_was_exported(tmp_path, exported):
    done = run(tmp_path, exported)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("strongroom/a1/main: 21 of 22 records are as signed")
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.replace(b'"success"', b'"refused"', 1), "was rewritten"),
        (lambda data: data.partition(b"\n")[2], "record 0 is missing"),
        (lambda data: b"".join(data.splitlines(True)[:20] + data.splitlines(True)[22:]), "was cut"),
        (lambda data: data.replace(b"\\n21\\n", b"\\n20\\n"), "InvalidSignature"),
    ],
    ids=["edit", "first", "tail", "note"],
)
def test_the_page_s_program_refuses_what_was_changed(tmp_path, exported, change, said):
    done = run(tmp_path, change(exported))
    assert done.returncode != 0
    assert said in done.stderr


@pytest.fixture(scope="module")
def receipts():
    dialect = create_engine("sqlite://").dialect
    details = {"sha256": sha256(Sample(1).dataset).hexdigest()}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        for table in metadata.sorted_tables:
            cursor.execute(str(CreateTable(table).compile(dialect=dialect)))
        log = TrailLog("main", dialect)
        event = Event(Action.STORE, Outcome.SUCCESS, Principal("CT\u00e9\n1"), details)
        log.append(cursor, [event] * 13, [1.75e9] * 13, random=os.urandom)
        log.checkpoint(cursor, SIGNER, "a1", 1.75e9)
        return [encode_receipt(prove(TrailReader(dialect), cursor, "main", seq)) for seq in range(13)]


def run_on(tmp_path, receipt):
    _, program = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "verify.py").write_text(program, encoding="utf-8")
    (tmp_path / "receipt").write_bytes(receipt)
    (tmp_path / "key.pem").write_bytes(SIGNER.verifier.to_pem())
    media.write(tmp_path / "1.dcm", Sample(1))
    command = [sys.executable, "verify.py", "receipt", "key.pem", "1.dcm"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)


@pytest.mark.parametrize("seq", [0, 7, 8, 12])
def test_the_page_s_program_accepts_a_receipt(tmp_path, receipts, seq):
    done = run_on(tmp_path, receipts[seq])
    assert done.returncode == 0, done.stderr
    assert f'"seq":{seq}' in done.stdout
    assert done.stdout.endswith("the object is what was received\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.replace(b"success", b"refused"), "is not in the log"),
        (lambda data: data.replace(b"\\n13\\n", b"\\n12\\n"), "InvalidSignature"),
        (lambda data: data.replace(b'"seq":4,"v"', b'"seq":5,"v"'), "another record"),
    ],
    ids=["edit", "note", "number"],
)
def test_the_page_s_program_refuses_a_changed_receipt(tmp_path, receipts, change, said):
    changed = change(receipts[4])
    assert changed != receipts[4]
    done = run_on(tmp_path, changed)
    assert done.returncode != 0
    assert said in done.stderr
