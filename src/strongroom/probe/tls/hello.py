"""TLS up to where keys would be needed: a ClientHello of any age, and what a server answers to it.

A library offers only what it would use itself. What a server still accepts from others (SSL 3.0, EXPORT, anonymous
suites, small groups) is found by asking for it and for nothing else, and the answer is in the clear: ServerHello or
alert, and up to TLS 1.2 the certificates, the key exchange and whether a client certificate is asked for. Nothing is
computed and no handshake is completed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from strongroom.errors import Unanswered
from strongroom.probe.model import Answer
from strongroom.probe.tls.suites import GROUP_BITS, SUITES, USUAL_GROUPS

VERSIONS: Final = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
"""Code to name, oldest first."""

MAX_RECORD_BYTES: Final = 2**14 + 2048
"""The longest record that any version has (RFC 5246 6.2.3)."""
MAX_FLIGHT_BYTES: Final = 128 * 2**10
"""All that is taken of a server's first flight; a chain of certificates is a few KiB."""
MAX_CERTIFICATES: Final = 16

_TLS12, _TLS13 = 0x0303, 0x0304
_ALERT, _HANDSHAKE = 21, 22
_SERVER_HELLO, _CERTIFICATE, _SERVER_KEY_EXCHANGE, _CERTIFICATE_REQUEST, _SERVER_HELLO_DONE = 2, 11, 12, 13, 14
_KNOWN_RECORDS: Final = (20, _ALERT, _HANDSHAKE, 23)
_SUPPORTED_VERSIONS: Final = 43
_SIGNATURE_ALGORITHMS: Final = bytes.fromhex(
    "0403 0503 0603 0807 0808 0804 0805 0806 0809 080a 080b 0401 0501 0601 0303 0301 0203 0201 0402 0302 0202 0101"
)
"""ECDSA, Ed25519, RSA-PSS, RSA and DSA, down to SHA-1 and MD5: what is wrong with a certificate is said elsewhere."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a ClientHello asks for. ``versions`` and ``suites`` are best first; ``server_name`` is left out if empty."""

    versions: tuple[int, ...]
    suites: tuple[int, ...] = tuple(SUITES)
    groups: tuple[int, ...] = USUAL_GROUPS
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class ServerFlight:
    """What a server said. ``version`` is 0 if it chose none, ``alert`` -1 if it sent none.

    ``certificates`` are DER, as it sent them, leaf first; ``dh_bits`` the size of its prime, ``group`` its named curve.
    """

    version: int = 0
    suite: int = 0
    alert: int = -1
    certificates: tuple[bytes, ...] = ()
    asks_for_certificate: bool = False
    dh_bits: int = 0
    group: int = 0

    @property
    def ecdhe_bits(self) -> int:
        """The size of its curve, 0 if it named none."""
        return GROUP_BITS.get(self.group, 0)


def client_hello(offer: Offer, random: bytes) -> bytes:
    """Return the record with a ClientHello (RFC 8446 4.1.2, RFC 6101 5.6.1.2). ``random`` is 64 bytes nobody can know:
    the nonce, and the public key of a key exchange that is never completed."""
    newest = max(offer.versions)
    suites = b"".join(suite.to_bytes(2, "big") for suite in offer.suites)
    body = (
        min(newest, _TLS12).to_bytes(2, "big")
        + random[:32]
        + _sized(b"", 1)
        + _sized(suites, 2)
        + _sized(b"\0", 1)
        + (_sized(_extensions(offer, random[32:]), 2) if newest > 0x0300 else b"")
    )
    message = b"\1" + _sized(body, 3)
    return bytes((_HANDSHAKE,)) + (0x0301 if newest > 0x0300 else 0x0300).to_bytes(2, "big") + _sized(message, 2)


def _extensions(offer: Offer, key: bytes) -> bytes:
    newest = max(offer.versions)
    groups = b"".join(group.to_bytes(2, "big") for group in offer.groups)
    made = [(10, _sized(groups, 2)), (11, _sized(b"\0", 1)), (23, b""), (0xFF01, _sized(b"", 1))]
    if offer.server_name:
        made.append((0, _sized(b"\0" + _sized(offer.server_name.encode("ascii"), 2), 2)))
    if newest >= _TLS12:
        made.append((13, _sized(_SIGNATURE_ALGORITHMS, 2)))
    if newest >= _TLS13:
        versions = b"".join(version.to_bytes(2, "big") for version in offer.versions)
        # Any 32 bytes are a public key of x25519 (RFC 7748 5).
        share = (29).to_bytes(2, "big") + _sized(key[:32], 2)
        made += [(_SUPPORTED_VERSIONS, _sized(versions, 1)), (51, _sized(share, 2)), (45, _sized(b"\1", 1))]
    return b"".join(kind.to_bytes(2, "big") + _sized(data, 2) for kind, data in made)


def _sized(data: bytes, length_bytes: int) -> bytes:
    return len(data).to_bytes(length_bytes, "big") + data


