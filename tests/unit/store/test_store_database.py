"""database: what an index file gives away, how writers share a commit, and that the migrations make the tables."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import bindparam, insert, select, update

from strongroom.errors import ConfigError, NotFound, StorageUnavailable
from strongroom.store.database import Backend, Database, Sql, open_sqlcipher
from strongroom.store.groups import MAX_BATCH
from strongroom.store.postgresql import open_postgresql
from strongroom.store.registry import Registry
from strongroom.store.schema import migrate
from strongroom.store.schema.migrate import upgrade
from strongroom.store.schema.tables import META, TABLES
from strongroom.trail.log import metadata as trail_tables
from strongroom.types import Right

KEY = bytes(range(48))
PLANTED = "PLANTED^NAME"


class NoWork:
    """A unit of work that does nothing of its own; it counts how it ended."""

    def __init__(self, cursor: Any, ended: list[str]) -> None:
        self.cursor = cursor
        self._ended = ended
        self.gathered = 0

    def flush(self) -> None:
        self._ended.append("flushed")

    def rolled_back(self) -> None:
        self._ended.append("rolled back")


class Counted:
    """A driver connection that counts its commits."""

    def __init__(self, connection: Any, commits: list[int]) -> None:
        self._connection, self._commits = connection, commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        self._commits.append(1)
        self._connection.commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def backend(path: Path) -> Backend:
    backend = open_sqlcipher(path, KEY, cache_mib=1)
    upgrade(backend.engine)
    return backend


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def database(backend: Backend, ended: list[str]) -> Iterator[Database]:
    with closing(Database(backend, lambda cursor: NoWork(cursor, ended))) as database:
        yield database


def put(name: str, value: str = "v") -> Callable[[NoWork], None]:
    return lambda unit: unit.cursor.execute("INSERT INTO meta VALUES (?, ?)", (name, value))


def names(database: Database) -> set[str]:
    with database.read() as cursor:
        return {row[0] for row in cursor.execute("SELECT name FROM meta").fetchall()}


# --- the file


def test_no_byte_of_the_files_says_what_is_in_them(database: Database, path: Path) -> None:
    for number in range(200):
        database.write(put(f"{PLANTED}{number}", PLANTED))
    files = list(path.parent.iterdir())
    assert {file.name for file in files} >= {"index.db", "index.db-wal"}
    for file in files:
        content = file.read_bytes()
        assert PLANTED.encode() not in content
        assert b"SQLite format" not in content
        assert b"CREATE TABLE" not in content


@pytest.mark.parametrize("wrong", [bytes(48), KEY[:32] + bytes(16)])
def test_another_key_opens_nothing(database: Database, path: Path, wrong: bytes) -> None:
    database.write(put("a"))
    other = Database(open_sqlcipher(path, wrong, cache_mib=1), lambda cursor: NoWork(cursor, []))
    with closing(other), pytest.raises(StorageUnavailable) as refused, other.read() as cursor:
        cursor.execute("SELECT * FROM meta")
    assert KEY.hex() not in str(refused.value)
    assert KEY.hex() not in repr(refused.value.__cause__)


def test_a_key_of_another_size_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="size"):
        open_sqlcipher(path, KEY[:32], cache_mib=1)


def test_nothing_spills_in_the_clear(database: Database) -> None:
    """temp_store MEMORY is 2: no temporary file ever holds index pages."""
    with database.read() as cursor:
        assert cursor.execute("PRAGMA cipher_version").fetchone()[0]
        assert cursor.execute("PRAGMA temp_store").fetchone() == (2,)
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes of the files that were synced."""
    inodes: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        inodes.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return inodes


