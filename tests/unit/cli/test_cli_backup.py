"""``backup create|list|restore|drill``: what they print and how they exit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.archives import new_home, opened
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store
from harness.shell import Shell, shell
from strongroom.config import Home

PASSPHRASE = "five words that nobody says"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return shell(capsys, monkeypatch)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = new_home(tmp_path / "home")
    with opened(made) as archive:
        for number in range(4):
            store(archive, Sample(number, pixel_bytes=(SMALL_PIXELS, LARGE_PIXELS)[number % 2]))
    return made


def test_a_backup_from_its_making_to_its_restore(home: Home, tmp_path: Path, run: Shell) -> None:
    medium, new = tmp_path / "medium", tmp_path / "new"
    made = run("backup", "create", "--home", home.root, "--to", medium)
    assert made.code == 0
    assert "is complete" in made.out
    assert "2 objects (" in made.out
    assert "which is not in it: keep a copy elsewhere" in made.out
    again = json.loads(run("backup", "create", "--home", home.root, "--to", medium, "--format", "json").out)
    assert again["objects_copied"] == 0
    listed = run("backup", "list", "--from", medium)
    assert (listed.code, len(listed.out.splitlines())) == (0, 2)
    assert [each["backup"] for each in json.loads(run("backup", "list", "--from", medium, "--format", "json").out)][
        -1
    ] == (again["backup"])
    missing = run("backup", "restore", "--from", medium, "--home", new)
    assert missing.code == 2
    assert "master key" in missing.err
    assert "--key-dir" in missing.err
    restored = run("backup", "restore", "--from", medium, "--home", new, "--key-dir", home.default_keys)
    assert restored.code == 0, restored.err
    assert "clean" in restored.out
    assert f"{new} is the archive as it was at " in restored.out
    assert run("check", "--home", new).code == 0
    occupied = run("backup", "restore", "--from", medium, "--home", new, "--key-dir", home.default_keys)
    assert (occupied.code, "is not empty" in occupied.err) == (2, True)


def test_a_restore_with_findings_is_bad_news_and_no_archive(home: Home, tmp_path: Path, run: Shell) -> None:
    medium, new = tmp_path / "medium", tmp_path / "new"
    run("backup", "create", "--home", home.root, "--to", medium)
    for path in (medium / "objects").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    arguments = ("backup", "restore", "--from", medium, "--home", new, "--key-dir", home.default_keys)
    found = run(*arguments)
    assert found.code == 1
    assert found.out.count("object-altered") == 2
    assert "2 FINDINGS" in found.out
    assert "is NOT an archive yet" in found.out
    assert run("check", "--home", new).code == 2
    accepted = json.loads(run(*arguments, "--accept-findings", "--format", "json").out)
    assert (accepted["finished"], accepted["clean"], accepted["total_findings"]) == (True, False, 2)
    assert run("check", "--home", new).code == 1


def test_keys_go_with_it_when_asked_for(
    home: Home, tmp_path: Path, run: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = tmp_path / "medium"
    silent = run("backup", "create", "--home", home.root, "--to", medium, "--with-master-key")
    assert (silent.code, "STRONGROOM_BACKUP_PASSPHRASE" in silent.err) == (2, True)
    monkeypatch.setenv("STRONGROOM_BACKUP_PASSPHRASE", PASSPHRASE)
    made = run("backup", "create", "--home", home.root, "--to", medium, "--with-master-key")
    assert (made.code, "under the passphrase" in made.out) == (0, True)
    assert PASSPHRASE not in made.out + made.err
    shutil.rmtree(home.default_keys)
    restored = run("backup", "restore", "--from", medium, "--home", tmp_path / "new", "--with-master-key")
    assert restored.code == 0, restored.err
    assert run("keys", "status", "--home", tmp_path / "new").code == 0


def test_a_drill_says_what_a_disaster_would_cost(home: Home, tmp_path: Path, run: Shell) -> None:
    medium = tmp_path / "medium"
    assert run("backup", "drill", "--home", home.root, "--from", medium).code == 2
    run("backup", "create", "--home", home.root, "--to", medium)
    done = run("backup", "drill", "--home", home.root, "--from", medium)
    assert done.code == 0
    for words in ("4 instances the same, 0 different", "recovery point: ", "recovery time: ", "clean"):
        assert words in done.out
    said = json.loads(
        run(
            "backup", "drill", "--home", home.root, "--from", medium, "--scratch", tmp_path / "s", "--format", "json"
        ).out
    )
    assert (said["clean"], said["compared"]["same"]) == (True, 4)
    assert said["backup_age_s"] >= 0
    assert list((tmp_path / "s").iterdir()) == list((medium / "drill").iterdir()) == []


def test_a_checkpoint_from_elsewhere_that_is_later_is_bad_news(home: Home, tmp_path: Path, run: Shell) -> None:
    medium, later = tmp_path / "medium", tmp_path / "later.txt"
    run("backup", "create", "--home", home.root, "--to", medium)
    run("trail", "checkpoint", "--home", home.root, "--out", later)
    found = run(
        "backup", "restore", "--from", medium, "--home", tmp_path / "new", "--key-dir", home.default_keys,
        "--against", later,
    )  # fmt: skip
    assert found.code == 1
    assert "trail" in found.out
    assert str(later) in found.out
