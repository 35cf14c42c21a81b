"""Somebody who can write to the database tries to change what the trail says, and to have it believed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateTable

from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import IntegrityError, NotFound, StrongroomError
from strongroom.trail.log import TrailLog, TrailReader, metadata
from strongroom.trail.note import Checkpoint, Signer, encode_notes, origin_of, parse_note, parse_notes
from strongroom.trail.receipt import Trust
from strongroom.trail.record import encode_record, parse_record
from strongroom.trail.tree import Frontier, leaf_hash
from strongroom.trail.verify import prove, verify
from strongroom.types import Principal

DIALECT = create_engine("sqlite://").dialect
READER = TrailReader(DIALECT)
SIGNER = Signer("strongroom/a1", bytes(32))
THIEF = Signer("strongroom/a1", bytes([1]) * 32)
TRUST = Trust("a1", (SIGNER.verifier,))
NOW = 1_772_368_205.25


class Archive:
    """A trail of two logs with checkpoints at 4 and 9 of 12 records in the first, all kept inside and outside."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.cursor = self.connection.cursor()
        for table in metadata.sorted_tables:
            self.cursor.execute(str(CreateTable(table).compile(dialect=DIALECT)))
        self.outside = []
        for log, count in (("main", 4), ("web", 3), ("main", 5)):
            self.append(log, count)
            self.outside.append(self.checkpoint(log))
        self.append("main", 3)

    def append(self, log, count):
        user = Principal("CT1", "ab" * 32, "dr. who", "10.0.0.7")
        events = [Event(Action.RETRIEVE, Outcome.SUCCESS, user, {"number": number}) for number in range(count)]
        return TrailLog(log, DIALECT).append(self.cursor, events, [NOW] * len(events), random=os.urandom)

    def checkpoint(self, log, signer=SIGNER, archive="a1"):
        return TrailLog(log, DIALECT).checkpoint(self.cursor, signer, archive, NOW)

    def sql(self, statement, *parameters):
        return self.cursor.execute(statement, parameters).fetchall()

    def findings(self, *, with_outside=False):
        against = parse_notes(encode_notes(self.outside)) if with_outside else ()
        return verify(READER, self.cursor, TRUST, against)

    def rewrite(self, log, records):
        """What the thief does who knows the format: new leaves, a new head, everything consistent."""
        frontier = Frontier()
        self.sql("DELETE FROM trail_record WHERE log = ?", log)
        for seq, record in enumerate(records):
            raw = encode_record(replace(record, log=log, seq=seq))
            frontier.append(leaf_hash(raw))
            self.sql("INSERT INTO trail_record VALUES (?, ?, ?, ?)", log, seq, raw, leaf_hash(raw))
        self.sql("UPDATE trail_log SET size = ?, frontier = ? WHERE name = ?", frontier.size, frontier.to_bytes(), log)

    def records(self, log="main"):
        return [parse_record(row.raw) for page in READER.pages(self.cursor, log) for row in page]

    def forget_checkpoints(self, log="main", above=-1):
        self.sql("DELETE FROM trail_checkpoint WHERE log = ? AND size > ?", log, above)


@pytest.fixture
def archive():
    archive = Archive()
    with closing(archive.connection):
        yield archive


def told(findings):
    return "\n".join(f"{finding.log} {finding.seq} {finding.what}" for finding in findings)


def test_an_untouched_trail_has_no_findings(archive):
    assert archive.findings() == []
    assert archive.findings(with_outside=True) == []


def test_no_byte_of_a_record_can_be_edited(archive):
    (raw,) = archive.sql("SELECT record FROM trail_record WHERE log = 'main' AND seq = 5")[0]
    for at in range(len(raw)):
        edited = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        archive.sql("UPDATE trail_record SET record = ? WHERE log = 'main' AND seq = 5", edited)
        assert 5 in [finding.seq for finding in archive.findings()], at


