"""Archives to test with: an initialised home, a server in this process, a server in a process of its own."""

from __future__ import annotations

import atexit
import heapq
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from strongroom import app
from strongroom.admin import deletion
from strongroom.admin import peers as administration
from strongroom.admin import tokens as token_administration
from strongroom.admin.exceptions import exceptions
from strongroom.app import LOCAL_LOG, SERVE_LOG, Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.peers import parse_rights
from strongroom.archive.proposals import Matter, Proposal, Stage
from strongroom.archive.tokens import parse_token_rights
from strongroom.config import Config, Home, load, parse
from strongroom.metrics.tally import Tally
from strongroom.serving.board import Board
from strongroom.serving.dicomservice import DicomService
from strongroom.serving.reporting import SERVE_PLACE, Reporter, board_places
from strongroom.store.proposals import ProposalTable
from strongroom.trail.record import parse_record
from strongroom.types import AeTitle

AET = "STRONGROOM"
ALL_RIGHTS = "echo,store,find,get,move,commit"
START_TIMEOUT_S = 60.0

SOON = datetime.now(UTC).date() + timedelta(days=30)
"""A last day that is still to come."""

Settings = Mapping[str, Any]
"""Sections of config.toml by name: a mapping is a table, a list of mappings an array of tables."""


@dataclass(frozen=True)
class Credentials:
    """What a peer got when it was added: paths of PEM files."""

    aet: str
    folder: Path

    @property
    def certificate(self) -> Path:
        """Its own certificate."""
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        """Its private key."""
        return self.folder / "key.pem"

    @property
    def authority(self) -> Path:
        """The archive's CA."""
        return self.folder / "ca.pem"

    @property
    def dcmtk(self) -> list[str]:
        """The TLS options of a DCMTK client."""
        return ["+tls", str(self.key), str(self.certificate), "+cf", str(self.authority)]


