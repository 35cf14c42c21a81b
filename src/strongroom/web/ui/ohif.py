"""OHIF, served to who may see images: its one page, and its files.

It asks DICOMweb for everything, with the session of who is signed in: it sees what a person may see, and the trail has
each request as it has any other. It runs under a policy of its own, as strict as it can bear (docs/adr/0034): nothing
but its own files, which are known byte for byte, may run.
"""

from __future__ import annotations

import logging
import secrets
from typing import Final

from starlette.responses import Response

from strongroom.archive.access import require
from strongroom.errors import NotFound
from strongroom.types import Right
from strongroom.viewer.installed import inflated
from strongroom.viewer.rewriting import NONCE, ROOT, evaluates
from strongroom.web.call import Call
from strongroom.web.coding import takes_gzip
from strongroom.web.operation import PREFIX, Operation, Parameter
from strongroom.web.ui.pages import NONCE_BYTES, page

log = logging.getLogger(__name__)

FILES: Final = f"{ROOT}/files"
MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "png": "image/png", "svg": "image/svg+xml", "wasm": "application/wasm", "woff2": "font/woff2",
}  # fmt: skip
_KEPT: Final = "private, max-age=31536000, immutable"


def document_policy(origin: str, nonce: str) -> str:
    """The Content-Security-Policy of the viewer's page (CSP Level 3), on this origin.

    Sources name the folder of the viewer's files and not the whole origin: an object of the archive may say of itself
    that it is a script.
    """
    files = f"{origin}{FILES}/"
    return (
        f"default-src 'none'; script-src {files} 'wasm-unsafe-eval'; worker-src {files}; "
        f"style-src-elem {files} 'nonce-{nonce}'; img-src {files} data: blob:; font-src {files}; "
        f"connect-src {files} {origin}{PREFIX}/; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def file_policy(origin: str, name: str) -> str:
    """The policy of a file, which counts where it is a worker: that has the one of its script, not that of its page.

    A worker that evaluates text may do so: it has no page, reaches nothing but the viewer's files, and gets what it
    decodes from the page.
    """
    files = f"{origin}{FILES}/"
    more = " 'unsafe-eval'" if evaluates(name) else ""
    return f"default-src 'none'; script-src {files} 'wasm-unsafe-eval'{more}; connect-src {files}"


def has_ohif(call: Call) -> bool:
    """Whether a page may offer to open a study in OHIF: it is there, and who asks may see images."""
    viewer = call.services.viewer
    return viewer is not None and {Right.FIND, Right.GET} <= call.principal.rights and viewer.is_there()


def _origin(call: Call) -> str:
    return call.base_url.removesuffix(PREFIX)


async def show_viewer(call: Call) -> Response:
    """The page of the viewer on the studies that its address names; how to add it where it is not installed."""
    require(call.principal, Right.FIND)
    viewer = call.services.viewer
    if call.path["page"] != "viewer":
        raise NotFound("the viewer has no such page")
    if viewer is None or not viewer.is_there():
        return page("ohif_absent.html", call, is_changed=False)
    problems = await call.services.run_blocking(viewer.check)
    if problems:
        log.error("OHIF is not served: %s, and %d more; run `strongroom viewer add`", problems[0], len(problems) - 1)
        return page("ohif_absent.html", call, 503, is_changed=True)
    content = inflated(await call.services.run_blocking(viewer.read, "index.html"))
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    headers = {
        "content-security-policy": document_policy(_origin(call), nonce),
        "cache-control": "private, no-store",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "cross-origin-opener-policy": "same-origin",
    }
    return Response(content.replace(NONCE, nonce.encode()), headers=headers, media_type="text/html")


async def viewer_file(call: Call) -> Response:
    """One file of the viewer. What is made of it is named in its path: it never changes."""
    require(call.principal, Right.FIND)
    viewer = call.services.viewer
    build, _, name = call.path["file"].partition("/")
    if viewer is None or build != viewer.build or name == "index.html":
        raise NotFound("no such file")
    content = await call.services.run_blocking(viewer.read, name)
    return _answer(
        call, name, content, {"cache-control": _KEPT, "content-security-policy": file_policy(_origin(call), name)}
    )


def _answer(call: Call, name: str, compressed: bytes, headers: dict[str, str]) -> Response:
    headers |= {"vary": "Accept-Encoding", "content-type": MEDIA_TYPES[name.rpartition(".")[2]]}
    if takes_gzip(call.request.headers.get("accept-encoding")):
        return Response(compressed, headers=headers | {"content-encoding": "gzip"})
    return Response(inflated(compressed), headers=headers)


OPERATIONS: Final = (
    Operation(
        "pageOhif", "GET", f"{ROOT}/{{page}}", show_viewer, "The viewer OHIF.", Right.GET,
        (Parameter("StudyInstanceUIDs", "query", "The studies to open; read by the page itself."),),
        produces=("text/html",), statuses=(200, 503), is_page=True,
    ),
    Operation(
        "ohifFile", "GET", f"{FILES}/{{file:path}}", viewer_file, "A file of the viewer OHIF.", Right.GET,
        produces=tuple(each.partition(";")[0] for each in MEDIA_TYPES.values()), statuses=(200, 404), is_page=True,
    ),
)  # fmt: skip
