"""acceptor: who may open an association, with what answer of the standard and what word in the trail."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import archives, wire
from harness.archives import Credentials, RunningArchive
from harness.wire import (
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    PATIENT_ROOT_FIND,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Asks,
    RawPeer,
    extended_negotiation,
    parse_accept,
    role_selection,
    user_identity,
)
from strongroom.app import Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.net.associations import MAX_NAMED_CLASSES
from strongroom.net.certificates import issue, new_authority
from strongroom.store.accounts import hash_passcode

TODAY = dt.datetime.now(dt.UTC)
PASSCODE = b"correct horse battery"
ACCEPTED, USER_REJECTION = 0, 1
PERMANENT, SERVICE_USER, PROVIDER_ACSE = 1, 1, 2


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """One archive for all tests here: a peer of each kind, an account, and two plaintext exceptions."""
    root = tmp_path_factory.mktemp("acceptor")
    exception = {"peer": "OLD", "addresses": "127.0.0.0/24", "expires": archives.SOON, "port": 0, "reason": "old"}
    elsewhere = exception | {"addresses": "192.0.2.0/24"}
    home = archives.new_home(root / "home", {"unsafe_plaintext": [exception, elsewhere]})
    with archives.opened(home) as opened:
        for aet, allow in [("ALL", archives.ALL_RIGHTS), ("ECHO", "echo"), ("FIND", "find"), ("STORE", "store")]:
            archives.add_peer(opened, aet, allow)
        archives.add_peer(opened, "GET", "get")
        archives.add_peer(opened, "NOTHING", "")
        archives.add_peer(opened, "OLD", "echo,store")
        archives.add_peer(opened, "USER", "echo", require_user=True)
        add_account(opened, "reader")
    with archives.serving_in_process(home) as running:
        yield running


def add_account(archive: Archive, name: str) -> None:
    """An account that may log in."""
    registry = archive.index.registry
    hashed = hash_passcode(PASSCODE.decode())
    archive.index.database.write(
        lambda transaction: registry.put_account(transaction.cursor, name, hashed, "technologist", 1)
    )


@pytest.fixture(autouse=True)
def since(archive: RunningArchive) -> int:
    """How long the server's trail was when the test began, all associations of earlier tests being over."""
    archive.wait_for_event(lambda _: open_associations(archive) == 0)
    return len(archive.served_events())


def open_associations(archive: RunningArchive) -> int:
    phases = [event.details.get("phase") for event in archive.served_events()]
    return phases.count("begin") - phases.count("end")


def ask(archive: RunningArchive, asks: Asks, credentials: Credentials | None = None) -> tuple[int, bytes]:
    """Ask as ``asks.calling`` over TLS; the answer's type and body. The association is over on return."""
    with RawPeer(archive.port, credentials or archive.credentials(asks.calling)) as peer:
        answer = peer.associate(asks)
        if answer[0] == A_ASSOCIATE_AC:
            peer.release()
        else:
            assert peer.ends()
    return answer


def accepted(archive: RunningArchive, asks: Asks) -> tuple[dict[int, int], dict[int, bytes]]:
    kind, body = ask(archive, asks)
    assert kind == A_ASSOCIATE_AC
    return parse_accept(body)


@dataclass(frozen=True)
class Rejected:
    """An A-ASSOCIATE-RJ: result, source and reason of PS3.8 table 9-21, and what the trail says of it."""

    pdu: tuple[int, int, int]
    why: str

    def check(
        self, archive: RunningArchive, since: int, answer: tuple[int, bytes], credentials: Credentials | None
    ) -> Event:
        kind, body = answer
        assert (kind, tuple(body[1:])) == (A_ASSOCIATE_RJ, self.pdu)
        event = archive.wait_for_event(
            lambda event: event.action is Action.ASSOCIATION and event.details.get("reason") == self.why, since
        )
        assert (event.outcome, event.principal.aet, event.principal.address) == (Outcome.REFUSED, "", "127.0.0.1")
        assert event.principal.fingerprint == (fingerprint_of(credentials) if credentials else "")
        return event


