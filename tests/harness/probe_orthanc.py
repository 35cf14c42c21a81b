"""Orthanc as Debian ships it, and as people open or close it: targets of the probe.

Debian's build ends at its first HTTPS connection (``bench/civetweb_ssl.c`` says why), so that TLS of its HTTP server is
nginx in front of it (``probe_nginx``), and TLS of its DICOM server its own.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.orthanc import PLUGIN, PROGRAM
from harness.postgres import free_port
from harness.probe_certificates import Pair
from harness.probe_processes import Program, Running, requires, running

SHIPPED = Path("/etc/orthanc")
AET = "ORTHANC"
DEFAULT_USER = ("orthanc", "orthanc")


@dataclass(frozen=True)
class OrthancTarget:
    """A running Orthanc."""

    dicom_port: int
    http_port: int
    server: Running
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where a server runs: in this network on loopback, or ``inside`` another at an address of it."""

    folder: Path
    address: str = "127.0.0.1"
    inside: Sequence[str] = ()
    ports: tuple[int, ...] = field(default_factory=lambda: (free_port(), free_port()))
    """Of DICOM and of HTTP."""


def opened_settings() -> Mapping[str, Any]:
    """Open to everybody: what tutorials say so that "it works"."""
    return {
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowFindWorklist": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
    }


def default_credentials_settings() -> Mapping[str, Any]:
    """Password protected, with the user that every guide names; DICOM closed but for the echo."""
    return {
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": True,
        "RegisteredUsers": dict([DEFAULT_USER]),
        "DicomAlwaysAllowStore": False,
    }


def locked_settings(server: Pair, user: tuple[str, str] = ("tests", "a-long-pass-phrase")) -> Mapping[str, Any]:
    """DICOM over TLS to clients with a certificate of ``server``'s authority, titles checked, HTTP with a password."""
    return {
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": True,
        "RegisteredUsers": dict([user]),
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(server.certificate),
        "DicomTlsPrivateKey": str(server.key),
        "DicomTlsTrustedCertificates": str(server.authority),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
    }


@contextmanager
def shipped_orthanc(place: Place) -> Iterator[OrthancTarget]:
    """Exactly Debian's configuration files; only ports and paths are others."""
    requires(str(PROGRAM), str(SHIPPED / "orthanc.json"))
    folder = place.folder / "etc"
    shutil.copytree(SHIPPED, folder)
    dicom_port, http_port = place.ports
    text = (folder / "orthanc.json").read_text()
    database = place.folder / "db"
    for key, value in (
        ("DicomPort", str(dicom_port)),
        ("HttpPort", str(http_port)),
        ("StorageDirectory", json.dumps(str(database))),
        ("IndexDirectory", json.dumps(str(database))),
    ):
        text, count = re.subn(rf'(?m)^(\s*"{key}"\s*:\s*)[^,\n]*', rf"\g<1>{value}", text)
        assert count == 1, key
    (folder / "orthanc.json").write_text(text)
    with _orthanc(place, folder) as target:
        yield target


@contextmanager
def orthanc_with(place: Place, settings: Mapping[str, Any]) -> Iterator[OrthancTarget]:
    """Orthanc's own defaults and ``settings``, with its DICOMweb plugin."""
    requires(str(PROGRAM), str(PLUGIN))
    dicom_port, http_port = place.ports
    config = {
        "Name": "tests",
        "StorageDirectory": str(place.folder / "db"),
        "IndexDirectory": str(place.folder / "db"),
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
        **settings,
    }
    place.folder.mkdir(parents=True, exist_ok=True)
    path = place.folder / "orthanc.json"
    path.write_text(json.dumps(config))
    with _orthanc(place, path) as target:
        yield target


@contextmanager
def _orthanc(place: Place, config: Path) -> Iterator[OrthancTarget]:
    command = (PROGRAM, "--verbose", config)
    program = Program(command, place.ports, place.folder, place.address, inside=place.inside)
    with running(program) as server:
        yield OrthancTarget(place.ports[0], place.ports[1], server, place.address)
