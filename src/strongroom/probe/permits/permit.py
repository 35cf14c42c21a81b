"""Whether a run may begin, and against which addresses.

Nothing leaves the host before the signature and the window have been looked at. Then names are resolved, once: a name
that leads to an address that is not in the signed scope ends the run, and what is probed are the addresses, so that no
later answer of a name server leads anywhere else. Public addresses come last, for their proof takes a packet.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from strongroom.errors import ConfigError, OutOfScope, Unanswered
from strongroom.net.tls import probing_context
from strongroom.probe.line import LineLimits, open_line
from strongroom.probe.permits.names import addresses_of, system_name_servers
from strongroom.probe.permits.scope import Address, Ownership, Reach, Scope, ScopeTarget, reach_of
from strongroom.probe.permits.scopefile import parse_scope
from strongroom.probe.permits.signing import SignedScope, Signer
from strongroom.probe.session import USER_AGENT

PROOF_LABEL: Final = "_strongroom-probe"
TOKEN_PATH: Final = "/.well-known/strongroom-probe"
MAX_TOKEN_BYTES: Final = 8192
MAX_TOKEN_PORTS: Final = 4
_TOKEN_LIMITS: Final = LineLimits(connect_s=5.0, connection_s=10.0, answer_s=5.0, max_received_bytes=MAX_TOKEN_BYTES)
_TLS_PORTS: Final = (443, 8443)
_OK: Final = re.compile(rb"HTTP/1\.[01] 200 ")


@dataclass(frozen=True, slots=True)
class Proof:
    """How a public address was shown to be its owner's."""

    target: str
    address: str
    how: Ownership


@dataclass(frozen=True, slots=True)
class Permit:
    """A scope that may be run now. ``resolved`` are the addresses of targets that have a name, by target."""

    scope: Scope
    signed: SignedScope
    resolved: dict[str, frozenset[str]] = field(default_factory=dict)
    proofs: tuple[Proof, ...] = ()
    only: tuple[str, ...] = ()

    def addresses(self) -> Iterator[tuple[ScopeTarget, str]]:
        """Yield what may be probed: each address with its targets, one after the other."""
        yield from _addresses(self.scope, self.resolved, self.only)


def proof_text(signer: Signer) -> str:
    """What an owner lays under a name, or into a file, so that whoever has ``signer``'s key may probe an address."""
    return f"strongroom-probe={signer.fingerprint}"


def token_at(target: ScopeTarget, address: str) -> str:
    """Return the file at ``TOKEN_PATH`` that ``address`` itself serves, "" if none does. No redirect is followed."""
    for port in target.http_ports[:MAX_TOKEN_PORTS]:
        for with_tls in (port in _TLS_PORTS, port not in _TLS_PORTS):
            try:
                return _get(address, port, with_tls=with_tls)
            except Unanswered:
                continue
    return ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom to ask about names and addresses; by default the system's name servers, and the address itself."""

    addresses_of: Callable[[str], frozenset[str]] = addresses_of
    names_of: Callable[[str], frozenset[str]] = lambda address: system_name_servers().names_of(address)
    texts_of: Callable[[str], tuple[str, ...]] = lambda name: system_name_servers().texts_of(name)
    token_at: Callable[[ScopeTarget, str], str] = token_at


def require_permitted(
    signed: SignedScope, now: dt.datetime, only: tuple[str, ...] = (), sources: Sources | None = None
) -> Permit:
    """Return what may be probed at ``now``; ``only`` limits it to targets or addresses of the scope.

    Raises:
        ConfigError: the scope is none, or a client certificate that it names cannot be loaded.
        OutOfScope: not now, not there, or not proved.
    """
    scope = _located(parse_scope(signed.raw), signed.folder)
    sources = sources or Sources()
    require_open(scope, now)
    wanted = require_inside(scope, only)
    resolved = {target.name: _resolve(target, sources) for target in wanted if target.host}
    proofs = []
    whole = {target.name: target for target in scope.targets}
    for target, address in _addresses(scope, resolved, only):
        if reach_of(ip_network(address)) is Reach.PUBLIC:
            # The token may lie at a port that is probed as that of another target.
            _require_owned(whole[target.name], address, signed.signer, sources)
            proofs.append(Proof(target.name, address, target.ownership))
    permit = Permit(scope, signed, resolved, tuple(proofs), only)
    if next(permit.addresses(), None) is None:
        raise OutOfScope(
            "nothing of what was asked for can be probed: its name leads to other addresses of the scope, or its ports"
            " are those of a target before it"
        )
    return permit