class FlightReader:
    """Reads a server's first flight from its bytes, however they are cut. Holds at most ``MAX_FLIGHT_BYTES``."""

    __slots__ = ("_messages", "_raw", "_received", "flight", "is_complete")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._messages = bytearray()
        self._received = 0
        self.flight = ServerFlight()
        """What was read so far."""
        self.is_complete = False
        """Whether there is nothing more to wait for."""

    def feed(self, raw: bytes) -> bool:
        """Take bytes; return ``is_complete``.

        Raises:
            Unanswered: what came is not TLS (``OTHER``), or breaks a limit or TLS itself (``HOSTILE``).
        """
        self._received += len(raw)
        if self._received > MAX_FLIGHT_BYTES:
            raise Unanswered(Answer.HOSTILE, "the handshake is longer than any")
        self._raw += raw
        while not self.is_complete and self._next_record():
            pass
        return self.is_complete

    def _next_record(self) -> bool:
        raw = self._raw
        if raw and (raw[0] not in _KNOWN_RECORDS or (len(raw) > 1 and raw[1] != 3)):
            raise Unanswered(Answer.OTHER, "not TLS")
        if len(raw) < 5:
            return False
        length = int.from_bytes(raw[3:5], "big")
        if length > MAX_RECORD_BYTES:
            raise Unanswered(Answer.HOSTILE, "a TLS record is longer than any may be")
        if len(raw) < 5 + length:
            return False
        kind, body = raw[0], bytes(raw[5 : 5 + length])
        del raw[: 5 + length]
        if kind == _ALERT:
            self._take_alert(body)
        elif kind == _HANDSHAKE:
            self._messages += body
            self._take_messages()
        return True

    def _take_alert(self, body: bytes) -> None:
        if len(body) != 2:
            raise Unanswered(Answer.HOSTILE, "a malformed alert")
        level, alert = body
        if level != 1 or alert == 0:  # a warning, such as unrecognized_name, may precede a ServerHello
            self.flight = replace(self.flight, alert=alert)
            self.is_complete = True

    def _take_messages(self) -> None:
        messages = self._messages
        while len(messages) >= 4 and not self.is_complete:
            length = int.from_bytes(messages[1:4], "big")
            if length > MAX_FLIGHT_BYTES:
                raise Unanswered(Answer.HOSTILE, "a handshake message is longer than any")
            if len(messages) < 4 + length:
                return
            message = bytes(messages[: 4 + length])
            del messages[: 4 + length]
            self.flight = read_message(self.flight, message)
            # From here on TLS 1.3 is encrypted.
            self.is_complete = message[0] == _SERVER_HELLO_DONE or self.flight.version == _TLS13


def read_message(flight: ServerFlight, message: bytes) -> ServerFlight:
    """Return ``flight`` with what one handshake message of the server adds; ``message`` has its header of 4 bytes.

    Raises:
        Unanswered: it is malformed (``HOSTILE``).
    """
    kind, body = message[0], _Bytes(message[4:])
    if kind == _SERVER_HELLO:
        version, suite = _server_hello(body)
        return replace(flight, version=version, suite=suite)
    if kind == _CERTIFICATE:
        return replace(flight, certificates=_certificates(body, is_tls13=flight.version == _TLS13))
    if kind == _SERVER_KEY_EXCHANGE:
        dh_bits, group = _key_exchange(body, SUITES.get(flight.suite, ""))
        return replace(flight, dh_bits=dh_bits, group=group)
    if kind == _CERTIFICATE_REQUEST:
        return replace(flight, asks_for_certificate=True)
    return flight


class _Bytes:
    """A message, taken from the front."""

    __slots__ = ("_at", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, count: int) -> bytes:
        taken = self._raw[self._at : self._at + count]
        if len(taken) != count:
            raise Unanswered(Answer.HOSTILE, "a malformed handshake message")
        self._at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def sized(self, length_bytes: int) -> _Bytes:
        return _Bytes(self.take(self.number(length_bytes)))

    def __bool__(self) -> bool:
        return self._at < len(self._raw)


def _server_hello(body: _Bytes) -> tuple[int, int]:
    version = body.number(2)
    body.take(32)
    body.sized(1)
    suite = body.number(2)
    body.take(1)
    extensions = body.sized(2) if body else _Bytes(b"")
    while extensions:
        kind, data = extensions.number(2), extensions.sized(2)
        if kind == _SUPPORTED_VERSIONS:
            version = data.number(2)
    if version not in VERSIONS:
        raise Unanswered(Answer.HOSTILE, "a ServerHello of an unknown version")
    return version, suite


def _certificates(body: _Bytes, *, is_tls13: bool) -> tuple[bytes, ...]:
    if is_tls13:
        body.sized(1)
    found: list[bytes] = []
    listed = body.sized(3)
    while listed:
        found.append(listed.take(listed.number(3)))
        if is_tls13:
            listed.sized(2)
        if len(found) > MAX_CERTIFICATES:
            raise Unanswered(Answer.HOSTILE, "more certificates than any chain has")
    return tuple(found)


def _key_exchange(body: _Bytes, suite_name: str) -> tuple[int, int]:
    """The size of the prime and the named curve (RFC 5246 7.4.3, RFC 8422 5.4), 0 for what the suite has none of."""
    if suite_name.startswith("TLS_ECDH"):
        named_curve = 3
        return 0, body.number(2) if body.number(1) == named_curve else 0
    if suite_name.startswith("TLS_DH"):
        return int.from_bytes(body.take(body.number(2)), "big").bit_length(), 0
    return 0, 0
