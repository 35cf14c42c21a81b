"""pages: what others wrote is shown as text, nobody is sent elsewhere, and what is kept here is what was published."""

from __future__ import annotations

import sys
import unicodedata
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from strongroom.errors import Denied
from strongroom.web import ui
from strongroom.web.origin import require_same_origin
from strongroom.web.ui.pages import asset, local_path, page, shown

FOLDER = Path(ui.__file__).parent
HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


def test_htmx_is_the_published_one() -> None:
    """`npm pack htmx.org@2.0.11`, dist/htmx.min.js."""
    assert sha256((FOLDER / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert HTMX in (FOLDER / "static" / "README.md").read_text()


def test_what_is_hidden_in_a_text_is_seen() -> None:
    assert shown("a\u202eb\x00\u200b\n") == "a‹U+202E›b‹U+0000›‹U+200B›‹U+000A›"
    assert shown("Bergström 山田 O'Hara <b>") == "Bergström 山田 O'Hara <b>"


def test_whatever_can_be_hidden_in_a_text_is_seen() -> None:
    """Every character by itself: the quick way for what can be printed lets none of them pass."""
    for each in map(chr, range(sys.maxunicode + 1)):
        assert (shown(each) == each) is (unicodedata.category(each) not in HIDDEN), hex(ord(each))


@pytest.mark.parametrize("path", ["/", "/studies?q=a", "/studies/1.2.3"])
def test_a_path_of_ours_is_gone_to(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize("path", ["", "//x", "https://x", "/\\x", "studies", "/a\nb", "/" + "a" * 2000])
def test_any_other_place_is_not(path: str) -> None:
    assert local_path(path) == "/"


def test_every_template_escapes_and_has_no_script_or_style_of_its_own() -> None:
    for path in sorted((FOLDER / "templates").iterdir()):
        text = path.read_text()
        assert "|safe" not in text.replace(" ", ""), path.name
        for forbidden in ("<style", " style=", " onclick", " onload", "javascript:", "hx-on", "http://", "https://"):
            assert forbidden not in text, f"{path.name} has {forbidden}"


def test_a_page_for_nobody_has_no_way_further_in() -> None:
    values = {"next": "/", "name": "", "wrong": "", "providers": (), "more": ""}
    text = bytes(page("sign_in.html", **values, passkeys_here=True, passkeys_at="").body).decode()
    assert "/studies" not in text
    assert asset("app.css") in text


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://pacs:8443"}, True),
        ({"origin": "https://pacs:8443"}, True),
        ({"origin": "null"}, False),
        ({"origin": "https://pacs"}, False),
        ({"origin": "http://pacs:8443"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://pacs.evil"}, False),
        ({}, False),
    ],
)
def test_a_request_is_of_a_page_of_ours_or_is_not(headers: dict[str, str], is_ours: bool) -> None:
    sent = Headers({"host": "pacs:8443", **headers})
    if is_ours:
        require_same_origin(sent)
    else:
        with pytest.raises(Denied):
            require_same_origin(sent)
