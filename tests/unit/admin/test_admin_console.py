"""What administrators do with pages: only as long as they are administrators, not to themselves, and in their names."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

import pytest
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from harness.archives import opened, trail_events
from strongroom.admin import groups, users
from strongroom.admin.console import Console
from strongroom.app import Archive
from strongroom.archive.access import parse_scope
from strongroom.archive.administration import NewPeer, NewToken
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.people import VIA_SESSION
from strongroom.archive.roles import Role, rights_of
from strongroom.config import Home
from strongroom.errors import ConfigError, Denied, NotFound
from strongroom.net.certificates import is_issued_by, read_certificate
from strongroom.types import NOTHING, AeTitle, Principal, Right

PASSCODE = "correct horse battery"


@pytest.fixture
def archive(archive_home: Callable[[], Home]) -> Iterator[Archive]:
    with opened(archive_home(), "https-1") as found:
        for name in ("anna", "bert"):
            users.add(found, name, PASSCODE, Role.ADMINISTRATOR)
        yield found


@pytest.fixture
def console(archive: Archive) -> Console:
    return Console(archive)


def person(name: str, *roles: Role) -> Principal:
    return Principal(name, "ab" * 32, name, "127.0.0.1", rights_of(roles or (Role.ADMINISTRATOR,)), None, VIA_SESSION)


ANNA, BERT = person("anna"), person("bert")


def last_event(archive: Archive) -> Event:
    return trail_events(archive, "https-1")[-1]


CHANGES: dict[str, Callable[[Console, Principal], object]] = {
    "add peer": lambda console, by: console.register_peer(by, NewPeer(AeTitle("CT_1")), is_new=True),
    "revoke peer": lambda console, by: console.revoke_peer(by, "THERE"),
    "invite": lambda console, by: console.invite(by, "carl", (Role.VIEWER,), None),
    "change": lambda console, by: console.change_person(by, "bert", (Role.VIEWER,), None),
    "disable": lambda console, by: console.disable(by, "bert"),
    "enable": lambda console, by: console.enable(by, "bert"),
    "reset": lambda console, by: console.reset(by, "bert"),
    "add group": lambda console, by: console.add_group(by, "Heart", parse_scope(["modality=US"])),
    "change group": lambda console, by: console.change_group(by, "Lung", parse_scope(["modality=US"])),
    "remove group": lambda console, by: console.remove_group(by, "Lung"),
    "join group": lambda console, by: console.join_group(by, "Lung", "bert"),
    "leave group": lambda console, by: console.leave_group(by, "Lung", "bert"),
    "end sessions": lambda console, by: console.end_sessions(by, ""),
    "end session": lambda console, by: console.end_session(by, "0"),
    "add token": lambda console, by: console.add_token(by, NewToken("t", frozenset({Right.FIND}))),
    "revoke token": lambda console, by: console.revoke_token(by, "there"),
}
LOOKS: tuple[Callable[[Console, Principal], object], ...] = (
    Console.posture, Console.peers, Console.people, Console.sessions, Console.tokens, Console.groups,
)  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_whoever_is_no_administrator_any_more_changes_nothing(archive: Archive, console: Console, what: str) -> None:
    users.add(archive, "anna", PASSCODE, Role.VIEWER)  # in another window; her page is still open
    before = [len(users.users(archive)), len(console.peers(BERT)), len(console.tokens(BERT))]
    with pytest.raises(Denied):
        CHANGES[what](console, ANNA)
    assert before == [len(users.users(archive)), len(console.peers(BERT)), len(console.tokens(BERT))]
    event = last_event(archive)
    assert (event.outcome, event.principal.user) == (Outcome.REFUSED, "anna")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMINISTRATOR])
def test_no_other_role_looks_or_changes(console: Console, role: Role) -> None:
    for work in (*LOOKS, *CHANGES.values()):
        with pytest.raises(Denied):
            work(console, person("bert", role))


def test_two_who_disable_each_other_leave_one(archive: Archive, console: Console) -> None:
    console.disable(ANNA, "bert")
    with pytest.raises(Denied):
        console.disable(BERT, "anna")
    assert {user.name: user.state for user in users.users(archive)} == {"anna": "enabled", "bert": "disabled"}


@pytest.mark.parametrize("what", ["change", "disable", "reset", "enable"])
def test_nobody_does_it_to_himself_by_whatever_spelling(archive: Archive, console: Console, what: str) -> None:
    with pytest.raises(Denied, match="own-account"):
        CHANGES[what](console, BERT)
    assert last_event(archive).details["reason"] == "own-account"


@pytest.mark.parametrize("what", ["change group", "remove group", "join group", "leave group"])
def test_nobody_changes_what_he_sees_by_a_group(archive: Archive, console: Console, what: str) -> None:
    users.add(archive, "bert", PASSCODE, Role.ADMINISTRATOR, scope=NOTHING)
    console.add_group(ANNA, "Lung", parse_scope(["modality=CT"]))
    if what != "join group":
        console.join_group(ANNA, "Lung", "bert")
    before = console.groups(ANNA)
    with pytest.raises(Denied, match="own-account"):
        CHANGES[what](console, BERT)
    assert last_event(archive).details["reason"] == "own-account"
    assert console.groups(ANNA) == before
    CHANGES[what](console, ANNA)
    event = last_event(archive)
    assert (event.action, event.principal.user) == (Action.GROUP_CHANGE, "anna")
    assert console.groups(ANNA) != before


def test_an_account_that_is_there_is_not_invited_again(archive: Archive, console: Console) -> None:
    for name in ("bert", "BERT"):
        with pytest.raises(ConfigError):
            console.invite(ANNA, name, (Role.VIEWER,), None)
    assert [user.role for user in users.users(archive)] == ["administrator", "administrator"]


def test_other_roles_keep_the_passcode_and_say_what_was(archive: Archive, console: Console) -> None:
    console.change_person(ANNA, "bert", (Role.AUDITOR, Role.VIEWER), None)
    (bert,) = [user for user in users.users(archive) if user.name == "bert"]
    assert (bert.has_passcode, bert.roles) == (True, (Role.VIEWER, Role.AUDITOR))
    details = last_event(archive).details
    assert (details["role"], details["role_before"]) == ("viewer,auditor", "administrator")
    with pytest.raises(ConfigError):
        console.change_person(ANNA, "bert", (), None)
    with pytest.raises(NotFound):
        console.change_person(ANNA, "nobody", (Role.VIEWER,), None)


def test_to_clear_the_scope_of_who_is_in_a_group_does_not_show_him_everything(
    archive: Archive, console: Console
) -> None:
    users.add(archive, "carl", PASSCODE, Role.VIEWER, scope=NOTHING)
    groups.add(archive, "Heart", parse_scope(["modality=US"]))
    groups.join(archive, "Heart", ["carl"])
    with pytest.raises(ConfigError, match="in groups"):
        console.change_person(ANNA, "carl", (Role.VIEWER,), None)
    console.change_person(ANNA, "carl", (Role.PHYSICIAN,), NOTHING)
    (carl,) = [each for each in console.people(ANNA) if each.name == "carl"]
    assert (carl.roles, carl.scope, carl.groups) == ((Role.PHYSICIAN,), NOTHING, ("Heart",))


def test_credentials_open_with_their_passphrase_only_and_nothing_is_kept(archive: Archive, console: Console) -> None:
    registered = console.register_peer(ANNA, NewPeer(AeTitle("WS/1 A")), is_new=True)
    credentials = registered.credentials
    assert credentials is not None
    assert "/" not in credentials.file_name
    assert credentials.passphrase not in repr(registered)
    with zipfile.ZipFile(io.BytesIO(credentials.content)) as packed:
        files = {name.rpartition("/")[2]: packed.read(name) for name in packed.namelist()}
        assert all(".." not in name and name.count("/") == 1 for name in packed.namelist())
    passphrase = credentials.passphrase.encode()
    load_pem_private_key(files["key.pem"], passphrase)
    with pytest.raises((ValueError, InvalidKey)):
        load_pem_private_key(files["key.pem"], b"another")
    (name,) = [name for name in files if name.endswith(".p12")]
    _, certificate, others = load_key_and_certificates(files[name], passphrase)
    assert certificate is not None
    assert len(others) == 1
    assert is_issued_by(files["cert.pem"].decode(), files["ca.pem"].decode())
    assert read_certificate(files["cert.pem"]).fingerprint == registered.peer.fingerprint
    assert not archive.home.peers.exists() or not list(archive.home.peers.iterdir())
    event = last_event(archive)
    assert (event.action, event.principal.user, event.principal.via) == (Action.PEER_CHANGE, "anna", VIA_SESSION)


def test_a_new_certificate_takes_the_place_of_the_old_one(console: Console) -> None:
    first = console.register_peer(ANNA, NewPeer(AeTitle("CT_1"), rights=frozenset({Right.STORE})), is_new=True)
    with pytest.raises(ConfigError):
        console.register_peer(ANNA, NewPeer(AeTitle("CT_1")), is_new=True)
    kept = console.register_peer(ANNA, NewPeer(AeTitle("CT_1")), is_new=False)
    assert (kept.credentials, kept.peer.fingerprint) == (None, first.peer.fingerprint)
    again = console.register_peer(ANNA, NewPeer(AeTitle("CT_1"), issue=True), is_new=False)
    assert again.credentials is not None
    assert again.peer.fingerprint != first.peer.fingerprint
    assert again.peer.rights == {Right.STORE}
    console.revoke_peer(ANNA, "CT_1")
    with pytest.raises(NotFound):
        console.register_peer(ANNA, NewPeer(AeTitle("CT_1")), is_new=False)
