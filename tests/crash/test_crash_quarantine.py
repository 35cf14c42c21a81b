"""A process that holds, releases and destroys is killed at its system calls: what it said is so, and nothing is double.

strace does it. After each the archive is started again: the check is clean, an object is held or stored or neither, and
never both; what was said to be held is there as it came, what was said to be destroyed is nowhere.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from holding_process import DESTROYED, OBJECTS, RELEASED, sample

from harness.archives import new_home, opened
from harness.ingesting import stored_digest, visible_sop_uids
from harness.quarantines import add_officers, infected
from harness.stracing import Ready, ready
from strongroom.admin.check import check
from strongroom.admin.recovery import recover
from strongroom.app import SERVE_LOG, Archive
from strongroom.config import Home

CALLS = ("pwrite64", "fsync", "fdatasync", "unlink")
POINTS = 5
"""Of each kind of call, how many are tried, from the first to the last."""
_CALL = re.compile(r"(?:\d+ +)?(\w+)\(")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Home:
    home = new_home(tmp_path_factory.mktemp("template") / "home")
    with opened(home) as archive:
        add_officers(archive, "ann", "bob")
        archive.checkpoint()  # else one that is in the index and in no file yet looks like one that was removed
    return home


def copied(template: Home, root: Path) -> Home:
    home = Home(root / "home")
    shutil.copytree(template.root, home.root)
    shutil.copytree(template.default_keys, home.default_keys)
    return home


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with ready(Path(__file__).with_name("holding_process.py"), tmp_path_factory.mktemp("said")) as process:
        yield process


def run(process: Ready, home: Home, *options: str) -> set[tuple[str, int]]:
    """What the process said under strace."""
    lines = [line.split() for line in process.run([str(home.root)], *options).splitlines()]
    return {(word, int(number)) for word, number in lines}


def held_bytes(archive: Archive, number: int) -> bytes:
    reader = archive.quarantine.open(archive.quarantine.find(number))
    try:
        return b"".join(reader.chunks())
    finally:
        reader.close()


def look_after(home: Home, said: set[tuple[str, int]], where: str) -> None:
    with opened(home, SERVE_LOG) as archive:
        assert not recover(archive).postponed
        archive.writers.release()
        assert check(archive, lambda *_: None).findings == (), where
        held = {entry.number for entry in archive.quarantine.entries()}
        stored = visible_sop_uids(archive)
        for number in range(1, OBJECTS + 1):
            whole, uid = infected(sample(number)), sample(number).sop_uid
            is_held, is_stored = number in held, uid in stored
            assert not (is_held and is_stored), where
            if is_held:
                assert held_bytes(archive, number) == whole, where
            if is_stored:
                assert number == RELEASED, where
                assert stored_digest(archive, uid) == hashlib.sha256(whole).digest(), where
            if ("HELD", number) in said and number != DESTROYED:
                assert is_held or is_stored, where
        if ("RELEASED", RELEASED) in said:
            assert sample(RELEASED).sop_uid in stored, where
        if ("DESTROYED", DESTROYED) in said:
            assert DESTROYED not in held, where
        assert len(list(archive.blobs.ids())) == sum(number % 2 == 0 for number in held) + len(stored), where


def test_killed_at_its_calls(process: Ready, template: Home, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    home = copied(template, tmp_path / "reference")
    said = run(process, home, "-o", str(trace), "-e", f"trace={','.join(CALLS)}")
    everything = {("HELD", number) for number in range(1, OBJECTS + 1)}
    assert said == everything | {("RELEASED", RELEASED), ("DESTROYED", DESTROYED)}
    look_after(home, said, "not killed")
    counts = Counter(
        match[1] for line in trace.read_text(errors="replace").splitlines() if (match := _CALL.match(line))
    )
    points = [
        (call, number)
        for call in CALLS
        for number in sorted({1 + at * (counts[call] - 1) // (POINTS - 1) for at in range(POINTS) if counts[call]})
    ]
    ends = set()
    for call, number in points:
        home = copied(template, tmp_path / f"{call}-{number}")
        said = run(process, home, "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={number}")
        ends.add(len(said))
        look_after(home, said, f"killed at {call} number {number}, after {sorted(said)}")
        shutil.rmtree(home.root)
    assert len(ends) > 3, "the points are all at one place"
