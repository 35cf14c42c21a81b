"""A small HTTP server that says what a table tells it to: the mocks of web products, and of what is wrong with them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from harness.probe_listener import Listener, Visit, listening

MOST_HEAD_BYTES = 65536


@dataclass(frozen=True)
class Asked:
    """One request that came. Header names are lower case; ``at_s`` is of the monotonic clock."""

    at_s: float
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False, default=b"")
    all: Sequence[Asked] = field(repr=False, compare=False, default=())
    """Everything that the same server was asked, this one included."""

    @property
    def path(self) -> str:
        """Without the query."""
        return urlsplit(self.target).path


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int = 200
    body: bytes | str = ""
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw(self, *, head_only: bool = False) -> bytes:
        """Its bytes; the connection ends after it."""
        body = self.body.encode() if isinstance(self.body, str) else self.body
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}", f"Content-Type: {self.content_type}"]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else body)


def json_page(value: Any, content_type: str = "application/json", **headers: str) -> Page:
    """JSON; header names with underscores."""
    return Page(200, json.dumps(value), content_type, {name.replace("_", "-"): v for name, v in headers.items()})


Answering = Page | Callable[[Asked], Page]


@dataclass(frozen=True)
class Site:
    """What a server has. ``pages`` are by path; one that ends in ``*`` is for all that begin so, the longest first."""

    pages: Mapping[str, Answering]
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every answer."""
    login: Page | None = None
    """Said instead of every page but those in ``open``, unless a request has ``credentials``."""
    open: frozenset[str] = frozenset()
    credentials: str = ""
    """An Authorization header that opens everything."""
    missing: Page = Page(404, "<html><head><title>404 Not Found</title></head></html>")
    cors: str = ""
    """"reflect": any origin is allowed, with credentials; "any": ``*`` without."""

    def answer(self, asked: Asked) -> Page:
        """The page for a request, with the headers of the site."""
        page = self._page(asked)
        more = dict(self.headers)
        origin = asked.headers.get("origin")
        if self.cors == "reflect" and origin:
            more |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        elif self.cors == "any":
            more["Access-Control-Allow-Origin"] = "*"
        return replace(page, headers={**more, **page.headers})

    def _page(self, asked: Asked) -> Page:
        known = bool(self.credentials) and self.credentials == asked.headers.get("authorization")
        if self.login is not None and not known and asked.path not in self.open:
            return self.login
        found = self.pages.get(asked.path)
        if found is None:
            begins = [key for key in self.pages if key.endswith("*") and asked.path.startswith(key[:-1])]
            found = self.pages[max(begins, key=len)] if begins else self.missing
        return found(asked) if callable(found) else found


@dataclass
class Web:
    """A running site and what it was asked, in order."""

    listener: Listener
    asked: list[Asked] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    @property
    def methods(self) -> set[str]:
        """The methods that were used."""
        return {each.method for each in self.asked}

    def paths(self, method: str = "GET") -> list[str]:
        """The targets of one method, in order."""
        return [each.target for each in self.asked if each.method == method]


def read_request(visit: Visit) -> Asked | None:
    """The next request of a connection; None if none comes."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        got = visit.read_some()
        head += got
        if not got or len(head) > MOST_HEAD_BYTES:
            return None
        if not head[:1].isalpha():
            # Such as a ClientHello: web servers say so.
            visit.send(Page(400, "Bad Request").raw())
            return None
    raw, _, body = bytes(head).partition(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    pairs = [line.partition(":") for line in lines]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = headers.get("content-length", "0")
    if length.isdecimal():
        body += visit.read(min(int(length), 1 << 20) - len(body))
    return Asked(time.monotonic(), method, rest.rpartition(" ")[0], headers, body)


@contextmanager
def web(site: Site | Callable[[Web], Site], **where: Any) -> Iterator[Web]:
    """A site on loopback; ``where`` as ``probe_listener.listening`` takes it, with ``tls`` for HTTPS."""
    holder: list[Web] = []

    def handle(visit: Visit) -> None:
        asked = read_request(visit)
        if asked is None:
            return
        asked = replace(asked, all=holder[0].asked)
        holder[0].asked.append(asked)
        known = site(holder[0]) if callable(site) else site
        visit.send(known.answer(asked).raw(head_only=asked.method == "HEAD"))

    with listening(handle, **where) as listener:
        holder.append(Web(listener))
        yield holder[0]


def qido(studies: Sequence[Mapping[str, Any]]) -> Callable[[Asked], Page]:
    """A search for studies that keeps to ``limit`` (PS3.18 8.3.4.4) and to a StudyDate that is a range or a day."""

    def answer(asked: Asked) -> Page:
        given = [each.partition("=") for each in urlsplit(asked.target).query.split("&")]
        query = {name: value for name, _, value in given}
        wanted = query.get("StudyDate", query.get("00080020", ""))
        first, dash, last = wanted.partition("-")
        found = []
        for study in studies:
            date = str((study.get("00080020", {}).get("Value") or [""])[0])
            if ((first or "0") <= date <= (last or "99999999")) if dash else wanted in ("", date):
                found.append(study)
        if wanted := query.get("StudyInstanceUID", query.get("0020000D", "")):
            found = [study for study in found if wanted in study.get("0020000D", {}).get("Value", ())]
        found = found[int(query.get("offset", "0") or 0) :]
        limit = query.get("limit", "")
        return json_page(found[: int(limit)] if limit.isdecimal() else found, "application/dicom+json")

    return answer
