"""The registered peers as a running server knows them: read again whenever they have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from strongroom.archive.peers import Peer
from strongroom.net.tls import Identity, Profile, client_context, server_context

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl


class PeerDirectory:
    """Peers by AE title, and TLS contexts that trust exactly them. Thread-safe."""

    def __init__(
        self,
        version: Callable[[], str],
        load: Callable[[], Mapping[str, Peer]],
        identity: Identity,
        authority_pem: str,
        profile: Profile,
    ) -> None:
        """``version()`` changes whenever ``load()`` would give something else."""
        self._version, self._load = version, load
        self._identity, self._authority_pem, self._profile = identity, authority_pem, profile
        self._lock = threading.Lock()
        self._seen: str | None = None
        self._peers: Mapping[str, Peer] = {}
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None

    def find(self, aet: str) -> Peer | None:
        """The peer of that title, revoked or not."""
        self._refresh()
        return self._peers.get(aet)

    def all(self) -> list[Peer]:
        """Every peer, revoked or not."""
        self._refresh()
        return list(self._peers.values())

    def server_context(self) -> ssl.SSLContext:
        """For accepting."""
        self._refresh()
        assert self._server is not None
        return self._server

    def client_context(self) -> ssl.SSLContext:
        """For calling a peer."""
        self._refresh()
        assert self._client is not None
        return self._client

    def use(self, identity: Identity) -> None:
        """Present another certificate on new connections."""
        with self._lock:
            self._identity, self._seen = identity, None

    def _refresh(self) -> None:
        version = self._version()
        with self._lock:
            if version == self._seen:
                return
            peers = self._load()
            trusted = [self._authority_pem]
            trusted += sorted({peer.certificate for peer in peers.values() if not peer.revoked_us} - {""})
            self._server = server_context(self._identity, trusted, self._profile)
            self._client = client_context(self._identity, trusted, self._profile)
            self._peers, self._seen = peers, version
