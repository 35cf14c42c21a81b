"""Properties of the trail: records and notes survive the way there and back, trees prove exactly what is in them."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateTable

from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import IntegrityError, LimitExceeded
from strongroom.trail.log import TrailLog, TrailReader, metadata
from strongroom.trail.note import Checkpoint, Signer, encode_notes, origin_of, parse_note, parse_notes
from strongroom.trail.receipt import Trust
from strongroom.trail.record import MAX_INTEGER, MAX_RECORD_BYTES, Record, encode_record, parse_record
from strongroom.trail.tree import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from strongroom.trail.verify import verify
from strongroom.types import Principal

SIGNER = Signer("strongroom/a1", bytes(32))
any_text = st.text(st.characters(), max_size=700)
any_json = st.recursive(st.none() | st.integers() | any_text, st.lists)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC))
keys = st.text(st.characters(max_codepoint=127), max_size=64)
details = st.dictionaries(
    keys,
    any_text
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.lists(st.text(max_size=20), max_size=80).map(tuple),
    max_size=40,
)
records = st.builds(
    Record,
    log=names,
    seq=st.integers(0, MAX_INTEGER),
    time=times,
    salt=st.binary(min_size=16, max_size=16),
    event=st.builds(
        Event,
        st.sampled_from(Action),
        st.sampled_from(Outcome),
        st.builds(Principal, any_text, any_text, any_text, any_text),
        details,
    ),
)


@settings(max_examples=150, deadline=None)
@given(records)
def test_a_record_has_one_spelling_that_stays_the_same(record):
    raw = encode_record(record)
    assert len(raw) <= MAX_RECORD_BYTES
    read = parse_record(raw)
    assert encode_record(read) == raw
    assert (read.log, read.seq, read.time, read.salt) == (record.log, record.seq, record.time, record.salt)
    plain = json.loads(raw)
    assert json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() == raw


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | any_text, st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_a_record_or_refused(raw):
    with suppress(IntegrityError):
        assert encode_record(parse_record(raw)) == raw


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70), st.data())
def test_a_tree_proves_what_is_in_it_and_nothing_else(items, data):
    leaves = [leaf_hash(item) for item in items]
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))

    def part(start, stop):
        return leaves[start:stop]

    root = root_of(leaves)
    proof = inclusion_proof(part, index, size)
    assert verify_inclusion(leaves[index], index, size, proof, root)
    elsewhere = data.draw(st.integers(0, size - 1))
    assert verify_inclusion(leaves[index], elsewhere, size, proof, root) <= (leaves[elsewhere] == leaves[index])
    assert not verify_inclusion(leaf_hash(b"of nothing drawn"), index, size, proof, root)
    consistency = consistency_proof(part, old, size)
    assert verify_consistency(old, size, root_of(leaves[:old]), root, consistency)
    if old < size:
        assert not verify_consistency(old, size, leaf_hash(b"of nothing drawn"), root, consistency)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.binary(max_size=300))
def test_a_frontier_is_parsed_back_or_refused(size, raw):
    frontier = Frontier()
    for number in range(size):
        frontier.append(leaf_hash(bytes([number])))
    assert Frontier.parse(frontier.to_bytes()).root() == frontier.root()
    with suppress(IntegrityError):
        assert Frontier.parse(raw).to_bytes() == raw


checkpoints = st.builds(
    Checkpoint,
    origin=st.builds(origin_of, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), names),
    size=st.integers(0, MAX_INTEGER),
    root=st.binary(min_size=32, max_size=32),
    time=times,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(checkpoints, min_size=1, max_size=4))
def test_a_checkpoint_file_holds_what_was_signed(stated):
    notes = [SIGNER.sign(checkpoint) for checkpoint in stated]
    read = parse_notes(encode_notes(notes))
    assert [note.checkpoint for note in read] == stated
    assert [note.text for note in read] == notes
    assert all(SIGNER.verifier.accepts(note) for note in read)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 200), st.characters(), any_text)
def test_a_changed_note_is_refused_or_not_believed_or_the_same(at, char, text):
    note = SIGNER.sign(Checkpoint(origin_of("a1", "main"), 17, bytes(range(32)), datetime(2026, 1, 1, tzinfo=UTC)))
    at = min(at, len(note) - 1)
    for changed in (note[:at] + char + note[at + 1 :], text):
        with suppress(IntegrityError, LimitExceeded):
            assert not SIGNER.verifier.accepts(parse_note(changed)) or changed == note
        with suppress(IntegrityError, LimitExceeded):
            parse_notes(changed)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["main", "web"]), st.integers(0, 5), st.sampled_from("cra")), max_size=15))
def test_any_course_of_commits_rollbacks_and_checkpoints_verifies_against_all_of_them(course):
    dialect = create_engine("sqlite://").dialect
    outside = []
    sizes = {"main": 0, "web": 0}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        for table in metadata.sorted_tables:
            cursor.execute(str(CreateTable(table).compile(dialect=dialect)))
        for name, count, step in course:
            log = TrailLog(name, dialect)
            cursor.execute("BEGIN IMMEDIATE")
            event = Event(Action.ECHO, Outcome.SUCCESS, Principal("CT1"))
            numbers = log.append(cursor, [event] * count, [1.75e9] * count, random=os.urandom)
            assert numbers == list(range(sizes[name], sizes[name] + count))
            note = log.checkpoint(cursor, SIGNER, "a1", 1.75e9) if step == "c" else None
            cursor.execute("ROLLBACK" if step == "r" else "COMMIT")
            sizes[name] += 0 if step == "r" else count
            outside += [] if note is None else [parse_note(note)]
        assert verify(TrailReader(dialect), cursor, Trust("a1", (SIGNER.verifier,)), outside) == []
