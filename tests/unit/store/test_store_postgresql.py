"""postgresql: what a connection promises whatever the server's defaults are, and which servers are not talked to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from harness.instances import Shelf
from harness.postgres import free_port, postgres_cluster
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.store.database import said_by
from strongroom.store.postgresql import open_postgresql
from strongroom.store.schema.migrate import upgrade

psycopg = pytest.importorskip("psycopg")


@pytest.fixture(scope="module")
def careless_url() -> Iterator[str]:
    """A cluster that does not sync at all."""
    with postgres_cluster(fsync=False) as url:
        yield url


def setting(url: str, name: str) -> str:
    with closing(open_postgresql(url).connect()) as connection:
        return str(connection.execute(f"SHOW {name}").fetchone()[0])


@pytest.mark.interop
@pytest.mark.parametrize("options", ["", "?options=-c%20synchronous_commit%3Doff%20-c%20work_mem%3D5MB"])
def test_a_commit_is_durable_whatever_the_database_says(new_postgres_url: Callable[[], str], options: str) -> None:
    url = new_postgres_url()
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
    assert setting(url + options, "synchronous_commit") == "on"
    assert setting(url + options, "work_mem") == ("5MB" if options else "4MB")
    with open_postgresql(url + options).engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


@pytest.mark.interop
def test_the_clusters_of_the_other_tests_sync(postgres_url: str) -> None:
    assert setting(postgres_url, "fsync") == "on"


@pytest.mark.interop
def test_a_server_that_does_not_sync_is_refused(careless_url: str) -> None:
    backend = open_postgresql(careless_url)
    with pytest.raises(ConfigError, match="fsync = on"):
        backend.connect()
    with pytest.raises(ConfigError, match="fsync = on"):
        upgrade(backend.engine)
    with pytest.raises(ConfigError, match="fsync = on"):
        Shelf.postgresql(careless_url)


@pytest.mark.interop
def test_a_dead_server_is_noticed(new_postgres_url: Callable[[], str]) -> None:
    with closing(open_postgresql(new_postgres_url()).connect()) as connection:
        used = connection.info.get_parameters()
    assert {name: used.get(name) for name in sorted(used) if name.startswith(("keepalives", "tcp", "connect"))} == {
        "connect_timeout": "10",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }


def test_a_server_that_is_not_there_is_named_as_storage() -> None:
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        upgrade(open_postgresql(f"postgresql://u@127.0.0.1:{free_port()}/db").engine)


@pytest.mark.parametrize("url", ["nonsense", "postgresql://h:port/db", "postgresql://127.0.0.1/db?no_such_option=1"])
def test_what_is_no_url_is_a_matter_of_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match=r"index\.url"):
        open_postgresql(url)


def test_a_password_is_in_no_message() -> None:
    for url in ("postgresql://u:SECRET@h:port/db", "postgresql://u:SECRET@192.0.2.1/db", "postgres//u:SECRET@h/db"):
        with pytest.raises(ConfigError) as caught:
            open_postgresql(url)
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example/x",
        "postgresql://192.0.2.1/x?sslmode=require",
        "postgresql://192.0.2.1/x?sslmode=verify-ca",
        "postgresql://localhost.example/x",
        "postgresql:///x?host=127.0.0.1&host=192.0.2.1",
        "postgresql://127.0.0.1/x?hostaddr=192.0.2.1",
        "postgresql:///x?service=elsewhere",
    ],
)
def test_another_machine_is_not_talked_to_without_its_certificate(url: str) -> None:
    with pytest.raises(ConfigError, match="sslmode=verify-full"):
        open_postgresql(url)


def test_nor_is_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "192.0.2.1")
    with pytest.raises(ConfigError, match="sslmode=verify-full"):
        open_postgresql("postgresql:///x")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.9/x",
        "postgresql://[::1]/x",
        "postgresql://localhost/x",
        "postgresql:///x",
        "postgresql:///x?host=/run/postgresql",
        "postgresql://db.example/x?sslmode=verify-full&sslrootcert=ca.pem",
        "postgresql://db.example/x?hostaddr=127.0.0.1",
    ],
)
def test_this_machine_and_a_proven_one_are(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    assert open_postgresql(url).dialect.name == "postgresql"


def test_a_driver_that_is_not_installed_is_named_with_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[postgres\]'.*pip install 'psycopg\[binary\]'"):
        open_postgresql("postgresql://somebody@127.0.0.1/index")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.OperationalError("no route to host\nIs it running?"), "no route to host (OperationalError)"),
        (psycopg.OperationalError("bad: password=pa55 host=x"), "bad: password=*** host=x (OperationalError)"),
        (psycopg.OperationalError("bad: postgresql://me:pa55@x/y"), "bad: postgresql://me:***@x/y (OperationalError)"),
        (psycopg.OperationalError(""), "OperationalError"),
        (psycopg.DataError('invalid input: "Doe^Jane"'), "DataError"),
        (psycopg.errors.UniqueViolation("Key (patient_id)=(4711) exists"), "UniqueViolation"),
    ],
)
def test_what_a_driver_says_is_told_without_secrets_and_values(error: Exception, said: str) -> None:
    assert said_by(error) == said
