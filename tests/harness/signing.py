"""Signed data sets without a tool: what is signed is put together by the caller, byte for byte, as PS3.3 says."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from harness.dcmsign import NOW, Signer
from harness.ingesting import element
from strongroom.signatures.der import constructed

EXPLICIT = "1.2.840.10008.1.2.1"
ITEM = b"\xfe\xff\x00\xe0"
DELIMITER = b"\xfe\xff\xdd\xe0"


def item(*elements: bytes) -> bytes:
    """An item of a sequence, of defined length."""
    body = b"".join(elements)
    return ITEM + struct.pack("<L", len(body)) + body


def sequence(tag: int, *items: bytes) -> bytes:
    """A sequence in Explicit VR Little Endian."""
    return element(tag, "SQ", b"".join(items))


def tags(*listed: int) -> bytes:
    """The value of an AT."""
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in listed)


def mac_item(listed: Sequence[int], number: int = 0, algorithm: str = "SHA256", syntax: str = EXPLICIT) -> bytes:
    """An item of MAC Parameters Sequence (4FFE,0001)."""
    return item(
        element(0x04000005, "US", struct.pack("<H", number)),
        element(0x04000010, "UI", syntax),
        element(0x04000015, "CS", algorithm),
        element(0x04000020, "AT", tags(*listed)),
    )


def signature_item(
    covered: bytes, signer: Signer, *, number: int = 0, at: str = f"{NOW:%Y%m%d%H%M%S}+0000", der: bytes | None = None
) -> bytes:
    """An item of Digital Signatures Sequence (FFFA,FFFA) that signs ``covered``, the bytes before its own, with RSA."""
    own = (
        element(0x04000005, "US", struct.pack("<H", number)),
        element(0x04000100, "UI", "1.2.3.4"),
        element(0x04000105, "DT", at),
        element(0x04000110, "CS", "X509_1993_SIG"),
    )
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    digest = hashlib.sha256(covered + b"".join(own)).digest()
    signature = signer.key.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))
    certificate = der or signer.certificate.public_bytes(serialization.Encoding.DER)
    return item(*own, element(0x04000115, "OB", certificate), element(0x04000120, "OB", signature))


def signed(before: bytes, after: bytes, macs: Sequence[bytes], signatures: Sequence[bytes]) -> bytes:
    """A data set: elements before (4FFE,0001), pixel data or nothing, and the two sequences where they belong."""
    return before + sequence(0x4FFE0001, *macs) + after + sequence(0xFFFAFFFA, *signatures)


def integer(number: int) -> bytes:
    """A positive INTEGER in DER."""
    body = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return constructed(0x02, body)


def rsa_certificate(modulus: int, exponent: int = 65537) -> bytes:
    """A certificate in DER with that key, signed by nobody: to see what a verifier does with the key."""
    rsa_oid, sha256_oid = bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d01010b")
    null = b"\x05\x00"
    key = constructed(0x30, integer(modulus), integer(exponent))
    key_info = constructed(0x30, constructed(0x30, rsa_oid, null), constructed(0x03, b"\x00" + key))
    name = constructed(0x30, constructed(0x31, constructed(0x30, bytes.fromhex("0603550403"), b"\x0c\x01X")))
    dates = constructed(0x30, b"\x17\x0d250101000000Z", b"\x17\x0d350101000000Z")
    algorithm = constructed(0x30, sha256_oid, null)
    body = constructed(0x30, b"\xa0\x03\x02\x01\x02", integer(7), algorithm, name, dates, name, key_info)
    return constructed(0x30, body, algorithm, constructed(0x03, b"\x00" + bytes(256)))
