"""PostgreSQL as the index: connections that are durable, proven and soon known to be dead, whatever the defaults are.

A role or database may have ``synchronous_commit = off``, and a server ``fsync = off``: either way a commit returns
before it is on disk, and a C-STORE would be answered 0000 for an object that a power cut takes away.
"""

from __future__ import annotations

import ipaddress
from itertools import zip_longest
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from strongroom.errors import ConfigError
from strongroom.store.database import Backend

DURABLE = "-c synchronous_commit=on"
INTERPRETED = "-c jit=off"
"""A search is many small looks into indexes: compiled first, a scope of many parts took seconds in place of ms."""

PROMISES = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"

DEAD_SERVER = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""libpq settings: without them a server that vanished holds a writer, and so every writer, for hours."""


def open_postgresql(url: str) -> Backend:
    """PostgreSQL through psycopg; nothing is connected yet.

    Raises ConfigError for any other URL, for a server on another machine that need not prove who it is, or when
    psycopg is not installed. ``connect`` raises ConfigError for a server that does not sync what it commits.
    """
    parsed = _parsed(url)
    try:
        import psycopg
    except ImportError:
        raise ConfigError(
            "index.url needs the PostgreSQL driver: run `.venv/bin/pip install -e '.[postgres]'` where Strongroom's "
            "source is, or `pip install 'psycopg[binary]'` in the environment that it runs in"
        ) from None
    dialect = sqlalchemy.create_engine(parsed, poolclass=NullPool).dialect
    arguments: dict[str, Any] = dict(dialect.create_connect_args(parsed)[1])
    # What libpq would take from the environment where the URL says nothing.
    defaults = {each.keyword.decode(): each.val.decode() for each in psycopg.pq.Conninfo.get_defaults() if each.val}
    options = f"{INTERPRETED} {arguments.get('options') or defaults.get('options', '')} {DURABLE}".strip()
    arguments = DEAD_SERVER | arguments | {"options": options}  # the last word on an option is the one that counts
    try:
        psycopg.conninfo.make_conninfo(**{name: value for name, value in arguments.items() if name != "context"})
    except psycopg.Error:
        raise ConfigError("index.url has an option that PostgreSQL does not know") from None
    _check_server(defaults | arguments)
    counting = _counting(psycopg.Cursor)

    def connect() -> Any:
        connection = psycopg.connect(**arguments, cursor_factory=counting)
        try:
            _check_promises(connection)
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        return connection

    # Migrations go through the engine, and bind what patients are called.
    engine = sqlalchemy.create_engine(
        parsed, creator=connect, paramstyle="format", poolclass=NullPool, hide_parameters=True
    )
    return Backend(engine.dialect, connect, psycopg.Error, engine, lambda cursor: cursor.changes)


def _counting(cursor: type[Any]) -> type[Any]:
    """A kind of cursor that counts, in ``changes``, its statements that may have written something."""

    class Counting(cursor):  # type: ignore[misc]  # psycopg is not there for everybody
        changes = 0

        def execute(self, query: Any, *values: Any, **more: Any) -> Any:
            self.changes += not (isinstance(query, str) and query.startswith("SELECT"))
            return super().execute(query, *values, **more)

        def executemany(self, *all_of_it: Any, **more: Any) -> Any:
            self.changes += 1  # many rows are written, and never asked for
            return super().executemany(*all_of_it, **more)

    return Counting


def _parsed(url: str) -> URL:
    try:
        parsed = sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):  # neither names the URL in its message: it may hold a password
        raise ConfigError("index.url is no URL: write postgresql://USER@HOST:PORT/DATABASE") from None
    if parsed.get_backend_name() != "postgresql":
        raise ConfigError("index.url must begin with postgresql://, or be empty for the built-in encrypted file")
    return parsed.set(drivername="postgresql+psycopg")


def _check_server(settings: dict[str, Any]) -> None:
    """Refuse a server that is, or may be, on another machine, unless its certificate has to be good for its name."""
    if settings.get("sslmode") == "verify-full":
        return
    hosts = str(settings.get("host", "")).split(",")
    addresses = str(settings.get("hostaddr", "")).split(",")
    called = [address or host for host, address in zip_longest(hosts, addresses, fillvalue="")]
    if settings.get("service") or not all(map(_is_here, called)):
        raise ConfigError(
            "index.url names a server on another machine, which has to prove who it is:"
            " end the URL with ?sslmode=verify-full&sslrootcert=/path/to/ca.pem"
        )


def _is_here(host: str) -> bool:
    """Whether libpq stays on this machine: a unix socket, or a loopback address."""
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: whoever answers for it
        return False


def _check_promises(connection: Any) -> None:
    fsync, synchronous_commit = connection.execute(PROMISES).fetchone()
    if fsync != "on":
        raise ConfigError("the index's server would lose commits in a power cut: set fsync = on in postgresql.conf")
    if synchronous_commit != "on":  # a pooler that keeps the options of a connection to itself
        raise ConfigError("synchronous_commit = on does not reach the index's server: connect to it without a pooler")
