"""As much of DER as is needed to hand values on to those who parse it: where one ends, and one put together again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

SEQUENCE: Final = 0x30
CERTIFICATES: Final = 0xA0
"""The tag of ``certificates`` in SignedData (RFC 5652 5.1)."""


def value_length(raw: bytes) -> int:
    """Return how many bytes the value at the beginning of ``raw`` has, header included; all if that makes no sense.

    DICOM pads values to an even length, and parsers of DER take nothing behind a value.
    """
    return min(sum(_header(raw)), len(raw)) or len(raw)


def _header(raw: bytes) -> tuple[int, int]:
    """The lengths of a value's header and of its contents (X.690 8.1.3); zeros if that makes no sense."""
    if len(raw) < 2 or raw[1] == 0x80:
        return 0, 0
    if raw[1] < 0x80:
        return 2, raw[1]
    size = raw[1] & 0x7F
    return (2 + size, int.from_bytes(raw[2 : 2 + size], "big")) if size <= 8 and len(raw) >= 2 + size else (0, 0)


def parts_of(raw: bytes) -> Iterator[bytes]:
    """Yield the values within the constructed value ``raw``. Raises ValueError if it does not hold together."""
    header, length = _header(raw)
    if not header or header + length != len(raw):
        raise ValueError("not one value in DER")
    position = header
    while position < len(raw):
        inner_header, inner_length = _header(raw[position : position + 10])
        end = position + inner_header + inner_length
        if not inner_header or end > len(raw):
            raise ValueError("a value in DER runs past its end")
        yield raw[position:end]
        position = end


def constructed(tag: int, *parts: bytes) -> bytes:
    """Return a value of ``tag`` with values that are encoded already."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def with_ordered_certificates(content_info: bytes) -> bytes:
    """Return a CMS SignedData with its certificates in the order that DER wants of a SET (X.690 11.6).

    OpenSSL writes them in any order; they are not part of what is signed. Raises ValueError if this is none.
    """
    kind, explicit = parts_of(content_info)
    (signed_data,) = parts_of(explicit)
    fields = [
        constructed(CERTIFICATES, *sorted(parts_of(each))) if each[0] == CERTIFICATES else each
        for each in parts_of(signed_data)
    ]
    return constructed(SEQUENCE, kind, constructed(explicit[0], constructed(signed_data[0], *fields)))
