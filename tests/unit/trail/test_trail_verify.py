"""Verification of honest trails, and receipts that an outsider checks."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateTable

from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import IntegrityError
from strongroom.trail.log import TrailLog, TrailReader, metadata
from strongroom.trail.note import Checkpoint, Signer, parse_note
from strongroom.trail.receipt import Receipt, Trust, check_receipt, encode_receipt, parse_receipt
from strongroom.trail.tree import leaf_hash
from strongroom.trail.verify import prove, verify
from strongroom.types import Principal

DIALECT = create_engine("sqlite://").dialect
READER = TrailReader(DIALECT)
SIGNER = Signer("strongroom/a1", bytes(32))
SECOND = Signer("strongroom/a1", bytes([2]) * 32)
TRUST = Trust("a1", (SIGNER.verifier,))
EVENT = Event(Action.QUERY, Outcome.SUCCESS, Principal("WS\u00e91"), {"matches": 3})


@pytest.fixture
def cursor():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        for table in metadata.sorted_tables:
            cursor.execute(str(CreateTable(table).compile(dialect=DIALECT)))
        yield cursor


def append(cursor, count, log="main"):
    return TrailLog(log, DIALECT).append(cursor, [EVENT] * count, [1.75e9] * count, random=os.urandom)


def checkpoint(cursor, signer=SIGNER, log="main"):
    return TrailLog(log, DIALECT).checkpoint(cursor, signer, "a1", 1.75e9)


def test_an_empty_database_has_no_findings(cursor):
    assert verify(READER, cursor, TRUST) == []


def test_progress_counts_every_record_of_every_log_once(cursor):
    append(cursor, 600)
    append(cursor, 10, log="web")
    seen = []
    assert verify(READER, cursor, TRUST, progress=lambda done, total: seen.append((done, total))) == []
    assert seen[-1] == (610, 610)
    assert seen == sorted(seen)
    assert len(seen) >= 4


def test_outside_checkpoints_may_come_in_any_order_and_more_than_once(cursor):
    notes = []
    for count in (1, 1, 2, 300):
        append(cursor, count)
        notes.append(parse_note(checkpoint(cursor)))
    append(cursor, 5)
    assert verify(READER, cursor, TRUST, [*reversed(notes), *notes]) == []


def test_more_checkpoints_than_a_page_are_all_compared(cursor):
    for _ in range(300):
        append(cursor, 1)
        checkpoint(cursor)
    assert verify(READER, cursor, TRUST) == []
    cursor.execute(
        "UPDATE trail_checkpoint SET note = (SELECT note FROM trail_checkpoint WHERE size = 1) WHERE size=299"
    )
    (finding,) = verify(READER, cursor, TRUST)
    assert finding.what == "the checkpoint stored at 299 states 1 records"


def test_an_archive_that_changed_its_key_is_verified_with_both(cursor):
    append(cursor, 1)
    checkpoint(cursor)
    append(cursor, 1)
    checkpoint(cursor, SECOND)
    assert verify(READER, cursor, Trust("a1", (SIGNER.verifier, SECOND.verifier))) == []
    (finding,) = verify(READER, cursor, TRUST)
    assert "at 2 is not signed" in finding.what


def test_every_record_under_a_checkpoint_has_a_receipt_that_an_outsider_can_check(cursor):
    append(cursor, 11)
    checkpoint(cursor)
    append(cursor, 3)
    for seq in range(11):
        receipt = prove(READER, cursor, "main", seq)
        assert parse_receipt(encode_receipt(receipt)) == receipt
        record, findings = check_receipt(receipt, TRUST)
        assert findings == []
        assert (record.seq, record.log, record.event) == (seq, "main", EVENT)


def test_a_changed_receipt_proves_nothing(cursor):
    append(cursor, 11)
    note = checkpoint(cursor)
    receipt = prove(READER, cursor, "main", 4)
    other = prove(READER, cursor, "main", 5)
    append(cursor, 1)
    for changed in (
        replace(receipt, raw=other.raw),
        replace(receipt, seq=5),
        replace(receipt, raw=other.raw, seq=5),
        replace(receipt, proof=receipt.proof[:-1]),
        replace(receipt, proof=(*receipt.proof, bytes(32))),
        replace(receipt, proof=(b"",) * 100),
        replace(receipt, raw=receipt.raw.replace(b"success", b"refused")),
        replace(receipt, raw=b"{}"),
        replace(receipt, note="nothing"),
        replace(receipt, note=note.replace("\n11\n", "\n12\n")),
        replace(receipt, note=checkpoint(cursor)),
        replace(receipt, note=SECOND.sign(parse_note(note).checkpoint)),
        replace(receipt, note=SIGNER.sign(replace(parse_note(note).checkpoint, origin="strongroom/a1/web"))),
        replace(receipt, note=SIGNER.sign(replace(parse_note(note).checkpoint, origin="strongroom/a2/main"))),
    ):
        record, findings = check_receipt(changed, TRUST)
        assert record is None
        assert len(findings) == 1


def test_a_record_under_another_number_than_its_own_proves_nothing(cursor):
    append(cursor, 8)
    raw = READER.read(cursor, "main", 7, 1)[0].raw
    # What an archive could sign that puts a genuine record into another place of its tree.
    note = SIGNER.sign(Checkpoint("strongroom/a1/main", 1, leaf_hash(raw), datetime(2026, 1, 1, tzinfo=UTC)))
    record, findings = check_receipt(Receipt(0, raw, (), note), TRUST)
    assert (record, len(findings)) == (None, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: None,
        lambda line: [],
        lambda line: line | {"more": 1},
        lambda line: line | {"seq": "4"},
        lambda line: line | {"proof": ["zz"]},
        lambda line: line | {"proof": "00"},
        lambda line: line | {"record": 1},
        lambda line: line | {"record": "x" * 300_000},
    ],
)
def test_what_is_no_receipt_is_refused(cursor, change):
    append(cursor, 5)
    checkpoint(cursor)
    line = json.loads(encode_receipt(prove(READER, cursor, "main", 4)))
    with pytest.raises(IntegrityError):
        parse_receipt(json.dumps(change(line)).encode())
