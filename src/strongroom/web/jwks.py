"""The public keys of an identity provider: a JSON Web Key Set (RFC 7517) or PEM, from a file that an operator keeps."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from strongroom.errors import ConfigError, Unauthenticated

log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048

Key = RSAKey | ECKey | OKPKey
_KINDS: Final = (RSAKey, ECKey, OKPKey)
_KEYS_OF: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Algorithm to type and curve of the keys that it is used with."""

_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeyTable:
    """Public keys to verify signatures with."""

    keys: Sequence[Key] = field(repr=False)

    def find(self, algorithm: str, kid: str | None) -> Key | None:
        """The one key that a signature by this algorithm is to be verified with; None if there is none or a choice.

        A token that names no key is taken if one key alone fits: nothing is tried out.
        """
        fitting = [key for key in self.keys if _fits(key, algorithm) and (kid is None or key.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None


def _fits(key: Key, algorithm: str) -> bool:
    kind, curve = _KEYS_OF[algorithm]
    if key.key_type != kind or (curve and getattr(key, "curve_name", "") != curve):
        return False
    return key.get("use") in (None, "sig") and key.alg in (None, algorithm)


def parse_keys(raw: bytes) -> KeyTable:
    """The keys in a file's content.

    Raises ConfigError for what is no set of public keys: a private or shared key has no business here, and one that
    is too weak none anywhere.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"jwt.keys: more than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
        keys = _from_jwks(text) if text.lstrip().startswith("{") else _from_pem(text)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(f"jwt.keys: neither a JSON Web Key Set nor PEM ({type(error).__name__})") from None
    if not 0 < len(keys) <= MAX_KEYS:
        raise ConfigError(f"jwt.keys: 1 to {MAX_KEYS} keys are needed")
    named = [key.kid for key in keys if key.kid is not None]
    if len(set(named)) != len(named):
        raise ConfigError("jwt.keys: two keys have one kid")
    return KeyTable(tuple(map(_public, keys)))


def parse_published_keys(raw: bytes) -> KeyTable:
    """The keys in a set that a provider publishes, without those that we have no use for (RFC 7517 5).

    Raises ValueError if it is no set, or a larger one than anybody needs.
    """
    found = json.loads(raw.decode("utf-8"))
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("no set of keys")
    return KeyTable(tuple(key for each in listed if (key := _published(each)) is not None))


def _published(each: Any) -> Key | None:
    kind = next((kind for kind in _KINDS if isinstance(each, dict) and each.get("kty") == kind.key_type), None)
    if kind is None:
        return None
    try:
        return _public(kind.import_key(each))
    except (JoseError, ConfigError, ValueError, TypeError, KeyError):
        return None


def _from_jwks(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found.get("keys"), list):
        raise ConfigError('jwt.keys: a JSON Web Key Set has a list "keys"')
    if any(isinstance(each, dict) and each.get("kty") == "oct" for each in found["keys"]):
        raise ConfigError("jwt.keys: a shared secret is no public key")
    return list(KeySet.import_key_set(found).keys)


def _from_pem(text: str) -> list[Any]:
    keys: list[Any] = []
    for block in _PEM.finditer(text):
        if "PRIVATE" in block[1]:
            raise ConfigError("jwt.keys: a private key belongs to the identity provider alone")
        keys.append(_from_block(block[0]))
    return keys


def _from_block(pem: str) -> Key:
    for kind in _KINDS:
        try:
            return kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
    raise ConfigError("jwt.keys: a block of PEM that is no public key for RSA, EC or Ed25519")


def _public(key: Any) -> Key:
    if not isinstance(key, _KINDS):
        raise ConfigError("jwt.keys: a key that is none for RSA, EC or Ed25519")
    if key.is_private:
        raise ConfigError("jwt.keys: a private key belongs to the identity provider alone")
    if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
        raise ConfigError(f"jwt.keys: an RSA key of less than {MIN_RSA_BITS} bits")
    return key


class KeyFile:
    """The keys in a file, read again when it has changed: a provider rotates its keys. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if the file cannot be read or holds no keys."""
        self._path = path
        self._lock = Lock()
        self._seen: tuple[int, ...] = ()
        self._keys: KeyTable | None = None
        self._problem = ""
        self._refresh()
        if self._keys is None:
            raise ConfigError(self._problem)

    def keys(self) -> KeyTable:
        """The keys of now. Raises Unauthenticated while the file is not what it should be: old keys may be revoked."""
        with self._lock:
            self._refresh()
            if self._keys is None:
                raise Unauthenticated("jwt-keys-unreadable")
            return self._keys

    def _refresh(self) -> None:
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            self._keys = parse_keys(self._path.read_bytes())
            self._seen = seen
        except (OSError, ConfigError) as error:
            self._keys, self._seen = None, ()
            said = str(error) if isinstance(error, ConfigError) else f"jwt.keys {self._path}: {error.strerror}"
            if said != self._problem:
                log.error("no JWT is taken: %s", said)
            self._problem = said
