"""What a web server shows to a stranger who names no study: its first page, its headers, known products, open files.

All that is asked of one port over one channel goes over as few connections as the server lets it, each question at its
turn; what came of it is kept when all has been asked.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from strongroom.errors import Unanswered
from strongroom.probe.model import NO_USE_ASKING_ON, Answer, Channel, Detail, Identity
from strongroom.probe.session import Session
from strongroom.probe.tls.transport import is_for_web, lets_in, speaks_tls, strange_certificates_of_ours
from strongroom.probe.web import products
from strongroom.probe.web.httpclient import HttpClient, Request, Response
from strongroom.probe.web.pages import (
    answer_of,
    asks_for_login,
    body_kind,
    dicom_files,
    http_details,
    lists_files,
    own_target,
    security_headers,
    title_of,
)

MOST_CONNECTIONS: Final = 40
"""To one port over one channel, for all that is asked of it here."""
ORIGIN: Final = "https://strongroom-probe.invalid"
"""An origin that nobody can have (RFC 6761 6.4)."""
MOST_BEHIND_A_LOGIN: Final = 8
FILE_PATHS: Final = ("/DICOMDIR", "/dicom/", "/images/", "/data/")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PART10_BYTES: Final = 132
"""The preamble and the prefix of a file (PS3.10 7.1): all that is read of one."""

CERTIFICATE_WANTED: Final = "certificate-wanted"

Fact = tuple[str, Answer, dict[str, Detail]]


@dataclass(slots=True)
class Door:
    """A port over a channel, and what was found behind it."""

    session: Session
    port: int
    channel: Channel
    identity: Identity
    facts: list[Fact] = field(default_factory=list)
    first: list[Response] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def client(self, most: int = MOST_CONNECTIONS) -> HttpClient:
        """A client for it."""
        return HttpClient(self.session, self.port, self.channel, self.identity, most=most)

    @property
    def scheme(self) -> str:
        """Of its URLs."""
        return "https" if self.channel is Channel.TLS else "http"

    @property
    def roots(self) -> tuple[str, ...]:
        """Where DICOMweb may be: what the scope says, then what is usual for the products that were found."""
        return tuple(dict.fromkeys((*self.session.target.dicomweb_roots, *products.roots_for(self.found))))

    def details(self, response: Response) -> dict[str, Detail]:
        """What every step keeps of an answer."""
        return http_details(response, self.scheme, self.session.host)

    def keep(self, step: str, answer: Answer, **details: Detail) -> None:
        """Note a fact, to be observed once the connection is done with."""
        self.facts.append((step, answer, details))

    def observe(self) -> None:
        """Keep the facts noted so far."""
        for step, answer, details in self.facts:
            self.session.observe(step, self.port, self.channel, self.identity, answer, **details)
        self.facts.clear()


def doors(session: Session) -> Iterator[Door]:
    """Yield each HTTP port that is open, in the clear and over TLS where it speaks it."""
    for port in session.target.http_ports:
        seen = session.found("tcp.connect", port)
        if seen is None or seen.answer is not Answer.DONE:
            continue
        dicom = session.found("dicom.associate", port, Channel.PLAIN)
        if dicom is None or dicom.answer not in (Answer.DONE, Answer.REFUSED, Answer.FAILED):
            yield Door(session, port, Channel.PLAIN, Identity.STRANGER)
        if not speaks_tls(session, port):
            continue
        if lets_in(session, port):
            yield Door(session, port, Channel.TLS, Identity.STRANGER)
        if lets_in(session, port, Identity.CERTIFICATE):
            yield Door(session, port, Channel.TLS, Identity.CERTIFICATE)


def answering(session: Session) -> Iterator[Door]:
    """Yield the doors whose first page was an answer, and not the advice to come with TLS or a certificate."""
    for door in doors(session):
        seen = session.found("http.root", door.port, door.channel, door.identity)
        if seen is None or "status" not in seen.details or seen.details.get("to_https"):
            continue
        if seen.details["body_kind"] in ("tls-wanted", CERTIFICATE_WANTED):
            continue
        for page in session.all_found("http.paths", door.port, door.channel, door.identity):
            door.found += [name] if isinstance(name := page.details.get("product"), str) else []
        yield door


def look(session: Session) -> None:
    """Look at the first page of each door, at what it lets other sites do, at known products and at files."""
    for door in doors(session):
        try:
            with door.client() as client:
                _look(door, client)
        finally:
            with suppress(Unanswered):
                door.observe()


def _look(door: Door, client: HttpClient) -> None:
    try:
        goes_on = _root(door, client)
    except Unanswered as error:
        door.keep("http.root", Answer(error.answer), reason=error.reason)
        return
    if not goes_on:
        return
    for step, ask in _ASKED:
        try:
            ask(door, client)
        except Unanswered as error:
            door.keep(step, Answer(error.answer), reason=error.reason)
            if error.answer in NO_USE_ASKING_ON:
                return


def _root(door: Door, client: HttpClient) -> bool:
    """Ask for the first page. Return whether there is more to ask."""
    response = client.ask(Request("/", headers=(("Origin", ORIGIN),)))
    details = door.details(response)
    to_https = 300 <= response.status < 400 and response.header("location").lower().startswith("https://")
    to_https = to_https and door.channel is Channel.PLAIN
    door.first.append(response)
    shown = response
    target = own_target(response.header("location"), door.scheme, door.session.host)
    if target and not asks_for_login(response):
        with suppress(Unanswered):
            shown = client.ask(Request(target))
            door.first.append(shown)
    login = asks_for_login(response) or asks_for_login(shown)
    product = products.recognise(shown) or products.recognise(response)
    if response.header("server"):
        details["server"] = products.shown_text(response.header("server"))
    if title_of(shown):
        details["title"] = products.shown_text(title_of(shown))
    if product is not None:
        details["product"] = product.name
        _keep_page(door, "/", product, shown)
    # A redirect is seen by nobody: what it leads to is judged, and the cookies of both.
    details |= {**security_headers(response), **_page_headers(shown)}
    details["body_kind"] = body_kind(shown) if shown.status < 300 else details["body_kind"]
    details |= {"login": login, "listing": bool(lists_files(shown)), "to_https": to_https}
    answer = Answer.REFUSED if login else answer_of(shown)
    if details["body_kind"] == "tls-wanted":
        answer = Answer.OTHER
    door.keep("http.root", answer, **details)
    if lists_files(shown):
        door.keep(
            "http.listing", Answer.DONE, **door.details(shown), path="/", listing=True, dicom_files=dicom_files(shown)
        )
    return not to_https and body_kind(response) not in ("tls-wanted", CERTIFICATE_WANTED)


def strange_certificates(session: Session) -> None:
    """Show certificates of our own making where one is asked for, and see whether the first page still is an answer."""
    for door in doors(session):
        asked = session.found("tls.client_certificate", door.port, Channel.TLS)
        if door.channel is not Channel.TLS or not is_for_web(session, door.port) or asked is None:
            continue
        root = session.found("http.root", door.port, Channel.TLS, Identity.STRANGER)
        if (
            door.identity is Identity.STRANGER
            and root is not None
            and root.details.get("body_kind") == CERTIFICATE_WANTED
        ):
            door.keep("tls.client_certificate", Answer.REFUSED, requested=True, required=True)
        if asked.details.get("requested") and not session.found("tls.certificate_refused", door.port):
            _show_strange(door)
        door.observe()


def _show_strange(door: Door) -> None:
    accepted: dict[str, bool] = {}
    for name, identity in strange_certificates_of_ours().items():
        with door.client(most=1) as client:
            client.shows = identity
            try:
                accepted[name] = body_kind(client.ask(Request("/"))) != CERTIFICATE_WANTED
            except Unanswered:
                accepted[name] = False
    answer = Answer.DONE if any(accepted.values()) else Answer.REFUSED
    door.keep("tls.certificate_refused", answer, **accepted)


def _cors(door: Door, client: HttpClient) -> None:
    """Whether other origins may read: what was said of it with the first page, or at the likeliest DICOMweb root."""
    order = ("none", "other", "any", "null", "reflected")
    root = client.ask(Request(door.roots[0], headers=(("Origin", ORIGIN),)))
    seen = max(
        (root, door.first[0]), key=lambda each: order.index(_allowed(each.header("access-control-allow-origin")))
    )
    door.keep(
        "http.cors",
        answer_of(seen),
        **door.details(seen),
        allow_origin=_allowed(seen.header("access-control-allow-origin")),
        allow_credentials=seen.header("access-control-allow-credentials").strip().lower() == "true",
    )


def _allowed(value: str) -> str:
    known = {"": "none", "*": "any", "null": "null", ORIGIN: "reflected"}
    return known.get(value.strip().lower(), "other")


def _methods(door: Door, client: HttpClient) -> None:
    response = client.ask(Request(f"{door.roots[0]}/studies", method="OPTIONS"))
    said = f"{response.header('allow')},{response.header('access-control-allow-methods')}".upper()
    allowed = {method.strip() for method in said.split(",")}
    door.keep(
        "http.methods",
        answer_of(response),
        **door.details(response),
        allow=tuple(method for method in METHODS if method in allowed),
    )


def _paths(door: Door, client: HttpClient) -> None:
    """Ask for the pages of known products, after one that nobody has: what a server says to all is said of none.

    Where each question costs a connection, a product whose first page is not there is asked for no other.
    """
    nowhere = client.ask(Request(f"/{secrets.token_hex(8)}"))
    met: set[str] = set()
    for page in _pages_to_ask(door, nowhere):
        is_first = page.product not in met
        met.add(page.product)
        if not (is_first or client.keeps_alive or page.product in door.found or _is_closed(door, nowhere)):
            continue
        if page.after and f"{page.product} {page.after}" not in met:
            continue
        if f"any {page.path}" in met:
            continue
        try:
            response = client.ask(Request(page.path))
        except Unanswered as error:
            if error.answer in NO_USE_ASKING_ON:
                raise
            continue
        found = None if _is_same(response, nowhere) else products.recognise(response, page)
        if found is None and response.status in (401, 403) and nowhere.status not in (401, 403):
            found = products.Recognised(page.product, page.kind, "", open=False, login=True)
        if found is None:
            continue
        met |= {f"{page.product} {page.path}", f"any {page.path}"}
        _keep_page(door, page.path, found, response)
    if not any(step == "http.paths" for step, _, _ in door.facts):
        closed = answer_of(nowhere) is Answer.REFUSED
        reason = "everything asks for a login" if closed else "no page of a known product"
        answer = Answer.REFUSED if closed else Answer.FAILED
        door.keep("http.paths", answer, **door.details(nowhere), reason=reason, login=closed)


def _pages_to_ask(door: Door, nowhere: Response) -> tuple[products.Page, ...]:
    """All of them; behind one login for everything only those that are likeliest to be left out of it."""
    pages = products.pages_for(door.first)
    return pages[:MOST_BEHIND_A_LOGIN] if _is_closed(door, nowhere) else pages


def _is_closed(door: Door, nowhere: Response) -> bool:
    """Whether the first page and one that nobody has are refused alike."""
    return all(answer_of(each) is Answer.REFUSED for each in (door.first[0], nowhere))


def _keep_page(door: Door, path: str, found: products.Recognised, response: Response) -> None:
    door.found.append(found.name)
    answer = Answer.REFUSED if found.login else answer_of(response)
    version = {"version": found.version} if found.version else {}
    door.keep(
        "http.paths", answer, **door.details(response), path=path, product=found.name, kind=found.kind,
        open=found.open, login=found.login, **version, **_page_headers(response),
    )  # fmt: skip


def _page_headers(response: Response) -> dict[str, Detail]:
    """Whether the headers are there that protect a page from others' scripts and frames."""
    found = security_headers(response)
    return {"csp": found["csp"], "frame_options": found["frame_options"]}