def wal_inode(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_ino


def test_a_write_returns_when_it_is_on_disk(database: Database, path: Path, synced: list[int]) -> None:
    for name in "abc":
        synced.clear()
        database.write(put(name))
        assert synced == [wal_inode(path)]


def test_the_log_that_is_synced_is_the_one_that_was_written(database: Database, path: Path, synced: list[int]) -> None:
    """The last connection to close removes the log: the next writer begins another file of the same name."""
    database.write(put("a"))
    database.close()
    database.write(put("b"))
    assert synced[-1] == wal_inode(path)
    with pytest.raises(StorageUnavailable):
        database.write(lambda unit: unit.cursor.connection.close())
    database.write(put("d"))
    assert synced[-1] == wal_inode(path)


def test_after_a_sync_that_failed_nothing_is_promised(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reached the disk is unknown from then on (a second fsync may say that all is well): only a restart helps."""
    database.write(put("a"))

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageUnavailable):
            database.write(put("b"))
    with pytest.raises(StorageUnavailable, match="restart"):
        database.write(put("c"))


def test_a_file_that_cannot_be_made_is_named_as_storage(tmp_path: Path) -> None:
    backend = open_sqlcipher(tmp_path / "missing" / "index.db", KEY, cache_mib=1)
    database = Database(backend, lambda cursor: NoWork(cursor, []))
    for use in (lambda: database.write(put("a")), lambda: names(database)):
        with pytest.raises(StorageUnavailable, match="cannot be opened"):
            use()


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://h/db", "postgresql+asyncpg://127.0.0.1/db"])
def test_only_postgresql_is_taken_as_a_url(url: str) -> None:
    if url.startswith("postgresql"):
        assert open_postgresql(url).engine.url.drivername == "postgresql+psycopg"
    else:
        with pytest.raises(ConfigError, match="postgresql://"):
            open_postgresql(url)


# --- reading


def test_a_read_that_fails_gives_its_connection_back(database: Database) -> None:
    """A refused request must not cost a connection, nor leave a transaction open that blocks the log's checkpoint."""

    def read_and_refuse() -> None:
        with database.read() as cursor:
            cursor.execute("SELECT * FROM meta")
            raise NotFound("x")

    with pytest.raises(NotFound):
        read_and_refuse()
    database.write(put("a"))
    assert names(database) == {"a"}


def test_a_statement_that_fails_says_storage_unavailable_without_its_text(database: Database) -> None:
    with pytest.raises(StorageUnavailable) as failed, database.read() as cursor:
        cursor.execute(f"SELECT '{PLANTED}' FROM nowhere")
    assert PLANTED not in str(failed.value)


def test_no_more_than_a_few_idle_connections_are_kept(database: Database) -> None:
    barrier = threading.Barrier(20)

    def read(_: int) -> None:
        with database.read() as cursor:
            cursor.execute("SELECT * FROM meta")
            barrier.wait(30)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(read, range(20)))
    assert 0 < len(database._readers) <= 8


# --- writing


def test_writers_that_wait_share_a_commit(backend: Backend, ended: list[str]) -> None:
    commits: list[int] = []
    counted = replace(backend, connect=lambda: Counted(backend.connect(), commits))
    with closing(Database(counted, lambda cursor: NoWork(cursor, ended))) as database:
        holding, release = threading.Event(), threading.Event()

        def hold(unit: NoWork) -> None:
            holding.set()
            assert release.wait(30)

        with ThreadPoolExecutor(100) as pool:
            first = pool.submit(database.write, hold)
            assert holding.wait(30)
            waiting = [pool.submit(database.write, put(f"n{number}")) for number in range(99)]
            pause = threading.Event()
            while len(database._commits._queue) < 99:
                pause.wait(0.001)
            release.set()
            first.result(30)
            for each in waiting:
                each.result(30)
        assert len(commits) == 1 + -(-99 // MAX_BATCH)
        assert names(database) == {f"n{number}" for number in range(99)}


def test_a_writer_returns_what_its_work_returns(database: Database, ended: list[str]) -> None:
    assert database.write(lambda unit: 17) == 17
    assert ended == ["flushed"]


def test_what_a_job_raises_reaches_its_caller_and_nothing_is_written(database: Database, ended: list[str]) -> None:
    def fail(unit: NoWork) -> None:
        put("a")(unit)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(fail)
    assert names(database) == set()
    assert ended == ["rolled back"]
    database.write(put("b"))
    assert names(database) == {"b"}


def test_a_refusal_of_one_job_is_no_rollback(database: Database, ended: list[str]) -> None:
    """It comes before its job wrote anything, and must not undo the work of its neighbours."""

    def refuse(unit: NoWork) -> None:
        raise NotFound("x")

    with pytest.raises(NotFound):
        database.write(refuse)
    assert ended == ["flushed"]


def test_an_error_of_the_database_is_named_without_values(database: Database) -> None:
    database.write(put("a"))
    with pytest.raises(StorageUnavailable) as failed:
        database.write(put("a", PLANTED))
    assert PLANTED not in str(failed.value)
    assert "IntegrityError" in str(failed.value)


# --- statements


def test_a_statement_takes_its_parameters_by_name(database: Database) -> None:
    add, change = Sql(insert(META), database.dialect), update(META).where(META.c.name == bindparam("a"))
    fixed = Sql(change.values(value="fixed"), database.dialect)
    read = Sql(select(META.c.value).where(META.c.name == bindparam("a")), database.dialect)
    database.write(lambda unit: add.run(unit.cursor, value="v", name="n"))
    with database.read() as cursor:
        assert read.run(cursor, a="n").fetchone()[0] == "v"
    database.write(lambda unit: fixed.run(unit.cursor, a="n"))
    with database.read() as cursor:
        assert read.run(cursor, a="n").fetchone()[0] == "fixed"


def test_a_value_is_never_part_of_the_text(database: Database) -> None:
    hostile = "x'); DROP TABLE meta; --"
    add = Sql(insert(META), database.dialect)
    database.write(lambda unit: add.run(unit.cursor, name=hostile, value="v"))
    assert names(database) == {hostile}


# --- the schema


def differences(engine: sqlalchemy.Engine) -> list[Any]:
    """What Alembic would still have to do so that the database is what the code says it is."""
    both = sqlalchemy.MetaData()
    for tables in (TABLES, trail_tables):
        for table in tables.sorted_tables:
            table.to_metadata(both)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, both)
    return [each for each in found if "alembic_version" not in str(each)]


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    settings = Config()
    settings.set_main_option("script_location", str(Path(migrate.__file__).parent))
    assert ScriptDirectory.from_config(settings).get_heads() == [migrate.newest_revision()]


def test_the_migrations_make_the_tables_of_the_code(backend: Backend) -> None:
    assert differences(backend.engine) == []
    assert upgrade(backend.engine) is False


@pytest.mark.interop
def test_the_migrations_make_them_on_postgresql(new_postgres_url: Callable[[], str]) -> None:
    backend = open_postgresql(new_postgres_url())
    assert upgrade(backend.engine) is True
    assert differences(backend.engine) == []
    assert upgrade(backend.engine) is False


@pytest.fixture
def old(request: pytest.FixtureRequest, path: Path) -> Backend:
    """An index of the revision that is asked for."""
    backend = open_sqlcipher(path, KEY, cache_mib=1)
    settings = Config()
    settings.set_main_option("script_location", str(Path(migrate.__file__).parent))
    with backend.engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, request.param)
    return backend


