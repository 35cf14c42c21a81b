"""Cipher suites, groups and alerts by their IANA names, and what RFC 9325 says of each suite.

The table reaches further back than any library of today does: what a server still takes is found by asking for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Standing(StrEnum):
    """What BCP 195 (RFC 9325 4.1, 4.2), and with it DICOM PS3.15 B.12, says of a cipher suite."""

    GOOD = "good"
    WEAK = "weak"
    """SHOULD NOT be negotiated: no forward secrecy, CBC, a block of 64 bits, a short tag."""
    FORBIDDEN = "forbidden"
    """MUST NOT be: no encryption, nobody authenticated, RC4, or keys of less than 112 bits."""


_NAMES_OF_RSA: Final = {
    0x0001: "RSA_WITH_NULL_MD5", 0x0002: "RSA_WITH_NULL_SHA", 0x003B: "RSA_WITH_NULL_SHA256",
    0x0003: "RSA_EXPORT_WITH_RC4_40_MD5", 0x0006: "RSA_EXPORT_WITH_RC2_CBC_40_MD5",
    0x0008: "RSA_EXPORT_WITH_DES40_CBC_SHA", 0x0004: "RSA_WITH_RC4_128_MD5", 0x0005: "RSA_WITH_RC4_128_SHA",
    0x0007: "RSA_WITH_IDEA_CBC_SHA", 0x0009: "RSA_WITH_DES_CBC_SHA", 0x000A: "RSA_WITH_3DES_EDE_CBC_SHA",
    0x002F: "RSA_WITH_AES_128_CBC_SHA", 0x0035: "RSA_WITH_AES_256_CBC_SHA", 0x003C: "RSA_WITH_AES_128_CBC_SHA256",
    0x003D: "RSA_WITH_AES_256_CBC_SHA256", 0x0041: "RSA_WITH_CAMELLIA_128_CBC_SHA",
    0x0084: "RSA_WITH_CAMELLIA_256_CBC_SHA", 0x0096: "RSA_WITH_SEED_CBC_SHA",
    0x009C: "RSA_WITH_AES_128_GCM_SHA256", 0x009D: "RSA_WITH_AES_256_GCM_SHA384",
    0xC09C: "RSA_WITH_AES_128_CCM", 0xC09D: "RSA_WITH_AES_256_CCM",
    0xC0A0: "RSA_WITH_AES_128_CCM_8", 0xC0A1: "RSA_WITH_AES_256_CCM_8",
}  # fmt: skip
_NAMES_OF_DHE: Final = {
    0x0014: "DHE_RSA_EXPORT_WITH_DES40_CBC_SHA", 0x0011: "DHE_DSS_EXPORT_WITH_DES40_CBC_SHA",
    0x0015: "DHE_RSA_WITH_DES_CBC_SHA", 0x0012: "DHE_DSS_WITH_DES_CBC_SHA",
    0x0016: "DHE_RSA_WITH_3DES_EDE_CBC_SHA", 0x0013: "DHE_DSS_WITH_3DES_EDE_CBC_SHA",
    0x0033: "DHE_RSA_WITH_AES_128_CBC_SHA", 0x0039: "DHE_RSA_WITH_AES_256_CBC_SHA",
    0x0032: "DHE_DSS_WITH_AES_128_CBC_SHA", 0x0038: "DHE_DSS_WITH_AES_256_CBC_SHA",
    0x0067: "DHE_RSA_WITH_AES_128_CBC_SHA256", 0x006B: "DHE_RSA_WITH_AES_256_CBC_SHA256",
    0x0045: "DHE_RSA_WITH_CAMELLIA_128_CBC_SHA", 0x0088: "DHE_RSA_WITH_CAMELLIA_256_CBC_SHA",
    0x009A: "DHE_RSA_WITH_SEED_CBC_SHA", 0x009E: "DHE_RSA_WITH_AES_128_GCM_SHA256",
    0x009F: "DHE_RSA_WITH_AES_256_GCM_SHA384", 0xC09E: "DHE_RSA_WITH_AES_128_CCM",
    0xC09F: "DHE_RSA_WITH_AES_256_CCM", 0xCCAA: "DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}  # fmt: skip
_NAMES_OF_ANON: Final = {
    0x0017: "DH_anon_EXPORT_WITH_RC4_40_MD5", 0x0018: "DH_anon_WITH_RC4_128_MD5",
    0x0019: "DH_anon_EXPORT_WITH_DES40_CBC_SHA", 0x001A: "DH_anon_WITH_DES_CBC_SHA",
    0x001B: "DH_anon_WITH_3DES_EDE_CBC_SHA", 0x0034: "DH_anon_WITH_AES_128_CBC_SHA",
    0x003A: "DH_anon_WITH_AES_256_CBC_SHA", 0x006C: "DH_anon_WITH_AES_128_CBC_SHA256",
    0x006D: "DH_anon_WITH_AES_256_CBC_SHA256", 0x00A6: "DH_anon_WITH_AES_128_GCM_SHA256",
    0x00A7: "DH_anon_WITH_AES_256_GCM_SHA384", 0xC015: "ECDH_anon_WITH_NULL_SHA",
    0xC016: "ECDH_anon_WITH_RC4_128_SHA", 0xC017: "ECDH_anon_WITH_3DES_EDE_CBC_SHA",
    0xC018: "ECDH_anon_WITH_AES_128_CBC_SHA", 0xC019: "ECDH_anon_WITH_AES_256_CBC_SHA",
}  # fmt: skip
_NAMES_OF_ECDHE: Final = {
    0xC006: "ECDHE_ECDSA_WITH_NULL_SHA", 0xC007: "ECDHE_ECDSA_WITH_RC4_128_SHA",
    0xC008: "ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA", 0xC009: "ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    0xC00A: "ECDHE_ECDSA_WITH_AES_256_CBC_SHA", 0xC010: "ECDHE_RSA_WITH_NULL_SHA",
    0xC011: "ECDHE_RSA_WITH_RC4_128_SHA", 0xC012: "ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0xC013: "ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xC014: "ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0xC023: "ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xC024: "ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    0xC027: "ECDHE_RSA_WITH_AES_128_CBC_SHA256", 0xC028: "ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    0xC02B: "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xC02C: "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xC030: "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xC0AC: "ECDHE_ECDSA_WITH_AES_128_CCM", 0xC0AD: "ECDHE_ECDSA_WITH_AES_256_CCM",
    0xCCA8: "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xCCA9: "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}  # fmt: skip
_NAMES_OF_TLS13: Final = {
    0x1301: "AES_128_GCM_SHA256", 0x1302: "AES_256_GCM_SHA384", 0x1303: "CHACHA20_POLY1305_SHA256",
    0x1304: "AES_128_CCM_SHA256", 0x1305: "AES_128_CCM_8_SHA256",
}  # fmt: skip

SUITES: Final = {
    code: f"TLS_{name}"
    for table in (_NAMES_OF_ECDHE, _NAMES_OF_DHE, _NAMES_OF_RSA, _NAMES_OF_ANON, _NAMES_OF_TLS13)
    for code, name in table.items()
}
"""Code to name (IANA TLS Cipher Suites)."""

GROUP_BITS: Final = {
    1: 163, 2: 163, 3: 163, 4: 193, 5: 193, 6: 233, 7: 233, 8: 239, 9: 283, 10: 283, 11: 409, 12: 409, 13: 571, 14: 571,
    15: 160, 16: 160, 17: 160, 18: 192, 19: 192, 20: 224, 21: 224, 22: 256, 23: 256, 24: 384, 25: 521, 26: 256, 27: 384,
    28: 512, 29: 256, 30: 448,
}  # fmt: skip
"""Code of a named elliptic curve to its size; x25519 is counted as the 256 bits that it stands for."""

SMALL_GROUPS: Final = tuple(code for code, bits in GROUP_BITS.items() if bits < 256)
USUAL_GROUPS: Final = (29, 23, 30, 25, 24, 26, 27, 28)

ALERTS: Final = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
    45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca",
    49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security",
    80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation",
    109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
    113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required",
    120: "no_application_protocol",
}  # fmt: skip

_FORBIDDEN_PARTS: Final = ("NULL", "anon", "EXPORT", "RC4", "RC2", "DES40", "WITH_DES_")
_WEAK_PARTS: Final = ("_CBC_", "3DES", "IDEA", "SEED", "CCM_8")


def name_of(suite: int) -> str:
    """The IANA name of a cipher suite, or its number if it has none here."""
    return SUITES.get(suite, f"0x{suite:04X}")


def alert_name(alert: int) -> str:
    """The name of an alert (RFC 8446 6), or its number."""
    return ALERTS.get(alert, str(alert))


def standing_of(suite: int) -> Standing:
    """What RFC 9325 says of a cipher suite. One that is not in the table is taken for weak: nobody should use it."""
    name = SUITES.get(suite)
    if name is None:
        return Standing.WEAK
    if any(part in name for part in _FORBIDDEN_PARTS):
        return Standing.FORBIDDEN
    if any(part in name for part in _WEAK_PARTS) or name.startswith("TLS_RSA_"):
        return Standing.WEAK
    return Standing.GOOD


def suites_with(*parts: str, standing: Standing | None = None) -> tuple[int, ...]:
    """The suites whose names hold one of ``parts``, of that standing if one is given."""
    return tuple(
        code
        for code, name in SUITES.items()
        if any(part in name for part in parts) and (standing is None or standing_of(code) is standing)
    )
