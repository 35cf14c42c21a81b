"""The archive's key for what belongs to people: their second factors, and the mark of a browser that was let in."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import IntegrityError
from strongroom.store.keys import KeyRing, SecretFiles

PEOPLE_SECRET: Final = "people"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_DEVICE_BYTES: Final = 16


class PeopleKey:
    """Seals factors with AES-256-GCM, bound to the person and the kind, and marks devices with HMAC-SHA-256."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(HKDF(SHA256(), KEY_BYTES, None, b"strongroom factor").derive(key))
        self._code_key = HKDF(SHA256(), KEY_BYTES, None, b"strongroom recovery code").derive(key)
        self._handle_key = HKDF(SHA256(), KEY_BYTES, None, b"strongroom user handle").derive(key)
        self._challenge_key = HKDF(SHA256(), KEY_BYTES, None, b"strongroom challenge").derive(key)
        self._flow_cipher = AESGCM(HKDF(SHA256(), KEY_BYTES, None, b"strongroom provider").derive(key))
        self._typed_cipher = AESGCM(HKDF(SHA256(), KEY_BYTES, None, b"strongroom typed").derive(key))
        self._device_key = HKDF(SHA256(), KEY_BYTES, None, b"strongroom device").derive(key)
        self._share_key = HKDF(SHA256(), KEY_BYTES, None, b"strongroom share code").derive(key)

    def seal(self, person: str, kind: str, secret: bytes) -> bytes:
        """The secret of a factor, sealed."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, _purpose(person, kind))

    def open(self, person: str, kind: str, sealed: bytes) -> bytes:
        """What ``seal`` sealed for this person. Raises IntegrityError."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _purpose(person, kind))
        except (InvalidTag, ValueError):
            raise IntegrityError("a second factor does not open: it was changed, or is somebody else's") from None

    def new_device(self, person: str) -> str:
        """What a browser keeps that this person has signed in with: no credential, it spares him others' guesses."""
        number = secrets.token_hex(_DEVICE_BYTES)
        return f"{number}.{self._mark(person, number)}"

    def is_device_of(self, person: str, device: str) -> bool:
        """Whether a browser was marked for this person."""
        number, _, mark = device.partition(".")
        return hmac.compare_digest(self._mark(person, number).encode(), mark.encode())

    def digest_of_code(self, person: str, code: str) -> str:
        """What is kept of somebody's recovery code."""
        return hmac.new(self._code_key, f"{person}\0{code}".encode(), sha256).hexdigest()

    def handle_of(self, person: str) -> bytes:
        """What a passkey knows its owner by: says nothing of who it is (W3C Web Authentication 14.6.1)."""
        return hmac.digest(self._handle_key, person.encode(), "sha256")

    def sign_challenge(self, text: bytes) -> bytes:
        """The mark of a challenge of ours."""
        return hmac.digest(self._challenge_key, text, "sha256")

    def mark_code(self, digest: str, code: str) -> str:
        """What is kept of the code of a share with this digest: who has the index alone cannot try codes out."""
        return hmac.new(self._share_key, f"{digest}\0{code}".encode("utf-8", "surrogatepass"), sha256).hexdigest()

    def is_code(self, digest: str, code: str, mark: str) -> bool:
        """Whether this is the code of a share."""
        return hmac.compare_digest(self.mark_code(digest, code), mark)

    def seal_flow(self, flow: bytes) -> str:
        """What a browser keeps for us until it comes back from an identity provider, sealed."""
        return _sealed(self._flow_cipher, flow, b"")

    def open_flow(self, sealed: str) -> bytes | None:
        """What ``seal_flow`` sealed; None for anything else."""
        return _opened(self._flow_cipher, sealed, b"")

    def seal_typed(self, person: str, text: str) -> str:
        """What somebody has typed, as it may stand in an address: it opens for nobody else."""
        return _sealed(self._typed_cipher, text.encode(), person.encode())

    def open_typed(self, person: str, sealed: str) -> str | None:
        """What ``seal_typed`` sealed for this person; None for anything else."""
        opened = _opened(self._typed_cipher, sealed, person.encode())
        return None if opened is None else opened.decode()

    def _mark(self, person: str, number: str) -> str:
        return hmac.new(self._device_key, f"{person}\0{number}".encode(), sha256).hexdigest()


def _sealed(cipher: AESGCM, content: bytes, bound_to: bytes) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return urlsafe_b64encode(nonce + cipher.encrypt(nonce, content, bound_to)).decode().rstrip("=")


def _opened(cipher: AESGCM, sealed: str, bound_to: bytes) -> bytes | None:
    try:
        raw = urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
        return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        return None


def people_key(ring: KeyRing, files: SecretFiles) -> PeopleKey:
    """The key of an archive. Raises NotFound if nobody has made it: an archive from before there were sessions."""
    return PeopleKey(ring.open_secret(PEOPLE_SECRET, files.get(PEOPLE_SECRET)))


def make_people_key(ring: KeyRing, files: SecretFiles) -> None:
    """Make the key if there is none. Only for who has the archive alone."""
    if PEOPLE_SECRET not in files.names():
        files.put(PEOPLE_SECRET, ring.seal_secret(PEOPLE_SECRET, secrets.token_bytes(KEY_BYTES)))


def _purpose(person: str, kind: str) -> bytes:
    return f"{person}\0{kind}".encode()
