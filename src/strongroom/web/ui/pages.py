"""How a page is made: templates, the policy that the browser holds it to, and the files that it needs.

Whatever is put into a template is escaped. On top of that the browser is told to run nothing but the scripts that carry
the nonce of this one answer, to load from here only, and to show the page in no frame (CSP Level 3).
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from strongroom.archive.agents import browser_name
from strongroom.archive.model import Detail
from strongroom.archive.sharing import share_number
from strongroom.errors import NotFound
from strongroom.types import Principal, Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation

_FOLDER: Final = Path(__file__).parent
_MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
NONCE_BYTES: Final = 18

AREAS: Final = (
    ("/shares", "Shared", Right.SHARE),
    ("/break-glass", "Emergency", Right.BREAK_GLASS),
    ("/posture", "Posture", Right.ADMINISTER),
    ("/peers", "Peers", Right.ADMINISTER),
    ("/people", "People", Right.ADMINISTER),
    ("/groups", "Groups", Right.ADMINISTER),
    ("/sessions", "Sessions", Right.ADMINISTER),
    ("/tokens", "Tokens", Right.ADMINISTER),
    ("/alerts", "Alerts", Right.REVIEW),
    ("/quarantine", "Quarantine", Right.REVIEW),
    ("/jobs", "Jobs", Right.REVIEW),
    ("/trail", "Trail", Right.AUDIT),
    ("/review/proposals", "Approvals", Right.REVIEW),
    ("/review/shares", "Shares", Right.REVIEW),
    ("/review/break-glass", "Emergencies", Right.REVIEW),
)
"""Pages beside the studies, in the order in which they are listed, and the right to each."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
"""Categories of characters that are not seen, or turn around what stands beside them."""


def _read_static() -> dict[str, tuple[str, bytes]]:
    """The files that pages need, each under a name that changes with its content."""
    found = {}
    for path in sorted((_FOLDER / "static").iterdir()):
        if path.suffix in _MEDIA_TYPES:
            content = path.read_bytes()
            name = f"{path.stem}.{sha256(content).hexdigest()[:16]}{path.suffix}"
            found[name] = (_MEDIA_TYPES[path.suffix], content)
    return found


_STATIC: Final = _read_static()
_NAMES: Final = {f"{name.split('.')[0]}.{name.rsplit('.')[-1]}": name for name in _STATIC}


def asset(name: str) -> str:
    """The path of a file that pages need."""
    return f"/static/{_NAMES[name]}"


def shown(text: str) -> str:
    """A text of others as it may stand in a page: what is hidden in it is seen, and turns nothing around."""
    if text.isprintable():  # nothing of these categories is; pages of thousands of values are made on the event loop
        return text
    return "".join(
        f"\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}U+{ord(each):04X}\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
        if unicodedata.category(each) in _HIDDEN
        else each
        for each in text
    )


def utc(time_us: int) -> str:
    """A time as people read it, with its zone."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def moment(time_us: int) -> str:
    """A time in UTC to the millisecond, as records have it; its zone stands beside it, or over the column."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(" ", "milliseconds")[:23]


def joined(value: Detail) -> str:
    """A detail of a record as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def amount(count: int) -> str:
    """Bytes as people read them."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # what it ends with is the unit
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def first_upper(text: str) -> str:
    """A text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _environment() -> Environment:
    loader = FileSystemLoader(_FOLDER / "templates")
    found = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(shown=shown, utc=utc, moment=moment, joined=joined, bytes=amount, first_upper=first_upper)
    found.filters["browser"] = browser_name
    found.globals.update(asset=asset)
    return found


_TEMPLATES: Final = _environment()


def policy(nonce: str) -> str:
    """The Content-Security-Policy of one answer."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def page(template: str, call: Call | None = None, status: int = 200, **values: Any) -> Response:
    """A page made of a template. ``call`` says who it is for and where he is, None = nobody who has signed in."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    principal = call.principal if call else None
    rights = principal.rights if principal else frozenset()
    common: Mapping[str, Any] = {
        "nonce": nonce,
        "person": principal.user if principal else "",
        "sees_studies": {Right.FIND, Right.GET} <= rights,
        "may": rights,
        "areas": _areas(principal) if principal else [],
        "here": call.request.url.path if call else "",
        "is_guest": principal is not None and share_number(principal.user) is not None,
        "emergencies": principal.emergencies if principal else (),
    }
    text = _TEMPLATES.get_template(template).render({**common, **values})
    headers = {
        "content-security-policy": policy(nonce),
        "cache-control": "private, no-store",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "cross-origin-opener-policy": "same-origin",
    }
    return Response(text, status, headers, "text/html")


def _areas(principal: Principal) -> list[tuple[str, str]]:
    """The areas that somebody may go to; without a scope there is no glass to break."""
    rights = principal.rights if principal.scope is not None else principal.rights - {Right.BREAK_GLASS}
    return [(path, word) for path, word, right in AREAS if right in rights]


def see_other(path: str) -> Response:
    """Send the browser on to a page of ours, with GET."""
    return RedirectResponse(path, 303)


def local_path(text: str) -> str:
    """A path of ours that a request names, "/" if it names anything else: nobody is sent on to another site."""
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours and len(text) < 2000 else "/"


def number_of(text: str) -> int:
    """A number that a request names. Raises NotFound: nothing has any other name."""
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise NotFound("no such number")
    return int(text)


async def static(call: Call) -> Response:
    """A file that pages need. Its name has its hash in it: it never changes."""
    found = _STATIC.get(call.path["file"])
    if found is None:
        raise NotFound("no such file")
    media_type, content = found
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(content, headers=headers, media_type=media_type)


async def home(call: Call) -> Response:
    """Send somebody to what he may see."""
    if share_number(call.principal.user) is not None and call.principal.scope is not None:
        return see_other(f"/studies/{call.principal.scope.parts[0].studies[0]}")
    rights = call.principal.rights
    if {Right.FIND, Right.GET} <= rights:
        return see_other("/studies")
    return see_other(next((path for path, _, right in AREAS if right in rights), "/account"))


def is_navigation(request: Request) -> bool:
    """Whether somebody goes to a page with a browser, or a script of a page asks for a part of one."""
    headers = request.headers
    return headers.get("sec-fetch-mode") == "navigate" or "text/html" in headers.get("accept", "").lower()


OPERATIONS: Final = (
    Operation(
        "page", "GET", "/", home, "The first page.", produces=("text/html",), statuses=(303,), is_page=True,
    ),
    Operation(
        "static", "GET", "/static/{file}", static, "Style sheets and scripts.",
        produces=("text/css", "text/javascript", "image/svg+xml"), public=True, is_page=True,
    ),
)  # fmt: skip
