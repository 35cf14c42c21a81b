"""A private PostgreSQL cluster with the machine's own binaries, for the tests of one session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

_ACCOUNT = "postgres"
_SETTINGS = "\n".join(
    (
        "listen_addresses = '127.0.0.1'",
        "max_connections = 60",
        "shared_buffers = '32MB'",
        # As a careless administrator would have it: that a commit is durable is for the archive to ask.
        "synchronous_commit = off",
        "logging_collector = off",
    )
)


def _binaries() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    return folders[-1].parent if folders else Path(found).parent if found else None


def free_port() -> int:
    """A port of the loopback interface that nothing listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def postgres_cluster(*, fsync: bool = True) -> Iterator[str]:
    """Start a cluster and yield the URL of its maintenance database. Skips the test if there is no PostgreSQL."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    as_root = os.geteuid() == 0
    if as_root and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    # Not below pytest's own directory: that one is closed to the account that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), *arguments]
        if as_root:
            command = ["runuser", "-u", _ACCOUNT, "--", *command]
        # Output goes to a file: a server that inherits a pipe keeps it open for ever.
        with (folder / "output.txt").open("ab") as output:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(folder / 'output.txt').read_text()[-2000:]}")

    data = folder / "data"
    try:
        if as_root:
            shutil.chown(folder, _ACCOUNT, _ACCOUNT)
        run("initdb", "-D", str(data), "-U", _ACCOUNT, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        own = f"fsync = {'on' if fsync else 'off'}\nport = {port}\nunix_socket_directories = '{folder}'"
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(f"\n{_SETTINGS}\n{own}\n")
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "server.txt"), "start")
        try:
            yield f"postgresql://{_ACCOUNT}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str) -> str:
    """Create an empty database in the cluster behind ``url``; returns its URL."""
    import psycopg

    name = f"t{uuid4().hex[:16]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.rpartition("/")[0] + "/" + name
