"""A passkey in software, which answers as a browser would, or as somebody would who forges answers."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

USER_PRESENT, USER_VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
ES256 = -7


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One passkey and the browser it is used with; every field may be made to lie."""

    origin: str = "https://pacs.example:8443"
    rp_id: str = "pacs.example"
    flags: int = USER_PRESENT | USER_VERIFIED
    counter: int = 0
    counts: bool = True
    handle: bytes = b""
    more: dict[str, Any] = field(default_factory=dict)
    """What is put into the client data besides."""

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credential = secrets.token_bytes(32)

    def create(self, options: str, fmt: str = "none", statement: dict[str, Any] | None = None) -> str:
        """The answer to a request to make a passkey."""
        asked = json.loads(options)
        self.handle = decode(asked["user"]["id"])
        data = self._data(ATTESTED) + bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential
        attestation = {"fmt": fmt, "attStmt": statement or {}, "authData": data + self._cose()}
        return self._answer("webauthn.create", asked, {"attestationObject": encode(cbor2.dumps(attestation))})

    def get(self, options: str, **response: str) -> str:
        """The answer to a request to show one."""
        asked = json.loads(options)
        if self.counts:
            self.counter += 1
        data, client = self._data(), self._client("webauthn.get", asked)
        signature = self.key.sign(data + sha256(client).digest(), ec.ECDSA(SHA256()))
        said = {"authenticatorData": encode(data), "signature": encode(signature), "userHandle": encode(self.handle)}
        return self._answer("webauthn.get", asked, said | response)

    def _answer(self, kind: str, asked: Any, response: dict[str, str]) -> str:
        name = encode(self.credential)
        response = {"clientDataJSON": encode(self._client(kind, asked)), **response}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})

    def _client(self, kind: str, asked: Any) -> bytes:
        said = {"type": kind, "challenge": asked["challenge"], "origin": self.origin, "crossOrigin": False, **self.more}
        return json.dumps(said).encode()

    def _data(self, more: int = 0) -> bytes:
        return sha256(self.rp_id.encode()).digest() + bytes([self.flags | more]) + self.counter.to_bytes(4, "big")

    def _cose(self) -> bytes:
        numbers = self.key.public_key().public_numbers()
        return cbor2.dumps(
            {1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        )
