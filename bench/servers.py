"""Starting and stopping the archives under test, each in its own directory on a free loopback port."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import webclient
import wire

BENCH_DIR = Path(__file__).resolve().parent
OUT_DIR = BENCH_DIR / "out"
PEERS_BIN = OUT_DIR / "peers-venv" / "bin"
CALLING = "BENCH"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
DIGESTS_POLL_S = 5.0
ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC_PASSWORD = "bench"


@dataclass(slots=True)
class Server:
    """A running archive: its process group, where it listens, and where its data lies."""

    name: str
    endpoint: wire.Endpoint
    process: subprocess.Popen[bytes]
    directory: Path
    web: webclient.Endpoint | None = None

    def pids(self) -> list[int]:
        """Return the server's process and all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_s(self) -> float:
        """Return the processor time, user and system, of the whole tree so far."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_rss_bytes(self) -> int:
        """Return the sum over the tree of each process's largest resident set so far (VmHWM)."""
        return self._memory_bytes("VmHWM:")

    def rss_bytes(self) -> int:
        return self._memory_bytes("VmRSS:")

    def _memory_bytes(self, key: str) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(key):
                        total += int(line.split()[1]) * 1024
        return total


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificates(directory: Path) -> Path:
    """Make a throw-away CA with one server and one client certificate by the openssl command; return ``directory``."""
    if (directory / "client" / "cert.pem").exists():
        return directory
    (directory / "client").mkdir(parents=True, exist_ok=True)
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    commands = [[*new, "-subj", "/CN=bench CA", "-keyout", str(ca_key), "-out", str(ca)]]
    issued_by = ["-CA", str(ca), "-CAkey", str(ca_key), "-addext", "basicConstraints=critical,CA:FALSE"]
    for name, place in (("127.0.0.1", directory), (CALLING, directory / "client")):
        out = ["-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem")]
        commands.append([*new, *issued_by, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", *out])
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    shutil.copy(ca, directory / "client" / "ca.pem")
    return directory


def _spawn(command: list[str], directory: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )


def _wait_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    contexts = [(wire.VERIFICATION, [wire.IMPLICIT_VR_LITTLE_ENDIAN])]
    while True:
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.name} ended at start; see {server.directory / 'server.log'}")
        try:
            with wire.Association(server.endpoint, contexts, timeout_s=5) as association:
                association.echo(association.require_context())
            if server.name.startswith("strongroom") and "\nready " not in "\n" + _said(server):
                raise wire.PeerError("some of its processes are still starting")
            if server.web:
                server.web = _web_ready(server, server.web)
            return
        except (OSError, wire.PeerError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not answer: {error}") from error
            time.sleep(0.1)


def _said(server: Server) -> str:
    return (server.directory / "server.log").read_text()


def _web_ready(server: Server, web: webclient.Endpoint) -> webclient.Endpoint:
    """Return where DICOMweb answers; PeerError or OSError if it does not yet."""
    if not web.port:
        said = re.search(r"^ready .*https=\S+:(\d+)", _said(server), re.M)
        if said is None:
            raise wire.PeerError("no ready line yet")
        web = replace(web, port=int(said[1]))
    with webclient.Connection(web) as connection:
        connection.get("/studies?limit=1", webclient.JSON)
    return web


def stop(server: Server) -> None:
    """End the server's whole process group: politely, then not."""
    for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, number)
        try:
            server.process.wait(patience_s)
            break
        except subprocess.TimeoutExpired:
            continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Peer:
    """How one archive is prepared and started: ``prepare`` writes its files and returns what to run.

    ``prepare(directory, port, tls)`` gets the directory with the certificates, or None for plain TCP, and returns the
    command and its environment. ``note`` says in one line what of its configuration matters to a reader.
    """

    called: str
    prepare: Callable[[Path, int, Path | None], tuple[list[str], dict[str, str]]]
    has_tls: bool
    note: str
    add_web: Callable[[Path], webclient.Endpoint] | None = None
    """Adds DICOMweb over HTTPS to what ``prepare`` wrote, before the start; None if the archive has none."""


def _orthanc(max_pdu_bytes: int | None) -> Callable[[Path, int, Path | None], tuple[list[str], dict[str, str]]]:
    def prepare(directory: Path, port: int, tls: Path | None) -> tuple[list[str], dict[str, str]]:
        config: dict[str, object] = {
            "Name": "bench",
            "StorageDirectory": str(directory / "db"),
            "IndexDirectory": str(directory / "db"),
            "DicomPort": port,
            "DicomAet": "ORTHANC",
            "HttpServerEnabled": False,
            "DicomModalities": {"bench": {"AET": CALLING, "Host": "127.0.0.1", "Port": 104}},
        }
        if max_pdu_bytes is not None:
            config["MaximumPduLength"] = max_pdu_bytes
        if tls:
            config |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(tls / "cert.pem"),
                "DicomTlsPrivateKey": str(tls / "key.pem"),
                "DicomTlsTrustedCertificates": str(tls / "ca.pem"),
            }
        (directory / "orthanc.json").write_text(json.dumps(config, indent=1))
        # See civetweb_ssl.c: without it Debian's build ends at the first HTTPS connection.
        return ["/usr/sbin/Orthanc", "orthanc.json"], {"LD_LIBRARY_PATH": str(OUT_DIR / "civetweb-ssl")}

    return prepare


