"""TLS steps against openssl s_server and nginx, good and bad, and against ports that speak something else."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from harness.postgres import free_port
from harness.probe_certificates import Issuer, Pair, Subject
from harness.probe_listener import Visit, listening
from harness.probe_processes import Program, requires, running
from harness.probe_session import FAST, Probed, probed, target_with
from strongroom.errors import Unanswered
from strongroom.probe.connecting import connect
from strongroom.probe.model import Answer, Channel, Identity, Observation
from strongroom.probe.steps import STEPS
from strongroom.probe.tls import transport
from strongroom.probe.tls.hello import ServerFlight

ALL_STEPS = (connect, transport.handshakes, transport.versions, transport.suites, transport.strange_certificates)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("authority"))


@contextmanager
def s_server(folder: Path, pair: Pair, *options: str | Path) -> Iterator[int]:
    """OpenSSL's own server, which still has what others have thrown out."""
    requires("openssl")
    port = free_port()
    command = ("openssl", "s_server", "-www", "-accept", f"127.0.0.1:{port}", "-cert", pair.certificate)
    with running(Program((*command, "-key", pair.key, *options), [port], folder)):
        yield port


def looked_at(port: int, **fields: object) -> Probed:
    """A port after all steps of level 0."""
    made = probed(target_with(dicom_ports=(port,), **fields), rates=replace(FAST, answer_s=2.0))
    for step in ALL_STEPS:
        before = made.session.connections
        step(made.session)
        assert made.session.connections - before <= 7
    return made


def seen(made: Probed, step: str, identity: Identity = Identity.STRANGER) -> Observation:
    found = made.session.found(step, identity=identity)
    assert found is not None, f"{step} was not observed"
    assert found.channel is Channel.TLS
    return found


def test_a_good_server_shows_nothing_but_good_things(issuer: Issuer, tmp_path: Path) -> None:
    pair = issuer.issue("good", Subject("pacs"))
    with s_server(tmp_path, pair, "-no_tls1", "-no_tls1_1", "-cipher", "ECDHE+AESGCM") as port:
        made = looked_at(port)
    assert seen(made, "tls.handshake").details["version"] == "TLS 1.3"
    assert seen(made, "tls.versions").details == {
        "accepted": ("TLS 1.2", "TLS 1.3"),
        "refused": ("SSL 3.0", "TLS 1.0", "TLS 1.1"),
        "preferred": "TLS 1.3",
    }
    suites = seen(made, "tls.suites")
    assert suites.answer is Answer.REFUSED
    assert (suites.details["weak"], suites.details["forbidden"]) == ((), ())
    certificate = seen(made, "tls.certificate").details
    assert certificate["name_matches"]
    assert (certificate["key_kind"], certificate["key_bits"]) == ("EC", 256)
    assert certificate["signature"] == "ecdsa-sha256"
    assert (certificate["self_signed"], certificate["chain_complete"]) == (False, False)
    assert 25 <= int(str(certificate["days_left"])) <= 30
    asked = seen(made, "tls.client_certificate")
    assert asked.answer is Answer.DONE
    assert asked.details == {"requested": False, "required": False}
    assert seen(made, "tls.certificate_refused").answer is Answer.NOT_ASKED


def test_a_bad_server_shows_each_weakness(issuer: Issuer, tmp_path: Path) -> None:
    pair = issuer.issue("bad", Subject("other", (), -900, -10, rsa_bits=2048, self_signed=True))
    context = pair.server_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    (tmp_path / "dh.pem").write_text(DH_1024)
    context.load_dh_params(tmp_path / "dh.pem")
    with listening(Visit.wait_until_closed, tls=context) as server:
        made = looked_at(server.port)
    assert set(seen(made, "tls.versions").details["accepted"]) == {"TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"}
    suites = seen(made, "tls.suites").details
    assert len(suites["forbidden"]) == 2, "two families: NULL and anon"
    assert any("CBC" in name for name in suites["weak"])
    assert any(name.startswith("TLS_RSA_WITH") for name in suites["weak"])
    assert suites["dh_bits"] == 1024
    certificate = seen(made, "tls.certificate").details
    assert int(str(certificate["days_left"])) < 0
    assert (certificate["self_signed"], certificate["name_matches"], certificate["too_long"]) == (True, False, True)
    assert (certificate["signature"], certificate["key_kind"], certificate["key_bits"]) == ("rsa-sha256", "RSA", 2048)
    assert "other" not in made.log, "no name out of a certificate is kept"