def toml_value(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float | date):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def config_text(settings: Settings) -> str:
    """A config.toml with ``settings`` over the least that an archive needs; ports are 0 = any."""
    sections: dict[str, Any] = {
        "archive": {"id": "0123456789abcdef0123456789abcdef", "aet": AET},
        "dicom": {"port": 0, "workers": 0},
        "https": {"port": 0, "workers": 0},
        "screening": {"digests": False},
    }
    for name, section in settings.items():
        sections[name] = sections.get(name, {}) | section if isinstance(section, Mapping) else section
    lines = []
    for name, section in sections.items():
        tables, heading = ([section], f"[{name}]") if isinstance(section, Mapping) else (section, f"[[{name}]]")
        for table in tables:
            lines += [heading, *(f"{key} = {toml_value(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def new_home(root: Path, settings: Settings | None = None) -> Home:
    """An archive in ``root``, as ``initialise`` makes it.

    One that is called ``home`` is a copy with keys that all of this process have, for to make it takes longer than most
    tests do. What is to be told from it, and what is about how it is made, has another name.
    """
    text, home = config_text(settings or {}), Home(root)
    is_new = not (home.root.exists() or home.default_keys.exists())
    if root.name == "home" and is_new and _is_made_alike(parse(text), template := _template()):
        shutil.copytree(template.root, home.root)
        shutil.copytree(template.default_keys, home.default_keys)
        home.config.write_text(text, encoding="utf-8")
    else:
        _made_home(root, text)
    agree_to_exceptions(home)
    return home


def _made_home(root: Path, text: str) -> Home:
    home = Home(root)
    for folder in parse(text).trail.checkpoint_dirs:
        Path(folder).mkdir(parents=True, exist_ok=True)
    app.initialise(home, text, parse(text))
    return home


@cache
def _template() -> Home:
    folder = Path(tempfile.mkdtemp(prefix="strongroom-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _made_home(folder / "home", config_text({}))


def _is_made_alike(config: Config, template: Home) -> bool:
    """Whether a configuration says what that of the template does, of what ``initialise`` reads or needs to open it."""
    mine, other = (
        (
            (each.archive, each.keys, each.index.url, each.trail, each.signatures),
            app.own_addresses(each),
            (each.screening.yara_rules, each.screening.clamd),
        )
        for each in (config, load(template))
    )
    return mine == other


def agree_to_exceptions(home: Home) -> None:
    """Have two people agree to whatever exceptions config.toml has."""
    if not load(home).unsafe_plaintext:
        return
    with opened(home) as archive:
        table = ProposalTable(archive.backend.dialect)
        for each in exceptions(archive):
            made = Proposal(0, Matter.UNSAFE, each.digest, "ann", "as tests have it", 1, 2, 1, "bob", Stage.AGREED)

            def work(transaction: Any, made: Proposal = made) -> None:
                table.add(transaction.cursor, replace(made, number=table.next_number(transaction.cursor)))

            archive.index.database.write(work)


def change_config(home: Home, settings: Settings) -> None:
    """Write another config.toml for an archive that is not running."""
    home.config.write_text(config_text(settings), encoding="utf-8")


@contextmanager
def opened(home: Home, log: str = LOCAL_LOG) -> Iterator[Archive]:
    """The archive of a home, open in this process beside whatever serves it."""
    archive = Archive(home, log)
    try:
        yield archive
    finally:
        archive.close()


def add_peer(archive: Archive, aet: str, allow: str = ALL_RIGHTS, **more: Any) -> Credentials:
    """Register a peer of an open archive; its credentials are those that were issued."""
    if "host" in more:
        more["address"] = (more.pop("host"), more.pop("port"))
    new = administration.NewPeer(AeTitle.parse(aet), parse_rights(allow), **more)
    administration.add(archive, new)
    return Credentials(aet, archive.home.peers / aet)


def certificate_fingerprint(path: Path) -> str:
    """SHA-256 of a PEM certificate, as the trail has it."""
    return sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).hexdigest()


def trail_events(archive: Archive, log: str = "") -> list[Event]:
    """Every event of one log, or of every log: each in its order, and by their times among each other."""
    with archive.index.database.read() as cursor:
        logs = [
            [parse_record(row.raw) for page in archive.trail_reader.pages(cursor, name) for row in page]
            for name in ([log] if log else archive.trail_reader.logs(cursor))
        ]
    return [record.event for record in heapq.merge(*logs, key=lambda record: record.time)]


def is_notable(event: Event) -> bool:
    """Whether an event is worth a look when another is missing."""
    return event.outcome is not Outcome.SUCCESS or event.action not in (Action.STORE, Action.ECHO)


@dataclass
class RunningArchive:
    """An archive that accepts associations on ``port``; ``plaintext_ports`` are those of its exceptions, in order."""

    home: Home
    port: int
    plaintext_ports: list[int] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    archive: Archive | None = None
    https_port: int = 0
    """Where DICOMweb is served; 0 unless ``https={"workers": ...}`` was set."""
    _output: list[str] = field(default_factory=list)
    _pids: list[int] = field(default_factory=list)

    def credentials(self, aet: str) -> Credentials:
        """Those of a peer that was added with an issued certificate."""
        return Credentials(aet, self.home.peers / aet)

    def add_peer(self, aet: str, allow: str = ALL_RIGHTS, **more: Any) -> Credentials:
        """Register a peer while the archive runs."""
        with self._open() as archive:
            return add_peer(archive, aet, allow, **more)

    def add_token(self, name: str, allow: str = "search,read,store,delete", scope: Sequence[str] = ()) -> str:
        """Make an access token while the archive runs; returns its secret."""
        with self._open() as archive:
            new = token_administration.NewToken(name, parse_token_rights(allow), scope=tuple(scope))
            return token_administration.add(archive, new)[1]

    def delete_study(self, study_uid: str) -> None:
        """Delete a study while the archive runs, as two people would."""
        with self._open() as archive:
            deletion.delete_study(archive, study_uid, "a test", lambda _done, _of: None)

    def revoke_peer(self, aet: str) -> None:
        """Revoke a peer while the archive runs."""
        with self._open() as archive:
            administration.revoke(archive, aet)

    def events(self) -> list[Event]:
        """The trail so far."""
        with self._open() as archive:
            return trail_events(archive)

    def served_events(self, since: int = 0) -> list[Event]:
        """What the server itself has recorded, from number ``since`` on."""
        with self._open() as archive:
            return trail_events(archive, SERVE_LOG)[since:]

    def wait_for_event(
        self, wanted: Callable[[Event], bool], since: int = 0, timeout_s: float = 10.0, log: str = SERVE_LOG
    ) -> Event:
        """The first event of the server that is wanted; it may come a moment after the peer saw what it records."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        with self._open() as archive:
            while True:
                events = trail_events(archive, log)[since:]
                found = next(filter(wanted, events), None)
                if found is not None:
                    return found
                if time.monotonic() > deadline:
                    said = [f"{each.outcome} {each.action} {dict(each.details)}" for each in events if is_notable(each)]
                    raise AssertionError("the trail has no such event, only\n" + "\n".join(said[-20:]))
                pause.wait(0.01)

    def wait_for_refusal(self, reason: str, since: int = 0, timeout_s: float = 10.0) -> Event:
        """The event that says that something was refused for ``reason``."""
        return self.wait_for_event(
            lambda event: event.outcome is Outcome.REFUSED and event.details.get("reason") == reason, since, timeout_s
        )

    @contextmanager
    def _open(self) -> Iterator[Archive]:
        if self.archive is not None:
            yield self.archive
            return
        with opened(self.home) as archive:
            yield archive

    @property
    def output(self) -> str:
        """What the process has printed so far, errors as well."""
        return "".join(self._output)

    def resident_bytes(self) -> int:
        """Resident memory of the process, and of those that serve its associations."""
        assert self.process is not None
        if not self._pids:  # looked for once: it takes its time while there are many threads
            self._pids += [self.process.pid, *self.dicom_workers()]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids)
        return pages * os.sysconf("SC_PAGE_SIZE")

    def dicom_workers(self) -> list[int]:
        """The processes that serve its associations, if it does not do so itself."""
        pid = os.getpid() if self.process is None else self.process.pid
        return [child for child in children(pid) if b"strongroom.serving.dicomworker" in command_line(child)]

    def stop(self) -> int:
        """End the process in order; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_TIMEOUT_S)


def children(pid: int) -> list[int]:
    """The processes that a process has started and not waited for."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def command_line(pid: int) -> bytes:
    """The words that a process was started with, each with a zero byte behind it; b"" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def strongroom_command(*arguments: str | Path) -> list[str]:
    """The command line in a process of its own, with the interpreter that runs the tests."""
    return [sys.executable, "-c", "from strongroom.cli import main; main()", *map(str, arguments)]


def clean_environment() -> dict[str, str]:
    """What a service gets from its init system, and where Python finds the code under test."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1"}


@contextmanager
def serving(home: Home, command: Sequence[str] = ()) -> Iterator[RunningArchive]:
    """``strongroom serve`` in a process of its own, ready when this yields; killed afterwards if it still runs."""
    process = subprocess.Popen(
        list(command) or strongroom_command("serve", "--home", home.root),
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home.root,
    )
    running = RunningArchive(home, 0, process=process)
    ready = threading.Event()
    reader = threading.Thread(target=_read_output, args=(running, ready), daemon=True)
    reader.start()
    try:
        if not ready.wait(START_TIMEOUT_S) or not running.port:
            raise RuntimeError(f"strongroom serve did not become ready: {running.output[-2000:]}")
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(START_TIMEOUT_S)
        reader.join(START_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()


def _read_output(running: RunningArchive, ready: threading.Event) -> None:
    assert running.process is not None
    assert running.process.stdout is not None
    for line in running.process.stdout:
        running._output.append(line)
        if plain := re.match(r"unsafe_plaintext=\S+:(\d+) ", line):
            running.plaintext_ports.append(int(plain[1]))
        elif match := re.match(r"ready .*?dicom=\S+:(\d+)", line):
            running.port = int(match[1])
            https = re.search(r" https=\S+:(\d+)", line)
            running.https_port = int(https[1]) if https else 0
            ready.set()
    ready.set()


def new_reporter(archive: Archive) -> Reporter:
    """What counts for the server of an archive, with a board of its own."""
    return Reporter(Board.new(board_places(archive.config)), SERVE_PLACE, "serve", Tally())


@contextmanager
def serving_in_process(home: Home) -> Iterator[RunningArchive]:
    """The same server on threads of this process: starts in a fraction of the time, and tests may look inside."""
    with opened(home, SERVE_LOG) as archive:
        reporter = new_reporter(archive)
        service = DicomService(archive, reporter)
        first, *others = service.start()
        port = int(re.match(r"dicom=\S+:(\d+)", first)[1])  # type: ignore[index]
        plain = [int(match[1]) for line in others if (match := re.match(r"unsafe_plaintext=\S+:(\d+) ", line))]
        try:
            yield RunningArchive(home, port, plain, archive=archive)
        finally:
            service.stop(1.0)
            reporter.board.close()