def _orthanc_web(directory: Path) -> webclient.Endpoint:
    """Its plugin over TLS with a password, the least that keeps strangers out of it."""
    tls, port = certificates(OUT_DIR / "certificates"), free_port()
    both = directory / "https.pem"
    both.write_text((tls / "cert.pem").read_text() + (tls / "key.pem").read_text())
    path = directory / "orthanc.json"
    config = json.loads(path.read_text()) | {
        "HttpServerEnabled": True,
        "HttpPort": port,
        "SslEnabled": True,
        "SslCertificate": str(both),
        "AuthenticationEnabled": True,
        "RegisteredUsers": {CALLING: ORTHANC_PASSWORD},
        "Plugins": [str(ORTHANC_DICOMWEB)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado", "Ssl": True},
    }
    path.write_text(json.dumps(config, indent=1))
    basic = base64.b64encode(f"{CALLING}:{ORTHANC_PASSWORD}".encode()).decode()
    return webclient.Endpoint("127.0.0.1", port, "/dicom-web", f"Basic {basic}", tls / "ca.pem")


def _dcmqrscp(directory: Path, port: int, _tls: Path | None) -> tuple[list[str], dict[str, str]]:
    (directory / "db").mkdir(exist_ok=True)
    (directory / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nbench = ({CALLING}, localhost, 104)\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {directory / 'db'} RW (500, 1gb) ANY\nAETable END\n"
    )
    return ["dcmqrscp", "-c", "dcmqrscp.cfg"], {}


def _pynetdicom(directory: Path, port: int, _tls: Path | None) -> tuple[list[str], dict[str, str]]:
    arguments = ["--port", str(port), "--ae-title", "QRSCP", "--bind-address", "127.0.0.1", "--log-level", "error"]
    places = ["--database-location", str(directory / "index.sqlite"), "--instance-location", str(directory / "objects")]
    return [str(PEERS_BIN / "qrscp"), *arguments, *places], {}


def _tiny_pacs(directory: Path, port: int, tls: Path | None) -> tuple[list[str], dict[str, str]]:
    config = {
        "ae": {"ae_title": ["TINY_PACS"], "port": port, "dump_ds": False},
        "log": {"version": 1, "root": {"level": "ERROR"}},
        "components": {
            "Database": {"on": True, "driver": "sqlite", "db_name": str(directory / "pacs.db"), "mode": "rwc"},
            "Devices": {"on": True, "auto_add": True},
            "PACS": {"on": True},
            "FileStorage": {"on": True, "storage_dir": str(directory / "objects")},
        },
    }
    if tls:
        config["ae"] |= {"tls": {name: str(tls / f"{file}.pem") for name, file in _TINY_PACS_TLS.items()}}
    (directory / "objects").mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    return [str(PEERS_BIN / "tiny-pacs"), "run", "-c", "config.json"], {}


_TINY_PACS_TLS = {"certificate": "cert", "key": "key", "ca": "ca"}


_STRONGROOM = [sys.executable, "-c", "from strongroom.cli import main; main()"]


def _unscreened(directory: Path, port: int, tls: Path | None) -> tuple[list[str], dict[str, str]]:
    command = _strongroom(directory, port, tls)
    config = directory / "home" / "config.toml"
    if "[screening]" not in config.read_text():
        with config.open("a") as file:
            file.write("\n[screening]\nenabled = false\ndigests = false\n")
    return command


def _strongroom(directory: Path, port: int, tls: Path | None) -> tuple[list[str], dict[str, str]]:
    """Plain TCP is the time-limited exception ``unsafe_plaintext``; the TLS port is there in both cases."""
    home = directory / "home"
    if not home.exists():
        _strongroom_says(directory, "init", "--dicom-port", str(port if tls else 0), "--https-port", "0")
        _strongroom_says(directory, "peer", "add", CALLING, "--allow", "echo,store,find,get,move,commit")
        if not tls:
            expires = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=7)).date()
            with (home / "config.toml").open("a") as config:
                config.write(
                    f'\n[[unsafe_plaintext]]\npeer = "{CALLING}"\naddresses = "127.0.0.1/32"\nport = {port}\n'
                    f'expires = {expires.isoformat()}\nreason = "benchmark"\n'
                )
    if not tls:
        _agree(directory)
    return [*_STRONGROOM, "serve", "--home", str(home)], {"PYTHONPATH": str(BENCH_DIR.parent / "src")}


def _agree(directory: Path) -> None:
    """Have two administrators agree to the exception, unless they have."""
    said = _strongroom_says(directory, "unsafe", "list", "--format", "json", may_fail=True)
    for exception in json.loads(said):
        for name in () if exception["agreed"] else ("bench.one", "bench.two"):
            passcode = {"STRONGROOM_PASSCODE": secrets.token_hex(16)}
            _strongroom_says(directory, "user", "add", name, "--role", "administrator", **passcode)
            _strongroom_says(directory, "unsafe", "approve", exception["digest"], "--by", name, **passcode)


