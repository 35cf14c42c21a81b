"""An identity provider in Python that says whatever a test wants, behind TLS: wrong tokens, huge answers, slow ones."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from joserfc import jws
from joserfc.jwk import ECKey

from harness.oidc_provider import CLIENT, HOST, TlsFiles, tls_files

ALGORITHMS = ["ES256", "HS256", "RS256"]


def signed(claims: Mapping[str, Any], key: Any, **header: object) -> str:
    """A token signed as its header says, whatever that is."""
    head = {"alg": "ES256", "kid": "k1", **header}
    registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    return jws.serialize_compact(head, json.dumps(claims).encode(), key, algorithms=ALGORITHMS, registry=registry)


@dataclass(frozen=True)
class Said:
    """One answer. ``each_s`` sends its body a byte at a time, with so long in between."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    each_s: float = 0.0


def as_json(value: object, status: int = 200) -> Said:
    """A JSON answer."""
    return Said(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


@dataclass
class Hostile:
    """The provider. ``answers`` stand in for what an honest one says at a path; ``nonce`` is what it was last sent."""

    issuer: str
    files: TlsFiles
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256"}))
    nonce: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Callable[[], Said]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def honest_claims(self) -> dict[str, Any]:
        """What an honest one would say of somebody, now."""
        now = int(time.time())
        return {
            "iss": self.issuer, "aud": CLIENT, "sub": "s-1", "iat": now, "exp": now + 300, "nonce": self.nonce,
            "preferred_username": "jdoe", "groups": ["radiology"],
        }  # fmt: skip

    def id_token(self, key: Any = None, header: Mapping[str, object] | None = None, **changes: Any) -> str:
        """An ID token with these claims changed; None takes one away."""
        claims = {**self.honest_claims(), **self.claims, **changes}
        kept = {name: value for name, value in claims.items() if value is not None}
        return signed(kept, key or self.key, **(header or {}))

    def tokens(self, id_token: str) -> Said:
        """What the token endpoint says."""
        return as_json({"id_token": id_token, "access_token": "an access token", "token_type": "Bearer"})

    def answer(self, path: str) -> Said:
        """What it says at a path."""
        if path in self.answers:
            return self.answers[path]()
        if path == "/.well-known/openid-configuration":
            return as_json(self.metadata())
        if path == "/keys":
            return as_json({"keys": [self.key.as_dict(private=False)]})
        if path == "/token":
            return self.tokens(self.id_token())
        return as_json({"error": "nothing here"}, 404)

    def count(self, path: str) -> int:
        """How often it was asked for a path."""
        return sum(asked == path for asked, _ in self.asked)


@contextmanager
def hostile(folder: Path, port: int) -> Iterator[Hostile]:
    """The provider, until the end."""
    provider = Hostile(f"https://{HOST}:{port}", tls_files(folder))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            provider.asked.append((self.path, parse_qs(self.rfile.read(length).decode())))
            said = provider.answer(self.path)
            with suppress(OSError):  # whoever asked has gone
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if not said.each_s:
                    self.wfile.write(said.body)
                    return
                for byte in said.body:
                    if provider.stopped.wait(said.each_s):
                        return
                    self.wfile.write(bytes([byte]))

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server((HOST, port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(provider.files.folder / "cert.pem", provider.files.folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield provider
    finally:
        provider.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
