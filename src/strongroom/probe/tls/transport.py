"""TLS on every port that answers: versions, suites, the certificate, and whether a client has to show one.

A handshake is completed by the library with no certificate, and with certificates that nobody should trust; everything
else is asked with a ClientHello of our own and ends with the answer to it (``hello``).
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from strongroom.errors import ConfigError, Unanswered
from strongroom.net.tls import Identity as TlsIdentity
from strongroom.net.tls import probing_context
from strongroom.probe.line import Line
from strongroom.probe.model import Answer, Channel, Identity, Level
from strongroom.probe.session import Session
from strongroom.probe.tls.certificates import look_at, strange_identity
from strongroom.probe.tls.hello import VERSIONS, FlightReader, Offer, ServerFlight, client_hello, read_message
from strongroom.probe.tls.suites import SMALL_GROUPS, Standing, alert_name, name_of, standing_of, suites_with

ALERT_WAIT_S: Final = 2.0
"""How long a server is waited for that may not want us after all: TLS 1.3 refuses a client after the handshake."""

_SAYS_NO: Final = frozenset({Answer.CLOSED, Answer.OTHER})
"""Answers to a ClientHello that mean no, beside an alert. A silent or a vanished server has said nothing."""

_TURNED_AWAY: Final = (Answer.REFUSED, Answer.CLOSED)
"""Ends of a handshake by which a server turns somebody away: an alert, or no word."""

_TLS13: Final = 0x0304
_UP_TO_TLS12: Final = (0x0303, 0x0302, 0x0301)
_FORBIDDEN: Final = suites_with("TLS_", standing=Standing.FORBIDDEN)
_WEAK_OFFERS: Final = (
    suites_with("3DES", "IDEA", "SEED", standing=Standing.WEAK),
    suites_with("TLS_RSA_", standing=Standing.WEAK),
    tuple(suite for suite in suites_with("TLS_ECDHE_") if "_CBC_" in name_of(suite) and "3DES" not in name_of(suite)),
    suites_with("TLS_DHE_"),
)
"""What is asked for one at a time: short blocks, no forward secrecy, CBC, and a prime to be measured."""


@dataclass(slots=True)
class _Heard:
    """What a server said in a handshake that the library did."""

    flight: ServerFlight = field(default_factory=ServerFlight)
    anything: bool = False

    def take(self, content: int, data: bytes) -> None:
        """Read what ``probing_context`` tells of."""
        self.anything = True
        handshake = 22
        try:
            if content == handshake and len(data) >= 4:
                self.flight = read_message(self.flight, data)
            elif len(data) == 2 and data[1] != 0:
                self.flight = replace(self.flight, alert=data[1])
        except Unanswered:
            pass  # the library has read it before us: if it is wrong, the handshake fails there


def speaks_tls(session: Session, port: int) -> bool:
    """Whether the port answered a ClientHello as TLS does, whatever came of the handshake."""
    seen = session.found("tls.handshake", port, Channel.TLS, Identity.STRANGER)
    return seen is not None and ("version" in seen.details or "alert" in seen.details)


def lets_in(session: Session, port: int, identity: Identity = Identity.STRANGER) -> bool:
    """Whether a handshake as ``identity`` was completed and not refused afterwards."""
    seen = session.found("tls.handshake", port, Channel.TLS, identity)
    return seen is not None and seen.answer is Answer.DONE


def is_for_web(session: Session, port: int) -> bool:
    """Whether it is a port for HTTP alone, and HTTP may be asked there."""
    is_http = port in session.target.http_ports and port not in session.target.dicom_ports
    return is_http and session.level >= Level.ASSOCIATE


def strange_certificates_of_ours() -> dict[str, TlsIdentity]:
    """Certificates that nobody has a reason to trust, by the detail that says whether one was accepted."""
    now = dt.datetime.now(dt.UTC)
    return {"self_signed": strange_identity(now, expired=False), "expired": strange_identity(now, expired=True)}


def handshakes(session: Session) -> None:
    """Do a handshake on each port that is open, with no certificate; and with the scope's, where it names one."""
    for port in _open_ports(session):
        heard = _handshake(session, port, Identity.STRANGER, None)
        if heard.flight.version:
            _observe_certificate(session, port, heard.flight)
            _observe_client_certificate(session, port, heard.flight)
        target = session.target
        if heard.flight.asks_for_certificate and target.certificate:
            _handshake(session, port, Identity.CERTIFICATE, (target.certificate, target.certificate_key))


