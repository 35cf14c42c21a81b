"""A process that stores is killed, or its disk fails, at the system calls of a commit; then everything is opened again.

strace does it, so what is tested is the whole of it: sealed files, SQLCipher's log, trail. What must hold each time:
the check is clean after the recovery of a start, every acknowledged instance is there as it was sent, and one that was
not acknowledged is there as a whole or not at all.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from storing_process import MARK, sample

from harness.archives import new_home, opened
from harness.ingesting import stored_digest, visible_sop_uids
from harness.stracing import Ready, ready
from strongroom.admin.check import check
from strongroom.admin.recovery import recover
from strongroom.app import SERVE_LOG
from strongroom.config import Home

INSTANCES = 6
FIRST, LAST = 1, 2
"""The instances whose system calls are failed: a large one that makes its directories, then a small one. The one before
them warms the process up, and those after show how it goes on."""
CALLS = ("mkdir", "pwrite64", "fsync", "fdatasync")
PWRITES = 3
"""Of the writes of one instance, how many are tried: first, last and between."""
_CALL = re.compile(r"(?:\d+ +)?(\w+)\((?:\d+<(.*?)>)?")


@dataclass(frozen=True)
class Point:
    """The ``number``-th time that the process makes a system call, in storing an instance."""

    call: str
    number: int
    instance: int
    path: str = ""
    """Of the open file that the call is about."""


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    with ready(Path(__file__).with_name("storing_process.py"), tmp_path_factory.mktemp("said")) as process:
        yield process


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return new_home(tmp_path_factory.mktemp("template") / "home")


def copied(template: Home, root: Path) -> Home:
    home = Home(root / "home")
    shutil.copytree(template.root, home.root)
    shutil.copytree(template.default_keys, home.default_keys)
    return home


def run(process: Ready, home: Home, way: str, *options: str) -> list[tuple[str, int]]:
    """Store under strace; returns what was said of each instance."""
    said = [line.split() for line in process.run([str(home.root), str(INSTANCES), way], *options).splitlines()]
    return [(word, int(number)) for word, number in said]


@pytest.fixture(scope="module", params=["index", "journal"])
def way(request):
    return request.param


@pytest.fixture(scope="module")
def points(process, template, way, tmp_path_factory):
    """The system calls of one instance after the other, in an undisturbed run."""
    root = tmp_path_factory.mktemp("reference")
    trace = root / "trace"
    said = run(process, copied(template, root), way, "-y", "-o", str(trace), "-e", f"trace={','.join(CALLS)}")
    assert said == [("ACK", number) for number in range(INSTANCES)]
    counts: Counter[str] = Counter()
    found, instance = [], -1
    for line in trace.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None or match[1] not in CALLS:
            continue
        counts[match[1]] += 1
        if MARK in line:
            instance += 1
        elif FIRST <= instance <= LAST:
            found.append(Point(match[1], counts[match[1]], instance, match[2] or ""))
    return found


def chosen(points: list[Point]) -> list[Point]:
    """Every sync and every new directory, and some of the writes of each instance."""
    some = []
    for instance in range(FIRST, LAST + 1):
        of_instance = [point for point in points if point.instance == instance]
        writes = [point for point in of_instance if point.call == "pwrite64"]
        some += [point for point in of_instance if point.call != "pwrite64"]
        some += [writes[at * (len(writes) - 1) // (PWRITES - 1)] for at in range(PWRITES)]
    return some


def check_after(home: Home, said: list[tuple[str, int]], where: str) -> None:
    """Start again, and hold what is there against what was said."""
    acknowledged = {sample(number).sop_uid for word, number in said if word == "ACK"}
    attempted = {sample(number).sop_uid for number in range(len(said) + 1)}
    with opened(home, SERVE_LOG) as archive:
        assert not recover(archive).postponed
        report = check(archive, lambda *_: None)
        assert report.findings == (), where
        visible = visible_sop_uids(archive)
        assert acknowledged <= visible <= attempted, where
        for number in range(INSTANCES):
            uid = sample(number).sop_uid
            if uid in visible:
                assert stored_digest(archive, uid) == sample(number).sha256, where


def test_what_is_written_is_synced_before_it_is_acknowledged(points, way):
    log = {"index": {".db-wal"}, "journal": {"journal"}}[way]
    for instance in range(FIRST, LAST + 1):
        written, synced = {}, {}
        for at, point in enumerate(points):
            if point.instance == instance and not point.path.endswith("turn.lock"):
                (written if point.call == "pwrite64" else synced)[point.path] = at
        names = {Path(path).suffix or Path(path).name for path in written if not path.endswith("turn.lock")}
        assert {name for name in names if len(name) < 20} == log
        assert any(len(name) == 32 for name in names) == (instance == FIRST), "the sealed file of a large object"
        for path, last in written.items():
            assert synced.get(path, -1) > last, path


def test_killed_at_any_call(process, template, points, way, tmp_path):
    for at, point in enumerate(chosen(points)):
        home = copied(template, tmp_path / str(at))
        inject = f"inject={point.call}:signal=SIGKILL:when={point.number}"
        said = run(process, home, way, "-o", "/dev/null", "-e", inject)
        assert [number for _, number in said] == list(range(point.instance)), point
        assert {word for word, _ in said} == {"ACK"}, point
        check_after(home, said, f"killed at {point}")
        shutil.rmtree(home.root)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_failed_at_any_call(process, template, points, way, tmp_path, error):
    # An error once, alternately with one that stays: the two go through different ends of the same handlers.
    tried = chosen(points)[(0 if error == "EIO" else 1) :: 2]
    for at, point in enumerate(tried):
        home = copied(template, tmp_path / str(at))
        stays = at % 2 == 1
        inject = f"inject={point.call}:error={error}:when={point.number}{'+' if stays else ''}"
        said = run(process, home, way, "-o", "/dev/null", "-e", inject)
        words = {number: word for word, number in said}
        assert sorted(words) == list(range(INSTANCES)), point
        assert words[0] == "ACK", point
        assert words[point.instance] == "FAIL", f"{error} at {point} was not noticed"
        if not stays and point.call != "fdatasync":  # after a failed sync nothing more is promised
            assert [words[number] for number in range(point.instance + 1, INSTANCES)] == ["ACK"] * (
                INSTANCES - point.instance - 1
            ), point
        check_after(home, said, f"{error} at {point}{' and after' if stays else ''}")
        shutil.rmtree(home.root)


def test_killed_while_rows_are_written(process, template, tmp_path):
    """By a thread of its own, so the point is another one in each run; what must hold after it is not."""
    for at in range(20, 140, 10):
        home = copied(template, tmp_path / str(at))
        said = run(process, home, "rows", "-o", "/dev/null", "-e", f"inject=pwrite64:signal=SIGKILL:when={at}")
        check_after(home, said, f"killed at the write number {at}")
        shutil.rmtree(home.root)
