"""Whether a request that changes something was made by a page of this archive: a browser sends the cookie of a session
along with whatever it is told to send. Pure.

The cookie is SameSite=Strict, so that pages of other sites do not come this far at all; but a page of another port or
name of the same site would, and a browser could be wrong about one of the two.
"""

from __future__ import annotations

from starlette.datastructures import Headers

from strongroom.errors import Denied


def require_same_origin(headers: Headers) -> None:
    """Return if the browser says that a page of this origin made the request. Raises Denied.

    By Fetch Metadata (W3C), which no page can forge, or by Origin (RFC 6454) where a browser is too old to have it.
    Whoever sends neither is no browser that holds a session. Our pages send no Referer, and a browser that sends none
    with a form says so of its Origin too: "null".
    """
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    own = [f"https://{headers.get('host', '')}"]
    if sites:
        is_ours = sites == ["same-origin"] and origins in ([], ["null"], own)
    else:
        is_ours = origins == own
    if not is_ours:
        raise Denied("request-of-another-origin")
