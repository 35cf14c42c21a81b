"""A backup is whole as of one moment, sealed, incremental; a restore believes nothing that it has not verified."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import RunningArchive, change_config, new_home, opened, trail_events
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store, stored_digest, visible_sop_uids
from harness.quarantines import hold
from strongroom.admin import backup, drill
from strongroom.admin import keys as key_administration
from strongroom.admin.backup import BackedUp
from strongroom.admin.backupsets import MASTERS_NAME, BackupMedium, object_path
from strongroom.admin.check import check
from strongroom.admin.deletion import delete_study
from strongroom.admin.recovery import require_current_index
from strongroom.admin.restore import BUILT_IN, Restored, RestoreOrder, restore
from strongroom.app import SERVE_LOG, Archive
from strongroom.archive.model import Action, Event, Outcome
from strongroom.config import Home, load
from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable

NAME = "Zyxplanted^Qwertius"
PASSPHRASE = "five words that nobody says"


def nothing(*_: object) -> None:
    """No progress is drawn."""


def samples(count: int, start: int = 0, study: int = 1) -> list[Sample]:
    """Small and large ones in turn, with a name to look for."""
    sizes = (SMALL_PIXELS, LARGE_PIXELS)
    return [Sample(n, study, pixel_bytes=sizes[n % 2], patient_name=NAME) for n in range(start, start + count)]


def fill(archive: Archive, some: list[Sample]) -> None:
    for sample in some:
        store(archive, sample)


def backed_up(archive: Archive, to: Path, **more: str) -> BackedUp:
    return backup.create(archive, to, nothing, **more)


def with_keys(home: Home, target: Path) -> Path:
    """A new home's place, the archive's keys beside it as an operator puts them there."""
    if target != home.root:
        shutil.copytree(home.default_keys, target.with_name(target.name + ".keys"), dirs_exist_ok=True)
    return target


def restored(home: Home, medium: Path, target: Path, **more: object) -> Restored:
    return restore(RestoreOrder(medium, with_keys(home, target), **more), nothing)  # type: ignore[arg-type]


def acts(archive: Archive) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is Action.BACKUP]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = new_home(tmp_path / "home")
    with opened(made) as archive:
        fill(archive, samples(6))
        hold(archive, Sample(700, 9))
        hold(archive, Sample(701, 9, pixel_bytes=LARGE_PIXELS))
    return made


def test_what_was_there_comes_back(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        done = backed_up(archive, tmp_path / "medium")
        assert [event.details["phase"] for event in acts(archive)] == ["begin", "end"]
    assert done.manifest.counts["instances"] == 6
    assert done.manifest.counts["held"] == 2
    assert done.objects_copied == done.manifest.counts["files"] == 4
    found = restored(home, tmp_path / "medium", tmp_path / "new")
    assert (found.total_findings, found.is_finished, found.objects) == (0, True, 6)
    with opened(Home(tmp_path / "new")) as archive:
        assert [stored_digest(archive, each.sop_uid) for each in samples(6)] == [each.sha256 for each in samples(6)]
        assert len(archive.quarantine.entries()) == 2
        assert check(archive, nothing).findings == ()
        (said,) = [event for event in acts(archive) if event.details["what"] == "restore"]
        assert (said.outcome, said.details["backup"]) == (Outcome.SUCCESS, done.manifest.name)
        require_current_index(archive)
    assert (tmp_path / "new" / "config.toml").read_text() == home.config.read_text()


def test_a_second_backup_copies_what_is_new_and_leaves_the_first_alone(home: Home, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    with opened(home) as archive:
        first = backed_up(archive, medium)
        fill(archive, samples(4, 100))
        second = backed_up(archive, medium)
    assert second.objects_copied == 2
    assert BackupMedium(medium).names() == [first.manifest.name, second.manifest.name]
    assert restored(home, medium, tmp_path / "old", backup=first.manifest.name).objects == 6
    assert restored(home, medium, tmp_path / "new").objects == 10


def test_nothing_of_a_patient_and_no_key_is_on_the_medium(home: Home, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    with opened(home) as archive:
        (master,) = {path.read_text().strip() for path in home.default_keys.glob("*.key")}
        name = backed_up(archive, medium, passphrase=PASSPHRASE).manifest.name
    planted = ("Zyxplanted", "ZYXPLANTED", "Qwertius", "PID-1", samples(1)[0].study_uid)
    needles = [text.encode(code) for text in planted for code in ("utf-8", "utf-16-le")]
    needles += [b"DICM", samples(2)[1].dataset[-64:], master.encode(), bytes.fromhex(master), PASSPHRASE.encode()]
    files = [path for path in medium.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if any(needle in path.read_bytes() for needle in needles)] == []
    assert [path for path in files if any(word in path.name for word in planted)] == []
    assert (medium / "sets" / name / MASTERS_NAME).exists()
    assert [path for path in (medium, *medium.rglob("*")) if path.is_dir() and path.stat().st_mode & 0o077] == []


def test_master_keys_come_only_when_asked_for_and_open_with_the_passphrase_only(home: Home, tmp_path: Path) -> None:
    medium, target = tmp_path / "medium", tmp_path / "new"
    with opened(home) as archive:
        backed_up(archive, medium)
        with pytest.raises(ConfigError, match="fewer than 12"):
            backed_up(archive, medium, passphrase="short")
    with pytest.raises(ConfigError, match="made without its master keys"):
        restore(RestoreOrder(medium, target, passphrase=PASSPHRASE), nothing)
    with pytest.raises(ConfigError, match="--key-dir"):
        restore(RestoreOrder(medium, target), nothing)
    assert not target.exists()
    with opened(home) as archive:
        backed_up(archive, medium, passphrase=PASSPHRASE)
    with pytest.raises(ConfigError, match="passphrase is another one"):
        restore(RestoreOrder(medium, target, passphrase=PASSPHRASE + "!"), nothing)
    assert restore(RestoreOrder(medium, target, passphrase=PASSPHRASE), nothing).is_finished
    keys = Home(target).default_keys
    assert {path.read_text() for path in keys.iterdir()} == {path.read_text() for path in home.default_keys.iterdir()}
    assert {path.stat().st_mode & 0o777 for path in (keys, *keys.iterdir())} == {0o700, 0o600}


@pytest.mark.parametrize("part", ["object", "index.db", "manifest.json", "seal", "secrets/trail.sealed", "ca.pem"])
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_one_flipped_bit_is_found(home: Home, tmp_path: Path, part: str, at: float) -> None:
    medium, target = tmp_path / "medium", tmp_path / "new"
    with opened(home) as archive:
        name = backed_up(archive, medium).manifest.name
        stored = archive.index.find_object(samples(2)[1].sop_uid)
        assert stored is not None
    path = medium / "sets" / name / part
    if part == "object":
        path = medium / "objects" / object_path(stored.object_id)
    raw = bytearray(path.read_bytes())
    raw[int(at * (len(raw) - 1))] ^= 1
    path.write_bytes(raw)
    if part != "object":
        with pytest.raises((IntegrityError, ConfigError)):
            restored(home, medium, target)
        assert not target.exists()
        return
    found = restored(home, medium, target)
    assert not found.is_finished
    assert {(each.kind, each.sop_uid) for each in found.findings} == {("object-altered", samples(2)[1].sop_uid)}
    with pytest.raises(ConfigError, match="half restored"):
        load(Home(target))
    with pytest.raises(ConfigError, match="half restored"):
        Archive(Home(target), SERVE_LOG)
    assert restored(home, medium, target, accepts_findings=True).is_finished
    with opened(Home(target)) as archive:
        assert acts(archive)[-1].outcome is Outcome.FAILED
        assert acts(archive)[-1].details["accepted"] is True


def test_an_object_that_is_gone_from_the_medium_is_found(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        backed_up(archive, tmp_path / "medium")
        stored = archive.index.find_object(samples(2)[1].sop_uid)
        assert stored is not None
    (tmp_path / "medium" / "objects" / object_path(stored.object_id)).unlink()
    found = restored(home, tmp_path / "medium", tmp_path / "new")
    assert [each.kind for each in found.findings] == ["object-missing"]
    assert not found.is_finished


def test_a_checkpoint_from_outside_tells_an_older_backup_and_another_past(home: Home, tmp_path: Path) -> None:
    medium, outside = tmp_path / "medium", tmp_path / "outside.txt"
    with opened(home) as archive:
        outside.write_text(archive.checkpoint())
        backed_up(archive, medium)
        later = tmp_path / "later.txt"
        fill(archive, samples(3, 50))
        later.write_text(archive.checkpoint())
    good = restored(home, medium, tmp_path / "good", against=(outside,))
    assert good.is_finished
    assert good.compared_with[0] == str(outside)
    older = restored(home, medium, tmp_path / "older", against=(later,))
    assert not older.is_finished
    assert {each.kind for each in older.findings} == {"trail"}
    assert restored(home, medium, tmp_path / "older", against=(later,), accepts_findings=True).is_finished
    stranger = new_home(tmp_path / "stranger")
    change_config(stranger, {})
    with opened(stranger) as archive:
        outside.write_text(archive.checkpoint())
    assert not restored(home, medium, tmp_path / "other", against=(outside,)).is_finished


def test_nothing_is_restored_into_what_is_in_use(home: Home, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    with opened(home) as archive:
        backed_up(archive, medium)
    with pytest.raises(ConfigError, match="not empty"):
        restored(home, medium, home.root)
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        restored(home, medium, occupied)
    assert [path.name for path in occupied.iterdir()] == ["letter.txt"]


def test_a_medium_is_of_one_archive_and_of_nothing_else(home: Home, tmp_path: Path) -> None:
    other = new_home(tmp_path / "other", {"archive": {"id": "f" * 32}})
    with opened(home) as archive:
        backed_up(archive, tmp_path / "medium")
        for place, why in ((tmp_path / "other", "other things"), (home.root / "data" / "b", "lies with the archive"),
                           (tmp_path, "lies with"), (tmp_path / "no" / "where", "is not there")):  # fmt: skip
            with pytest.raises(ConfigError, match=why):
                backed_up(archive, place)
    with opened(other) as archive, pytest.raises(ConfigError, match="backups of archive 0123456789"):
        backed_up(archive, tmp_path / "medium")
    with pytest.raises(ConfigError, match="holds no backups"):
        restored(home, tmp_path / "other", tmp_path / "new")
    with pytest.raises(NotFound):
        restored(home, tmp_path / "medium", tmp_path / "new", backup="20260101T000000Z-0000")


def test_what_is_stored_and_deleted_meanwhile_leaves_the_backup_whole(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study goes, and another comes, after the index was copied and before its objects are."""
    with opened(home) as archive:
        fill(archive, samples(4, 200, study=2))
        copied = backup._Creation._copy_objects
        calls: list[int] = []

        def meanwhile(self: backup._Creation, index: Path) -> list[bytes]:
            if not calls:
                delete_study(archive, samples(1, study=2)[0].study_uid, "a test", nothing)
                fill(archive, samples(2, 300, study=3))
            calls.append(1)
            return copied(self, index)

        monkeypatch.setattr(backup._Creation, "_copy_objects", meanwhile)
        manifest = backed_up(archive, tmp_path / "medium").manifest
    assert len(calls) == 2
    assert manifest.missing == ()
    assert restored(home, tmp_path / "medium", tmp_path / "new").is_finished
    with opened(Home(tmp_path / "new")) as archive:
        assert visible_sop_uids(archive) == {each.sop_uid for each in samples(6) + samples(2, 300, study=3)}


