"""An older index, or another database, under the objects of an archive: nothing acknowledged is ever swept away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import clean_environment, new_home, opened, serving, strongroom_command, trail_events
from harness.ingesting import LARGE_PIXELS, Sample, store
from strongroom.admin.recovery import CLOCK_STEP_MS, OLDER_INDEX_ACCEPTED, SWEPT_UNTIL, recover, require_current_index
from strongroom.admin.trail import verify_trail
from strongroom.app import SERVE_LOG, Archive
from strongroom.archive.model import Action, Outcome
from strongroom.checkpoints import LATEST_NAME, read_notes
from strongroom.config import Home
from strongroom.errors import ConfigError
from strongroom.store.blobs import new_object_id


def put_in(home: Home, *numbers: int) -> None:
    with opened(home, SERVE_LOG) as archive:
        for number in numbers:
            store(archive, Sample(number, pixel_bytes=LARGE_PIXELS))
        archive.checkpoint()


def objects(home: Home) -> int:
    return sum(path.is_file() for path in home.objects.rglob("*"))


def put_back(home: Home, older: bytes) -> None:
    for path in home.data.glob("index.db*"):
        path.unlink()
    home.index.write_bytes(older)


def start(home: Home, *, accept_older: bool = False) -> None:
    """What `serve` does before it listens, and the checkpoint with which it ends."""
    with opened(home, SERVE_LOG) as archive:
        require_current_index(archive, accept_older=accept_older)
        recover(archive)
        archive.checkpoint()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An archive of four objects, with the index of the time when it had one."""
    home = new_home(tmp_path / "home", {"trail": {"checkpoint_dirs": [str(tmp_path / "elsewhere")]}})
    put_in(home, 0)
    older = home.index.read_bytes()
    put_in(home, 1, 2, 3)
    put_back(home, older)
    return home


def test_two_starts_of_the_server_lose_nothing(home: Home) -> None:
    for _ in range(2):
        command = strongroom_command("serve", "--home", home.root)
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode
        assert "--accept-older-index" in done.stderr
    for options in (["--accept-older-index"], []):
        with serving(home, strongroom_command("serve", "--home", home.root, *options)) as running:
            assert running.stop() == 0
    assert objects(home) == 4
    with opened(home) as archive:
        accepted = [event for event in trail_events(archive) if event.details.get("what") == "older index accepted"]
    assert [(event.action, event.outcome) for event in accepted] == [(Action.CONFIG_CHANGE, Outcome.WARNING)]


def test_a_recovery_and_its_checkpoint_do_not_make_the_next_one_forget(home: Home) -> None:
    for _ in range(3):
        with opened(home, SERVE_LOG) as archive:
            assert "older than its checkpoint" in recover(archive, everything=True).postponed
            archive.checkpoint()
    assert objects(home) == 4


def latest_gone(home: Home, elsewhere: Path) -> None:
    for folder in (home.checkpoints, elsewhere):
        (folder / "latest.txt").unlink()


def only_elsewhere(home: Home, elsewhere: Path) -> None:
    shutil.rmtree(home.checkpoints)


def latest_garbled(home: Home, elsewhere: Path) -> None:
    shutil.rmtree(elsewhere)
    (home.checkpoints / "latest.txt").write_text("nothing\n")


@pytest.mark.parametrize("damage", [latest_gone, only_elsewhere, latest_garbled])
def test_every_checkpoint_file_is_looked_at(home: Home, damage: Callable[[Home, Path], None], tmp_path: Path) -> None:
    damage(home, tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="older than the archive"):
        start(home)


def test_an_index_that_has_grown_past_the_checkpoint_is_another_all_the_same(home: Home) -> None:
    with opened(home, SERVE_LOG) as archive:
        for number in range(9):
            archive.record(Action.CONFIG_CHANGE, {"what": f"change {number}"})
    with pytest.raises(ConfigError, match="older than the archive"):
        start(home)


def test_latest_is_never_made_to_say_less(home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(home, SERVE_LOG) as archive:
        archive.record(Action.CONFIG_CHANGE, {"what": "something"})
        archive.checkpoint()
        archive.record(Action.CONFIG_CHANGE, {"what": "something else"})
        archive.checkpoint()
        assert "the index has less" in caplog.text
        verified = verify_trail(archive)
        assert len(verified.compared_with) == 2
        assert verified.findings
        while is_behind(archive):
            archive.record(Action.CONFIG_CHANGE, {"what": "catching up"})
        caplog.clear()
        archive.checkpoint()
        assert "the index has less" not in caplog.text


def is_behind(archive: Archive) -> bool:
    notes = read_notes(archive.home.checkpoints / LATEST_NAME)
    stated = max(note.checkpoint.size for note in notes if note.checkpoint.log == SERVE_LOG)
    with archive.index.database.read() as cursor:
        head = archive.trail_reader.head(cursor, SERVE_LOG)
    assert head is not None
    return head.size <= stated


def test_a_strangers_larger_checkpoint_holds_nobody_up(tmp_path: Path) -> None:
    """Whoever can write to a checkpoint directory but does not have the key cannot keep the archive from starting."""
    other = new_home(tmp_path / "other")  # the same archive id, another key
    put_in(other, *range(5))
    mine = new_home(tmp_path / "mine")
    put_in(mine, 0)
    for path in other.checkpoints.iterdir():
        shutil.copy(path, mine.checkpoints)
    start(mine)
    assert (mine.checkpoints / "latest.txt").read_text() != (other.checkpoints / "latest.txt").read_text()


def test_acceptance_is_for_what_was_known_then_only(home: Home) -> None:
    start(home, accept_older=True)
    start(home)
    older = home.index.read_bytes()
    put_in(home, 7, 8)
    put_back(home, older)
    with pytest.raises(ConfigError, match="older than the archive"):
        start(home)
    start(home, accept_older=True)
    start(home)
    assert objects(home) == 6


def test_after_an_acceptance_only_what_came_later_is_swept(home: Home) -> None:
    start(home, accept_older=True)
    with opened(home, SERVE_LOG) as archive:
        with archive.index.database.read() as cursor:
            accepted_ms = int(archive.index.registry.get_meta(cursor, OLDER_INDEX_ACCEPTED))
        path = Path(archive.blobs.path(new_object_id(accepted_ms + 2 * CLOCK_STEP_MS, bytes(10))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"(sealed")
        assert recover(archive, everything=True).removed == 1
        assert not path.exists()
    assert objects(home) == 4


def test_accepting_an_index_that_is_current_says_and_changes_nothing(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    put_in(home, 0)
    start(home, accept_older=True)
    with opened(home) as archive, archive.index.database.read() as cursor:
        assert archive.index.registry.get_meta(cursor, OLDER_INDEX_ACCEPTED) == ""
        assert archive.index.registry.get_meta(cursor, SWEPT_UNTIL)


def test_objects_beside_an_index_that_knows_of_nothing_stay(tmp_path: Path) -> None:
    """A fresh database before the first checkpoint: there is nothing to hold it against but the objects."""
    home = new_home(tmp_path / "home")
    fresh = home.index.read_bytes()
    with opened(home, SERVE_LOG) as archive:
        for number in range(3):
            store(archive, Sample(number, pixel_bytes=LARGE_PIXELS))
    put_back(home, fresh)
    with opened(home, SERVE_LOG) as archive:
        assert "knows of none" in recover(archive).postponed
        store(archive, Sample(9, pixel_bytes=LARGE_PIXELS))
    start(home)
    assert objects(home) == 4