@pytest.mark.parametrize("old", ["0001"], indirect=True)
def test_peers_of_the_first_schema_keep_the_whole_archive(old: Backend) -> None:
    with old.engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("INSERT INTO peer VALUES ('CT1', 'store', '', 'fingerprint', 'f1', 'CN=CT1', '', 0, 1, 0)")
        )
    assert upgrade(old.engine) is True
    assert differences(old.engine) == []
    connection = old.connect()
    try:
        (peer,) = Registry(old.dialect).peers(connection.cursor()).values()
    finally:
        connection.close()
    assert (peer.aet, peer.rights, peer.scope) == ("CT1", {Right.STORE}, None)


@pytest.mark.parametrize("old", ["0007"], indirect=True)
def test_series_that_are_there_get_the_institution_that_their_attributes_have(old: Backend) -> None:
    named = b'{"00080080":{"vr":"LO","Value":[" St. Mary\xc3\xa9 ","Other"]}}'
    kept = [named, b"{}", b'{"00080080":{"vr":"LO"}}', *[named] * 1500]
    with old.engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO patient VALUES (1, 'P', '', '', '', x'7b7d')"))
        connection.execute(
            sqlalchemy.text("INSERT INTO study VALUES (1, 1, '1.2', '', '', '', '', '', '', '', '', x'7b7d', 1, 1)")
        )
        connection.execute(
            sqlalchemy.text("INSERT INTO series VALUES (:id, 1, :uid, 'CT', '', '', '', :kept, 1)"),
            [{"id": 3 * number, "uid": f"1.3.{number}", "kept": each} for number, each in enumerate(kept, 1)],
        )
    assert upgrade(old.engine) is True
    with old.engine.begin() as connection:
        found = connection.execute(sqlalchemy.text("SELECT institution FROM series ORDER BY id")).scalars().all()
    assert found == ["St. Mary\u00e9", "", "", *["St. Mary\u00e9"] * 1500]


@pytest.mark.parametrize("old", ["0015"], indirect=True)
def test_studies_that_are_there_are_searched_by_what_they_say(old: Backend) -> None:
    study = "INSERT INTO study VALUES (:id, 1, :uid, '', '', 'ACC', '', '', 'Schädel CT', '', '', x'7b7d', 1, 1)"
    with old.engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO patient VALUES (1, 'PÉ', '', 'berg^asa', '', x'7b7d')"))
        connection.execute(sqlalchemy.text(study), [{"id": 2 * each, "uid": f"1.2.{each}"} for each in range(1, 2100)])
    assert upgrade(old.engine) is True
    assert differences(old.engine) == []
    with old.engine.begin() as connection:
        found = connection.execute(sqlalchemy.text("SELECT search_text FROM study")).scalars().all()
    assert found == ["berg^asa\npe\nacc\nschadel ct"] * 2099


def said_of_a_failure(engine: sqlalchemy.Engine) -> str:
    with pytest.raises(sqlalchemy.exc.DBAPIError) as failed, engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT :name FROM nowhere"), {"name": PLANTED})
    return str(failed.value)


def test_what_a_migration_binds_is_in_no_error(backend: Backend) -> None:
    assert PLANTED not in said_of_a_failure(backend.engine)


@pytest.mark.interop
def test_what_a_migration_binds_is_in_no_error_of_postgresql(new_postgres_url: Callable[[], str]) -> None:
    assert PLANTED not in said_of_a_failure(open_postgresql(new_postgres_url()).engine)


def test_a_missing_column_would_be_seen(backend: Backend) -> None:
    with backend.engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE peer DROP COLUMN require_user"))
    assert differences(backend.engine) != []