def _is_same(response: Response, nowhere: Response) -> bool:
    """Whether it is what the server says to any path: a login in front, or one page for all."""
    return (response.status, response.body, response.header("location")) == (
        nowhere.status, nowhere.body, nowhere.header("location"),
    )  # fmt: skip


def _files(door: Door, client: HttpClient) -> None:
    """Look for listings at the usual paths, and for a DICOMDIR, of which only the prefix is read."""
    kept = False
    last: Response | None = None
    for path in FILE_PATHS if client.keeps_alive else FILE_PATHS[:2]:
        is_file = not path.endswith("/")
        request = Request(path)
        if is_file:
            request = Request(path, headers=(("Range", f"bytes=0-{PART10_BYTES - 1}"),), max_body_bytes=PART10_BYTES)
        last = client.ask(request)
        is_part10 = is_file and last.status in (200, 206) and body_kind(last) == "dicom"
        if lists_files(last) or is_part10:
            kept = True
            names = 1 if is_part10 else dicom_files(last)
            door.keep("http.listing", Answer.DONE, **door.details(last), path=path, listing=True, dicom_files=names)
    if not kept and last is not None and not any(step == "http.listing" for step, _, _ in door.facts):
        answer = Answer.REFUSED if answer_of(last) is Answer.REFUSED else Answer.FAILED
        door.keep("http.listing", answer, **door.details(last), reason="no listing at the usual paths")


