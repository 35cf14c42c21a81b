"""The npm package ``oidc-provider`` behind TLS: a real identity provider with people and claims that a test chooses."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness import npm
from strongroom.app import now_utc
from strongroom.net.certificates import Issued, issue
from strongroom.net.certificates import new_authority as new_certificate_authority

CLIENT = "strongroom"
SECRET = "a secret of the tests, longer than it has to be"
NAME = "hospital"
"""What the archive calls it."""

HOST = "127.0.0.1"
"""Another site than that of an archive at localhost, as a provider is in life."""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Member:
    """Somebody whom the provider knows."""

    login: str
    groups: Sequence[str] = ()
    password: str = "known there alone"
    amr: Sequence[str] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)


def _accounts(members: Mapping[str, Member]) -> dict[str, Any]:
    return {
        subject: {
            "login": each.login,
            "password": each.password,
            "amr": list(each.amr) or None,
            "claims": {"preferred_username": each.login, "groups": list(each.groups), **each.claims},
        }
        for subject, each in members.items()
    }


@dataclass
class TlsFiles:
    """A certificate authority of a provider, and the provider's own certificate, as files."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The CA."""
        return self.folder / "ca.pem"


def tls_files(folder: Path) -> TlsFiles:
    """New ones."""
    folder.mkdir()
    authority: Issued = new_certificate_authority("provider of the tests", now_utc())
    server = issue(authority, "provider", [HOST, "localhost"], now_utc(), 30)
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    (folder / "cert.pem").write_bytes(server.certificate_pem)
    (folder / "key.pem").write_bytes(server.key_pem)
    return TlsFiles(folder)


def settings(issuer: str, files: TlsFiles, **more: object) -> dict[str, object]:
    """An ``[[oidc]]`` section for a provider of the tests, without grants, which are tables of their own."""
    return {
        "name": NAME,
        "label": "St. Elsewhere",
        "issuer": issuer,
        "client_id": CLIENT,
        "ca_file": str(files.authority),
        "roles_claim": "groups",
        **more,
    }


@dataclass
class RunningProvider:
    """A provider that listens."""

    issuer: str
    files: TlsFiles
    process: subprocess.Popen[str]

    def order(self, **order: object) -> None:
        """Have it do something, and wait until it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def know(self, members: Mapping[str, Member]) -> None:
        """These are all that it knows from now on, by their subjects."""
        self.order(accounts=_accounts(members))

    def rotate(self) -> None:
        """It signs with another key from now on, and publishes that alone."""
        self.order(rotate=True)


@contextmanager
def running(
    folder: Path, port: int, members: Mapping[str, Member], redirect_uris: Sequence[str], *, userinfo: bool = False
) -> Iterator[RunningProvider]:
    """The provider, until the end. With ``userinfo`` its ID tokens have no claims of people."""
    node = shutil.which("node")
    npm.installed("oidc-provider")
    if node is None:
        pytest.skip("node is not installed")
    files = tls_files(folder)
    issuer = f"https://{HOST}:{port}"
    client = {"client_id": CLIENT, "client_secret": SECRET, "redirect_uris": list(redirect_uris)}
    orders = {
        "issuer": issuer,
        "port": port,
        "clients": [client],
        "accounts": _accounts(members),
        "userinfo": userinfo,
        "key": str(files.folder / "key.pem"),
        "certificate": str(files.folder / "cert.pem"),
    }
    (folder / "orders.json").write_text(json.dumps(orders))
    command = [node, str(npm.PEERS / "oidc-provider" / "server.mjs"), str(folder / "orders.json")]
    with (folder / "log").open("w") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", (folder / "log").read_text()
        yield RunningProvider(issuer, files, process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
