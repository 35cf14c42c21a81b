"""The viewer that is pinned, its table of files, and the changes that are made in it."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

import strongroom.viewer
from strongroom.errors import IntegrityError
from strongroom.viewer.pin import build_of, own_files, parse_files, parse_lock, read_pin
from strongroom.viewer.rewriting import CHANGES, OWN_FILES, PLACE, is_kept, rewritten
from strongroom.web.ui.ohif import MEDIA_TYPES

FOLDER = Path(strongroom.viewer.__file__).parent
GOOD = "a/b.js\t3\t" + "0" * 64


def test_what_is_pinned_is_whole() -> None:
    pin = read_pin()
    assert re.fullmatch(r"3\.\d+\.\d+", pin.version)
    assert len(pin.sha512) == 64
    assert set(OWN_FILES) <= set(pin.files)
    assert [name for name in pin.files if not is_kept(name) and name not in OWN_FILES] == []
    assert {name.rpartition(".")[2] for name in pin.files} - {"html"} <= set(MEDIA_TYPES)


def test_files_of_ours_are_as_the_table_says() -> None:
    """Run tools/pin_viewer.py when this fails."""
    pin = read_pin()
    for name, content in own_files().items():
        assert pin.files[name].sha256 == sha256(rewritten(name, content, pin.build)).hexdigest(), name


def test_the_page_asks_for_files_that_are_there_and_runs_nothing_of_its_own() -> None:
    pin, page = read_pin(), own_files()["index.html"].decode()
    assert set(re.findall(r'@PLACE@/([^"]+)"', page)) <= set(pin.files)
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert " style=" not in page
    assert " on" not in re.sub(r">[^<]*<", "><", page).replace(" on ", "")


def test_the_lock_file_names_no_address() -> None:
    text = (FOLDER / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in text
    assert "://" not in text
    version, _ = parse_lock(text)
    assert f'"{version}"' in (FOLDER / "package.json").read_text(encoding="utf-8")


def test_another_line_of_ours_is_another_build() -> None:
    pin, own = read_pin(), own_files()
    assert build_of(pin.version, pin.sha512, own) == pin.build
    assert build_of(pin.version, pin.sha512, {**own, "begin.js": b"//"}) != pin.build
    assert build_of(pin.version, bytes(64), own) != pin.build


@pytest.mark.parametrize(
    "text",
    ["a.js\t1", "a.js\tx\t" + "0" * 64, "a.js\t1\tabc", GOOD + "\n" + GOOD, "../" + GOOD, "/" + GOOD, ".." + GOOD],
    ids=["short", "no-size", "no-digest", "twice", "upwards", "root", "hidden"],
)
def test_a_table_that_is_none_is_refused(text: str) -> None:
    assert list(parse_files(GOOD)) == ["a/b.js"]
    with pytest.raises(ValueError):
        parse_files(text)


def test_a_lock_file_without_a_good_digest_is_refused() -> None:
    entry = '{"packages": {"node_modules/@ohif/app": {"version": "1", "integrity": "%s"}}}'
    assert parse_lock(entry % "sha512-AAAA") == ("1", bytes(3))
    for integrity in ("sha1-AAAA", "AAAA", "sha512-@@@@"):
        with pytest.raises(ValueError):
            parse_lock(entry % integrity)


def test_a_change_that_finds_nothing_to_change_is_no_change() -> None:
    runtime = b'x();__webpack_require__.p = "/";'
    name = "8097.bundle.0123.js"
    assert rewritten(name, runtime, "B") == b'x();__webpack_require__.p = "/ohif/files/B/";'
    for content in (b"x();", runtime * 2):
        with pytest.raises(IntegrityError, match="changes"):
            rewritten(name, content, "B")
    assert rewritten("other.js", b"x();", "B") == b"x();"
    assert all(change.old != change.new and PLACE not in change.old for change in CHANGES)
