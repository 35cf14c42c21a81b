"""A plain HTTPS client for tests, which sends whatever method, path and headers it is told."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from harness.archives import RunningArchive

TIMEOUT_S = 60.0
ROOT = "/dicomweb"
DICOM_JSON = "application/dicom+json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Message
    content: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """Type and subtype, lower case."""
        return self.headers.get_content_type() if "content-type" in self.headers else ""

    @property
    def json(self) -> Any:
        """The content, parsed."""
        return json.loads(self.content)

    @property
    def parts(self) -> list[tuple[dict[str, str], bytes]]:
        """The parts of a multipart answer: headers by lower-case name, and content (RFC 2046 5.1)."""
        boundary = str(self.headers.get_param("boundary")).encode()
        between = (b"\r\n" + self.content).split(b"\r\n--" + boundary)
        assert between[-1].startswith(b"--"), "the last boundary is missing"
        found = []
        for piece in between[1:-1]:
            head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n") if line]
            found.append(({name.strip().lower(): value.strip() for name, _, value in lines}, body))
        return found


@dataclass(frozen=True)
class WebClient:
    """Somebody who calls an archive: ``token`` None has none; ``certificate`` is a folder with cert.pem, key.pem."""

    port: int
    authority: Path
    token: str | None = None
    certificate: Path | None = None
    session: str = ""
    """The secret of a person's session, which a browser would show as a cookie."""
    address: str = "127.0.0.1"
    """Where it calls from: any address of the loopback network."""
    keeps_alive: bool = False
    """Whether all requests go over one connection, which ``close`` ends."""
    _kept: list[http.client.HTTPSConnection] = field(default_factory=list, repr=False, compare=False)

    @property
    def base_url(self) -> str:
        """The root of the service."""
        return f"https://127.0.0.1:{self.port}{ROOT}"

    def context(self) -> ssl.SSLContext:
        """TLS that trusts the archive's CA and nobody else."""
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.certificate is not None:
            context.load_cert_chain(self.certificate / "cert.pem", self.certificate / "key.pem")
        return context

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        *,
        is_page: bool = False,
    ) -> Answer:
        """Send a request to ``path``, which is below the root unless it is a whole one or that of a page, and read the
        answer."""
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.session:
            own |= {"Cookie": f"__Host-session={self.session}"}
        target = path if is_page or path.startswith((ROOT, "/health", "/metrics")) else ROOT + path
        connection = self._connection()
        try:
            connection.request(method, target, body=body, headers={**own, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except BaseException:
            self._kept.clear()
            raise
        finally:
            if connection not in self._kept:
                connection.close()

    def _connection(self) -> http.client.HTTPSConnection:
        if self._kept:
            return self._kept[0]
        source = (self.address, 0)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=self.context(), timeout=TIMEOUT_S, source_address=source
        )
        if self.keeps_alive:
            self._kept.append(connection)
        return connection

    def close(self) -> None:
        """Close the connection that was kept."""
        while self._kept:
            self._kept.pop().close()

    def page(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """What a browser does: go to a page, or send a form of it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if form is None:
            return self.request("GET", path, {"Accept": "text/html", **named}, is_page=True)
        body = urlencode(form).encode()
        own = {"Accept": "text/html", "Content-Type": FORM, "Origin": f"https://127.0.0.1:{self.port}"}
        return self.request("POST", path, {**own, **named}, body, is_page=True)

    def get(self, path: str, accept: str = "*/*", **headers: str) -> Answer:
        """GET; headers by their names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("GET", path, {"Accept": accept, **named})


def client_of(running: RunningArchive, token: str | None = None, certificate: Path | None = None) -> WebClient:
    """A client of a running archive."""
    return WebClient(running.https_port, running.home.root / "ca.pem", token, certificate)


def multipart(parts: Iterable[tuple[str, bytes]], boundary: str = "harness-7d3a1") -> tuple[dict[str, str], bytes]:
    """Headers and body of a multipart/related request; each part is its media type and content (PS3.18 8.6.1.2)."""
    listed = list(parts)
    body = b"".join(
        b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (boundary.encode(), kind.encode(), content)
        for kind, content in listed
    )
    kind = listed[0][0].partition(";")[0] if listed else "application/dicom"
    content_type = f'multipart/related; type="{kind}"; boundary={boundary}'
    return {"Content-Type": content_type}, body + b"--%s--\r\n" % boundary.encode()