WRONG_CALLED = Rejected((PERMANENT, SERVICE_USER, 7), "wrong-called-ae")
UNKNOWN = Rejected((PERMANENT, SERVICE_USER, 3), "unknown-peer")
NOT_ITS_CERTIFICATE = Rejected((PERMANENT, SERVICE_USER, 3), "certificate-not-of-peer")
REVOKED = Rejected((PERMANENT, SERVICE_USER, 3), "peer-revoked")
WRONG_USER = Rejected((PERMANENT, SERVICE_USER, 1), "user-or-passcode-wrong")
NO_USER = Rejected((PERMANENT, SERVICE_USER, 1), "user-required")
CONTEXT = Rejected((PERMANENT, SERVICE_USER, 2), "application-context")
VERSION = Rejected((PERMANENT, PROVIDER_ACSE, 2), "protocol-version")


def fingerprint_of(credentials: Credentials) -> str:
    return archives.certificate_fingerprint(credentials.certificate)


# --- who is let in


def test_a_peer_with_its_own_certificate_is_let_in(archive: RunningArchive, since: int) -> None:
    credentials = archive.credentials("ECHO")
    with RawPeer(archive.port, credentials) as peer:
        assert peer.associate(Asks("ECHO"))[0] == A_ASSOCIATE_AC
        assert peer.echo() == 0
        peer.release()
    end = archive.wait_for_event(lambda event: event.details.get("phase") == "end", since)
    begin, echo = archive.served_events(since)[:2]
    assert begin.details == {"phase": "begin", "calling": "ECHO", "called": "STRONGROOM"}
    assert (echo.action, echo.outcome) == (Action.ECHO, Outcome.SUCCESS)
    assert (end.outcome, end.details["end"]) == (Outcome.SUCCESS, "released")
    assert {event.principal.fingerprint for event in (begin, echo, end)} == {fingerprint_of(credentials)}


@pytest.mark.parametrize(
    ("asks", "rejected"),
    [
        (Asks("ALL", called="ANOTHER"), WRONG_CALLED),
        (Asks("ALL", called="strongroom"), WRONG_CALLED),
        (Asks("STRANGER"), UNKNOWN),
        (Asks("all"), UNKNOWN),
        (Asks("ECHO"), NOT_ITS_CERTIFICATE),
        (Asks("ALL", application_context="1.2.3"), CONTEXT),
        (Asks("ALL", version=2), VERSION),
    ],
)
def test_who_is_not_let_in_hears_the_reason_of_the_standard(
    archive: RunningArchive, since: int, asks: Asks, rejected: Rejected
) -> None:
    credentials = archive.credentials("ALL")
    event = rejected.check(archive, since, ask(archive, asks, credentials), credentials)
    assert (event.details["calling"], event.details["called"]) == (asks.calling, asks.called)


def test_a_revoked_peer_is_refused_at_once(archive: RunningArchive, since: int) -> None:
    credentials = archive.add_peer("FORMER", "echo")
    assert ask(archive, Asks("FORMER"))[0] == A_ASSOCIATE_AC
    archive.revoke_peer("FORMER")
    answer = ask(archive, Asks("FORMER"), credentials)
    REVOKED.check(archive, since, answer, credentials)


def test_an_old_certificate_is_refused_once_a_peer_has_a_new_one(
    archive: RunningArchive, since: int, tmp_path: Path
) -> None:
    first = archive.add_peer("RENEWED", "echo")
    kept = copied(first, tmp_path)
    archive.revoke_peer("RENEWED")
    archive.add_peer("RENEWED", "echo")
    assert ask(archive, Asks("RENEWED"))[0] == A_ASSOCIATE_AC
    answer = ask(archive, Asks("RENEWED"), kept)
    NOT_ITS_CERTIFICATE.check(archive, since, answer, kept)


def copied(credentials: Credentials, folder: Path) -> Credentials:
    for path in (credentials.certificate, credentials.key, credentials.authority):
        (folder / path.name).write_bytes(path.read_bytes())
    return Credentials(credentials.aet, folder)


# --- certificates that do not even reach the upper layer