def _located(scope: Scope, folder: Path) -> Scope:
    """``scope`` with the names of its files as they are to be opened. Raises ConfigError for a bad certificate."""
    targets = []
    for target in scope.targets:
        if target.certificate:
            files = str(folder / target.certificate), str(folder / target.certificate_key)
            try:
                probing_context(files)
            except ConfigError as error:
                raise ConfigError(f"target {target.name}: {files[0]}: {error}") from None
            target = replace(target, certificate=files[0], certificate_key=files[1])
        targets.append(target)
    return replace(scope, targets=tuple(targets))


def require_open(scope: Scope, now: dt.datetime) -> None:
    """Raise OutOfScope if no packet may leave at ``now``."""
    window = scope.window
    if now < window.start:
        raise OutOfScope(f"the scope is not valid yet: its window begins at {window.start.isoformat()}")
    if now >= window.end:
        raise OutOfScope(
            f"the scope has expired: its window ended at {window.end.isoformat()}; write a new window and sign again"
        )
    if not window.is_open(now):
        raise OutOfScope(
            f"not at this time of day: the scope allows {window.daily_from} to {window.daily_until}"
            f" ({window.start.tzname()})"
        )


def _addresses(
    scope: Scope, resolved: dict[str, frozenset[str]], only: tuple[str, ...]
) -> Iterator[tuple[ScopeTarget, str]]:
    for target, address in scope.addresses():
        text = str(address)
        if target.host and text not in resolved.get(target.name, ()):
            continue
        if not only or target.name in only or target.host in only or text in only:
            yield target, text


def require_inside(scope: Scope, only: tuple[str, ...]) -> tuple[ScopeTarget, ...]:
    """Return the targets that ``only`` is about, all if it is empty. Raises OutOfScope for one that is not there."""
    for each in only:
        if not any(_is_meant(target, each) for target in scope.targets):
            raise OutOfScope(f"{each} is not in the scope: add it to a target, and have the scope signed again")
    return tuple(target for target in scope.targets if not only or any(_is_meant(target, each) for each in only))


def _is_meant(target: ScopeTarget, wanted: str) -> bool:
    if wanted in (target.name, target.host):
        return bool(wanted)
    try:
        address: Address = ip_address(wanted)
    except ValueError:
        return False
    return target.covers(address)


def _resolve(target: ScopeTarget, sources: Sources) -> frozenset[str]:
    try:
        found = sources.addresses_of(target.host)
    except Unanswered as error:
        raise OutOfScope(f"target {target.name}: {error.reason}") from None
    for text in sorted(found):
        if not target.covers(ip_address(text)):
            raise OutOfScope(
                f"target {target.name}: {target.host} resolves to {text}, which the scope does not list; if that is"
                " right, add it to addresses, and have the scope signed again"
            )
    return found


def _require_owned(target: ScopeTarget, address: str, signer: Signer, sources: Sources) -> None:
    """Raise OutOfScope unless the owner of a public address has laid a proof for ``signer``'s key."""
    wanted = proof_text(signer)
    if target.ownership is Ownership.TOKEN:
        if wanted in sources.token_at(target, address).split():
            return
        raise OutOfScope(
            f"{address} is public, and nothing proves that it is yours: serve the line {wanted} at"
            f" http://{address}{TOKEN_PATH}, without a redirect"
        )
    name = f"{PROOF_LABEL}.{target.host}"
    try:
        # Anybody can have a name of theirs lead to an address of somebody else's, but only who has the address is
        # asked for its name.
        if target.host not in sources.names_of(address):
            raise OutOfScope(
                f"{address} is public, and its own name (PTR) is not {target.host}, so a record there proves nothing:"
                ' set the PTR record, or write ownership = "token"'
            )
        if wanted in (text.strip() for text in sources.texts_of(name)):
            return
    except Unanswered as error:
        raise OutOfScope(f"{address} is public, and whose it is cannot be found out: {error.reason}") from None
    raise OutOfScope(f'{address} is public, and nothing proves that it is yours: add the record {name} TXT "{wanted}"')


def _get(address: str, port: int, *, with_tls: bool) -> str:
    # By address and not by name: a name that somebody has on a server they share would prove nothing of the server.
    host = f"[{address}]" if ":" in address else address
    with open_line(address, port, _TOKEN_LIMITS, "http", b"", lambda _: None) as line:
        if with_tls:
            line.start_tls(probing_context(), address)
        head = (f"GET {TOKEN_PATH} HTTP/1.1", f"Host: {host}", f"User-Agent: {USER_AGENT}", "Connection: close", "", "")
        line.send_all("\r\n".join(head).encode())
        raw = b""
        while more := line.receive():
            raw += more
    status, _, body = raw.partition(b"\r\n\r\n")
    if not _OK.match(status):
        raise Unanswered("refused", "no file")
    return body.decode("ascii", "replace")