_ASKED: Final = (("http.cors", _cors), ("http.paths", _paths), ("http.methods", _methods), ("http.listing", _files))
"""What is asked of a door after its first page, in this order."""


def default_credentials(session: Session) -> None:
    """Try once what a product that was found ships with, unless it is open anyway, and if the scope consents."""
    for door in answering(session):
        pages = [
            page.details
            for step in ("http.paths", "http.root")
            for page in session.all_found(step, door.port, door.channel, door.identity)
        ]
        is_open = {page.get("product") for page in pages if page.get("open") and page.get("kind") == "interface"}
        asked = {page.get("product") for page in pages} - is_open
        rows = [row for row in products.products().credentials if row.product in asked]
        if rows and "default_credentials" not in session.consents:
            session.skip("http.credentials", door.port, "no consent default_credentials", door.channel)
            continue
        for row in rows:
            _try_credentials(replace(door, identity=Identity.DEFAULT_CREDENTIALS), row)


def _try_credentials(door: Door, row: products.Credentials) -> None:
    basic = b64encode(f"{row.user}:{row.password}".encode()).decode("ascii")
    request = Request(row.path, headers=(("Authorization", f"Basic {basic}"),))
    if row.form:
        body = urlencode({"username": row.user, "password": row.password}).encode()
        request = Request(row.path, "POST", (("Content-Type", "application/x-www-form-urlencoded"),), body)
    try:
        with door.client(most=1) as client:
            response = client.ask(request)
    except Unanswered as error:
        door.keep("http.credentials", Answer(error.answer), reason=error.reason, product=row.product)
    else:
        works = response.status == 200 and not asks_for_login(response)
        answer = Answer.DONE if works else Answer.REFUSED
        door.keep("http.credentials", answer, **door.details(response), product=row.product, works=works)
    door.observe()
