"""Who authorised a run: Ed25519 signatures over scope files, and the list of those whose signature counts here.

A signature says nothing by itself, since anybody can make a key. It counts if its key is in the operator's list of
signers, which is given to the probe from outside the scope (``--trust``) and never taken from the scope or from the
signature. Key files are PKCS #8 PEM; a public key is one line of text, as SSH has it.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from strongroom.errors import ConfigError, OutOfScope
from strongroom.probe.permits.scopefile import MAX_SCOPE_BYTES

SigningKey = Ed25519PrivateKey

SIGNATURE_FORMAT: Final = "strongroom-probe-signature-1"
KEY_WORD: Final = "strongroom-probe-key"
MAX_FILE_BYTES: Final = 1 << 16
_DOMAIN: Final = b"strongroom probe scope v1\n"
_LOG_DOMAIN: Final = b"strongroom probe run log v1\n"


@dataclass(frozen=True, slots=True)
class Signer:
    """A public key and what its owner called it."""

    raw: bytes
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """What the key is called by, and what a proof of ownership holds: SHA-256, unpadded base64."""
        return "SHA256:" + base64.b64encode(sha256(self.raw).digest()).decode().rstrip("=")

    def line(self) -> str:
        """The key as one line of a list of signers."""
        return f"{KEY_WORD} {base64.b64encode(self.raw).decode()} {self.comment}".rstrip()


@dataclass(frozen=True, slots=True)
class SignedScope:
    """The bytes of a scope whose signature holds, its digest (hex), who signed it and when (as they say).

    ``folder`` is where the scope lies: relative names of files in it start from there.
    """

    raw: bytes
    digest: str
    signer: Signer
    signed_at: str
    folder: Path = Path()


def signature_path(scope: Path) -> Path:
    """Where the signature of ``scope`` lies: beside it."""
    return scope.with_name(scope.name + ".sig")


def write_new_key(path: Path, passphrase: str, comment: str) -> Signer:
    """Make a key: ``path`` for whoever authorises (mode 0600), ``path``.pub for whoever probes. Returns its signer.

    Raises ConfigError if either file is there already or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    signer = Signer(key.public_key().public_bytes_raw(), comment)
    protection: KeySerializationEncryption = NoEncryption()
    if passphrase:
        protection = BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise ConfigError(f"{public} exists already: choose another name, or remove it")
    write_new(path, pem, 0o600)
    write_new(public, signer.line().encode() + b"\n", 0o644)
    return signer


def load_key(path: Path, passphrase: str) -> SigningKey:
    """Return the private key in a file. Raises ConfigError: no key, a wrong passphrase, or others may read it."""
    raw = _read(path, MAX_FILE_BYTES)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path} may be read by others: chmod 600 {path}")
    try:
        key = load_pem_private_key(raw, passphrase.encode() if passphrase else None)
    except TypeError:
        raise ConfigError(
            f"{path} needs a passphrase: set STRONGROOM_PASSPHRASE"
            if not passphrase
            else f"{path} has no passphrase: unset STRONGROOM_PASSPHRASE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} is no key, or the passphrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key: make one with strongroom probe new-key")
    return key


def read_scope(path: Path) -> bytes:
    """Return the content of a scope file. Raises ConfigError."""
    return _read(path, MAX_SCOPE_BYTES)


def write_signature(scope: Path, text: str) -> Path:
    """Write the signature file of ``scope`` in place of an older one, and return where. Raises ConfigError."""
    path = signature_path(scope)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    write_new(path, text.encode(), 0o644)
    return path


def sign_scope(raw: bytes, key: SigningKey, now: dt.datetime) -> str:
    """Return the text of the signature file for a scope file with the content ``raw``."""
    signer = Signer(key.public_key().public_bytes_raw())
    digest, signed_at = sha256(raw).hexdigest(), now.astimezone(dt.UTC).isoformat(timespec="seconds")
    values = {
        "format": SIGNATURE_FORMAT,
        "key": signer.fingerprint,
        "signed_at": signed_at,
        "scope_sha256": digest,
        "signature": base64.b64encode(key.sign(_signed_text(digest, signed_at))).decode(),
    }
    return json.dumps(values, indent=1) + "\n"


