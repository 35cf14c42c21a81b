"""The trail commands: what is compared with what, and files that are never overwritten."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from harness.archives import add_peer, change_config, new_home, opened, strongroom_command, trail_events
from harness.ingesting import Sample, store
from strongroom.admin.trail import deleted_studies, export, store_records, verify_trail, write_new_file
from strongroom.archive.model import Action
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.trail.record import parse_record
from strongroom.trail.tree import Frontier, leaf_hash


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "elsewhere"


@pytest.fixture
def home(tmp_path, elsewhere):
    return new_home(tmp_path / "home", {"trail": {"checkpoint_dirs": [str(elsewhere)]}})


@pytest.fixture
def archive(home):
    with opened(home) as archive:
        yield archive


def words(verification):
    return " ".join(found.what for found in verification.findings)


def cut(archive, size):
    connection = archive.backend.connect()
    frontier = Frontier()
    for (raw,) in connection.execute("SELECT record FROM trail_record WHERE seq < ? ORDER BY seq", (size,)).fetchall():
        frontier.append(leaf_hash(raw))
    connection.execute("DELETE FROM trail_record WHERE seq >= ?", (size,))
    connection.execute("DELETE FROM trail_checkpoint WHERE size > ?", (size,))
    connection.execute("UPDATE trail_log SET size = ?, frontier = ?", (size, frontier.to_bytes()))
    connection.close()


def test_nothing_to_compare_with_yet(archive):
    verified = verify_trail(archive)
    assert (verified.findings, verified.logs, verified.records, verified.compared_with) == ((), 1, 1, ())


def test_compares_with_every_place(archive, home, elsewhere):
    archive.checkpoint()
    verified = verify_trail(archive)
    assert verified.findings == ()
    assert verified.compared_with == (str(home.checkpoints / "latest.txt"), str(elsewhere / "latest.txt"))


def test_cut_is_shown_by_one_place_alone(archive, home, elsewhere):
    add_peer(archive, "CT1")
    archive.checkpoint()
    (home.checkpoints / "latest.txt").write_bytes(b"")
    cut(archive, 1)
    verified = verify_trail(archive)
    assert "cut off" in words(verified)
    (elsewhere / "latest.txt").unlink()
    verified = verify_trail(archive)
    assert "cut off" not in words(verified)
    assert "holds no checkpoint" in words(verified)


def test_cut_is_shown_by_an_earlier_checkpoint(archive, home, elsewhere, tmp_path):
    add_peer(archive, "CT1")
    kept = tmp_path / "kept.txt"
    kept.write_text(archive.checkpoint())
    for folder in (home.checkpoints, elsewhere):
        (folder / "latest.txt").unlink()
    cut(archive, 1)
    assert verify_trail(archive).findings == ()
    verified = verify_trail(archive, [kept])
    assert "cut off" in words(verified)
    assert verified.compared_with == (str(kept),)


def test_trail_that_only_grew_agrees_with_an_earlier_checkpoint(archive, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text(archive.checkpoint())
    add_peer(archive, "CT1")
    archive.checkpoint()
    assert verify_trail(archive, [kept]).findings == ()


def test_checkpoint_of_another_archive_is_no_proof(archive, tmp_path):
    other = new_home(tmp_path / "other", {"archive": {"id": "ff" * 16}})
    with opened(other) as stranger:
        stranger.checkpoint()
    verified = verify_trail(archive, [other.checkpoints / "latest.txt"])
    assert "of another archive" in words(verified)


def test_missing_file_to_compare_with(archive, tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint file"):
        verify_trail(archive, [tmp_path / "none"])


def test_file_that_is_no_checkpoint(archive, tmp_path):
    for content in (b"", b"\xff\xfe", b"hello\n", b"x" * 5_000_000):
        (tmp_path / "noise").write_bytes(content)
        assert "holds no checkpoint" in words(verify_trail(archive, [tmp_path / "noise"]))


def test_checkpoint_that_is_gone(archive, home):
    archive.checkpoint()
    (home.checkpoints / "latest.txt").unlink()
    assert "is gone" in words(verify_trail(archive))


def test_new_place_without_a_checkpoint_is_named(archive, home, tmp_path):
    archive.checkpoint()
    (tmp_path / "new").mkdir()
    change_config(home, {"trail": {"checkpoint_dirs": [str(tmp_path / "new")]}})
    with opened(home) as again:
        assert str(tmp_path / "new") in words(verify_trail(again))
        again.checkpoint()
        assert verify_trail(again).findings == ()


def test_export(archive, tmp_path):
    out = tmp_path / "trail.jsonl"
    archive.checkpoint()
    assert export(archive, out) == out.stat().st_size
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    *records, checkpoint = out.read_bytes().splitlines()
    events = [parse_record(raw).event for raw in records]
    assert events == trail_events(archive)
    assert events[-1].action is Action.TRAIL_EXPORT  # the export is in what it exports
    assert json.loads(checkpoint)["checkpoint"].startswith("strongroom/")
    before = len(events)
    with pytest.raises(ConfigError, match="already"):
        export(archive, out)
    assert len(trail_events(archive)) == before


def test_export_never_follows_a_link(archive, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError):
        export(archive, tmp_path / "link")
    assert not (tmp_path / "victim").exists()


def test_half_a_file_is_none(tmp_path):
    def pieces():
        yield b"x"
        raise StorageUnavailable("gone")

    with pytest.raises(StorageUnavailable):
        write_new_file(tmp_path / "out", pieces())
    assert not (tmp_path / "out").exists()


def test_what_was_stored_and_deleted(archive):
    store(archive, Sample(1))
    store(archive, Sample(1))  # sent again: no second row, so no record of storing
    archive.record(Action.DELETE, {"study": "2.25.5"})
    with archive.index.database.read() as cursor:
        (record,) = store_records(archive, cursor)
        assert (record.sop_uid, record.facts[0], record.facts[-1]) == (
            Sample(1).sop_uid,
            Sample(1).sha256.hex(),
            Sample(1).study_uid,
        )
        assert set(deleted_studies(archive, cursor)) == {"2.25.5"}


def run(*arguments):
    environment = os.environ | {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    return subprocess.run(strongroom_command(*arguments), capture_output=True, text=True, check=False, env=environment)


def test_commands(home, tmp_path):
    kept, out = tmp_path / "kept.txt", tmp_path / "out.jsonl"
    assert run("trail", "checkpoint", "--home", home.root, "--out", kept).returncode == 0
    assert kept.read_text() == (home.checkpoints / "latest.txt").read_text()
    assert run("trail", "checkpoint", "--home", home.root, "--out", kept).returncode == 2
    assert run("trail", "export", "--home", home.root, "--out", out, "--format", "jsonl").returncode == 0
    done = run("trail", "verify", "--home", home.root, "--against", kept, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["clean"]) == (0, True)
    with opened(home) as archive:
        cut(archive, 0)
    done = run("trail", "verify", "--home", home.root, "--against", kept)
    assert done.returncode == 1
    assert "cut off" in done.stdout
    assert run("trail", "verify", "--home", home.root, "--against", tmp_path / "none").returncode == 2
