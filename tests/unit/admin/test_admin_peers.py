"""peers: what is left out of a change stays, what contradicts is refused, and a revocation is never undone silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import archives
from strongroom.admin import peers
from strongroom.admin.peers import NewPeer
from strongroom.app import Archive
from strongroom.cli.commands import app
from strongroom.errors import ConfigError
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
        result = CliRunner().invoke(app, ["peer", "add", "CT", "--home", str(archive.home.root), *words])
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