def test_an_archive_that_lost_an_object_is_backed_up_all_the_same_and_says_so(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        stored = archive.index.find_object(samples(2)[1].sop_uid)
        assert stored is not None
        Path(archive.blobs.path(stored.object_id)).unlink()
        done = backed_up(archive, tmp_path / "medium")
        assert done.manifest.missing == (stored.object_id.hex(),)
        assert acts(archive)[-1].outcome is Outcome.WARNING


def test_objects_in_the_journal_are_in_the_backup(home: Home, tmp_path: Path) -> None:
    with opened(home, SERVE_LOG) as archive:
        assert archive.index.backlog is not None
        archive.index.backlog.start()
        for sample in samples(8, 400):
            store(archive, sample)
        with opened(home) as beside:
            manifest = backed_up(beside, tmp_path / "medium").manifest
    assert manifest.counts["instances"] == 14


def test_a_rotation_between_two_backups(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        first = backed_up(archive, tmp_path / "medium").manifest
        key_administration.rotate(archive, "", nothing)
        second = backed_up(archive, tmp_path / "medium").manifest
    assert set(first.masters).isdisjoint(second.masters)
    for number, manifest in enumerate((first, second)):
        assert restored(home, tmp_path / "medium", tmp_path / f"new{number}", backup=manifest.name).is_finished


def test_a_drill_compares_and_leaves_nothing_behind(home: Home, tmp_path: Path) -> None:
    medium, scratch = tmp_path / "medium", tmp_path / "scratch"
    left = scratch / f"{drill.PREFIX}dead"
    left.mkdir(parents=True)
    (left / "index.db").write_bytes(b"of a drill that was killed")
    with opened(home) as archive:
        backed_up(archive, medium)
        fill(archive, samples(2, 60))
        found = drill.drill(archive, RestoreOrder(medium, scratch), nothing)
        said = acts(archive)[-1]
    assert found.findings == ()
    assert (found.comparison.same, found.comparison.newer, found.comparison.different) == (6, 2, ())
    assert found.age_s >= 0
    assert found.restored.check_s > 0
    assert (said.details["what"], said.details["same"], said.outcome) == ("drill", 6, Outcome.SUCCESS)
    assert list(scratch.iterdir()) == []


def test_a_drill_finds_an_instance_that_is_another_one_now(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        backed_up(archive, tmp_path / "medium")
        connection = archive.backend.connect()
        uid = samples(1)[0].sop_uid
        connection.execute("UPDATE instance SET sha256 = ? WHERE sop_uid = ?", (bytes(32), uid))
        connection.close()
        found = drill.drill(archive, RestoreOrder(tmp_path / "medium", tmp_path / "scratch"), nothing)
        assert found.comparison.different == (uid,)
        assert [each.kind for each in found.findings] == ["backup-differs"]
        assert acts(archive)[-1].outcome is Outcome.FAILED


def test_a_drill_that_cannot_be_ended_is_in_the_trail_and_cleaned_up(home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        name = backed_up(archive, tmp_path / "medium").manifest.name
        (tmp_path / "medium" / "sets" / name / "index.db").write_bytes(b"")
        with pytest.raises(IntegrityError):
            drill.drill(archive, RestoreOrder(tmp_path / "medium", tmp_path / "scratch"), nothing)
        assert (acts(archive)[-1].outcome, acts(archive)[-1].details["reason"]) == (Outcome.FAILED, "IntegrityError")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_drill_writes_to_no_place_of_the_archive(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    home = new_home(tmp_path / "home", {"trail": {"checkpoint_dirs": [str(outside)]}})
    with opened(home) as archive:
        fill(archive, samples(2))
        backed_up(archive, tmp_path / "medium")
        before = {path.name: path.read_bytes() for path in outside.iterdir()}
        assert before
        assert drill.drill(archive, RestoreOrder(tmp_path / "medium", tmp_path / "scratch"), nothing).findings == ()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_a_share_that_is_away_keeps_nobody_from_a_backup(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    home = new_home(tmp_path / "home", {"trail": {"checkpoint_dirs": [str(outside)]}})
    with opened(home) as archive:
        fill(archive, samples(2))
        archive.checkpoint()
        shutil.rmtree(outside)
        backed_up(archive, tmp_path / "medium")
    assert restored(home, tmp_path / "medium", tmp_path / "new").is_finished


def test_two_backups_to_one_medium_do_not_mix(home: Home, tmp_path: Path) -> None:
    medium = BackupMedium(tmp_path / "medium")
    with opened(home) as archive:
        backed_up(archive, medium.root)
        with medium.alone(), pytest.raises(ConfigError, match="another backup is being written"):
            backed_up(archive, medium.root)


def test_names_go_forward_though_the_clock_goes_back(tmp_path: Path) -> None:
    medium = BackupMedium(tmp_path / "medium")
    medium.prepare("a" * 32)
    names = []
    for hour in (9, 9, 8):
        folder = medium.begin(dt.datetime(2026, 11, 22, hour, tzinfo=dt.UTC))
        names.append(medium.complete(folder).name)
    assert medium.names() == names == sorted(names)


def test_no_room_is_said_before_anything_is_copied(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(home) as archive:
        backed_up(archive, tmp_path / "medium")
    full = os.statvfs(tmp_path)
    values = list(full)
    values[4] = 0
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    with pytest.raises(ConfigError, match="less room"):
        restored(home, tmp_path / "medium", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_that_fails_is_none_and_the_next_one_goes_on(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = tmp_path / "medium"
    with opened(home) as archive:
        with monkeypatch.context() as patched:

            def fails(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patched.setattr(backup, "seal_manifest", fails)
            with pytest.raises(StorageUnavailable, match="No space left"):
                backed_up(archive, medium)
        assert BackupMedium(medium).names() == []
        assert (acts(archive)[-1].details["phase"], acts(archive)[-1].outcome) == ("end", Outcome.FAILED)
        assert backed_up(archive, medium).objects_copied == 0
    assert [path.name for path in (medium / "sets").iterdir()] == BackupMedium(medium).names()


@pytest.mark.interop
class TestPostgresql:
    """The same with the index on a server: its rows lie on the medium in a sealed file."""

    @pytest.fixture
    def server_home(self, tmp_path: Path, new_postgres_url: Callable[[], str]) -> Home:
        home = new_home(tmp_path / "home", {"index": {"url": new_postgres_url()}})
        with opened(home) as archive:
            fill(archive, samples(6))
            hold(archive, Sample(700, 9))
        return home

    def test_into_an_empty_database_and_into_a_file(
        self, server_home: Home, tmp_path: Path, new_postgres_url: Callable[[], str]
    ) -> None:
        medium = tmp_path / "medium"
        with opened(server_home) as archive:
            backed_up(archive, medium)
            in_use = archive.config.index.url
            found = drill.drill(archive, RestoreOrder(medium, tmp_path / "scratch"), nothing)
            assert (found.findings, found.comparison.same) == ((), 6)
        files = [path for path in medium.rglob("*") if path.is_file()]
        assert [path for path in files if b"Zyxplanted" in path.read_bytes() or (b"postgres" in path.read_bytes()
                and path.name != "manifest.json")] == []  # fmt: skip
        with pytest.raises(ConfigError, match="--index"):
            restored(server_home, medium, tmp_path / "none")
        with pytest.raises(ConfigError, match="already holds an archive"):
            restored(server_home, medium, tmp_path / "taken", index=in_use)
        assert restored(server_home, medium, tmp_path / "file", index=BUILT_IN).is_finished
        assert restored(server_home, medium, tmp_path / "server", index=new_postgres_url()).is_finished
        for place in ("file", "server"):
            with opened(Home(tmp_path / place)) as archive:
                assert visible_sop_uids(archive) == {each.sop_uid for each in samples(6)}
                fill(archive, samples(3, 50))  # new rows get numbers behind those that were restored
                assert check(archive, nothing).findings == ()
        assert not Home(tmp_path / "server").index.exists()

    def test_an_archive_goes_over_to_a_server(self, home: Home, tmp_path: Path, new_postgres_url: Callable[[], str]
    ) -> None:  # fmt: skip
        with opened(home) as archive:
            backed_up(archive, tmp_path / "medium")
        url = new_postgres_url()
        assert restored(home, tmp_path / "medium", tmp_path / "server", index=url).is_finished
        assert load(Home(tmp_path / "server")).index.url == url


def test_a_backup_of_a_served_archive_while_it_stores(tmp_path: Path, running_archive: Callable[..., RunningArchive]
) -> None:  # fmt: skip
    running = running_archive()
    stop, stored = threading.Event(), []

    def keep_storing() -> None:
        with opened(running.home) as archive:
            for sample in samples(2000, 1000):
                if stop.is_set():
                    return
                store(archive, sample)
                stored.append(sample)

    thread = threading.Thread(target=keep_storing)
    thread.start()
    try:
        with opened(running.home) as archive:
            manifests = [backed_up(archive, tmp_path / "medium").manifest for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    assert len(stored) > 3
    for number, manifest in enumerate(manifests):
        found = restored(running.home, tmp_path / "medium", tmp_path / f"new{number}", backup=manifest.name)
        assert (found.findings, found.is_finished) == ((), True)
