"""Which web product answers, told by the marks of ``products.toml``, and what may be shown of what servers say.

Nothing is guessed: a page that has no mark is of no product, and a version is what a pattern of the table finds.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from strongroom.probe.shown import is_version, shown
from strongroom.probe.web.httpclient import Response
from strongroom.probe.web.pages import asks_for_login, json_of, title_of

KINDS: Final = ("interface", "viewer", "login", "service")
_PRODUCT_KEYS: Final = frozenset({"name", "kind", "marks", "hints", "pages"})
_PAGE_KEYS: Final = frozenset({"path", "marks", "version", "kind", "after", "hinted"})
_MARK_KEYS: Final = frozenset({"title", "body", "header", "keys", "realm", "location", "status"})


@dataclass(frozen=True, slots=True)
class Mark:
    """What an answer has to have. Texts are lower case; what is empty is not asked for."""

    title: str = ""
    body: tuple[str, ...] = ()
    header: tuple[str, str] = ("", "")
    keys: frozenset[str] = frozenset()
    realm: str = ""
    location: str = ""
    status: int = 0

    def holds(self, response: Response) -> bool:
        """Whether the answer has all of it."""
        has_words = 200 <= response.status < 300 or response.status in (401, 403)  # others repeat what was asked
        if (self.body or self.keys) and not has_words:
            return False
        body = response.body.decode("utf-8", "replace").lower() if self.body else ""
        name, value = self.header
        return (
            (not self.title or self.title in title_of(response).lower())
            and all(part in body for part in self.body)
            and (not name or value in response.header(name).lower())
            and (not self.keys or self.keys <= _keys_of(response))
            and (not self.realm or self.realm in response.header("www-authenticate").lower())
            and (not self.location or self.location in response.header("location").lower())
            and (not self.status or self.status == response.status)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A path of a product. ``after`` is a page of it that has to be found first; ``hinted``: if it was hinted at."""

    product: str
    path: str
    kind: str
    marks: tuple[Mark, ...]
    version: re.Pattern[str] | None = None
    after: str = ""
    hinted: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """A row of ``[[product]]``."""

    name: str
    kind: str
    marks: tuple[Mark, ...]
    hints: tuple[str, ...]
    pages: tuple[Page, ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a product ships with: by HTTP Basic authentication, or posted as a form."""

    product: str
    path: str
    user: str
    password: str
    form: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """A page on which the product itself counts: keys of its JSON by what they count."""

    product: str
    path: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A path at which DICOMweb is usual, and of which products."""

    path: str
    products: frozenset[str]


@dataclass(frozen=True, slots=True)
class Products:
    """The whole table."""

    products: tuple[Product, ...]
    credentials: tuple[Credentials, ...]
    roots: tuple[Place, ...]
    wado_uri: tuple[Place, ...]
    counts: tuple[Counts, ...]
    words: frozenset[str]
    """Lower-case words that may be shown of what a server says."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A product and how it was met: ``open`` says that its page came without a login."""

    name: str
    kind: str
    version: str
    open: bool
    login: bool


@cache
def products() -> Products:
    """Return the table that comes with the program. Raises ValueError for a row that cannot be meant."""
    return parse_products(tomllib.loads((files("strongroom.probe.web") / "products.toml").read_text(encoding="utf-8")))


def parse_products(raw: Mapping[str, Any]) -> Products:
    """Return the table as values. Raises ValueError: an unknown key, kind, product or page."""
    made = tuple(_product(row) for row in raw["product"])
    names = {each.name for each in made}
    credentials = tuple(Credentials(**row) for row in raw["credentials"])
    counts = tuple(
        Counts(row["product"], row["path"], {key: row[key] for key in row.keys() - {"product", "path"}})
        for row in raw["counts"]
    )
    places = [*raw["root"], *raw["wado_uri"]]
    named = {each.product for each in credentials} | {each.product for each in counts}
    named |= {name for row in places for name in row.get("products", ())}
    if named - names:
        raise ValueError(f"no such product: {', '.join(sorted(named - names))}")
    words = {word for each in made for word in re.findall(r"[a-z]+", f"{each.name} {' '.join(each.hints)}".lower())}
    return Products(
        made, credentials, _places(raw["root"]), _places(raw["wado_uri"]), counts, frozenset(words | set(raw["words"]))
    )


def recognise(response: Response, page: Page | None = None) -> Recognised | None:
    """Return the product of an answer: that of ``page``, which was asked for, or one by its general marks."""
    login = asks_for_login(response)
    if page is not None and any(mark.holds(response) for mark in page.marks):
        return Recognised(
            page.product, page.kind, _version(response, page), _is_open(response, page.kind, login), login
        )
    for product in products().products:
        if any(mark.holds(response) for mark in product.marks):
            return Recognised(product.name, product.kind, "", _is_open(response, product.kind, login), login)
    return None


def pages_for(first: Iterable[Response]) -> tuple[Page, ...]:
    """Return the pages to ask for, those first at whose products the first answers hint, each path once."""
    said = " ".join(
        f"{each.header('server')} {each.header('x-powered-by')} {each.header('location')} "
        f"{' '.join(name for name, _ in each.headers)} {title_of(each)} {each.body[:20_000].decode('utf-8', 'replace')}"
        for each in first
    ).lower()
    hinted = [each for each in products().products if any(hint in said for hint in each.hints)]
    others = [each for each in products().products if each not in hinted]
    return (
        *(page for product in hinted for page in product.pages),
        *(page for product in others for page in product.pages if not page.hinted),
    )


def roots_for(found: Iterable[str]) -> tuple[str, ...]:
    """Return the DICOMweb roots to ask, those of the products that were found first."""
    return _by_product(products().roots, frozenset(found))


def wado_uris_for(found: Iterable[str]) -> tuple[str, ...]:
    """Return the paths of WADO-URI to ask, those of the products that were found first."""
    return _by_product(products().wado_uri, frozenset(found))


def shown_text(text: str) -> str:
    """Return what may be shown of a title or a header: words of the table, and the shape of all others."""
    return shown(text, products().words)


def _by_product(places: tuple[Place, ...], found: frozenset[str]) -> tuple[str, ...]:
    return tuple(each.path for each in sorted(places, key=lambda each: not each.products & found))


def _is_open(response: Response, kind: str, login: bool) -> bool:
    return 200 <= response.status < 300 and not login and kind in ("interface", "viewer")


def _version(response: Response, page: Page) -> str:
    if page.version is None:
        return ""
    found = page.version.search(response.body[:200_000].decode("utf-8", "replace"))
    version = found.group(1).rstrip(".") if found else ""
    # Who writes the page could put a number of a person there.
    return version if is_version(version.rstrip(string.ascii_lowercase)) else ""


def _keys_of(response: Response) -> set[str]:
    value = json_of(response)
    if isinstance(value, list) and value:
        value = value[0]
    return set(value) if isinstance(value, dict) else set()


def _product(row: Mapping[str, Any]) -> Product:
    _only(row, _PRODUCT_KEYS)
    name, kind = row["name"], _kind(row["kind"])
    pages = tuple(_page(name, kind, each) for each in row["pages"])
    if any(each.after and each.after not in {page.path for page in pages} for each in pages):
        raise ValueError(f"{name}: a page comes after one that there is not")
    return Product(name, kind, tuple(map(_mark, row["marks"])), tuple(row["hints"]), pages)


def _page(name: str, kind: str, row: Mapping[str, Any]) -> Page:
    _only(row, _PAGE_KEYS)
    path = row["path"]
    if not path.startswith("/") or not path.isascii() or not row["marks"]:
        raise ValueError(f"{name}: {path} is no page")
    version = re.compile(row["version"]) if "version" in row else None
    return Page(
        name, path, _kind(row.get("kind", kind)), tuple(map(_mark, row["marks"])), version, row.get("after", ""),
        row.get("hinted", False),
    )  # fmt: skip


def _mark(row: Mapping[str, Any]) -> Mark:
    _only(row, _MARK_KEYS)
    if not row:
        raise ValueError("a mark that everything has")
    name, value = row.get("header", ("", ""))
    return Mark(
        title=row.get("title", ""), body=tuple(row.get("body", ())), header=(name, value),
        keys=frozenset(row.get("keys", ())), realm=row.get("realm", ""), location=row.get("location", ""),
        status=row.get("status", 0),
    )  # fmt: skip


def _places(rows: Iterable[Mapping[str, Any]]) -> tuple[Place, ...]:
    return tuple(Place(row["path"], frozenset(row.get("products", ()))) for row in rows)


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"no such kind: {kind}")
    return kind


def _only(row: Mapping[str, Any], keys: frozenset[str]) -> None:
    if row.keys() - keys:
        raise ValueError(f"unknown: {', '.join(sorted(row.keys() - keys))}")
