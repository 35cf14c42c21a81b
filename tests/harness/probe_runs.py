"""``strongroom probe`` as an operator runs it: a key, a signed scope, a process, and everything that it left behind."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.archives import clean_environment, strongroom_command, toml_value
from strongroom.probe.permits.signing import load_key, sign_scope, signature_path, write_new_key

RUN_TIMEOUT_S = 280.0
CONSENTS = ("private_addresses", "guess_titles", "default_credentials", "write_canary")
FAST: dict[str, float] = {"interval_s": 0.0, "connect_s": 2.0, "answer_s": 5.0, "connection_s": 20.0}
"""Rates for loopback, where nobody is disturbed."""

Target = Mapping[str, Any]
"""The keys of one ``[[target]]`` of a scope."""


@dataclass(frozen=True)
class Ran:
    """How a run ended, and what it took."""

    code: int
    out: str
    err: str
    folder: Path
    seconds: float
    peak_bytes: int
    """Its largest resident memory, with all that it ever loaded."""

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found

    def target(self, name: str) -> dict[str, Any]:
        """What the report says of one target."""
        (found,) = [each for each in self.report["targets"] if each["target"] == name]
        return dict(found)

    def log(self) -> list[dict[str, Any]]:
        """The entries of the run log."""
        return [json.loads(line) for line in (self.folder / "run.jsonl").read_text().splitlines()]


@dataclass
class Running:
    """A run under way."""

    process: subprocess.Popen[bytes]
    folder: Path
    began_s: float
    _streams: tuple[Path, Path]

    def wait(self, timeout_s: float = RUN_TIMEOUT_S) -> Ran:
        """Wait for its end. Kills it, and raises AssertionError, if it does not come."""
        deadline, pause, peak_bytes = time.monotonic() + timeout_s, threading.Event(), 0
        while self.process.poll() is None:
            peak_bytes = max(peak_bytes, self._peak_bytes())
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the probe did not end within {timeout_s} s")
            pause.wait(0.01)
        out, err = (path.read_text("utf-8", "surrogateescape") for path in self._streams)
        seconds = time.monotonic() - self.began_s
        return Ran(self.process.returncode, out, err, self.folder, seconds, peak_bytes)

    def _peak_bytes(self) -> int:
        """Of the program that runs: getrusage would tell of the tests' own memory, which it was forked with."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0


@dataclass
class Operator:
    """Somebody with a key and a list of signers, in a folder that is also home and temporary directory of runs."""

    folder: Path
    inside: Sequence[str] = ()
    """A command that runs the probe elsewhere, such as in a network namespace."""
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))

    def __post_init__(self) -> None:
        """Make the key, and trust it."""
        for name in ("home", "tmp", "work"):
            (self.folder / name).mkdir(parents=True)
        signer = write_new_key(self.folder / "key", "", "tests")
        self.signers = self.folder / "signers"
        self.signers.write_text(signer.line() + "\n")
        self.signers.chmod(0o600)

    def scope(self, *targets: Target, level: str = "L3", **more: Any) -> Path:
        """A signed scope that is valid now; ``more`` are further tables or root keys."""
        path = self.folder / f"scope-{next(self._numbers)}.toml"
        path.write_text(scope_text(*targets, level=level, **more))
        key = load_key(self.folder / "key", "")
        signature_path(path).write_text(sign_scope(path.read_bytes(), key, dt.datetime.now(dt.UTC)))
        return path

    def start(self, scope: Path, *options: str | Path, out: Path | None = None) -> Running:
        """Start ``strongroom probe`` on a signed scope."""
        number = next(self._numbers)
        folder = out or self.folder / f"out-{number}"
        streams = self.folder / f"stdout-{number}", self.folder / f"stderr-{number}"
        command = strongroom_command("probe", "--scope", scope, "--out", folder, "--trust", self.signers, *options)
        environment = clean_environment() | {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with streams[0].open("wb") as stdout, streams[1].open("wb") as stderr:
            process = subprocess.Popen(
                [*self.inside, *command], cwd=self.folder / "work", env=environment,
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        return Running(process, folder, time.monotonic(), streams)

    def run(self, scope: Path, *options: str | Path, out: Path | None = None) -> Ran:
        """Run it to its end."""
        return self.start(scope, *options, out=out).wait()

    def probe(self, *targets: Target, level: str = "L3", **more: Any) -> Ran:
        """Sign a scope for these targets and run it."""
        return self.run(self.scope(*targets, level=level, **more))


@contextmanager
def operator() -> Iterator[Operator]:
    """An operator in a folder of its own, outside of pytest's: its path is in nothing that the tests plant."""
    with tempfile.TemporaryDirectory(prefix="strongroom-probing-") as folder:
        yield Operator(Path(folder) / "operator")


def scope_text(*targets: Target, level: str = "L3", **more: Any) -> str:
    """The text of a scope; ``rates`` and ``consent`` are those of tests on loopback unless others are given."""
    now = dt.datetime.now(dt.UTC)
    tables: dict[str, Mapping[str, Any]] = {
        "authorisation": {"by": "A. Tester, head of tests", "contact": "tests@example.org"},
        "window": {"start": now - dt.timedelta(hours=1), "end": now + dt.timedelta(hours=4)},
        "rates": FAST,
        "consent": dict.fromkeys(CONSENTS, True),
    }
    root: dict[str, Any] = {"format": 1, "name": "test", "level": level, "vantage": "loopback"}
    for key, value in more.items():
        if isinstance(value, Mapping):
            tables[key] = value
        else:
            root[key] = value
    blank: Target = {"dicom_ports": [], "http_ports": [], "neighbour_ports": []}
    parts = [_lines(root)]
    parts += [f"[{name}]\n{_lines(table)}" for name, table in tables.items()]
    parts += [f"[[target]]\n{_lines({**blank, **target})}" for target in targets]
    return "\n".join(parts)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in table.items())