def versions(session: Session) -> None:
    """Ask each port that speaks TLS for each version by itself."""
    for port in _tls_ports(session):
        seen = session.found("tls.handshake", port, Channel.TLS, Identity.STRANGER)
        preferred = str(seen.details.get("version", "")) if seen else ""
        accepted: list[str] = []
        refused: list[str] = []
        lost: list[str] = []
        for version, name in VERSIONS.items():
            if name == preferred:  # the handshake has shown it
                accepted.append(name)
                continue
            try:
                flight = _ask(session, port, Offer((version,), server_name=_server_name(session)))
            except Unanswered as error:
                (refused if error.answer in _SAYS_NO else lost).append(name)
                continue
            (accepted if flight.version == version else refused).append(name)
        session.observe(
            "tls.versions",
            port,
            Channel.TLS,
            Identity.STRANGER,
            Answer.TIMEOUT if lost else Answer.DONE if accepted else Answer.REFUSED,
            accepted=tuple(accepted),
            refused=tuple(refused),
            preferred=preferred,
            **({"reason": f"no answer to {', '.join(lost)}"} if lost else {}),
        )


def suites(session: Session) -> None:
    """Ask each port that still takes TLS 1.2 or older for weak suites, small primes and small curves."""
    for port in _tls_ports(session):
        seen = session.found("tls.versions", port, Channel.TLS)
        accepted = seen.details.get("accepted") if seen else ()
        if not isinstance(accepted, tuple) or not set(accepted) - {VERSIONS[_TLS13]}:
            session.skip("tls.suites", port, "nothing older than TLS 1.3 is accepted", Channel.TLS)
            continue
        _observe_suites(session, port)


def strange_certificates(session: Session) -> None:
    """Show a certificate of our own making to each port that asks for one: it should refuse it, expired or not.

    HTTP servers may say so only in their answer: where they may be asked, ``web.strange_certificates`` does this.
    """
    for port in _tls_ports(session):
        if is_for_web(session, port):
            continue
        asked = session.found("tls.client_certificate", port, Channel.TLS)
        if asked is None or not asked.details.get("requested"):
            session.skip("tls.certificate_refused", port, "no client certificate is asked for", Channel.TLS)
            continue
        accepted: dict[str, bool] = {}
        alert, is_lost = "", False
        for name, identity in strange_certificates_of_ours().items():
            heard = _Heard()
            error = _shake(session, port, identity, heard)
            accepted[name] = error is None
            is_lost |= error is not None and error.answer not in _TURNED_AWAY
            alert = _alert_of(heard.flight) or alert
        details = {"alert": alert} if alert else {}
        answer = Answer.DONE if any(accepted.values()) else Answer.TIMEOUT if is_lost else Answer.REFUSED
        session.observe("tls.certificate_refused", port, Channel.TLS, Identity.STRANGER, answer, **accepted, **details)


def _handshake(session: Session, port: int, identity: Identity, shown: tuple[str, str] | None) -> _Heard:
    heard = _Heard()
    error = _shake(session, port, shown, heard)
    flight = heard.flight
    details: dict[str, str] = {}
    if flight.version:
        details |= {"version": VERSIONS[flight.version], "suite": name_of(flight.suite)}
    if flight.certificates:
        details["certificate_sha256"] = sha256(flight.certificates[0]).hexdigest()
    if _alert_of(flight):
        details["alert"] = _alert_of(flight)
    if error is not None:
        details["reason"] = error.reason
    answer = Answer.DONE if error is None else Answer(error.answer)
    session.observe("tls.handshake", port, Channel.TLS, identity, answer, **details)
    return heard


def _shake(
    session: Session, port: int, shown: TlsIdentity | tuple[str, str] | None, heard: _Heard
) -> Unanswered | None:
    """Do a handshake, and wait for what may come after it where a certificate was asked for. Return why it failed."""
    try:
        context = probing_context(shown, heard.take)
    except ConfigError as error:
        return Unanswered(Answer.NOT_ASKED, str(error))
    try:
        line = session.line(port, framing="raw")
        line.start_tls(context, session.host)
    except Unanswered as error:
        return error
    return _said_afterwards(line, heard) if heard.flight.asks_for_certificate else None


def _said_afterwards(line: Line, heard: _Heard) -> Unanswered | None:
    """Wait for a refusal after the handshake, and return it; who says nothing waits for us."""
    line.settimeout(ALERT_WAIT_S)
    try:
        return None if line.receive(1) else Unanswered(Answer.CLOSED, "connection closed after the handshake")
    except Unanswered as error:
        return None if error.answer == Answer.TIMEOUT and heard.flight.alert < 0 else error


def _observe_certificate(session: Session, port: int, flight: ServerFlight) -> None:
    try:
        looks = look_at(flight.certificates, session.host, dt.datetime.now(dt.UTC))
    except Unanswered as error:
        answer = Answer(error.answer)
        session.observe("tls.certificate", port, Channel.TLS, Identity.STRANGER, answer, reason=error.reason)
        return
    session.observe("tls.certificate", port, Channel.TLS, Identity.STRANGER, Answer.DONE, **asdict(looks))