def test_an_edited_record_with_its_leaf_made_anew_is_located_between_two_checkpoints(archive):
    record = archive.records()[5]
    edited = encode_record(replace(record, event=replace(record.event, outcome=Outcome.REFUSED)))
    archive.sql("UPDATE trail_record SET record=?, leaf=? WHERE log='main' AND seq=5", edited, leaf_hash(edited))
    text = told(archive.findings())
    assert "something between records 4 and 8 was changed" in text
    assert "frontier" in text


def test_an_edit_after_the_last_checkpoint_is_found_by_the_head(archive):
    record = archive.records()[10]
    edited = encode_record(replace(record, salt=bytes(16)))
    archive.sql("UPDATE trail_record SET record=?, leaf=? WHERE log='main' AND seq=10", edited, leaf_hash(edited))
    assert told(archive.findings()) == "main None the head's frontier is not that of the records"


def test_two_records_that_change_places_are_found(archive):
    archive.sql("UPDATE trail_record SET seq = 100 WHERE log = 'main' AND seq = 5")
    archive.sql("UPDATE trail_record SET seq = 5 WHERE log = 'main' AND seq = 6")
    archive.sql("UPDATE trail_record SET seq = 6 WHERE log = 'main' AND seq = 100")
    assert {5, 6} <= {finding.seq for finding in archive.findings()}


def test_records_taken_from_the_middle_are_named(archive):
    archive.sql("DELETE FROM trail_record WHERE log = 'main' AND seq IN (5, 6)")
    findings = archive.findings()
    assert (findings[0].seq, findings[0].what) == (5, "records 5 to 6 are missing")
    assert "record 5 is missing" in told(findings[1:])


def test_a_tail_cut_off_carelessly_is_found_by_the_head(archive):
    archive.sql("DELETE FROM trail_record WHERE log = 'main' AND seq >= 10")
    assert told(archive.findings()) == "main None the head states 12 records, but there are 10"


def test_a_tail_cut_off_with_care_is_found_by_the_stored_checkpoint(archive):
    archive.rewrite("main", archive.records()[:6])
    assert "states 9 records, but there are 6: the last 3 were cut off" in told(archive.findings())


@pytest.mark.parametrize("kept", [0, 3, 4, 8])
def test_a_cut_with_all_traces_removed_falls_to_the_outside_checkpoint_alone(archive, kept):
    archive.rewrite("main", archive.records()[:kept])
    archive.forget_checkpoints(above=kept)
    assert archive.findings() == []
    assert f"but there are {kept}: the last {9 - kept} were cut off" in told(archive.findings(with_outside=True))


def test_a_cut_of_what_no_checkpoint_saw_is_beyond_what_a_trail_can_show(archive):
    # The limit that docs/trail-format.md states: it is why checkpoints are made often and leave the host.
    archive.rewrite("main", archive.records()[:9])
    assert archive.findings(with_outside=True) == []


def test_a_history_rewritten_throughout_falls_to_the_outside_checkpoint_alone(archive):
    records = archive.records()
    records[5] = replace(records[5], event=replace(records[5].event, principal=Principal("SOMEBODY")))
    archive.rewrite("main", records)
    archive.forget_checkpoints(above=4)
    assert archive.findings() == []
    assert "something between records 4 and 8 was changed" in told(archive.findings(with_outside=True))


def test_a_removed_record_with_the_rest_moved_up_falls_to_the_outside_checkpoint(archive):
    records = archive.records()
    archive.rewrite("main", records[:2] + records[3:])
    archive.forget_checkpoints()
    assert archive.findings() == []
    assert "something between records 0 and 3 was changed" in told(archive.findings(with_outside=True))


def test_a_history_signed_anew_with_the_thief_s_key_is_not_believed(archive):
    archive.rewrite("main", archive.records()[:6])
    archive.forget_checkpoints()
    archive.checkpoint("main", THIEF)
    assert "at 6 is not signed by a key of this archive" in told(archive.findings())


def test_a_checkpoint_of_another_archive_with_the_right_key_is_not_believed(archive):
    archive.append("main", 1)
    archive.checkpoint("main", archive="a2")
    assert "at 13 is of another archive or log" in told(archive.findings())


