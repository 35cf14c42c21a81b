"""Handshakes with OpenSSL in memory: what it chooses is what is read; and servers that answer with anything else."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_certificates import Issuer, Subject
from strongroom.errors import Unanswered
from strongroom.probe.model import Answer
from strongroom.probe.tls.hello import MAX_FLIGHT_BYTES, VERSIONS, FlightReader, Offer, ServerFlight, client_hello
from strongroom.probe.tls.suites import (
    ALERTS,
    SMALL_GROUPS,
    SUITES,
    Standing,
    alert_name,
    name_of,
    standing_of,
    suites_with,
)

RANDOM = bytes(range(64))
TLS10, TLS12, TLS13 = 0x0301, 0x0303, 0x0304
EVERY_VERSION = tuple(sorted(VERSIONS, reverse=True))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("ca"))


def server(issuer: Issuer, ciphers: str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0", rsa_bits: int = 0) -> ssl.SSLContext:
    """A server that takes whatever this OpenSSL still can."""
    context = issuer.issue(f"server{rsa_bits}", Subject("server", rsa_bits=rsa_bits)).server_context()
    context.set_ciphers(ciphers)
    return context


def answer(context: ssl.SSLContext, offer: Offer) -> ServerFlight:
    """What the server answers to the offer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(client_hello(offer, RANDOM))
    with pytest.raises(ssl.SSLError):  # SSLWantReadError: we never go on
        tls.do_handshake()
    reader = FlightReader()
    reader.feed(outgoing.read())
    assert reader.is_complete
    return reader.flight


def test_tls_13_is_chosen_where_all_versions_are_offered(issuer: Issuer) -> None:
    flight = answer(server(issuer), Offer(EVERY_VERSION))
    assert (VERSIONS[flight.version], flight.alert) == ("TLS 1.3", -1)
    assert name_of(flight.suite).endswith(("GCM_SHA384", "GCM_SHA256"))


def test_up_to_tls_12_the_certificate_and_the_curve_are_read(issuer: Issuer) -> None:
    context = server(issuer)
    flight = answer(context, Offer((TLS12,)))
    assert flight.version == TLS12
    assert flight.certificates == (ssl.PEM_cert_to_DER_cert((issuer.folder / "server0.pem").read_text()),)
    assert (flight.ecdhe_bits, flight.dh_bits, flight.asks_for_certificate) == (256, 0, False)


def test_a_request_for_a_client_certificate_is_seen(issuer: Issuer) -> None:
    context = issuer.issue("asks", Subject("asks")).server_context(client_required=True)
    assert answer(context, Offer((TLS12,))).asks_for_certificate


@pytest.mark.parametrize("version", [TLS10, TLS12])
def test_an_old_version_is_accepted_only_by_who_accepts_it(issuer: Issuer, version: int) -> None:
    context = server(issuer)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    assert answer(context, Offer((version,))).version == version
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    assert alert_name(answer(context, Offer((version,))).alert) == "protocol_version"


def test_ssl_3_is_asked_for_without_an_extension_and_refused(issuer: Issuer) -> None:
    hello = client_hello(Offer((0x0300,)), RANDOM)
    assert hello[1:3] == b"\3\0"
    suites_end = 5 + 4 + 2 + 32 + 1 + 2 + 2 * len(SUITES)
    assert hello[suites_end:] == b"\1\0", "compression is all that follows the suites"
    assert answer(server(issuer), Offer((0x0300,))).alert in (40, 70)


@pytest.mark.parametrize(
    ("parts", "bits", "chosen"),
    [
        (("anon",), 0, "anon"),
        (("TLS_RSA_WITH_NULL",), 2048, "NULL"),
        (("TLS_RSA_WITH_AES",), 2048, "TLS_RSA_WITH_AES"),
        (("ECDHE_ECDSA_WITH_AES_128_CBC",), 0, "CBC"),
    ],
)
def test_each_family_of_weak_suites_is_found_where_it_is_taken(
    issuer: Issuer, parts: tuple[str, ...], bits: int, chosen: str
) -> None:
    offer = Offer((TLS12, TLS10), suites_with(*parts))
    flight = answer(server(issuer, rsa_bits=bits), offer)
    assert chosen in name_of(flight.suite)
    assert standing_of(flight.suite) is not Standing.GOOD
    refused = answer(server(issuer, "ECDHE+AESGCM", bits), offer)
    assert (refused.suite, alert_name(refused.alert)) == (0, "handshake_failure")


def test_a_prime_is_measured(issuer: Issuer) -> None:
    context = server(issuer, "DHE:@SECLEVEL=0", 2048)
    path = issuer.folder / "dh.pem"
    path.write_text(DH_1024)
    context.load_dh_params(path)
    assert answer(context, Offer((TLS12,), suites_with("DHE_RSA"))).dh_bits == 1024


