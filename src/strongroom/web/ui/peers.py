"""Peers: who may connect over DIMSE, with which certificate, and what he may do. Issued and revoked here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from strongroom.archive.administration import DAYS_LEFT_WARNING, NewPeer, PeerShown, Registered
from strongroom.archive.peers import PEER_RIGHTS, parse_address, parse_rights
from strongroom.errors import ConfigError, NotFound
from strongroom.types import AeTitle
from strongroom.web.call import Call
from strongroom.web.ui.administering import (
    Question,
    Secret,
    administration_of,
    ask,
    done,
    looked_up,
    named,
    operation,
    read,
    read_scope,
    scope_text,
    sentence,
    tell_once,
)
from strongroom.web.ui.pages import page, see_other

PEERS: Final = "/peers"
PEER: Final = f"{PEERS}/peer"

RIGHT_WORDS: Final = {
    "echo": "test the connection",
    "store": "send images",
    "find": "search",
    "get": "fetch over its own association",
    "move": "have images sent somewhere",
    "commit": "ask whether images are kept",
    "delete": "delete studies (HTTPS)",
    "metrics": "read the metrics (HTTPS)",
}
"""What a right means; one that is not here is shown by its name."""


async def show_peers(call: Call) -> Response:
    """The list."""
    peers = await looked_up(call, administration_of(call).peers)
    return page("peers.html", call, peers=peers, soon=DAYS_LEFT_WARNING)


async def show_peer(call: Call) -> Response:
    """One peer."""
    return _peer_page(call, await _find(call, call.request.query_params.get("aet", "")))


async def show_new(call: Call) -> Response:
    """The form for another one."""
    aet = call.request.query_params.get("aet", "")[:16]
    return _new_page(call, {"aet": aet, "right-echo": "on", "how": "issue"})


async def add(call: Call) -> Response:
    """Register it; if a certificate is issued, the answer has it."""
    form = await read(call)
    try:
        new = _new_peer(form)
        registered = await done(call, administration_of(call).register_peer, new, is_new=True)
    except ConfigError as error:
        return _new_page(call, form, sentence(error))
    return _registered(call, registered)


async def change(call: Call) -> Response:
    """Other rights, another address or scope."""
    form = await read(call)
    try:
        new = _changed_peer(form)
        await done(call, administration_of(call).register_peer, new, is_new=False)
    except ConfigError as error:
        return _peer_page(call, await _find(call, form.get("aet", "")), form, sentence(error))
    return see_other(_path(new.aet))


async def ask_revoke(call: Call) -> Response:
    """Whether it is meant."""
    shown = await _find(call, call.request.query_params.get("aet", ""))
    return ask(
        call,
        Question(
            f"Revoke {shown.peer.aet}?",
            "New associations are refused at once, and those that are open end. Its certificate is good for nothing "
            "any more: to let it in again, it is added with a new one.",
            "Revoke",
            f"{PEERS}/revoke",
            _path(shown.peer.aet),
            (("aet", shown.peer.aet),),
        ),
    )


async def revoke(call: Call) -> Response:
    """Refuse a peer from now on."""
    aet = (await read(call)).get("aet", "")
    await done(call, administration_of(call).revoke_peer, aet)
    return see_other(_path(aet))


async def ask_issue(call: Call) -> Response:
    """Whether it is meant."""
    shown = await _find(call, call.request.query_params.get("aet", ""))
    return ask(
        call,
        Question(
            f"A new certificate for {shown.peer.aet}?",
            "The archive issues a certificate and a key, shown once. The one that it has is refused from then on.",
            "Issue it",
            f"{PEERS}/certificate",
            _path(shown.peer.aet),
            (("aet", shown.peer.aet),),
        ),
    )


async def issue(call: Call) -> Response:
    """Give a peer another certificate; the answer has it."""
    shown = await _find(call, (await read(call)).get("aet", ""))
    new = NewPeer(shown.peer.aet, issue=True)
    return _registered(call, await done(call, administration_of(call).register_peer, new, is_new=False))


async def _find(call: Call, aet: str) -> PeerShown:
    for shown in await looked_up(call, administration_of(call).peers):
        if shown.peer.aet == aet:
            return shown
    raise NotFound("no peer has that title")


def _peer_page(call: Call, shown: PeerShown, form: Mapping[str, str] | None = None, wrong: str = "") -> Response:
    peer = shown.peer
    if form is None:
        form = {f"right-{right}": "on" for right in peer.rights}
        form |= {"address": peer.address, "scope": scope_text(peer.scope), "user": "on" if peer.require_user else ""}
    return page(
        "peer.html",
        call,
        status=400 if wrong else 200,
        shown=shown,
        peer=peer,
        form=form,
        wrong=wrong,
        rights=_rights(),
        soon=DAYS_LEFT_WARNING,
    )


def _new_page(call: Call, form: Mapping[str, str], wrong: str = "") -> Response:
    status = 400 if wrong else 200
    return page("peer_new.html", call, status=status, form=form, wrong=wrong, rights=_rights())


def _rights() -> dict[str, str]:
    return {right.value: RIGHT_WORDS.get(right.value, right.value) for right in PEER_RIGHTS}


def _new_peer(form: Mapping[str, str]) -> NewPeer:
    """What a form says of a new peer. Raises ConfigError."""
    how, pem = form.get("how", "issue"), form.get("pem", "").encode()
    if how != "issue" and not pem.strip():
        raise ConfigError("the certificate is missing")
    changed = _changed_peer(form)
    return NewPeer(
        changed.aet,
        changed.rights,
        changed.address,
        certificate_pem=pem if how == "own" else b"",
        ca_pem=pem if how == "authority" else b"",
        subject=form.get("subject", "").strip() if how == "authority" else "",
        require_user=changed.require_user,
        scope=changed.scope,
    )


def _changed_peer(form: Mapping[str, str]) -> NewPeer:
    address = form.get("address", "").strip()
    return NewPeer(
        AeTitle.parse(form.get("aet", "")),
        parse_rights(",".join(named(form, "right", _rights()))),
        parse_address(address) if address else ("", 0),
        require_user=bool(form.get("user")),
        scope=read_scope(form) or ("all",),
    )


def _registered(call: Call, registered: Registered) -> Response:
    aet, credentials = registered.peer.aet, registered.credentials
    if credentials is None:
        return see_other(_path(aet))
    url = f"data:application/zip;base64,{b64encode(credentials.content).decode()}"
    return tell_once(
        call,
        Secret(
            f"Certificate for {aet}",
            "Download the file now: the archive keeps neither the key in it nor the passphrase. Give it to whoever "
            "runs the peer, and the passphrase by another way.",
            (("Passphrase", credentials.passphrase), ("SHA-256 of the certificate", registered.peer.fingerprint)),
            _path(aet),
            (credentials.file_name, url),
            registered.warnings,
        ),
    )


def _path(aet: str) -> str:
    return f"{PEER}?{urlencode({'aet': aet})}"


OPERATIONS: Final = (
    operation("pagePeers", "GET", PEERS, show_peers, "Peers."),
    operation("pagePeer", "GET", PEER, show_peer, "One peer."),
    operation("pageNewPeer", "GET", f"{PEERS}/new", show_new, "The form for a new peer.", for_change=True),
    operation("addPeer", "POST", f"{PEERS}/new", add, "Register a peer.", statuses=(200, 303, 400)),
    operation("changePeer", "POST", f"{PEERS}/change", change, "Change a peer.", statuses=(303, 400)),
    operation("pageRevokePeer", "GET", f"{PEERS}/revoke", ask_revoke, "Ask whether to revoke a peer.", for_change=True),
    operation("revokePeer", "POST", f"{PEERS}/revoke", revoke, "Revoke a peer."),
    operation(
        "pageIssue",
        "GET",
        f"{PEERS}/certificate",
        ask_issue,
        "Ask whether to issue another certificate.",
        for_change=True,
    ),
    operation("issueCertificate", "POST", f"{PEERS}/certificate", issue, "Issue one.", statuses=(200,)),
)