def test_a_forged_outside_checkpoint_proves_nothing_and_is_reported(archive):
    note = THIEF.sign(parse_note(archive.outside[0]).checkpoint)
    (finding,) = verify(READER, archive.cursor, TRUST, [parse_note(note)])
    assert "outside at 4 is not signed" in finding.what
    note = THIEF.sign(Checkpoint(origin_of("a1", "ghost"), 4, bytes(32), parse_note(note).checkpoint.time))
    (finding,) = verify(READER, archive.cursor, TRUST, [parse_note(note)])
    assert "is not signed" in finding.what


def test_a_log_that_was_removed_whole_falls_to_the_outside_checkpoint(archive):
    for table, column in (("trail_record", "log"), ("trail_log", "name"), ("trail_checkpoint", "log")):
        archive.sql(f"DELETE FROM {table} WHERE {column} = 'web'")
    assert archive.findings() == []
    assert told(archive.findings(with_outside=True)) == (
        "web None the whole log is gone: the checkpoint kept outside states 3 records"
    )


@pytest.mark.parametrize(("table", "column"), [("trail_record", "log"), ("trail_log", "name")])
def test_half_a_log_is_still_seen(archive, table, column):
    archive.sql(f"DELETE FROM {table} WHERE {column} = 'web'")
    assert {finding.log for finding in archive.findings()} == {"web"}


def test_logs_that_change_names_are_found(archive):
    for table, column in (("trail_record", "log"), ("trail_log", "name"), ("trail_checkpoint", "log")):
        for old, new in (("main", "x"), ("web", "main"), ("x", "web")):
            archive.sql(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", new, old)
    findings = archive.findings()
    assert {finding.log for finding in findings} == {"main", "web"}
    assert "was written as number 0 of log web" in told(findings)
    assert "is of another archive or log" in told(findings)


def test_an_old_head_put_back_is_never_built_on_nor_signed(archive):
    (old,) = archive.sql("SELECT size, frontier FROM trail_log WHERE name = 'main'")
    archive.append("main", 4)
    archive.checkpoint("main")
    archive.sql("UPDATE trail_log SET size = ?, frontier = ? WHERE name = 'main'", *old)
    with pytest.raises(IntegrityError):
        archive.append("main", 1)
    with pytest.raises(IntegrityError):
        archive.checkpoint("main")
    archive.sql("DELETE FROM trail_record WHERE log = 'main' AND seq >= 12")
    assert "states 16 records, but there are 12" in told(archive.findings())


def test_a_head_that_contradicts_itself_is_never_built_on(archive):
    archive.sql("UPDATE trail_log SET size = size + 1 WHERE name = 'main'")
    with pytest.raises(IntegrityError):
        archive.append("main", 1)
    with pytest.raises(IntegrityError):
        archive.checkpoint("main")


@pytest.mark.parametrize("seq", [-1, -(2**63), 12, 2**63 - 1])
def test_a_record_slipped_in_before_or_behind_the_others_is_found(archive, seq):
    archive.sql("INSERT INTO trail_record SELECT log, ?, record, leaf FROM trail_record WHERE log='web' AND seq=1", seq)
    assert seq in [finding.seq for finding in archive.findings()]


def test_a_rewritten_log_of_the_same_length_is_never_signed_again(archive):
    archive.append("main", 1)
    archive.checkpoint("main")
    archive.rewrite("main", [replace(record, salt=bytes(16)) for record in archive.records()])
    with pytest.raises(IntegrityError):
        archive.checkpoint("main")


def test_a_checkpoint_filed_under_another_size_or_edited_is_found(archive):
    archive.sql("UPDATE trail_checkpoint SET size = 8 WHERE size = 9")
    assert "stored at 8 states 9 records" in told(archive.findings())
    archive.sql("UPDATE trail_checkpoint SET note = replace(note, '\n9\n', '\n8\n') WHERE size = 8")
    assert "at 8 is not signed" in told(archive.findings())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trail_record SET record = 'text' WHERE seq = 2",
        "UPDATE trail_record SET record = 7 WHERE seq = 2",
        "UPDATE trail_record SET leaf = 'text' WHERE seq = 2",
        "UPDATE trail_record SET leaf = x'00' WHERE seq = 2",
        "UPDATE trail_record SET record = zeroblob(5000000) WHERE seq = 2",
        "UPDATE trail_record SET seq = 'text' WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET seq = 1.5 WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET seq = -1 WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET seq = 9223372036854775807 WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET seq = -9223372036854775808 WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET log = x'00' WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET log = '' WHERE log = 'main' AND seq = 2",
        "UPDATE trail_record SET log = 'a/b' WHERE log = 'main' AND seq = 2",
        "UPDATE trail_log SET size = 'text'",
        "UPDATE trail_log SET size = -1",
        "UPDATE trail_log SET size = 9223372036854775807",
        "UPDATE trail_log SET frontier = 'text'",
        "UPDATE trail_log SET frontier = zeroblob(5000000)",
        "UPDATE trail_log SET frontier = x''",
        "UPDATE trail_checkpoint SET note = x'00'",
        "UPDATE trail_checkpoint SET note = ''",
        "UPDATE trail_checkpoint SET note = note || 'x'",
        "UPDATE trail_checkpoint SET note = hex(zeroblob(5000000))",
        "UPDATE trail_checkpoint SET size = 'text' WHERE log = 'web'",
        "UPDATE trail_checkpoint SET size = 9223372036854775807 WHERE log = 'web'",
    ],
)
def test_values_that_have_no_place_there_are_findings_and_never_a_crash(archive, statement):
    archive.sql(statement)
    assert archive.findings() != []
    assert archive.findings(with_outside=True) != []
    for log in ("main", "web"):
        for act in (lambda log=log: archive.append(log, 1), lambda log=log: archive.checkpoint(log)):
            try:
                act()
            except StrongroomError:
                continue


