"""An HTTPS worker on a thread of this process, and a client that sends exactly what a test says."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness import archives
from harness.archives import Credentials
from strongroom.app import Archive
from strongroom.archive.model import Event
from strongroom.config import Home, load
from strongroom.serving.webservice import LOG_NAME
from strongroom.serving.webworker import Orders, serve

LOG = f"{LOG_NAME}-1"
ROOT = "/dicomweb"
BOUNDARY = "frontier"
STORE_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
TIMEOUT_S = 30.0

Body = bytes | Iterable[bytes]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)


class Client:
    """One connection, with the certificate of a peer. Sends nothing on its own but Host."""

    def __init__(self, port: int, credentials: Credentials) -> None:
        context = ssl.create_default_context(cafile=str(credentials.authority))
        context.load_cert_chain(credentials.certificate, credentials.key)
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def request(self, method: str, path: str, body: Body = b"", **headers: str) -> Answer:
        """Send a request; ``content_type`` and the like are its headers. A body that is no bytes goes in chunks."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = not isinstance(body, bytes)
        self.connection.request(method, ROOT + path, body or None, named, encode_chunked=chunked)
        with self.connection.getresponse() as response:
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def store(self, files: Sequence[bytes], study: str = "", **headers: str) -> Answer:
        """Store DICOM files in one request."""
        path = f"/studies/{study}" if study else "/studies"
        return self.request("POST", path, multipart(files), **{"content_type": STORE_TYPE, **headers})


def multipart(parts: Iterable[bytes], content_type: str = "application/dicom") -> bytes:
    """A multipart body, written by hand."""
    return multipart_of((f"Content-Type: {content_type}\r\n", part) for part in parts)


def multipart_of(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """A multipart body of parts with their header fields."""
    written = [f"--{BOUNDARY}\r\n{header}\r\n".encode() + part + b"\r\n" for header, part in parts]
    return b"".join(written) + f"--{BOUNDARY}--\r\n".encode()


@dataclass
class RunningHttps:
    """A worker that answers on ``port``, and its archive, opened a second time to look into."""

    port: int
    archive: Archive

    def client(self, aet: str) -> Client:
        """A connection of a peer."""
        return Client(self.port, Credentials(aet, self.archive.home.peers / aet))

    def events(self) -> list[Event]:
        """What the worker has recorded."""
        return archives.trail_events(self.archive, LOG)


@contextmanager
def serving_https(home: Home) -> Iterator[RunningHttps]:
    """A worker on a thread: ready when this yields, its last request answered and its threads gone afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ready, told = os.pipe()
    stopped = threading.Event()
    orders = Orders(str(home.root), load(home), LOG, listener.detach(), told)
    thread = threading.Thread(target=serve, args=(home, orders, stopped))
    thread.start()
    try:
        assert os.read(ready, 6) == b"ready\n"  # and then its pulse
        with archives.opened(home) as archive:
            yield RunningHttps(port, archive)
    finally:
        os.close(ready)
        stopped.set()
        thread.join(TIMEOUT_S)