DH_1024 = """-----BEGIN DH PARAMETERS-----
MIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc0SkCTgiKZ8x0Agu+pjsTmyJR
Sgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHCReSFtXZiXn7G9ExC6aY37WsL
/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZTgf//////////AgEC
-----END DH PARAMETERS-----
"""
"""The second Oakley group (RFC 2409 6.2)."""


def test_small_curves_are_refused_by_who_has_none(issuer: Issuer) -> None:
    flight = answer(server(issuer), Offer((TLS12,), suites_with("ECDHE_ECDSA"), groups=SMALL_GROUPS))
    assert flight.alert == 40 or 0 < flight.ecdhe_bits < 256


def test_a_server_name_is_sent_where_there_is_one() -> None:
    assert b"pacs.example" in client_hello(Offer((TLS12,), server_name="pacs.example"), RANDOM)
    assert b"pacs" not in client_hello(Offer((TLS12,)), RANDOM)


@given(st.data())
def test_it_does_not_matter_how_the_answer_is_cut(data: st.DataObject) -> None:
    raw = SPOKEN
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    reader = FlightReader()
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        reader.feed(raw[start:end])
    assert reader.is_complete
    assert (reader.flight.version, reader.flight.certificates) == (TLS12, (b"leaf", b"issuer"))


def message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def record(kind: int, body: bytes) -> bytes:
    return bytes((kind, 3, 3)) + len(body).to_bytes(2, "big") + body


HELLO = message(2, b"\3\3" + bytes(32) + b"\0" + b"\xc0\x2f" + b"\0")
CHAIN = message(11, b"\0\0\x10" + b"\0\0\x04leaf" + b"\0\0\x06issuer")
SPOKEN = record(22, HELLO + CHAIN[:9]) + record(21, b"\1\x70") + record(22, CHAIN[9:] + message(14, b""))


def refusal_of(raw: bytes) -> str:
    """The answer that reading ``raw`` ends with, empty if it is read."""
    try:
        FlightReader().feed(raw)
    except Unanswered as error:
        return error.answer
    return ""


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_in_words(raw: bytes) -> None:
    assert refusal_of(raw) in ("", Answer.OTHER, Answer.HOSTILE)


@given(st.integers(0, len(SPOKEN) - 1), st.integers(0, 255))
def test_an_answer_with_one_byte_wrong_is_read_or_refused_in_words(at: int, value: int) -> None:
    raw = bytearray(SPOKEN)
    raw[at] = value
    assert refusal_of(bytes(raw)) in ("", Answer.OTHER, Answer.HOSTILE)


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x03\0\0\0\0\4\0\1\1\2", b"SSH-2.0-x\r\n", b"\x16\x02"]
)
def test_what_speaks_something_else_is_told_apart(raw: bytes) -> None:
    assert refusal_of(raw) == Answer.OTHER


@pytest.mark.parametrize(
    "raw",
    [
        record(22, b"")[:3] + b"\xff\xff",
        record(22, b"\2\xff\xff\xff"),
        record(22, message(2, b"\3\3")),
        record(22, message(2, b"\4\4" + bytes(32) + b"\0\xc0\x2f\0")),
        record(22, HELLO + message(11, b"\0\0\x44" + b"\0\0\1x" * 17)),
        record(22, HELLO + message(11, b"\0\0\x04\xff\xff\xff\0")),
        record(21, b"\2"),
    ],
    ids=["record", "message", "short", "version", "chain", "certificate", "alert"],
)
def test_an_answer_that_breaks_tls_is_hostile(raw: bytes) -> None:
    assert refusal_of(raw) == Answer.HOSTILE


def test_a_flight_without_an_end_is_cut() -> None:
    endless = record(22, message(99, bytes(4000)))
    assert refusal_of(endless * (MAX_FLIGHT_BYTES // len(endless))) == ""
    assert refusal_of(endless * (MAX_FLIGHT_BYTES // len(endless) + 1)) == Answer.HOSTILE


def test_names_and_standings_are_those_of_the_registry() -> None:
    openssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    openssl.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    codes = {each["id"] & 0xFFFF for each in openssl.get_ciphers()}
    common = codes & set(SUITES)
    assert len(common) > 55, "the table has what is still in use"
    for each in openssl.get_ciphers():
        name = SUITES.get(each["id"] & 0xFFFF, "")
        if name:
            assert each["strength_bits"] == 0 or str(each["strength_bits"]) in name or "CHACHA" in name, name
            assert (each["auth"] == "auth-null") == ("anon" in name), name
    assert standing_of(0xC02F) is Standing.GOOD
    assert standing_of(0x009C) is Standing.WEAK
    assert standing_of(0x0005) is Standing.FORBIDDEN
    assert standing_of(0xFEFE) is Standing.WEAK
    assert name_of(0xFEFE) == "0xFEFE"
    assert alert_name(200) == "200"
    assert ALERTS[116] == "certificate_required"