def test_a_thousand_broken_records_are_counted_but_not_all_listed(archive):
    archive.append("web", 1000)
    archive.sql("UPDATE trail_record SET leaf = zeroblob(32)")
    archive.sql("DELETE FROM trail_record WHERE log = 'web' AND seq >= 1000")
    findings = archive.findings()
    assert len(findings) < 250
    assert "900 more findings in this log" in told(findings)
    assert "the head states 1003 records, but there are 1000" in told(findings)


def test_no_receipt_is_given_for_what_the_checkpoint_does_not_cover_or_contradicts(archive):
    with pytest.raises(NotFound):
        prove(READER, archive.cursor, "main", 9)
    with pytest.raises(NotFound):
        prove(READER, archive.cursor, "ghost", 0)
    archive.sql("UPDATE trail_checkpoint SET size = 12 WHERE log = 'main' AND size = 9")
    with pytest.raises(IntegrityError):
        prove(READER, archive.cursor, "main", 10)
    archive.sql("UPDATE trail_checkpoint SET size = 9 WHERE log = 'main' AND size = 12")
    archive.sql("UPDATE trail_record SET leaf = zeroblob(32) WHERE log = 'main' AND seq = 3")
    with pytest.raises(IntegrityError):
        prove(READER, archive.cursor, "main", 5)
    archive.sql("DELETE FROM trail_record WHERE log = 'main' AND seq = 3")
    with pytest.raises(IntegrityError, match="no record 3"):
        list(READER.leaves(archive.cursor, "main", 0, 9))


def test_a_hostile_calling_title_stays_one_line_of_one_record(archive):
    title = '","outcome":"success"}\n{"action":"delete' + "\x1b[2J" + "\ud800" + "x" * 10_000
    event = Event(Action.ASSOCIATION, Outcome.REFUSED, Principal(title), {"called": title})
    TrailLog("main", DIALECT).append(archive.cursor, [event], [NOW], random=os.urandom)
    assert archive.findings() == []
    line = b"".join(READER.export(archive.cursor, "main")).split(b"\n")[12]
    assert parse_record(line).event.outcome is Outcome.REFUSED
    assert b"\x1b" not in line