DH_1024 = """-----BEGIN DH PARAMETERS-----
MIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc0SkCTgiKZ8x0Agu+pjsTmyJR
Sgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHCReSFtXZiXn7G9ExC6aY37WsL
/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZTgf//////////AgEC
-----END DH PARAMETERS-----
"""
"""The second Oakley group (RFC 2409 6.2)."""


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_required_client_certificate_is_seen_before_and_after_the_handshake(
    issuer: Issuer, tmp_path: Path, version: str
) -> None:
    pair = issuer.issue("mutual", Subject("pacs"))
    ours = issuer.issue("ours", Subject("probe", (), client=True))
    required = ("-Verify", "1", "-verify_return_error", "-CAfile", issuer.certificate, version)
    with s_server(tmp_path, pair, *required) as port:
        made = looked_at(port, certificate=str(ours.certificate), certificate_key=str(ours.key))
    assert seen(made, "tls.handshake").answer is Answer.REFUSED
    assert seen(made, "tls.handshake", Identity.CERTIFICATE).answer is Answer.DONE
    asked = seen(made, "tls.client_certificate")
    assert asked.answer is Answer.REFUSED
    assert (asked.details["requested"], asked.details["required"]) == (True, True)
    strange = seen(made, "tls.certificate_refused")
    assert strange.answer is Answer.REFUSED
    assert (strange.details["self_signed"], strange.details["expired"]) == (False, False)
    assert strange.details["alert"] in ("unknown_ca", "certificate_expired")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_certificate_that_is_asked_for_and_not_checked_is_told_apart(
    issuer: Issuer, tmp_path: Path, version: str
) -> None:
    pair = issuer.issue("lax", Subject("pacs"))
    with s_server(tmp_path, pair, "-verify", "1", "-CAfile", issuer.certificate, version) as port:
        made = looked_at(port)
    asked = seen(made, "tls.client_certificate")
    assert asked.answer is Answer.DONE
    assert (asked.details["requested"], asked.details["required"]) == (True, False)
    strange = seen(made, "tls.certificate_refused")
    assert strange.answer is Answer.DONE
    assert (strange.details["self_signed"], strange.details["expired"]) == (True, True)


def test_a_handshake_that_stops_half_way_has_turned_nobody_away(issuer: Issuer, tmp_path: Path) -> None:
    """A server that asks for a certificate and then says no more does not require one, as far as anybody knows."""
    pair = issuer.issue("good", Subject("pacs"))

    def half(visit: Visit) -> None:
        hello = visit.read_some()
        if not hello:
            return
        with socket.create_connection(("127.0.0.1", port), timeout=5) as server, suppress(OSError):
            server.sendall(hello)
            server.settimeout(1.0)
            while flight := server.recv(65536):
                visit.send(flight)
        visit.wait_until_closed()

    asking = ("-Verify", "1", "-CAfile", issuer.certificate, "-tls1_2")
    with s_server(tmp_path, pair, *asking) as port, listening(half) as listener:
        made = probed(target_with(dicom_ports=(listener.port,)), rates=replace(FAST, answer_s=4.0))
        connect(made.session)
        transport.handshakes(made.session)
    asked = seen(made, "tls.client_certificate")
    assert asked.details["requested"] is True
    assert "required" not in asked.details


def test_what_was_not_answered_is_no_refusal(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that has had enough of odd ClientHellos says nothing about the server's weak suites."""

    def silent(*_: object) -> ServerFlight:
        raise Unanswered(Answer.TIMEOUT, "timed out")

    pair = issuer.issue("good", Subject("pacs"))
    monkeypatch.setattr(transport, "_ask", silent)
    with s_server(tmp_path, pair) as port:
        made = looked_at(port)
    assert seen(made, "tls.versions").answer is Answer.TIMEOUT
    made.session.observe("tls.versions", port, Channel.TLS, Identity.STRANGER, Answer.DONE, accepted=("TLS 1.2",))
    transport.suites(made.session)
    assert seen(made, "tls.suites").answer is Answer.TIMEOUT


def test_a_server_of_the_probes_day_alone_is_not_asked_for_old_suites(issuer: Issuer, tmp_path: Path) -> None:
    with s_server(tmp_path, issuer.issue("new", Subject("pacs")), "-tls1_3") as port:
        made = looked_at(port)
    assert seen(made, "tls.versions").details["accepted"] == ("TLS 1.3",)
    assert seen(made, "tls.suites").answer is Answer.NOT_ASKED


def test_a_chain_with_its_issuer_is_complete(issuer: Issuer, tmp_path: Path) -> None:
    pair = issuer.issue("chain", Subject("pacs"))
    with s_server(tmp_path, pair, "-cert_chain", issuer.certificate) as port:
        assert seen(looked_at(port), "tls.certificate").details["chain_complete"] is True


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Answer.OTHER),
        (b"\x07\0\0\0\0\4\0\0\2\1", Answer.OTHER),
        (b"", Answer.CLOSED),
    ],
    ids=["HTTP", "DICOM", "nothing"],
)
def test_a_port_without_tls_costs_one_connection(said: bytes, answer: Answer) -> None:
    def handle(visit: Visit) -> None:
        if visit.read_some():
            visit.send(said)

    with listening(handle) as server:
        made = looked_at(server.port)
        assert seen(made, "tls.handshake").answer is answer
        assert made.session.found("tls.versions") is None
        assert len(server.visits) == 2, "one to connect, one to shake hands"


def test_a_handshake_that_never_ends_costs_its_time_and_no_more() -> None:
    def handle(visit: Visit) -> None:
        visit.read_some()
        while visit.send(b"\x16") and not visit.stopping.wait(0.2):
            pass

    with listening(handle) as server:
        made = probed(target_with(http_ports=(server.port,)), rates=replace(FAST, answer_s=1.0, connection_s=2.0))
        connect(made.session)
        transport.handshakes(made.session)
        assert seen(made, "tls.handshake").answer in (Answer.TIMEOUT, Answer.OTHER, Answer.CLOSED)
        assert len(server.visits) == 2


def test_a_closed_port_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = looked_at(port)
    assert [each.step for each in made.session.known] == ["tcp.connect"]


def test_every_step_here_is_in_the_table() -> None:
    names = {name for name in STEPS if name.startswith("tls.")}
    assert names == {
        "tls.handshake", "tls.versions", "tls.suites", "tls.certificate", "tls.client_certificate",
        "tls.certificate_refused",
    }  # fmt: skip
