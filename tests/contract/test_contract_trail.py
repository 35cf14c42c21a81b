"""What every database under the trail must do the same: the contract of TrailLog and TrailReader."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlcipher3
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import ConfigError, IntegrityError, LocalProtocolError, NotFound, StorageUnavailable
from strongroom.trail.log import MAX_PAGE, TrailLog, TrailReader, metadata
from strongroom.trail.note import Signer, parse_note
from strongroom.trail.receipt import Trust
from strongroom.trail.record import parse_record
from strongroom.trail.tree import leaf_hash, root_of
from strongroom.trail.verify import verify
from strongroom.types import Principal

SIGNER = Signer("strongroom/a1", bytes(32))
TRUST = Trust("a1", (SIGNER.verifier,))
NOW = 1_772_368_205.25


@dataclass
class Database:
    dialect: Any
    connect: Any
    begin: str

    @contextmanager
    def transaction(self, connection, *, end="COMMIT"):
        with closing(connection.cursor()) as cursor:
            cursor.execute(self.begin)
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute(end)


def sqlite_database(module, url, tmp_path):
    path = str(tmp_path / "trail.db")

    def connect():
        connection = module.connect(path, isolation_level=None, check_same_thread=False)
        if module is sqlcipher3:
            connection.execute(f"PRAGMA key = \"x'{'ab' * 32}'\"")
        connection.execute("PRAGMA journal_mode = wal")
        return connection

    return Database(create_engine(url, module=module).dialect, connect, "BEGIN IMMEDIATE")


def postgresql_database(url):
    psycopg = pytest.importorskip("psycopg")
    schema = f"trail_{secrets.token_hex(8)}"
    bare = url.replace("+psycopg", "")
    with psycopg.connect(bare, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")

    def connect():
        return psycopg.connect(bare, autocommit=True, options=f"-c search_path={schema}")

    dialect = create_engine("postgresql+psycopg://", paramstyle="format").dialect
    return Database(dialect, connect, "BEGIN")


@pytest.fixture(params=["sqlite", "sqlcipher", "postgresql"])
def database(request, tmp_path):
    if request.param == "postgresql":
        database = postgresql_database(request.getfixturevalue("postgres_url"))
    elif request.param == "sqlcipher":
        database = sqlite_database(sqlcipher3, "sqlite+pysqlcipher://", tmp_path)
    else:
        database = sqlite_database(sqlite3, "sqlite://", tmp_path)
    with closing(database.connect()) as connection, closing(connection.cursor()) as cursor:
        for table in metadata.sorted_tables:
            cursor.execute(str(CreateTable(table).compile(dialect=database.dialect)))
            for index in table.indexes:
                cursor.execute(str(CreateIndex(index).compile(dialect=database.dialect)))
    return database


@pytest.fixture
def connection(database):
    with closing(database.connect()) as connection:
        yield connection


def event(number=0):
    return Event(Action.STORE, Outcome.SUCCESS, Principal("CT\u00e9\0", "ab" * 32), {"number": number})


def append(database, connection, count, *, log="main", end="COMMIT"):
    with database.transaction(connection, end=end) as cursor:
        return TrailLog(log, database.dialect).append(
            cursor, [event(number) for number in range(count)], [NOW] * count, random=secrets.token_bytes
        )


def checkpoint(database, connection, *, log="main", now=NOW):
    with database.transaction(connection) as cursor:
        return TrailLog(log, database.dialect).checkpoint(cursor, SIGNER, "a1", now)


def test_numbers_are_gapless_whatever_the_batches(database, connection):
    numbers = [number for count in (1, 3, 0, 1, 16, 300) for number in append(database, connection, count)]
    assert numbers == list(range(321))
    with closing(connection.cursor()) as cursor:
        reader = TrailReader(database.dialect)
        rows = [row for page in reader.pages(cursor, "main") for row in page]
        assert [row.seq for row in rows] == numbers
        assert [parse_record(row.raw).seq for row in rows] == numbers
        assert [row.leaf for row in rows] == [leaf_hash(row.raw) for row in rows]
        assert len({parse_record(row.raw).salt for row in rows}) == len(rows)
        assert parse_record(rows[0].raw).event == event()
        assert verify(reader, cursor, TRUST) == []


def test_a_rollback_leaves_no_trace_and_does_not_disturb_what_follows(database, connection):
    log = TrailLog("main", database.dialect)
    with database.transaction(connection) as cursor:
        log.append(cursor, [event()] * 3, [NOW] * 3, random=secrets.token_bytes)
    with database.transaction(connection, end="ROLLBACK") as cursor:
        assert log.append(cursor, [event()] * 2, [NOW] * 2, random=secrets.token_bytes) == [3, 4]
    # Another process commits other records under the numbers that were rolled back here.
    with closing(database.connect()) as other:
        assert append(database, other, 2) == [3, 4]
    with database.transaction(connection) as cursor:
        assert log.append(cursor, [event()], [NOW], random=secrets.token_bytes) == [5]
    with closing(connection.cursor()) as cursor:
        assert verify(TrailReader(database.dialect), cursor, TRUST) == []


def test_a_rollback_of_the_very_first_record_leaves_no_log(database, connection):
    append(database, connection, 1, end="ROLLBACK")
    with closing(connection.cursor()) as cursor:
        assert TrailReader(database.dialect).logs(cursor) == []


def test_a_record_is_there_exactly_if_what_it_records_is(database, connection):
    with closing(connection.cursor()) as cursor:
        cursor.execute("CREATE TABLE act (n INTEGER)")
    log = TrailLog("main", database.dialect)
    for end, expected in (("ROLLBACK", 0), ("COMMIT", 1)):
        with database.transaction(connection, end=end) as cursor:
            cursor.execute("INSERT INTO act VALUES (1)")
            log.append(cursor, [event()], [NOW], random=secrets.token_bytes)
        with closing(connection.cursor()) as cursor:
            head = TrailReader(database.dialect).head(cursor, "main")
            cursor.execute("SELECT count(*) FROM act")
            assert (cursor.fetchone()[0], 0 if head is None else head.size) == (expected, expected)


def test_logs_are_separate_trees(database, connection):
    for log, count in (("web", 2), ("Main.2", 5), ("main", 3), ("web", 1)):
        append(database, connection, count, log=log)
    with closing(connection.cursor()) as cursor:
        reader = TrailReader(database.dialect)
        assert sorted(reader.logs(cursor)) == ["Main.2", "main", "web"]
        assert {log: reader.head(cursor, log).size for log in reader.logs(cursor)} == {"Main.2": 5, "main": 3, "web": 3}
        assert verify(reader, cursor, TRUST) == []


def test_two_writers_share_one_log_without_losing_a_number(database):
    each = 15
    errors = []

    def write():
        try:
            with closing(database.connect()) as connection:
                if database.dialect.name == "sqlite":
                    connection.execute("PRAGMA busy_timeout = 60000")
                for _ in range(each):
                    append(database, connection, 2)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with closing(database.connect()) as connection, closing(connection.cursor()) as cursor:
        reader = TrailReader(database.dialect)
        assert reader.head(cursor, "main").size == 3 * each * 2
        assert verify(reader, cursor, TRUST) == []


def test_a_checkpoint_states_the_head_and_is_made_once(database, connection):
    assert checkpoint(database, connection) is None
    append(database, connection, 5)
    text = checkpoint(database, connection)
    note = parse_note(text)
    assert SIGNER.verifier.accepts(note)
    assert (note.checkpoint.origin, note.checkpoint.size) == ("strongroom/a1/main", 5)
    assert checkpoint(database, connection, now=NOW + 60) is None
    append(database, connection, 1)
    later = checkpoint(database, connection, now=NOW + 60)
    with closing(connection.cursor()) as cursor:
        reader = TrailReader(database.dialect)
        assert note.checkpoint.root == root_of(reader.leaves(cursor, "main", 0, 5))
        assert [stored.note for stored in reader.checkpoints(cursor, "main", -1, 10)] == [text, later]
        assert [stored.size for stored in reader.checkpoints(cursor, "main", 5, 10)] == [6]
        assert reader.last_checkpoint(cursor, "main").note == later
        assert reader.last_checkpoint(cursor, "main", 5).note == text
        assert reader.last_checkpoint(cursor, "main", 4) is None


def test_an_export_is_the_exact_records_and_the_last_checkpoint(database, connection):
    append(database, connection, 300)
    note = checkpoint(database, connection)
    with closing(connection.cursor()) as cursor:
        lines = b"".join(TrailReader(database.dialect).export(cursor, "main")).split(b"\n")
        assert lines.pop() == b""
        assert json.loads(lines.pop()) == {"checkpoint": note}
        assert [json.loads(line)["seq"] for line in lines] == list(range(300))
        assert root_of(map(leaf_hash, lines)) == parse_note(note).checkpoint.root
        with pytest.raises(NotFound):
            list(TrailReader(database.dialect).export(cursor, "other"))


def test_pages_are_bounded(database, connection):
    append(database, connection, 3)
    reader = TrailReader(database.dialect)
    with closing(connection.cursor()) as cursor:
        assert [row.seq for row in reader.read(cursor, "main", 1, 1)] == [1]
        assert [row.seq for row in reader.read(cursor, "main", 1, MAX_PAGE)] == [1, 2]
        assert reader.read(cursor, "main", 3, 5) == []
        assert [row.seq for row in reader.read_back(cursor, "main", 2, MAX_PAGE)] == [1, 0]
        assert [row.seq for row in reader.read_back(cursor, "main", 3, 1)] == [2]
        assert reader.read_back(cursor, "main", 0, 1) == reader.read_back(cursor, "other", 3, 1) == []
        for count in (0, -1, MAX_PAGE + 1):
            with pytest.raises(LocalProtocolError):
                reader.read(cursor, "main", 0, count)
            with pytest.raises(LocalProtocolError):
                reader.read_back(cursor, "main", 3, count)
            with pytest.raises(LocalProtocolError):
                reader.checkpoints(cursor, "main", 0, count)
        with pytest.raises(IntegrityError):
            list(reader.leaves(cursor, "main", 0, 4))


def test_alerts_are_found_without_reading_the_rest(database, connection):
    with database.transaction(connection) as cursor:
        log = TrailLog("main", database.dialect)
        alerts = [
            Event(action, Outcome.FAILED, Principal("CT"), {"number": number})
            for number, action in enumerate((Action.ALERT, Action.STORE, Action.ALERT_SEEN, Action.ALERT, Action.STORE))
        ]
        log.append(cursor, alerts, [NOW] * len(alerts), random=secrets.token_bytes)
    reader = TrailReader(database.dialect)
    with closing(connection.cursor()) as cursor:
        assert [row.seq for row in reader.alerts_back(cursor, "main", MAX_PAGE, MAX_PAGE)] == [3, 0]
        assert [row.seq for row in reader.alerts_back(cursor, "main", 3, MAX_PAGE)] == [0]
        assert [row.seq for row in reader.alerts_back(cursor, "main", MAX_PAGE, 1)] == [3]
        assert reader.alerts_back(cursor, "other", MAX_PAGE, 1) == []
        with pytest.raises(LocalProtocolError):
            reader.alerts_back(cursor, "main", 0, 0)
        if database.dialect.name != "postgresql":  # which takes no index for so few rows
            cursor.execute(f"EXPLAIN QUERY PLAN {reader._alerts_back}", ("main", 3, 1))
            assert "trail_alert" in str(cursor.fetchall())


def test_a_database_that_cannot_take_the_record_fails_the_act(database, connection):
    with closing(connection.cursor()) as cursor:
        cursor.execute("DROP TABLE trail_record")
    with pytest.raises(StorageUnavailable):
        append(database, connection, 1)
    with closing(connection.cursor()) as cursor:
        cursor.execute("DROP TABLE trail_checkpoint")
    with pytest.raises(StorageUnavailable):
        checkpoint(database, connection)
    with closing(connection.cursor()) as cursor, pytest.raises(StorageUnavailable):
        TrailReader(database.dialect).logs(cursor)


def test_a_head_that_was_set_back_stops_the_next_act(database, connection):
    append(database, connection, 2)
    with closing(connection.cursor()) as cursor:
        cursor.execute("CREATE TABLE saved AS SELECT * FROM trail_log")
    append(database, connection, 2)
    with closing(connection.cursor()) as cursor:
        cursor.execute("DELETE FROM trail_log")
        cursor.execute("INSERT INTO trail_log SELECT * FROM saved")
    with pytest.raises(IntegrityError):
        append(database, connection, 1)


def test_a_dialect_with_named_parameters_is_refused():
    with pytest.raises(ConfigError):
        TrailLog("main", create_engine("postgresql+psycopg://").dialect)
    with pytest.raises(ConfigError):
        TrailReader(create_engine("postgresql+psycopg://").dialect)
