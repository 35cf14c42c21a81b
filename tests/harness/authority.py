"""A time stamp authority: `openssl ts` with a CA made by openssl, behind a small HTTP server on loopback."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

_SETTINGS = """\
[req]
distinguished_name = names
prompt = no
[names]
CN = set on the command line
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
[stamper]
basicConstraints = CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[server]
basicConstraints = CA:false
extendedKeyUsage = serverAuth
[tsa]
default_tsa = stamps
[stamps]
serial = ./serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256,sha512
accuracy = secs:1
tsa_name = yes
ess_cert_id_alg = sha256
"""


_CA_SETTINGS = """\
[ca]
default_ca = it
[it]
database = index
new_certs_dir = .
serial = ca.srl
policy = any
[any]
commonName = supplied
"""


def openssl(folder: Path, *arguments: str | Path) -> None:
    """Run openssl in a folder; absent, the test is skipped and counted."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run([program, *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass
class Authority:
    """Keys and certificates of one authority in a folder of its own."""

    folder: Path
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    answer: bytes | None = None
    """Said instead of what openssl would say."""
    status: int = 200
    content_type: str = "application/timestamp-reply"

    @property
    def root(self) -> Path:
        """The certificate of its CA."""
        return self.folder / "ca.pem"

    def issue(self, name: str, section: str = "stamper", *dates: str) -> None:
        """Make ``name``.key and ``name``.pem; ``dates`` are begin and end as openssl ca takes them."""
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        openssl(self.folder, "req", "-new", *made, "-config", "settings", "-subj", f"/CN={name}", "-out", "csr")
        if not dates:
            days = ("-days", "30", "-CAcreateserial")
            signed = ("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", *days)
            openssl(self.folder, *signed, "-extfile", "settings", "-extensions", section, "-out", f"{name}.pem")
            return
        (self.folder / "index").write_text("")
        (self.folder / "ca.settings").write_text(_CA_SETTINGS)
        times = ("-startdate", dates[0], "-enddate", dates[1])
        by = ("-cert", "ca.pem", "-keyfile", "ca.key", "-md", "sha256", "-notext", "-batch")
        of = ("-in", "csr", "-extfile", "settings", "-extensions", section, "-out", f"{name}.pem")
        openssl(self.folder, "ca", "-config", "ca.settings", *by, *times, *of)

    def reply(self, query: bytes, signer: str = "tsa") -> bytes:
        """What `openssl ts` answers to a request."""
        (self.folder / "query").write_bytes(query)
        by = ("-signer", f"{signer}.pem", "-inkey", f"{signer}.key", "-config", "settings")
        openssl(self.folder, "ts", "-reply", "-queryfile", "query", *by, "-out", "reply")
        return (self.folder / "reply").read_bytes()


def new_authority(folder: Path) -> Authority:
    """A CA and a certificate for stamps."""
    folder.mkdir()
    (folder / "settings").write_text(_SETTINGS)
    (folder / "serial").write_text("01\n")
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-days", "365")
    named = ("-subj", f"/CN=CA of {folder.name}", "-config", "settings", "-extensions", "authority")
    openssl(folder, "req", "-x509", "-new", *made, *named, "-out", "ca.pem")
    authority = Authority(folder)
    authority.issue("tsa")
    return authority


@contextmanager
def answering(authority: Authority) -> Iterator[Authority]:
    """The authority behind its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            authority.asked.append(query)
            body = authority.reply(query) if authority.answer is None else authority.answer
            self.send_response(authority.status)
            self.send_header("Content-Type", authority.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    authority.url = f"http://127.0.0.1:{server.server_address[1]}/tsa"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
