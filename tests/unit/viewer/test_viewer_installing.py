"""A viewer comes into its directory whole and as it is known, or not at all; what is changed there is not served."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.packages import FILES, packed, pin_of
from strongroom.errors import ConfigError, IntegrityError, NotFound
from strongroom.viewer import installing
from strongroom.viewer.installed import InstalledViewer, inflated
from strongroom.viewer.installing import COMPRESSED, install
from strongroom.viewer.pin import Pin

SCRIPT = "1.bundle.abc.js"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return packed(tmp_path / "viewer.tgz", FILES)


@pytest.fixture
def pin(package: Path) -> Pin:
    return pin_of(package)


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_installed_is_what_is_served(package: Path, pin: Pin, tmp_path: Path) -> None:
    made = install(package, tmp_path / "viewer", pin)
    viewer = InstalledViewer(tmp_path / "viewer", pin)
    assert viewer.is_there()
    assert viewer.check() == []
    assert inflated(viewer.read(SCRIPT)) == b"one();"
    page = inflated(viewer.read("index.html"))
    assert f"/ohif/files/{pin.build}/begin.js".encode() in page
    assert b"theirs" not in page
    assert names_below(made) == {f"{name}{COMPRESSED}" for name in pin.files}
    assert not {"sw.js", "ort/model.wasm", "package.json"} & set(pin.files)


def test_another_build_goes_and_nothing_else(package: Path, pin: Pin, tmp_path: Path) -> None:
    folder = tmp_path / "viewer"
    (folder / "notes").mkdir(parents=True)
    install(package, folder, pin).rename(folder / "0.9.0-0123456789ab")
    made = install(package, folder, pin)
    assert {path.name for path in folder.iterdir()} == {made.name, "notes"}
    assert install(package, folder, pin) == made
    assert InstalledViewer(folder, pin).check() == []


def test_a_package_that_is_not_the_pinned_one_leaves_nothing(package: Path, pin: Pin, tmp_path: Path) -> None:
    other = packed(tmp_path / "other.tgz", FILES | {"package/dist/" + SCRIPT: b"two();"})
    with pytest.raises(IntegrityError, match="SHA-512"):
        install(other, tmp_path / "viewer", pin)
    assert not (tmp_path / "viewer").exists()


def test_content_that_does_not_come_out_as_known_leaves_nothing(package: Path, tmp_path: Path) -> None:
    known = pin_of(package)
    for files in (
        {name: each for name, each in known.files.items() if name != SCRIPT},
        known.files | {SCRIPT: replace(known.files[SCRIPT], sha256="0" * 64)},
        known.files | {"3.js": known.files[SCRIPT]},
    ):
        with pytest.raises(IntegrityError):
            install(package, tmp_path / "viewer", replace(known, files=files))
        assert list((tmp_path / "viewer").iterdir()) == []


def test_a_package_that_points_elsewhere_writes_nothing_there(tmp_path: Path) -> None:
    link = tarfile.TarInfo("package/dist/assets")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    upwards = {"package/dist/../../../outside/a.js": b"x", "package/dist//outside/b.js": b"x"}
    harmless = packed(tmp_path / "harmless.tgz", FILES)
    hostile = packed(tmp_path / "hostile.tgz", FILES | upwards, link)
    pin = replace(pin_of(hostile), files=pin_of(harmless).files)
    with pytest.raises(IntegrityError):
        install(hostile, tmp_path / "viewer", pin)
    assert names_below(tmp_path / "outside") == set()


def test_a_file_that_is_too_large_is_not_unpacked(
    package: Path, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "MAX_FILE_BYTES", 3)
    with pytest.raises(IntegrityError, match="bytes"):
        install(package, tmp_path / "viewer", pin)


def test_a_package_that_is_not_there_is_said_to_be(pin: Pin, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        install(tmp_path / "none.tgz", tmp_path / "viewer", pin)


def other_content(path: Path, _: Path) -> None:
    path.write_bytes(gzip.compress(b"evil()"))


def another_file(path: Path, folder: Path) -> None:
    path.write_bytes((folder / f"2.css{COMPRESSED}").read_bytes())


def a_flipped_bit(path: Path, _: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[12] ^= 1
    path.write_bytes(raw)


def an_end_missing(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def something_behind(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes() + gzip.compress(b"more()"))


def a_bomb(path: Path, _: Path) -> None:
    path.write_bytes(gzip.compress(b"one();" + bytes(10**7)))


def a_folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def nothing(path: Path, _: Path) -> None:
    path.unlink()


def a_longer_file(path: Path, _: Path) -> None:
    path.write_bytes(os.urandom(10**6))


@pytest.mark.parametrize(
    "change",
    [other_content, another_file, a_flipped_bit, an_end_missing, something_behind, a_bomb, a_folder, nothing,
     a_longer_file],
)  # fmt: skip
def test_what_was_changed_on_the_disk_is_not_served(
    package: Path, pin: Pin, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    made = install(package, tmp_path / "viewer", pin)
    change(made / f"{SCRIPT}{COMPRESSED}", made)
    viewer = InstalledViewer(tmp_path / "viewer", pin)
    with pytest.raises((IntegrityError, NotFound)):
        viewer.read(SCRIPT)
    (problem,) = viewer.check()
    assert SCRIPT in problem
    assert inflated(viewer.read("2.css")) == b"a {}"


def test_what_is_changed_after_it_was_compared_is_not_served_either(package: Path, pin: Pin, tmp_path: Path) -> None:
    made = install(package, tmp_path / "viewer", pin)
    viewer = InstalledViewer(tmp_path / "viewer", pin)
    before = viewer.read(SCRIPT)
    other_content(made / f"{SCRIPT}{COMPRESSED}", made)
    assert viewer.read(SCRIPT) == before


@pytest.mark.parametrize("name", ["", "none.js", "../index.html", "assets", f"{SCRIPT}{COMPRESSED}", "/etc/passwd"])
def test_only_names_of_the_viewer_are_looked_up(package: Path, pin: Pin, tmp_path: Path, name: str) -> None:
    install(package, tmp_path / "viewer", pin)
    with pytest.raises(NotFound):
        InstalledViewer(tmp_path / "viewer", pin).read(name)


def test_a_viewer_that_is_not_installed_is_not_there(pin: Pin, tmp_path: Path) -> None:
    viewer = InstalledViewer(tmp_path, pin)
    assert not viewer.is_there()
    with pytest.raises(NotFound):
        viewer.read("index.html")
