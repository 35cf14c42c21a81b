"""DCMTK's servers as targets of the probe: the image archive, a store, a worklist."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.postgres import free_port
from harness.probe_certificates import Pair
from harness.probe_processes import Program, Running, requires, running

ARCHIVE_AET, STORE_AET, WORKLIST_AET = "ARCHIVE", "STORESCP", "OFFIS"
KNOWN_PEER = "KNOWNPEER"
"""The only calling title that a closed dcmqrscp serves."""
WORKLISTS = Path("/usr/share/doc/dcmtk/examples/wlistdb")

_ARCHIVE_SETTINGS = """\
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
known = ({known}, 127.0.0.1, {known_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{aet} {storage} {access} (200, 1024mb) {peers}
AETable END
"""


@dataclass(frozen=True)
class DcmtkTarget:
    """A running server; ``storage`` is where it keeps what it is given."""

    port: int
    server: Running
    storage: Path


@contextmanager
def dcmqrscp(folder: Path, *, peers: str = "ANY", access: str = "RW", port: int = 0) -> Iterator[DcmtkTarget]:
    """The archive ``ARCHIVE``; with ``peers="known"`` for KNOWNPEER at 127.0.0.1 alone, by its AETable."""
    requires("dcmqrscp")
    storage = folder / "storage"
    storage.mkdir(parents=True)
    port = port or free_port()
    text = _ARCHIVE_SETTINGS.format(
        port=port,
        known=KNOWN_PEER,
        known_port=free_port(),
        aet=ARCHIVE_AET,
        storage=storage,
        access=access,
        peers=peers,
    )
    config = folder / "dcmqrscp.cfg"
    config.write_text(text)
    with running(Program(("dcmqrscp", "-v", "-dhl", "-c", config), (port,), folder)) as server:
        yield DcmtkTarget(port, server, storage)


@contextmanager
def storescp(folder: Path, *options: str | Path, port: int = 0) -> Iterator[DcmtkTarget]:
    """A store that takes all from everybody, unless the options say otherwise."""
    requires("storescp")
    storage = folder / "storage"
    storage.mkdir(parents=True)
    port = port or free_port()
    # "--fork": else a connection that says nothing keeps everybody else out.
    command = ("storescp", "-v", "--fork", "-aet", STORE_AET, "-od", storage, *options, str(port))
    with running(Program(command, (port,), folder)) as server:
        yield DcmtkTarget(port, server, storage)


def tls_options(server: Pair, *, client_certificate: str = "required") -> list[str | Path]:
    """Options of storescp for TLS; ``client_certificate`` is required, verified (if there is one) or ignored."""
    how = {"required": "--require-peer-cert", "verified": "--verify-peer-cert", "ignored": "--ignore-peer-cert"}
    options: list[str | Path] = ["+tls", server.key, server.certificate, "+cf", server.authority]
    return [*options, how[client_certificate]]


@contextmanager
def wlmscpfs(folder: Path, *, port: int = 0) -> Iterator[DcmtkTarget]:
    """The worklist ``OFFIS`` with the ten composers that DCMTK's documentation has as patients."""
    requires("wlmscpfs", "dump2dcm", str(WORKLISTS))
    storage = folder / "worklists"
    worklist = storage / WORKLIST_AET
    worklist.mkdir(parents=True)
    (worklist / "lockfile").touch()
    for dump in sorted((WORKLISTS / WORKLIST_AET).glob("*.dump")):
        target = worklist / f"{dump.stem}.wl"
        subprocess.run(["dump2dcm", "-q", "-g", dump, target], check=True, capture_output=True, timeout=30)
    port = port or free_port()
    with running(Program(("wlmscpfs", "-v", "-dfp", storage, str(port)), (port,), folder)) as server:
        yield DcmtkTarget(port, server, storage)


def store_files(port: int, aet: str, files: Sequence[Path], *options: str) -> None:
    """Send files with storescu; they must be taken."""
    command = ["storescu", "-aet", KNOWN_PEER, "-aec", aet, *options, "127.0.0.1", str(port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
