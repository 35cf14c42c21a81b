"""Peers, accounts and the settings that live beside the index: small tables, read whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Dialect

from strongroom.archive.access import decode_scope, encode_scope
from strongroom.archive.peers import Binding, Peer, parse_address, parse_rights
from strongroom.store.database import Sql
from strongroom.store.schema.tables import ACCOUNT, META, PEER
from strongroom.types import AeTitle, Scope

REGISTRY_VERSION = "registry_version"
"""``meta`` value that changes with every change of a peer or account, so that a running server notices."""

_PEER_COLUMNS = tuple(column.name for column in PEER.columns)


class Registry:
    """Statements on the registry; every call works on the caller's cursor and transaction."""

    def __init__(self, dialect: Dialect) -> None:
        self._meta = Sql(select(META.c.value).where(META.c.name == bindparam("a")), dialect)
        self._drop_meta = Sql(delete(META).where(META.c.name == bindparam("a")), dialect)
        self._add_meta = Sql(insert(META), dialect)
        self._peers = Sql(select(PEER).order_by(PEER.c.aet), dialect)
        self._drop_peer = Sql(delete(PEER).where(PEER.c.aet == bindparam("a")), dialect)
        self._add_peer = Sql(insert(PEER), dialect)
        columns = (ACCOUNT.c.name, ACCOUNT.c.passcode_hash, ACCOUNT.c.role, ACCOUNT.c.added_us, ACCOUNT.c.disabled_us)
        self._accounts = Sql(select(*columns).order_by(ACCOUNT.c.name), dialect)
        self._drop_account = Sql(delete(ACCOUNT).where(ACCOUNT.c.name == bindparam("a")), dialect)
        self._add_account = Sql(insert(ACCOUNT), dialect)
        self._disable_account = Sql(
            update(ACCOUNT).where(ACCOUNT.c.name == bindparam("a")).values(disabled_us=bindparam("b")), dialect
        )

    def get_meta(self, cursor: Any, name: str) -> str:
        """A setting, "" if it was never set."""
        row = self._meta.run(cursor, a=name).fetchone()
        return str(row[0]) if row else ""

    def set_meta(self, cursor: Any, name: str, value: str) -> None:
        """Set a setting."""
        self._drop_meta.run(cursor, a=name)
        self._add_meta.run(cursor, name=name, value=value)

    def touch(self, cursor: Any, name: str) -> None:
        """Move a version counter on."""
        self.set_meta(cursor, name, str(int(self.get_meta(cursor, name) or "0") + 1))

    def peers(self, cursor: Any) -> dict[str, Peer]:
        """Every peer, revoked ones too, by AE title."""
        return {peer.aet: peer for peer in map(_peer, self._peers.run(cursor).fetchall())}

    def put_peer(self, cursor: Any, peer: Peer) -> None:
        """Add or replace a peer."""
        self._drop_peer.run(cursor, a=str(peer.aet))
        self._add_peer.run(
            cursor,
            aet=str(peer.aet),
            rights=",".join(sorted(peer.rights)),
            address=peer.address,
            binding=peer.binding.value,
            fingerprint=peer.fingerprint,
            subject=peer.subject,
            certificate=peer.certificate,
            require_user=int(peer.require_user),
            added_us=peer.added_us,
            revoked_us=peer.revoked_us,
            scope=encode_scope(peer.scope),
        )
        self.touch(cursor, REGISTRY_VERSION)

    def accounts(self, cursor: Any) -> Iterator[tuple[str, str, str, int, int]]:
        """Every account: name, passcode hash, role, when added, when disabled (0 = not)."""
        yield from self._accounts.run(cursor).fetchall()

    def put_account(
        self, cursor: Any, name: str, passcode_hash: str, role: str, now_us: int, scope: Scope | None = None
    ) -> None:
        """Add an account, or give it a new passcode, roles (with commas between them) and scope."""
        self._drop_account.run(cursor, a=name)
        self._add_account.run(
            cursor,
            name=name,
            passcode_hash=passcode_hash,
            role=role,
            added_us=now_us,
            disabled_us=0,
            scope=encode_scope(scope),
        )
        self.touch(cursor, REGISTRY_VERSION)

    def disable_account(self, cursor: Any, name: str, now_us: int) -> bool:
        """Disable an account; False if there is none of that name."""
        found = bool(self._disable_account.run(cursor, a=name, b=now_us).rowcount)
        self.touch(cursor, REGISTRY_VERSION)
        return found


def _peer(row: Any) -> Peer:
    values = dict(zip(_PEER_COLUMNS, row, strict=True))
    host, port = parse_address(values["address"]) if values["address"] else ("", 0)
    return Peer(
        aet=AeTitle(values["aet"]),
        rights=parse_rights(values["rights"]),
        binding=Binding(values["binding"]),
        fingerprint=values["fingerprint"],
        subject=values["subject"],
        certificate=values["certificate"],
        host=host,
        port=port,
        require_user=bool(values["require_user"]),
        added_us=values["added_us"],
        revoked_us=values["revoked_us"],
        scope=decode_scope(values["scope"]),
    )