def written(folder: Path, aet: str, certificate: bytes, key: bytes, authority: bytes) -> Credentials:
    for name, content in (("cert.pem", certificate), ("key.pem", key), ("ca.pem", authority)):
        (folder / name).write_bytes(content)
    return Credentials(aet, folder)


def foreign_certificate(archive: Archive, folder: Path) -> Credentials:
    """From a CA that has the archive's own name."""
    authority = new_authority(archive.config.archive.id, TODAY)
    issued = issue(authority, "ALL", [], TODAY, 30)
    return written(folder, "ALL", issued.certificate_pem, issued.key_pem, archive.tls().authority.certificate_pem)


def expired_certificate(archive: Archive, folder: Path) -> Credentials:
    authority = archive.tls().authority
    issued = issue(authority, "ALL", [], TODAY - dt.timedelta(days=400), 30)
    return written(folder, "ALL", issued.certificate_pem, issued.key_pem, authority.certificate_pem)


def future_certificate(archive: Archive, folder: Path) -> Credentials:
    authority = archive.tls().authority
    issued = issue(authority, "ALL", [], TODAY + dt.timedelta(days=2), 30)
    return written(folder, "ALL", issued.certificate_pem, issued.key_pem, authority.certificate_pem)


@pytest.mark.parametrize("make", [foreign_certificate, expired_certificate, future_certificate])
def test_a_certificate_that_is_not_good_ends_in_the_handshake(
    archive: RunningArchive, since: int, tmp_path: Path, make: Callable[[Archive, Path], Credentials]
) -> None:
    assert archive.archive is not None
    credentials = make(archive.archive, tmp_path)
    assert not gets_through(archive.port, wire.tls_context(credentials))
    check_handshake_refused(archive, since)


def gets_through(port: int, context: ssl.SSLContext) -> bool:
    """Whether a request to associate is answered at all. With TLS 1.3 a client hears of its refusal only afterwards."""
    with socket.create_connection(("127.0.0.1", port), 10) as raw:
        try:
            with context.wrap_socket(raw) as secured:
                secured.sendall(Asks("ALL").pdu())
                return secured.recv(1) != b""
        except (ssl.SSLError, ConnectionError):
            return False


def check_handshake_refused(archive: RunningArchive, since: int) -> None:
    event = archive.wait_for_refusal("tls-handshake", since)
    assert (event.action, event.principal.fingerprint) == (Action.ASSOCIATION, "")


def test_without_a_certificate_there_is_no_handshake(archive: RunningArchive, since: int) -> None:
    context = wire.tls_context(None, authority=archive.credentials("ALL").authority)
    assert not gets_through(archive.port, context)
    check_handshake_refused(archive, since)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_that_bcp_195_allows_are_served(archive: RunningArchive, version: ssl.TLSVersion) -> None:
    context = wire.tls_context(archive.credentials("ALL"))
    context.minimum_version = context.maximum_version = version
    assert gets_through(archive.port, context)


