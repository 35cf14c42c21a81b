"""ClamAV's daemon with a signature of ours and no other: nothing is downloaded, nothing runs but for a test."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

PROGRAM = which("clamd") or ("/usr/sbin/clamd" if Path("/usr/sbin/clamd").exists() else "")
MARK = b"strongroom-harmless-test-signature-7e21"
SIGNATURE = "Strongroom.Test.Mark"
START_TIMEOUT_S = 60.0


@contextmanager
def clamd(folder: Path, **settings: str) -> Iterator[str]:
    """A running clamd; yields its address as the configuration has it. ``settings`` go into its own."""
    database = folder / "database"
    database.mkdir()
    (database / "test.ndb").write_text(f"{SIGNATURE}:0:*:{MARK.hex()}\n")
    address = folder / "clamd.ctl"
    said = {
        "LocalSocket": str(address),
        "DatabaseDirectory": str(database),
        "TemporaryDirectory": str(folder),
        "Foreground": "yes",
        "LogTime": "no",
        "MaxThreads": "4",
        "ConcurrentDatabaseReload": "no",
        "Bytecode": "no",
    } | settings
    (folder / "clamd.conf").write_text("".join(f"{key} {value}\n" for key, value in said.items()))
    process = subprocess.Popen(
        [PROGRAM, f"--config-file={folder / 'clamd.conf'}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        _wait(process, address)
        port = said.get("TCPSocket")
        yield f"tcp:127.0.0.1:{port}" if port else f"unix:{address}"
    finally:
        process.terminate()
        process.communicate()


def _wait(process: subprocess.Popen[bytes], address: Path) -> None:
    """Wait for what it prints last before it accepts."""
    assert process.stdout is not None
    end, said = time.monotonic() + START_TIMEOUT_S, b""
    while b"Self checking" not in said:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
        piece = process.stdout.read1(4096) if ready else b""  # type: ignore[attr-defined]
        assert piece, f"clamd did not start: {said.decode(errors='replace')}"
        said += piece
    assert address.exists()
