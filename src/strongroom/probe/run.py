"""One run and its directory: begun, or continued after a kill, and brought to its end.

Everything that the probe writes lies in that directory, under names of our own, for its owner alone.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroom import __version__
from strongroom.errors import ConfigError
from strongroom.probe.engine import COMPLETE, STOPPED, WINDOW, Before, Outcome
from strongroom.probe.permits.permit import Permit
from strongroom.probe.permits.signing import SigningKey, sign_head, write_new
from strongroom.probe.reporting.reports import Ran
from strongroom.probe.runlog import LOG_NAME, RunLog, Value, continue_log, new_log, read_entries

SCOPE_NAME: Final = "scope.toml"

_STOPPED: Final = {
    STOPPED: "it was ended by the operator before all was tested",
    WINDOW: "the window of the scope was over before all was tested",
}


@dataclass(slots=True)
class OpenRun:
    """A run whose log is open. ``before`` is what it had done when it was killed or stopped; ``id`` stays the same."""

    id: str
    folder: Path
    log: RunLog
    before: Before
    started_us: int
    continued: bool


def open_run(permit: Permit, folder: Path) -> OpenRun:
    """Begin a run in ``folder``, which is made, or continue the one in it. Raises ConfigError."""
    if (folder / LOG_NAME).exists():
        return _continue(permit, folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty, and holds no run: give another --out")
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used: {error.strerror}") from None
    write_new(folder / SCOPE_NAME, permit.signed.raw, 0o600)
    log = new_log(folder)
    run = uuid.uuid4().hex
    log.append("run", {"run": run, **_told(permit)})
    for proof in permit.proofs:
        log.append("proof", {"target": proof.target, "address": proof.address, "how": proof.how.value})
    started_us = next(read_entries(folder))["at_us"]
    return OpenRun(run, folder, log, Before(), started_us, continued=False)


def end_run(opened: OpenRun, outcome: Outcome, key: SigningKey | None) -> str:
    """Write the last entries of the log, signed if there is a key, and return the hash of the last one."""
    opened.log.append(
        "end",
        {
            "how": outcome.how,
            "addresses": outcome.addresses,
            "silent": outcome.silent,
            "connections": outcome.connections,
            "faults": len(outcome.faults),
        },
    )
    if key is not None:
        opened.log.append("signature", {"signature": sign_head(key, opened.id, opened.log.head)})
    opened.log.close()
    return opened.log.head


def ran_of(opened: OpenRun, permit: Permit, outcome: Outcome) -> Ran:
    """Return what a report says of a run that has ended."""
    stopped = [_STOPPED[outcome.how]] if outcome.how != COMPLETE else []
    if outcome.faults:
        stopped.append(f"{len(outcome.faults)} steps were not finished by a fault of the probe (see the run log)")
    return Ran(
        started_us=opened.started_us,
        ended_us=time.time_ns() // 1000,
        stopped="; ".join(stopped),
        scope_sha256=permit.signed.digest,
        scope_key=permit.signed.signer.fingerprint,
        log_head=opened.log.head,
        log_entries=opened.log.entries,
        addresses=outcome.addresses,
        silent=outcome.silent,
    )


def write_report(folder: Path, name: str, text: str) -> None:
    """Write a report into the directory of a run, in place of an older one. Raises ConfigError."""
    temporary = folder / f".{name}.new"
    try:
        temporary.unlink(missing_ok=True)
        write_new(temporary, text.encode(), 0o600)
        os.replace(temporary, folder / name)
    except OSError as error:
        raise ConfigError(f"{folder / name} cannot be written: {error.strerror}") from None


def _continue(permit: Permit, folder: Path) -> OpenRun:
    log = continue_log(folder)  # first of all: its chain holds, and from here on nobody else writes to it
    try:
        opened = _opened(permit, folder, log)
    except (KeyError, TypeError, ValueError):
        log.close()
        raise ConfigError(f"{folder}: its log holds what no run writes: give another --out") from None
    except ConfigError:
        log.close()
        raise
    log.append("resumed", _told(permit))
    return opened


def _opened(permit: Permit, folder: Path, log: RunLog) -> OpenRun:
    """Return the run in ``folder`` as it stands. Raises ConfigError: it is another one, or has come to its end."""
    before = Before()
    entries = read_entries(folder)
    first = next(entries, {})
    if first.get("kind") != "run" or first.get("scope_sha256") != permit.signed.digest:
        raise ConfigError(f"{folder} holds a run of another scope: give another --out")
    if first.get("only") != list(permit.only):
        raise ConfigError(f"{folder} holds a run that was limited otherwise by --only: give another --out")
    how = ""
    for entry in entries:
        before.take(entry)
        how = entry["how"] if entry["kind"] == "end" else how
    if how == COMPLETE:
        raise ConfigError(f"{folder} holds a run that has come to its end: give another --out")
    return OpenRun(str(first["run"]), folder, log, before, int(first["at_us"]), continued=True)


def _told(permit: Permit) -> dict[str, Value]:
    """What an entry says of the permission under which packets leave from here on."""
    scope, signed = permit.scope, permit.signed
    return {
        "version": __version__,
        "scope_sha256": signed.digest,
        "signer": signed.signer.fingerprint,
        "signed_at": signed.signed_at,
        "level": str(scope.level),
        "vantage": str(scope.vantage),
        "only": list(permit.only),
        "resolved": {name: sorted(addresses) for name, addresses in permit.resolved.items()},
    }