def test_a_resumed_session_does_not_outlive_its_certificate(
    archive: RunningArchive, since: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed handshake shows no certificate: OpenSSL remembers it, and does not look at its date again."""
    context = wire.tls_context(archive.credentials("ALL"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    later = (TODAY + dt.timedelta(days=400)).timestamp()
    with RawPeer(archive.port, context=context) as first:
        assert isinstance(first.sock, ssl.SSLSocket)
        session = first.sock.session
        first.associate(Asks("ALL"))  # so that the other side has ended its handshake too, and remembers the session
        monkeypatch.setattr("strongroom.net.associations.time", lambda: later)
        with RawPeer(archive.port, context=context, session=session) as second:
            assert isinstance(second.sock, ssl.SSLSocket)
            assert second.sock.session_reused
            assert second.associate(Asks("ALL"))[0] == 0
    archive.wait_for_refusal("certificate-expired", since)


def test_a_session_ends_with_its_connection(archive: RunningArchive) -> None:
    """OpenSSL would remember 20480 sessions of 11 KB each."""
    context = wire.tls_context(archive.credentials("ALL"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with RawPeer(archive.port, context=context) as first:
        assert isinstance(first.sock, ssl.SSLSocket)
        session = first.sock.session
        assert first.associate(Asks("ALL"))[0] == A_ASSOCIATE_AC
        first.release()
    with RawPeer(archive.port, context=context, session=session) as second:
        assert isinstance(second.sock, ssl.SSLSocket)
        assert not second.sock.session_reused


def test_plain_text_on_the_tls_port_is_no_association(archive: RunningArchive, since: int) -> None:
    with RawPeer(archive.port) as peer:
        assert peer.associate(Asks("ALL"))[0] != A_ASSOCIATE_AC
    check_handshake_refused(archive, since)


def test_a_certificate_bound_from_outside_is_trusted_for_its_peer_only(
    archive: RunningArchive, since: int, tmp_path: Path
) -> None:
    """Another hospital's certificate, without its CA: that leaf and no other."""
    authority = new_authority("outside", TODAY)
    for name in ("bound", "other"):
        (tmp_path / name).mkdir()
    archive_ca = archive.credentials("ALL").authority.read_bytes()
    bound = issue(authority, "OUTSIDE", [], TODAY, 30)
    other = issue(authority, "OUTSIDE", [], TODAY, 30)
    mine = written(tmp_path / "bound", "OUTSIDE", bound.certificate_pem, bound.key_pem, archive_ca)
    theirs = written(tmp_path / "other", "OUTSIDE", other.certificate_pem, other.key_pem, archive_ca)
    archive.add_peer("OUTSIDE", "echo", certificate_pem=bound.certificate_pem)
    assert ask(archive, Asks("OUTSIDE"), mine)[0] == A_ASSOCIATE_AC
    assert not gets_through(archive.port, wire.tls_context(theirs))
    answer = ask(archive, Asks("ECHO"), mine)
    NOT_ITS_CERTIFICATE.check(archive, since, answer, mine)


def test_a_subject_under_an_outside_ca_is_bound_as_a_whole(archive: RunningArchive, since: int, tmp_path: Path) -> None:
    authority = new_authority("outside", TODAY)
    archive_ca = archive.credentials("ALL").authority.read_bytes()
    archive.add_peer("BYCA", "echo", ca_pem=authority.certificate_pem, subject="CN=BYCA")
    answers, issued_to = {}, {}
    for name in ("BYCA", "BYCA2"):
        (tmp_path / name).mkdir()
        issued = issue(authority, name, [], TODAY, 30)
        issued_to[name] = written(tmp_path / name, name, issued.certificate_pem, issued.key_pem, archive_ca)
        answers[name] = ask(archive, Asks("BYCA"), issued_to[name])
    assert answers["BYCA"][0] == A_ASSOCIATE_AC
    NOT_ITS_CERTIFICATE.check(archive, since, answers["BYCA2"], issued_to["BYCA2"])


# --- with what


def test_a_class_without_the_right_is_refused_by_the_user_not_unknown(archive: RunningArchive) -> None:
    """PS3.8 table 9-18: 1 = user rejection, 3 = abstract syntax not supported, 4 = transfer syntaxes not supported."""
    contexts = [
        (VERIFICATION, (IMPLICIT,)),
        (CT_IMAGE_STORAGE, (EXPLICIT,)),
        (STUDY_ROOT_FIND, (EXPLICIT,)),
        (STUDY_ROOT_MOVE, (EXPLICIT,)),
        (STUDY_ROOT_GET, (EXPLICIT,)),
        ("1.2.840.10008.1.20.1", (EXPLICIT,)),
        ("1.2.3.4", (EXPLICIT,)),
        (VERIFICATION, ("1.2.3.4",)),
    ]

    def results(aet: str) -> list[int]:
        found, _ = accepted(archive, Asks(aet, contexts=contexts))
        return [found[number] for number in range(1, 16, 2)]

    assert results("ALL") == [0, 0, 0, 0, 0, 0, 3, 4]
    assert results("ECHO")[:6] == [0, 1, 1, 1, 1, 1]
    assert results("STORE")[:6] == [1, 0, 1, 1, 1, 1]
    assert results("FIND")[:6] == [1, 1, 0, 1, 1, 1]
    assert results("NOTHING")[:6] == [1, 1, 1, 1, 1, 1]


def test_what_a_peer_lacks_the_right_to_is_recorded(archive: RunningArchive) -> None:
    archive.add_peer("ECHOES", "echo")
    since = len(archive.served_events())
    accepted(archive, Asks("ECHOES", contexts=[(VERIFICATION, (IMPLICIT,)), (STUDY_ROOT_FIND, (EXPLICIT,))]))
    begun = archive.wait_for_event(lambda event: event.details.get("phase") == "begin", since)
    assert (begun.outcome, begun.details["no_right"]) == (Outcome.SUCCESS, (STUDY_ROOT_FIND,))
    assert not [event for event in archive.served_events(since) if event.outcome is Outcome.REFUSED]


def test_a_peer_that_gets_nothing_of_what_it_asks_for_is_refused_in_the_trail(archive: RunningArchive) -> None:
    """And so in the log, which says why: its association is accepted, and of no use."""
    archive.add_peer("ECHOES", "echo")
    since = len(archive.served_events())
    contexts = [(CT_IMAGE_STORAGE, (EXPLICIT,)), (STUDY_ROOT_FIND, (EXPLICIT,)), ("1.2.3.4", (EXPLICIT,))]
    accepted(archive, Asks("ECHOES", contexts=contexts))
    refused = archive.wait_for_refusal("no-right", since)
    assert (refused.action, refused.principal.aet) == (Action.ASSOCIATION, "ECHOES")
    assert set(refused.details["no_right"]) == {CT_IMAGE_STORAGE, STUDY_ROOT_FIND}


def test_a_record_names_few_of_many_classes_that_a_peer_lacks_the_right_to(archive: RunningArchive) -> None:
    archive.add_peer("ECHOES", "echo")
    since = len(archive.served_events())
    classes = sorted(STORAGE_SOP_CLASSES)[: MAX_NAMED_CLASSES + 4]
    accepted(archive, Asks("ECHOES", contexts=[(each, (EXPLICIT,)) for each in classes]))
    assert archive.wait_for_refusal("no-right", since).details["no_right"] == tuple(classes[:MAX_NAMED_CLASSES])


def test_rights_that_change_count_for_the_next_association(archive: RunningArchive) -> None:
    archive.add_peer("CHANGING", "echo")
    asks = Asks("CHANGING", contexts=[(STUDY_ROOT_FIND, (EXPLICIT,))])
    assert accepted(archive, asks)[0] == {1: USER_REJECTION}
    archive.add_peer("CHANGING", "find")
    assert accepted(archive, asks)[0] == {1: ACCEPTED}


def test_roles_follow_the_rights(archive: RunningArchive) -> None:
    """SCU of storage = may store; SCP of storage = receives with C-GET (PS3.7 D.3.3.4, PS3.4 C.5.3.1)."""
    contexts = [(CT_IMAGE_STORAGE, (EXPLICIT,))]

    def answered(aet: str, scu: int, scp: int) -> tuple[int, tuple[int, ...]]:
        asks = Asks(aet, contexts=contexts, user=role_selection(CT_IMAGE_STORAGE, scu, scp))
        found, user = accepted(archive, asks)
        return found[1], tuple(user[0x54][-2:])

    assert answered("ALL", 1, 1) == (ACCEPTED, (1, 1))
    assert answered("ALL", 0, 1) == (ACCEPTED, (0, 1))
    assert answered("GET", 1, 1) == (ACCEPTED, (0, 1))
    assert answered("STORE", 1, 1) == (ACCEPTED, (1, 0))


def test_a_store_on_a_context_without_the_scu_role_is_refused(archive: RunningArchive, since: int) -> None:
    user = role_selection(CT_IMAGE_STORAGE, 1, 1)
    asks = Asks("GET", contexts=[(CT_IMAGE_STORAGE, (EXPLICIT,))], user=user)
    sop, image = wire.ct_image(1)
    with RawPeer(archive.port, archive.credentials("GET")) as peer:
        assert peer.associate(asks)[0] == A_ASSOCIATE_AC
        peer.ask(wire.store_command(1, CT_IMAGE_STORAGE, sop), image)
        assert peer.read_status() == 0x0124
        peer.release()
    assert archive.wait_for_refusal("no-scu-role", since).action is Action.STORE


@pytest.mark.parametrize(
    ("sop_class", "offered", "answered"),
    [
        (STUDY_ROOT_FIND, b"\1", b"\1"),
        (STUDY_ROOT_FIND, b"\0", b"\0"),
        (STUDY_ROOT_FIND, b"\1\1\1\1\1", b"\1\1\1\1\0"),
        (PATIENT_ROOT_FIND, b"\0\1\0\1\0", b"\0\1\0\1\0"),
        (STUDY_ROOT_FIND, b"\1\1", b"\1\1"),
        (STUDY_ROOT_FIND, b"\2\xff", b"\0\0"),
        (STUDY_ROOT_FIND, b"\1\1\1\1\1\1\1\1", b"\1\1\1\1\0"),
        (STUDY_ROOT_MOVE, b"\1", b"\1"),
        (STUDY_ROOT_GET, b"\1\1", b"\1\0"),
    ],
)
def test_extended_negotiation_is_answered_byte_by_byte(
    archive: RunningArchive, sop_class: str, offered: bytes, answered: bytes
) -> None:
    """PS3.4 C.5.1.1.1: relational, combined date-time, fuzzy names, time zone; no conversion of multi-frame images."""
    asks = Asks("ALL", contexts=[(sop_class, (EXPLICIT,))], user=extended_negotiation(sop_class, offered))
    _, user = accepted(archive, asks)
    assert user[0x56] == len(sop_class).to_bytes(2) + sop_class.encode() + answered


def test_extended_negotiation_of_another_class_is_not_answered(archive: RunningArchive) -> None:
    """PS3.7 D.3.3.5: what is not answered is not agreed to."""
    user = extended_negotiation(CT_IMAGE_STORAGE, b"\2\0\3\0\1")
    _, answered = accepted(archive, Asks("ALL", contexts=[(CT_IMAGE_STORAGE, (EXPLICIT,))], user=user))
    assert 0x56 not in answered


# --- user identity


def test_a_user_with_the_right_passcode_is_named_in_the_trail(archive: RunningArchive, since: int) -> None:
    user = user_identity(2, b"reader", PASSCODE, wants_answer=True)
    _, answered = accepted(archive, Asks("USER", user=user))
    assert answered[0x59] == b"\0\0"
    event = archive.wait_for_event(lambda event: event.details.get("phase") == "begin", since)
    assert event.principal.user == "reader"


def test_an_answer_that_was_not_asked_for_is_not_given(archive: RunningArchive) -> None:
    _, answered = accepted(archive, Asks("ALL", user=user_identity(2, b"reader", PASSCODE)))
    assert 0x59 not in answered


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ((2, b"reader", b"wrong horse battery"), "user-or-passcode-wrong"),
        ((2, b"reader", b""), "user-or-passcode-wrong"),
        ((2, b"nobody", PASSCODE), "user-or-passcode-wrong"),
        ((2, b"", PASSCODE), "user-or-passcode-wrong"),
        ((2, b"\xff\xfe", PASSCODE), "user-name-not-utf-8"),
        ((2, b"reader", b"\xff" * 200), "user-or-passcode-wrong"),
    ],
)
def test_a_user_that_cannot_be_verified_is_refused(
    archive: RunningArchive, since: int, identity: tuple[int, bytes, bytes], why: str
) -> None:
    answer = ask(archive, Asks("ALL", user=user_identity(*identity)))
    Rejected((PERMANENT, SERVICE_USER, 1), why).check(archive, since, answer, archive.credentials("ALL"))
    assert "horse" not in repr(archive.events())


