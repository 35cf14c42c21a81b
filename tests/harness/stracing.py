"""Programs of ours under strace, which fails their system calls or kills them there: forked when all is imported.

To import the archive takes longer than what is tested, and under strace longer still. One process of a test file
imports it once; for each run it forks, and strace has the child before it does anything.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from harness.archives import clean_environment

RUN_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ready:
    """A program, imported; ``folder`` takes what its runs say."""

    parent: subprocess.Popen[str]
    folder: Path

    def run(self, arguments: list[str], *options: str) -> str:
        """What ``main`` of the program says on standard output, run with these arguments under strace with options."""
        out, err = self.folder / "out", self.folder / "err"
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        print(json.dumps([arguments, str(out), str(err)]), file=self.parent.stdin, flush=True)
        pid = int(self.parent.stdout.readline())
        strace = subprocess.Popen(
            ["strace", "-f", *options, "-p", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert strace.stderr is not None
        first = strace.stderr.readline()
        attached = "attached" in first
        os.kill(pid, signal.SIGCONT if attached else signal.SIGKILL)
        try:
            strace.communicate(timeout=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
            strace.kill()
            strace.communicate()
            raise
        finally:
            ended = self.parent.stdout.readline()
        if not attached:
            pytest.skip(f"strace cannot be used here: {first.strip()[:100]}")
        assert ended == "ended\n"
        said = err.read_text(errors="replace")
        assert "Traceback" not in said, said[-2000:]
        return out.read_text()


@contextmanager
def ready(program: Path, folder: Path) -> Iterator[Ready]:
    """Import a program that has a ``main`` of no arguments; skips without strace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    environment = clean_environment() | {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", "from harness.stracing import fork_for_each_line; fork_for_each_line()", str(program)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        try:
            yield Ready(parent, folder)
        finally:
            parent.kill()


def fork_for_each_line() -> None:
    """What that process does: says the pid of each child once it has stopped itself, and when it has ended."""
    program = Path(sys.argv[1])
    main = import_module(program.stem).main
    for line in sys.stdin:
        arguments, out, err = json.loads(line)
        pid = os.fork()
        if not pid:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.argv = [str(program), *arguments]
            os.kill(os.getpid(), signal.SIGSTOP)
            _run_to_its_end(main)
        os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


def _run_to_its_end(main: Callable[[], None]) -> None:
    try:
        main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
