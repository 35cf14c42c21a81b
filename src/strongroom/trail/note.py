"""Checkpoints: signed statements of a log's size and root, made to leave the host (docs/trail-format.md, 3). Pure.

The form is C2SP's signed note with a tlog-checkpoint body, so that other people's tools read and cosign it. A file of
checkpoints is such notes one after the other, an empty line between them.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, LocalProtocolError
from strongroom.trail.record import MAX_INTEGER, format_time, parse_log_name, parse_time
from strongroom.trail.tree import HASH_BYTES

MAX_NOTE_CHARS: Final = 8192
MAX_FILE_CHARS: Final = 1 << 20
MAX_SIGNATURES: Final = 16

_SIGNATURE_MARK = "— "
_ALGORITHM_ED25519 = b"\x01"
_KEY_NAME = re.compile(r"[!-*,-~]{1,200}")
_ANY_KEY_NAME = re.compile(r"[^\s+]{1,200}")
_ORIGIN = re.compile(r"strongroom/([A-Za-z0-9._-]{1,64})/([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_ARCHIVE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note states: at ``time`` the log of ``origin`` had ``size`` records, and their tree this ``root``."""

    origin: str
    size: int
    root: bytes
    time: datetime

    @property
    def log(self) -> str:
        """The log's name: the last part of the origin."""
        return self.origin.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who is said to have signed, which key, and the signature's bytes."""

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note. Its signatures are claims until a Verifier has accepted one of them."""

    text: str
    signed_text: str
    checkpoint: Checkpoint
    signatures: tuple[Signature, ...]


def origin_of(archive_id: str, log: str) -> str:
    """Return the origin line of an archive's log. Raises LocalProtocolError if either name cannot stand in it."""
    if not _ARCHIVE_ID.fullmatch(archive_id):
        raise LocalProtocolError("an archive id has 1 to 64 letters, digits, dots, underscores or dashes")
    return f"strongroom/{archive_id}/{parse_log_name(log)}"


class Signer:
    """Signs checkpoints with an Ed25519 key (RFC 8032). Thread-safe."""

    def __init__(self, name: str, private_key: bytes) -> None:
        """``private_key`` is the 32-byte seed, ``name`` what the signature line calls the key. Raises ConfigError."""
        if len(private_key) != 32:
            raise ConfigError("a checkpoint key is 32 bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.verifier = Verifier(name, self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the note that states ``checkpoint``."""
        text = (
            f"{checkpoint.origin}\n{checkpoint.size}\n{b64encode(checkpoint.root).decode()}\n"
            f"time {format_time(checkpoint.time)}\n"
        )
        payload = self.verifier.key_hash + self._key.sign(text.encode())
        note = f"{text}\n{_SIGNATURE_MARK}{self.verifier.name} {b64encode(payload).decode()}\n"
        return parse_note(note).text


class Verifier:
    """Tells whether a note was signed by one named Ed25519 key. Thread-safe."""

    def __init__(self, name: str, public_key: bytes) -> None:
        """``public_key`` is 32 bytes, ``name`` has neither spaces nor plus signs. Raises ConfigError."""
        if not _KEY_NAME.fullmatch(name) or len(public_key) != 32:
            raise ConfigError("a checkpoint key has 32 bytes, and a printable name without spaces and plus signs")
        self.name = name
        self.key_hash = sha256(name.encode() + b"\n" + _ALGORITHM_ED25519 + public_key).digest()[:4]
        self._raw = public_key
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    @classmethod
    def from_pem(cls, name: str, pem: bytes) -> Verifier:
        """Return the verifier for a SubjectPublicKeyInfo PEM. Raises ConfigError if it holds no Ed25519 key."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError("not a public key in PEM") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError("not an Ed25519 public key")
        return cls(name, key.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def to_pem(self) -> bytes:
        """Return the public key as SubjectPublicKeyInfo PEM, which openssl reads."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def to_verifier_key(self) -> str:
        """Return the key as C2SP's one-line verifier key, which the tools around transparency logs read."""
        return f"{self.name}+{self.key_hash.hex()}+{b64encode(_ALGORITHM_ED25519 + self._raw).decode()}"

    def accepts(self, note: Note) -> bool:
        """Tell whether the note bears this key's valid signature. Those of other keys neither help nor harm."""
        for line in note.signatures:
            if line.name == self.name and line.key_hash == self.key_hash:
                try:
                    self._key.verify(line.signature, note.signed_text.encode())
                except InvalidSignature:
                    return False
                return True
        return False


def parse_note(text: str) -> Note:
    """Return the note in ``text``; nothing is verified yet. Raises IntegrityError unless it is exactly one note."""
    if len(text) > MAX_NOTE_CHARS:
        raise IntegrityError(f"checkpoint of {len(text)} characters, over {MAX_NOTE_CHARS}")
    body, gap, tail = text.partition("\n\n")
    lines = tail.split("\n")
    if not gap or lines.pop() != "" or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise IntegrityError("checkpoint without signature lines")
    return Note(text, body + "\n", _parse_body(body), tuple(map(_parse_signature, lines)))


def parse_notes(text: str) -> list[Note]:
    """Return the notes of a checkpoint file, in its order.

    Raises:
        LimitExceeded: over MAX_FILE_CHARS.
        IntegrityError: anything in it is not a note, or there is none.
    """
    if len(text) > MAX_FILE_CHARS:
        raise LimitExceeded("trail_max_checkpoint_file_chars", MAX_FILE_CHARS, len(text))
    parts = text.removesuffix("\n").split("\n\n")
    if not text.endswith("\n") or len(parts) % 2:
        raise IntegrityError("not a checkpoint file")
    return [parse_note(f"{body}\n\n{tail}\n") for body, tail in zip(parts[::2], parts[1::2], strict=True)]


def encode_notes(notes: Iterable[str]) -> str:
    """Return a checkpoint file that holds the given notes' texts; parse_notes is its inverse."""
    return "\n".join(notes)


def accepted_by(note: Note, verifiers: Sequence[Verifier]) -> bool:
    """Tell whether any of the verifiers accepts the note: an archive that changed its key has more than one."""
    return any(verifier.accepts(note) for verifier in verifiers)


def _parse_body(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 4 or not _ORIGIN.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise IntegrityError("checkpoint body is not origin, size, root and time")
    root = _parse_base64(lines[2])
    word, _, time_text = lines[3].partition(" ")
    if len(root) != HASH_BYTES or word != "time" or int(lines[1]) > MAX_INTEGER:
        raise IntegrityError("checkpoint body is not origin, size, root and time")
    try:
        return Checkpoint(lines[0], int(lines[1]), root, parse_time(time_text))
    except ValueError as error:
        raise IntegrityError("checkpoint time cannot be read") from error


def _parse_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    payload = _parse_base64(encoded)
    if not line.startswith(_SIGNATURE_MARK) or not _ANY_KEY_NAME.fullmatch(name) or len(payload) < 5:
        raise IntegrityError("not a signature line")
    return Signature(name, payload[:4], payload[4:])


def _parse_base64(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError("checkpoint holds broken base64") from error
    if b64encode(raw).decode() != text:
        raise IntegrityError("checkpoint holds base64 in another spelling")
    return raw
