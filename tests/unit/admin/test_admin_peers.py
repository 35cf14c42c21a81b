"""peers: what is left out of a change stays, what contradicts is refused, and a revocation is never undone silently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from harness import archives
from strongroom.admin import peers
from strongroom.admin.peers import NewPeer
from strongroom.app import Archive, now_utc
from strongroom.cli.commands import commands
from strongroom.errors import ConfigError
from strongroom.net.certificates import PEER_DAYS
from strongroom.types import AeTitle, Right

CT = AeTitle("CT")
FULL = NewPeer(CT, frozenset((Right.STORE,)), ("192.0.2.7", 2762), require_user=True)


@pytest.fixture
def archive(archive_home: Callable[..., Any]) -> Iterator[Archive]:
    with archives.opened(archive_home()) as opened:
        yield opened


def test_what_is_left_out_stays(archive: Archive) -> None:
    first, folder = peers.add(archive, FULL)
    assert folder is not None
    again, folder = peers.add(archive, NewPeer(CT, frozenset((Right.FIND,))))
    assert folder is None
    assert again == replace(first, rights=frozenset((Right.FIND,)), added_us=again.added_us)
    assert peers.peers(archive)[CT] == again
    changed, _ = peers.add(archive, NewPeer(CT, address=("", 0), require_user=False))
    assert (changed.rights, changed.address, changed.require_user) == (again.rights, "", False)


def test_on_the_command_line_as_well(archive: Archive) -> None:
    def add(*words: str) -> str:
        result = CliRunner().invoke(commands(), ["peer", "add", "CT", "--home", str(archive.home.root), *words])
        assert result.exit_code == 0, result.output
        peer = peers.peers(archive)[CT]
        return f"{','.join(sorted(peer.rights))} {peer.address} {peer.require_user}"

    assert add() == "echo  False"
    assert add("--allow", "store", "--address", "192.0.2.7:104", "--require-user") == "store 192.0.2.7:104 True"
    assert add("--allow", "find") == "find 192.0.2.7:104 True"
    assert add() == "find 192.0.2.7:104 True"
    assert add("--no-require-user", "--address", "") == "find  False"


def test_a_revoked_peer_gets_another_certificate(archive: Archive) -> None:
    first, _ = peers.add(archive, FULL)
    peers.revoke(archive, CT)
    again, folder = peers.add(archive, NewPeer(CT))
    assert folder is not None
    assert again.fingerprint != first.fingerprint
    assert (again.revoked_us, again.require_user) == (0, True)


def test_a_revocation_that_comes_between_is_not_undone(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = peers.add(archive, FULL)
    write = archive.index.database.write

    def late(work: Callable[[Any], Any]) -> Any:
        monkeypatch.undo()
        peers.revoke(archive, CT)
        return write(work)

    monkeypatch.setattr(archive.index.database, "write", late)
    again, folder = peers.add(archive, NewPeer(CT, frozenset((Right.FIND,))))
    assert folder is not None
    assert again.fingerprint != first.fingerprint


def test_what_contradicts_is_refused(archive: Archive) -> None:
    pem = archive.tls().authority.certificate_pem
    for new in (NewPeer(CT, subject="CN=CT"), NewPeer(CT, certificate_pem=pem, ca_pem=pem, subject="CN=CT")):
        with pytest.raises(ConfigError, match="--ca"):
            peers.add(archive, new)
    assert peers.peers(archive) == {}


def _self_signed(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    name = x509.Name.from_rfc4514_string("CN=US1,O=Hospital")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now_utc(), now_utc() + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_certificate_bound_twice_is_said_at_binding_and_at_revocation(archive: Archive) -> None:
    pem = _self_signed(_new_key())
    first, _ = peers.add(archive, NewPeer(CT, certificate_pem=pem))
    assert peers.warnings(archive, first) == []
    second, _ = peers.add(archive, NewPeer(AeTitle("MR"), certificate_pem=pem))
    assert "also gets in as CT" in peers.warnings(archive, second)[0]
    assert "also gets in as MR" in peers.warnings(archive, peers.revoke(archive, CT))[0]
    assert peers.warnings(archive, peers.revoke(archive, "MR")) == []
    result = CliRunner().invoke(commands(), ["peer", "revoke", "MR", "--home", str(archive.home.root)])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("key", "needed"),
    [
        (rsa.generate_private_key(65537, 1024), "RSA of 2048 bits"),
        (ec.generate_private_key(ec.SECP192R1()), "P-256 or stronger"),
    ],
)
def test_a_weak_key_is_not_bound(archive: Archive, key: CertificateIssuerPrivateKeyTypes, needed: str) -> None:
    with pytest.raises(ConfigError, match=needed):
        peers.add(archive, NewPeer(CT, certificate_pem=_self_signed(key)))
    assert peers.peers(archive) == {}


def test_a_subject_is_kept_as_certificates_state_it(archive: Archive) -> None:
    ca = _self_signed(_new_key())
    peer, _ = peers.add(archive, NewPeer(CT, ca_pem=ca, subject="emailAddress=a@b,CN=US1,O=Hospital"))
    assert peer.subject == "1.2.840.113549.1.9.1=a@b,CN=US1,O=Hospital"
    with pytest.raises(ConfigError, match="nameopt RFC2253"):
        peers.add(archive, NewPeer(CT, ca_pem=ca, subject="O = Hospital, CN = US1"))
    reversed_, _ = peers.add(archive, NewPeer(CT, ca_pem=ca, subject="O=Hospital,CN=US1"))
    assert "RFC 4514 begins with it" in peers.warnings(archive, reversed_)[0]


def test_an_ipv6_address_is_written_as_it_is_given(archive: Archive) -> None:
    peers.add(archive, NewPeer(CT, address=("::1", 104)))
    assert peers.peers(archive)[CT].address == "[::1]:104"


def test_the_end_of_a_certificate_is_listed_where_it_is_known(archive: Archive) -> None:
    bound, _ = peers.add(archive, NewPeer(CT, certificate_pem=_self_signed(_new_key())))
    assert peers.not_after(bound) in {(now_utc() + timedelta(days=days)).date().isoformat() for days in (8, 9)}
    issued, _ = peers.add(archive, NewPeer(AeTitle("MR")))
    days = (peers.days_left(issued), peers.days_left(bound))
    assert days[0] in (PEER_DAYS - 1, PEER_DAYS)
    result = CliRunner().invoke(commands(), ["peer", "list", "--home", str(archive.home.root)])
    assert f"{peers.not_after(bound)} {days[1]} days" in result.stdout
    listed = CliRunner().invoke(commands(), ["peer", "list", "--home", str(archive.home.root), "--format", "json"])
    assert {peer["aet"]: peer["days_left"] for peer in json.loads(listed.stdout)} == {"CT": days[1], "MR": days[0]}
