"""Master keys under a passphrase, for a place where no key may lie as it is: a backup that has its keys with it.

The passphrase is stretched with Argon2id (RFC 9106, second recommended set: 64 MiB, 3 passes); each key is sealed with
AES-256-GCM and bound to its id.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.errors import ConfigError, IntegrityError
from strongroom.store.keys import KEY_BYTES, MIN_PASSPHRASE_CHARS

_SALT_BYTES, _NONCE_BYTES = 32, 12
MAX_BYTES = 1 << 20


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    salt: bytes
    keys: dict[str, bytes]


def seal_keys(keys: Mapping[str, bytes], passphrase: str) -> bytes:
    """Return master keys by their ids, sealed. Raises ConfigError if the passphrase is too short to keep anything."""
    if len(passphrase) < MIN_PASSPHRASE_CHARS:
        raise ConfigError(
            f"the passphrase has fewer than {MIN_PASSPHRASE_CHARS} characters: whoever has the backup can try all of "
            "them. Five random words are good"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    cipher = _cipher(passphrase, salt)
    sealed = {}
    for key_id, key in keys.items():
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed[key_id] = nonce + cipher.encrypt(nonce, key, _purpose(key_id))
    return msgspec.json.encode(_Sealed(1, salt, sealed))


def open_keys(raw: bytes, passphrase: str) -> dict[str, bytes]:
    """Return the master keys that `seal_keys` sealed. Raises ConfigError, wrong passphrase, or IntegrityError."""
    try:
        sealed = msgspec.json.decode(raw, type=_Sealed)
    except (msgspec.DecodeError, ValueError):
        raise IntegrityError("the sealed master keys cannot be read") from None
    cipher, keys = _cipher(passphrase, sealed.salt), {}
    for key_id, each in sealed.keys.items():
        try:
            keys[key_id] = cipher.decrypt(each[:_NONCE_BYTES], each[_NONCE_BYTES:], _purpose(key_id))
        except (InvalidTag, ValueError):
            raise ConfigError("the master keys of the backup do not open: the passphrase is another one") from None
    return keys


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    key = hash_secret_raw(
        passphrase.encode(), salt, time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=KEY_BYTES, type=Type.ID
    )
    return AESGCM(key)


def _purpose(key_id: str) -> bytes:
    return b"strongroom\0master key\0\1" + key_id.encode()