@pytest.mark.parametrize("identity_type", [1, 3, 4, 5])
def test_what_cannot_be_verified_counts_for_nothing(archive: RunningArchive, since: int, identity_type: int) -> None:
    """A name alone, a Kerberos ticket, a SAML assertion, a JSON web token: let through unanswered, never believed."""
    user = user_identity(identity_type, b"reader", wants_answer=True)
    _, answered = accepted(archive, Asks("ALL", user=user))
    assert 0x59 not in answered
    event = archive.wait_for_event(lambda event: event.details.get("phase") == "end", since)
    assert event.principal.user == ""


@pytest.mark.parametrize("user", [b"", user_identity(1, b"reader"), user_identity(3, b"ticket")])
def test_a_peer_that_must_name_a_user_is_refused_without_a_verified_one(
    archive: RunningArchive, since: int, user: bytes
) -> None:
    answer = ask(archive, Asks("USER", user=user))
    NO_USER.check(archive, since, answer, archive.credentials("USER"))


def test_a_disabled_account_is_refused(archive: RunningArchive, since: int) -> None:
    assert archive.archive is not None
    index = archive.archive.index
    add_account(archive.archive, "former")
    user = user_identity(2, b"former", PASSCODE)
    assert ask(archive, Asks("ALL", user=user))[0] == A_ASSOCIATE_AC
    index.database.write(lambda transaction: index.registry.disable_account(transaction.cursor, "former", 2))
    WRONG_USER.check(archive, since, ask(archive, Asks("ALL", user=user)), archive.credentials("ALL"))


