"""What the disk shows of a patient: nothing, while a server runs, after it was killed, and after it ended in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from senders import SUCCESS, association, send

from harness.archives import Credentials, add_peer, new_home, opened, serving, strongroom_command
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample

PEER = "CT1"
NAME = "Zyxplanted^Qwertius"
STUDY = 4711081547110815
INSTANCES = 12


def needles() -> dict[str, bytes]:
    """What to look for: parts of names and UIDs that stand nowhere else, and the mark of a DICOM file."""
    words = {"family name": "Zyxplanted", "given name": "Qwertius", "study": str(STUDY), "patient": f"PID-{STUDY}"}
    spelled = {
        f"{what} in {code}": text.encode(code) for what, text in words.items() for code in ("ascii", "utf-16-le")
    }
    spelled |= {f"{what} in capitals": text.upper().encode() for what, text in words.items()}
    return spelled | {"DICM": b"DICM", "pixels": Sample(0).dataset[-64:]}


def files_below(*roots: Path) -> Iterator[tuple[str, bytes]]:
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(root)), path.read_bytes()


def open_files(pid: int) -> Iterator[tuple[str, bytes]]:
    """Every regular file that a process has open, deleted ones too."""
    for entry in os.scandir(f"/proc/{pid}/fd"):
        link = os.readlink(entry.path)
        if os.path.isfile(entry.path):
            yield link, Path(entry.path).read_bytes()


def found(files: Iterator[tuple[str, bytes]]) -> list[str]:
    looked_for, count, seen = needles(), 0, []
    for name, content in files:
        count += 1
        seen += [f"{what} in {name}" for what, needle in looked_for.items() if needle in content]
        seen += [f"{what} in the name {name}" for what, needle in looked_for.items() if needle in name.encode()]
    assert count
    return seen


def fill(port: int, credentials: Credentials, start: int) -> None:
    with association(port, credentials) as connection:
        for number in range(start, start + INSTANCES):
            pixels = (SMALL_PIXELS, LARGE_PIXELS)[number % 2]
            assert send(connection, Sample(number, STUDY, pixel_bytes=pixels, patient_name=NAME)) == SUCCESS


@pytest.fixture
def places(tmp_path):
    """A home, and the directory that its server has for temporary files."""
    home = new_home(tmp_path / "home", {"trail": {"checkpoint_dirs": [str(tmp_path / "elsewhere")]}})
    with opened(home) as archive:
        add_peer(archive, PEER)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return home, temporary


def test_the_needles_are_in_what_is_sent():
    plain = Sample(0, STUDY, patient_name=NAME).dataset
    assert found(iter([("sent", plain)])) == [
        "family name in ascii in sent",
        "given name in ascii in sent",
        "study in ascii in sent",
        "patient in ascii in sent",
        "study in capitals in sent",
        "patient in capitals in sent",
        "pixels in sent",
    ]


def test_nothing_of_a_patient_on_disk(places, tmp_path):
    home, temporary = places
    command = ["env", f"TMPDIR={temporary}", *strongroom_command("serve", "--home", home.root)]
    roots = (home.root, temporary, tmp_path / "elsewhere")
    with serving(home, command) as running:
        assert running.process is not None
        fill(running.port, running.credentials(PEER), 0)
        assert found(files_below(*roots)) == []
        assert found(open_files(running.process.pid)) == []
        running.process.kill()
        running.process.wait(10)
        assert NAME.partition("^")[0] not in running.output
    assert found(files_below(*roots)) == []
    with serving(home, command) as running:
        fill(running.port, running.credentials(PEER), INSTANCES)
        assert running.stop() == 0
    assert found(files_below(*roots)) == []
