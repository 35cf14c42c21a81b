"""Backup, restore and drill are killed at their system calls: nothing half done is called done, and the next goes on.

strace does it, at points from the first to the last of each kind of call.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.archives import new_home, opened
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store, visible_sop_uids
from harness.stracing import Ready, ready
from strongroom.admin.backup import create
from strongroom.admin.backupsets import BackupMedium
from strongroom.admin.check import check
from strongroom.admin.restore import RestoreOrder, restore
from strongroom.config import Home, load
from strongroom.errors import ConfigError

CALLS = ("fsync", "fdatasync", "rename", "write", "unlink")
POINTS = 3
"""Of each kind of call, how many are tried, from the first to the last."""
FIRST, LATER = range(6), range(6, 12)
_CALL = re.compile(r"(?:\d+ +)?(\w+)\(")


def nothing(*_: object) -> None:
    """No progress is drawn."""


def samples(numbers: range) -> list[Sample]:
    return [Sample(number, pixel_bytes=(SMALL_PIXELS, LARGE_PIXELS)[number % 2]) for number in numbers]


@dataclass(frozen=True)
class Places:
    """An archive with one backup, and what came since."""

    root: Path

    @property
    def home(self) -> Home:
        return Home(self.root / "home")

    @property
    def medium(self) -> Path:
        return self.root / "medium"

    @property
    def new(self) -> Home:
        return Home(self.root / "new")

    def copied(self, root: Path) -> Places:
        shutil.copytree(self.root, root)
        return Places(root)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Places:
    places = Places(tmp_path_factory.mktemp("template") / "places")
    home = new_home(places.root / "home")
    with opened(home) as archive:
        for sample in samples(FIRST):
            store(archive, sample)
        create(archive, places.medium, nothing)
        for sample in samples(LATER):
            store(archive, sample)
    shutil.copytree(home.default_keys, places.new.default_keys)
    return places


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with ready(Path(__file__).with_name("backup_process.py"), tmp_path_factory.mktemp("said")) as process:
        yield process


def run(process: Ready, places: Places, what: str, *options: str) -> bool:
    """Whether the process says that it is done."""
    home = places.new if what == "restore" else places.home
    arguments = [what, str(home.root), str(places.medium), str(places.root / "scratch")]
    return process.run(arguments, *options).startswith("DONE ")


def points(process: Ready, places: Places, what: str, trace: Path) -> list[tuple[str, int]]:
    """The calls to be killed at: the process is run to its end once, to count them."""
    assert run(process, places, what, "-o", str(trace), "-e", f"trace={','.join(CALLS)}")
    lines = trace.read_text(errors="replace").splitlines()
    counts = Counter(match[1] for line in lines if (match := _CALL.match(line)))
    return [
        (call, number)
        for call in CALLS
        for number in sorted({1 + at * (counts[call] - 1) // (POINTS - 1) for at in range(POINTS) if counts[call]})
    ]


def killed(process: Ready, places: Places, what: str, call: str, number: int) -> bool:
    """Whether it was done before it was killed."""
    return run(process, places, what, "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={number}")


def assert_restores(places: Places, name: str, count: int, where: str) -> None:
    target = Home(places.root / f"restored-{name}")
    shutil.copytree(places.home.default_keys, target.default_keys)
    found = restore(RestoreOrder(places.medium, target.root, name), nothing)
    assert (found.findings, found.is_finished, found.objects) == ((), True, count), where


def test_create_is_killed(process: Ready, template: Places, tmp_path: Path) -> None:
    ends = set()
    for call, number in points(process, template.copied(tmp_path / "reference"), "create", tmp_path / "trace"):
        places, where = template.copied(tmp_path / f"{call}-{number}"), f"killed at {call} number {number}"
        said = killed(process, places, "create", call, number)
        names = BackupMedium(places.medium).names()
        ends.add(len(names))
        assert len(names) == 2 or not said, where
        for name, count in zip(names, (len(FIRST), len(FIRST) + len(LATER)), strict=False):
            assert_restores(places, name, count, where)
        with opened(places.home) as archive:
            again = create(archive, places.medium, nothing)
            assert check(archive, nothing).findings == (), where
        assert again.manifest.counts["instances"] == len(FIRST) + len(LATER), where
        assert_restores(places, again.manifest.name, len(FIRST) + len(LATER), where)
        shutil.rmtree(places.root)
    assert ends == {1, 2}, "the points are all on one side of what makes it a backup"


def test_restore_is_killed(process: Ready, template: Places, tmp_path: Path) -> None:
    ends = set()
    for call, number in points(process, template.copied(tmp_path / "reference"), "restore", tmp_path / "trace"):
        places, where = template.copied(tmp_path / f"{call}-{number}"), f"killed at {call} number {number}"
        said = killed(process, places, "restore", call, number)
        is_archive = places.new.config.exists() and not places.new.unfinished.exists()
        ends.add(is_archive)
        assert is_archive or not said, where
        if not is_archive:
            with pytest.raises(ConfigError):
                load(places.new)
            assert restore(RestoreOrder(places.medium, places.new.root), nothing).is_finished, where
        with opened(places.new) as archive:
            assert check(archive, nothing).findings == (), where
            assert visible_sop_uids(archive) == {each.sop_uid for each in samples(FIRST)}, where
        shutil.rmtree(places.root)
    assert False in ends


def test_drill_is_killed(process: Ready, template: Places, tmp_path: Path) -> None:
    for call, number in points(process, template.copied(tmp_path / "reference"), "drill", tmp_path / "trace")[::2]:
        places, where = template.copied(tmp_path / f"{call}-{number}"), f"killed at {call} number {number}"
        killed(process, places, "drill", call, number)
        assert run(process, places, "drill", "-o", "/dev/null", "-e", "trace=rename"), where
        assert list((places.root / "scratch").iterdir()) == [], where
        with opened(places.home) as archive:
            assert check(archive, nothing).findings == (), where
        shutil.rmtree(places.root)