def wait_for_digests(server: Server) -> None:
    """Wait until a running Strongroom has made the digests of all that it holds, at its own pace; others make none.

    They are made at the least priority after a filling; whoever searches or reads an archive of some age does so
    without them.
    """
    while server.name.startswith("strongroom"):
        jobs = json.loads(_strongroom_says(server.directory, "jobs", "--format", "json"))
        digests = next((job for job in jobs if job["kind"] == "digests"), None)
        if digests is None or digests["done"] >= digests["total"]:
            return
        print(f"  digests: {digests['done']} of {digests['total']}", file=sys.stderr, flush=True)
        time.sleep(DIGESTS_POLL_S)


def _strongroom_says(directory: Path, *arguments: str, may_fail: bool = False, **environment: str) -> str:
    """The output of a command on the archive of ``directory``; ``may_fail``: its status is no error."""
    return subprocess.run(
        [*_STRONGROOM, *arguments, "--home", str(directory / "home")],
        check=not may_fail,
        capture_output=True,
        text=True,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(BENCH_DIR.parent / "src")} | environment,
    ).stdout


def _strongroom_web(directory: Path) -> webclient.Endpoint:
    """A bearer token with all rights; the port is the one that the server prints when it is ready."""
    said = _strongroom_says(directory, "token", "add", f"bench-{time.time_ns()}", "--allow", "search,read,store")
    secret = said.splitlines()[-1].strip()
    return webclient.Endpoint("127.0.0.1", 0, "/dicomweb", f"Bearer {secret}", directory / "home" / "ca.pem")


PEERS = {
    "strongroom": Peer(
        "STRONGROOM",
        _strongroom,
        True,
        "sealing, SHA-256, screening, index, trail, digests and fsync on; tokens",
        _strongroom_web,
    ),
    "strongroom-unscreened": Peer(
        "STRONGROOM", _unscreened, True, "the same without screening and the digests that follow", _strongroom_web
    ),
    "orthanc": Peer(
        "ORTHANC",
        _orthanc(None),
        True,
        "as Debian ships it, its default PDU of 16384 bytes; HTTPS only in the DICOMweb sections, with its plugin",
        _orthanc_web,
    ),
    "orthanc-128k": Peer("ORTHANC", _orthanc(131072), True, "the same with MaximumPduLength at its largest, 131072"),
    "dcmqrscp": Peer("DCMQRSCP", _dcmqrscp, False, "defaults; Debian builds it without TLS; writes without fsync"),
    "pynetdicom": Peer("QRSCP", _pynetdicom, False, "its qrscp application, logging errors only; no TLS option"),
    "tiny-pacs": Peer("TINY_PACS", _tiny_pacs, True, "SQLite file and file storage, logging errors only"),
}


def start(name: str, directory: Path, *, tls: bool, web: bool = False) -> Server:
    """Start the archive called ``name`` on what ``directory`` holds, with ``web`` over HTTPS too; does not wait."""
    peer = PEERS[name]
    port_file = directory / "port"
    port = int(port_file.read_text()) if port_file.exists() else free_port()
    port_file.write_text(str(port))
    keys = certificates(OUT_DIR / "certificates") if tls else None
    command, environment = peer.prepare(directory, port, keys)
    shown = (
        directory / "home" / "peers" / CALLING if name.startswith("strongroom") else OUT_DIR / "certificates" / "client"
    )
    endpoint = wire.Endpoint("127.0.0.1", port, peer.called, CALLING, shown if tls else None)
    where = peer.add_web(directory) if web and peer.add_web else None
    (directory / "server.log").unlink(missing_ok=True)
    return Server(name, endpoint, _spawn(command, directory, environment), directory, where)


def settle() -> None:
    """Write back what earlier measurements left in the page cache, so that nobody pays for somebody else's writes."""
    os.sync()


@contextlib.contextmanager
def running(
    name: str, directory: Path, *, tls: bool = False, keep: bool = False, web: bool = False
) -> Iterator[Server]:
    """Start the server called ``name`` in ``directory``, wait until it answers C-ECHO, and stop it on the way out.

    Without ``keep`` the directory is emptied before, so that every run starts from the same state, and removed after.
    """
    if not keep and directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    server = start(name, directory, tls=tls, web=web)
    try:
        _wait_ready(server)
        yield server
    finally:
        stop(server)
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Run one server in the foreground until Ctrl-C, for tuning by hand with load.py."""
    name, tls, web = sys.argv[1], "--tls" in sys.argv, "--web" in sys.argv
    with contextlib.suppress(KeyboardInterrupt), running(name, OUT_DIR / f"hand-{name}", tls=tls, web=web) as server:
        print(
            json.dumps(
                {
                    "port": server.endpoint.port,
                    "called": server.endpoint.called,
                    "pid": server.process.pid,
                    "tls": str(server.endpoint.tls) if server.endpoint.tls else None,
                    "web": asdict(server.web) if server.web else None,
                },
                default=str,
            ),
            flush=True,
        )
        server.process.wait()


if __name__ == "__main__":
    main()
