"""Fixtures of every suite. What they hand out is in ``harness``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness import archives, postgres
from harness.archives import RunningArchive, Settings
from strongroom.config import Home

# How long examples take says something of the machine, and of what else it does.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

HomeFactory = Callable[..., Home]
ArchiveFactory = Callable[..., RunningArchive]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The maintenance database of a PostgreSQL cluster that is this session's own."""
    with postgres.postgres_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def new_postgres_url(postgres_url: str) -> Callable[[], str]:
    """Makes an empty database and returns its URL."""
    return lambda: postgres.new_database(postgres_url)


@pytest.fixture
def archive_home(tmp_path: Path) -> HomeFactory:
    """Initialises an archive below ``tmp_path``: ``archive_home(limits={"max_query_results": 3}, ...)``."""

    def make(name: str = "home", **settings: object) -> Home:
        return archives.new_home(tmp_path / name, settings)

    return make


@pytest.fixture
def running_archive(archive_home: HomeFactory) -> Iterator[ArchiveFactory]:
    """Starts ``strongroom serve`` in a process of its own, with the peers given as {AE title: rights}."""
    with ExitStack() as stack:

        def start(peers: Mapping[str, str] | None = None, **settings: object) -> RunningArchive:
            return stack.enter_context(archives.serving(_prepared(archive_home, peers, settings)))

        yield start


@pytest.fixture
def local_archive(archive_home: HomeFactory) -> Iterator[ArchiveFactory]:
    """The same, on threads of this process."""
    with ExitStack() as stack:

        def start(peers: Mapping[str, str] | None = None, **settings: object) -> RunningArchive:
            return stack.enter_context(archives.serving_in_process(_prepared(archive_home, peers, settings)))

        yield start


def _prepared(archive_home: HomeFactory, peers: Mapping[str, str] | None, settings: Settings) -> Home:
    home = archive_home(**settings)
    with archives.opened(home) as archive:
        for aet, allow in (peers or {}).items():
            archives.add_peer(archive, aet, allow)
    return home
