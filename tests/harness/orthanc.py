"""Orthanc with its DICOMweb plugin as a peer, on loopback and with a password.

Without TLS: Debian's build ends at the first HTTPS connection (``bench/civetweb_ssl.c`` says why), and what is compared
here does not depend on it.
"""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.postgres import free_port
from harness.web import Answer

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ROOT = "/dicom-web"
USER = ("tests", "tests")
START_TIMEOUT_S = 30.0
TIMEOUT_S = 60.0


def is_installed() -> bool:
    """Whether Orthanc and its plugin are there."""
    return PROGRAM.exists() and PLUGIN.exists()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    port: int

    @property
    def base_url(self) -> str:
        """The root of its DICOMweb service."""
        return f"http://127.0.0.1:{self.port}{ROOT}"

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request to a path below the root, and read the answer."""
        token = base64.b64encode(":".join(USER).encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, ROOT + path, body, {"Authorization": f"Basic {token}", **headers})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, accept: str) -> Answer:
        """GET."""
        return self.request("GET", path, {"Accept": accept})


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc on an empty ``folder``; ended afterwards."""
    port = free_port()
    config = {
        "Name": "tests",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomServerEnabled": False,
        "HttpPort": port,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER[0]: USER[1]},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": f"{ROOT}/", "EnableWado": False},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(config))
    log = (folder / "orthanc.log").open("wb")
    with log, subprocess.Popen([str(PROGRAM), "orthanc.json"], cwd=folder, stdout=log, stderr=log) as process:
        try:
            running = Orthanc(port)
            _wait(running, process)
            yield running
        finally:
            process.terminate()


def _wait(running: Orthanc, process: subprocess.Popen[bytes]) -> None:
    deadline, pause = time.monotonic() + START_TIMEOUT_S, threading.Event()
    while True:
        try:
            if running.get("/studies?limit=1", "application/dicom+json").status == 200:
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Orthanc does not answer") from None
        pause.wait(0.05)