def read_signers(path: Path) -> tuple[Signer, ...]:
    """Return the signers in a list, one a line, ``#`` begins a comment. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"{path} is not there, so nobody may authorise tests here: strongroom probe trust KEY.pub")
    raw = _read(path, MAX_FILE_BYTES)
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        raise ConfigError(f"{path} decides who may authorise, and others may write to it: chmod go-w {path}")
    signers = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            signers.append(_signer(line, f"{path} line {number}"))
    if not signers:
        raise ConfigError(f"{path} names no signer: add the line of a .pub file to it")
    return tuple(signers)


def require_signed(path: Path, signers: tuple[Signer, ...]) -> SignedScope:
    """Return the scope file at ``path``, if one of ``signers`` has signed it.

    Raises OutOfScope: not signed, altered, or signed by somebody else; ConfigError: a file cannot be read.
    """
    raw = read_scope(path)
    beside = signature_path(path)
    if not beside.exists():
        raise OutOfScope(f"{path} is not signed: strongroom probe sign {path} --key KEY")
    again = f"strongroom probe sign {path} --key KEY"
    try:
        values = json.loads(_read(beside, MAX_FILE_BYTES))
        fingerprint, digest, signed_at = (str(values[name]) for name in ("key", "scope_sha256", "signed_at"))
        signature = base64.b64decode(values["signature"], validate=True)
        is_known = values["format"] == SIGNATURE_FORMAT
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise OutOfScope(f"{beside} is no signature: {again}") from None
    if not is_known:
        raise OutOfScope(f"{beside} is of a format that this version does not know: {again}")
    signer = next((each for each in signers if each.fingerprint == fingerprint), None)
    if signer is None:
        raise OutOfScope(
            "the scope is signed with a key that is not in the list of signers: have one of them sign it, or, if the"
            " key is right, add it with strongroom probe trust KEY.pub"
        )
    if digest != sha256(raw).hexdigest():
        raise OutOfScope(f"{path} was altered after it was signed: look at what changed, then {again}")
    try:
        Ed25519PublicKey.from_public_bytes(signer.raw).verify(signature, _signed_text(digest, signed_at))
    except InvalidSignature:
        raise OutOfScope(f"the signature in {beside} does not hold: {again}") from None
    return SignedScope(raw, digest, signer, signed_at, path.parent)


def sign_head(key: SigningKey, run: str, head: str) -> str:
    """Return a signature (base64) over the last hash of a run log; ``run`` is the id of the run."""
    return base64.b64encode(key.sign(_LOG_DOMAIN + f"{run}\n{head}\n".encode())).decode()


def head_signature_holds(signer: Signer, run: str, head: str, signature: str) -> bool:
    """Whether ``signature`` is ``signer``'s over that hash."""
    try:
        raw = base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(signer.raw).verify(raw, _LOG_DOMAIN + f"{run}\n{head}\n".encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def read_public_key(path: Path) -> Signer:
    """Return the signer in a .pub file. Raises ConfigError."""
    lines = _read(path, MAX_FILE_BYTES).decode("utf-8", "replace").strip().splitlines()
    if len(lines) != 1:
        raise ConfigError(f"{path} is no public key: give the .pub file that strongroom probe new-key wrote")
    return _signer(lines[0], str(path))


def _signer(line: str, where: str) -> Signer:
    words = line.split(maxsplit=2)
    try:
        if words[0] != KEY_WORD:
            raise ValueError
        raw = base64.b64decode(words[1], validate=True)
        Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, IndexError):
        raise ConfigError(f"{where} is no public key: give the .pub file that strongroom probe new-key wrote") from None
    comment = words[2] if len(words) == 3 else ""
    return Signer(raw, comment if comment.isprintable() else "")


def _signed_text(digest: str, signed_at: str) -> bytes:
    return _DOMAIN + f"{signed_at}\n{digest}\n".encode()


def add_signer(path: Path, signer: Signer) -> None:
    """Add a line to a list of signers, which is made if there is none. Raises ConfigError."""
    if path.exists() and signer.raw in {each.raw for each in read_signers(path)}:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An editor may have left the last line open.
        whole = not path.exists() or _read(path, MAX_FILE_BYTES).endswith(b"\n")
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "wb") as file:
            file.write((b"" if whole else b"\n") + signer.line().encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def write_new(path: Path, raw: bytes, mode: int) -> None:
    """Write a file that is not there yet. Raises ConfigError."""
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(raw)
    except FileExistsError:
        raise ConfigError(f"{path} exists already: choose another name, or remove it") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > max_bytes:
        raise ConfigError(f"{path} is larger than {max_bytes} bytes")
    return raw