# --- the plaintext exceptions


def plain(archive: RunningArchive, asks: Asks) -> tuple[int, bytes]:
    with RawPeer(archive.plaintext_ports[0]) as peer:
        answer = peer.associate(asks)
        if answer[0] == A_ASSOCIATE_AC:
            peer.release()
        return answer


def test_the_peer_of_an_exception_is_let_in_and_marked(archive: RunningArchive, since: int) -> None:
    assert plain(archive, Asks("OLD"))[0] == A_ASSOCIATE_AC
    begin = archive.wait_for_event(lambda event: event.details.get("phase") == "begin", since)
    assert begin.details["unsafe_plaintext"] is True
    assert begin.principal.fingerprint == ""


@pytest.mark.parametrize("calling", ["ALL", "STRANGER", "old"])
def test_nobody_else_is_let_in_without_tls(archive: RunningArchive, since: int, calling: str) -> None:
    event = Rejected((PERMANENT, SERVICE_USER, 3), "not-the-plaintext-peer").check(
        archive, since, plain(archive, Asks(calling)), None
    )
    assert event.details["unsafe_plaintext"] is True


def test_a_passcode_in_the_clear_is_refused_even_if_it_is_right(archive: RunningArchive, since: int) -> None:
    answer = plain(archive, Asks("OLD", user=user_identity(2, b"reader", PASSCODE)))
    Rejected((PERMANENT, SERVICE_USER, 1), "user-passcode-in-the-clear").check(archive, since, answer, None)


def test_an_exception_is_for_its_addresses_only(archive: RunningArchive, since: int) -> None:
    with RawPeer(archive.plaintext_ports[1]) as peer:
        assert peer.associate(Asks("OLD"))[0] == 0
    archive.wait_for_refusal("address-outside-plaintext-exception", since)


def test_tls_on_a_plaintext_port_is_no_association(archive: RunningArchive, since: int) -> None:
    context = wire.tls_context(archive.credentials("OLD"))
    assert not gets_through(archive.plaintext_ports[0], context)
    archive.wait_for_refusal("protocol-error", since)


def test_an_expired_exception_is_not_opened(tmp_path: Path) -> None:
    exception = {"peer": "OLD", "addresses": "127.0.0.0/24", "expires": dt.date(2020, 1, 1), "port": 0, "reason": "old"}
    home = archives.new_home(tmp_path / "home", {"unsafe_plaintext": [exception]})
    with archives.opened(home) as opened:
        archives.add_peer(opened, "OLD", "echo")
    with archives.serving_in_process(home) as running:
        assert running.plaintext_ports == []
        with contextlib.suppress(OSError), RawPeer(running.port) as peer:
            assert peer.associate(Asks("OLD"))[0] != A_ASSOCIATE_AC