def _observe_client_certificate(session: Session, port: int, flight: ServerFlight) -> None:
    """Whether one is asked for, and whether nobody gets in without: the handshake that was done has shown it."""
    requested = flight.asks_for_certificate
    shaken = session.found("tls.handshake", port, Channel.TLS, Identity.STRANGER)
    if requested and shaken is not None and shaken.answer not in (Answer.DONE, *_TURNED_AWAY):
        # It asked for one and did not come to its end: that is not yet somebody who was turned away.
        reason = "the handshake did not end"
        session.observe(
            "tls.client_certificate", port, Channel.TLS, Identity.STRANGER, shaken.answer, requested=True, reason=reason
        )
        return
    required = requested and not lets_in(session, port)
    details = {"alert": _alert_of(flight)} if required and _alert_of(flight) else {}
    answer = Answer.REFUSED if required else Answer.DONE
    session.observe(
        "tls.client_certificate",
        port,
        Channel.TLS,
        Identity.STRANGER,
        answer,
        requested=requested,
        required=required,
        **details,
    )


def _observe_suites(session: Session, port: int) -> None:
    forbidden: list[str] = []
    weak: list[str] = []
    lost: list[str] = []
    dh_bits = ecdhe_bits = 0
    first = _offered(session, port, _FORBIDDEN, lost)
    if first.suite:
        forbidden.append(name_of(first.suite))
        family = next(part for part in ("NULL", "anon", "EXPORT", "RC4", "DES") if part in name_of(first.suite))
        again = _offered(session, port, tuple(each for each in _FORBIDDEN if family not in name_of(each)), lost)
        forbidden += [name_of(again.suite)] if again.suite else []
    for offered in _WEAK_OFFERS:
        flight = _offered(session, port, offered, lost)
        dh_bits, ecdhe_bits = dh_bits or flight.dh_bits, ecdhe_bits or flight.ecdhe_bits
        if flight.suite and standing_of(flight.suite) is not Standing.GOOD:
            weak.append(name_of(flight.suite))
    small = _offered(session, port, suites_with("TLS_ECDHE_"), lost, SMALL_GROUPS)
    # A size that was not seen is left out: 0 would be the smallest of all.
    sizes = {"dh_bits": dh_bits, "ecdhe_bits": small.ecdhe_bits or ecdhe_bits}
    session.observe(
        "tls.suites",
        port,
        Channel.TLS,
        Identity.STRANGER,
        Answer.DONE if forbidden or weak else Answer.TIMEOUT if lost else Answer.REFUSED,
        forbidden=tuple(forbidden),
        weak=tuple(weak),
        **({"reason": f"{len(lost)} offers were not answered"} if lost else {}),
        **{name: bits for name, bits in sizes.items() if bits},
    )


def _offered(
    session: Session, port: int, offered: tuple[int, ...], lost: list[str], groups: tuple[int, ...] | None = None
) -> ServerFlight:
    """What the server makes of these suites, nothing if it wants none; ``lost`` gets why it did not say."""
    offer = Offer(_UP_TO_TLS12, offered, server_name=_server_name(session))
    if groups is not None:
        offer = Offer(_UP_TO_TLS12, offered, groups, _server_name(session))
    try:
        return _ask(session, port, offer)
    except Unanswered as error:
        if error.answer not in _SAYS_NO:
            lost.append(error.reason)
        return ServerFlight()


def _ask(session: Session, port: int, offer: Offer) -> ServerFlight:
    """Return what the server answers to a ClientHello. Raises Unanswered."""
    line = session.line(port, framing="raw")
    line.send_all(client_hello(offer, secrets.token_bytes(64)))
    reader = FlightReader()
    while raw := line.receive():
        if reader.feed(raw):
            break
    if not reader.is_complete and not reader.flight.version:
        raise Unanswered(Answer.CLOSED, "connection closed")
    line.close()
    return reader.flight


def _alert_of(flight: ServerFlight) -> str:
    return alert_name(flight.alert) if flight.alert >= 0 else ""


def _server_name(session: Session) -> str:
    """The name for SNI: a name, never an address (RFC 6066 3)."""
    try:
        ip_address(session.host)
    except ValueError:
        return session.host
    return ""


def _open_ports(session: Session) -> list[int]:
    seen = [session.found("tcp.connect", port) for port in session.target.ports]
    return [each.endpoint.port for each in seen if each is not None and each.answer is Answer.DONE]


def _tls_ports(session: Session) -> list[int]:
    return [port for port in _open_ports(session) if speaks_tls(session, port)]
