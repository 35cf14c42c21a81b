"""init: it takes nothing over, leaves nothing behind, and never calls an archive a remainder."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import change_config, config_text, new_home, opened, trail_events
from harness.postgres import free_port
from strongroom import app
from strongroom.admin.check import check_home
from strongroom.admin.recovery import serving_alone
from strongroom.admin.trail import verify_trail
from strongroom.config import Home, load, parse
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.store.transaction import ACTIVE_MASTER

OTHER_ID = "fedcba9876543210fedcba9876543210"


def initialise(root: Path, **settings: object) -> Home:
    home, text = Home(root), config_text(settings)
    app.initialise(home, text, parse(text))
    return home


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- a lost config.toml


@pytest.mark.parametrize("left", ["secrets", "index.db", "objects"])
def test_an_archive_without_its_configuration_is_never_called_left_over(tmp_path: Path, left: str) -> None:
    home = new_home(tmp_path / "home")
    lost = home.config.read_bytes()
    home.config.unlink()
    (home.objects / "00000").mkdir()
    for path in home.data.iterdir():
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = everything(tmp_path)
    for attempt in (lambda: load(home), lambda: initialise(home.root), lambda: serving_alone(home).__enter__()):
        with pytest.raises(ConfigError, match="Delete nothing") as caught:
            attempt()
        assert "remove" not in str(caught.value)
    assert everything(tmp_path) == before
    if left == "secrets":
        return
    home.config.write_bytes(lost)
    assert load(home).archive.id


def test_the_id_to_write_into_a_new_config_stands_where_the_message_says(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home", {"archive": {"id": OTHER_ID}})
    with opened(home) as archive:
        archive.checkpoint()
    line = (home.checkpoints / "latest.txt").read_text().splitlines()[0]
    assert line.split("/")[:2] == ["strongroom", OTHER_ID]


def test_only_an_empty_data_directory_is_called_left_over(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.objects.mkdir(parents=True)
    with pytest.raises(ConfigError, match="left of an `init`"):
        initialise(home.root)
    with pytest.raises(ConfigError, match="run `strongroom init"):
        load(home)


# --- whose index it is


def test_an_index_opens_only_with_the_id_that_it_was_made_with(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    change_config(home, {"archive": {"id": OTHER_ID}})
    with pytest.raises(ConfigError, match="0123456789abcdef0123456789abcdef.*" + OTHER_ID), opened(home):
        pass


@pytest.mark.interop
def test_a_database_that_holds_an_archive_is_not_taken_over(
    tmp_path: Path, new_postgres_url: Callable[[], str]
) -> None:
    url = new_postgres_url()
    first = initialise(tmp_path / "first", index={"url": url})
    with opened(first) as archive, archive.index.database.read() as cursor:
        master = archive.index.registry.get_meta(cursor, ACTIVE_MASTER)
        events = len(trail_events(archive))
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match="already holds an archive"):
        initialise(tmp_path / "second", index={"url": url}, archive={"id": OTHER_ID})
    assert everything(tmp_path) == before
    with opened(first) as archive, archive.index.database.read() as cursor:
        assert archive.index.registry.get_meta(cursor, ACTIVE_MASTER) == master
        assert len(trail_events(archive)) == events


@pytest.mark.interop
def test_another_archives_database_is_not_opened(tmp_path: Path, new_postgres_url: Callable[[], str]) -> None:
    urls = new_postgres_url(), new_postgres_url()
    initialise(tmp_path / "first", index={"url": urls[0]})
    second = initialise(tmp_path / "second", index={"url": urls[1]}, archive={"id": OTHER_ID})
    change_config(second, {"index": {"url": urls[0]}, "archive": {"id": OTHER_ID}})
    with pytest.raises(ConfigError, match="belongs to archive"), opened(second):
        pass


# --- an init that fails


@pytest.mark.interop
def test_a_database_that_is_away_leaves_no_trace_and_no_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://somebody:pa55word@127.0.0.1:{free_port()}/index"
    with pytest.raises(StorageUnavailable, match=r"(?i)refused") as caught:
        initialise(tmp_path / "home", index={"url": url})
    assert "pa55word" not in str(caught.value)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("place", ["upgrade", "Archive"])
def test_an_init_that_fails_takes_everything_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object) -> None:
        raise StorageUnavailable("no space")

    with monkeypatch.context() as patch:
        patch.setattr(app, place, fail)
        with pytest.raises(StorageUnavailable, match="no space"):
            initialise(tmp_path / "home")
    assert everything(tmp_path) == []
    assert initialise(tmp_path / "home").config.exists()


def test_an_init_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageUnavailable("no space")

    new_home(tmp_path / "other", {"keys": {"path": str(tmp_path / "keys")}})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    monkeypatch.setattr(app, "upgrade", fail)
    with pytest.raises(StorageUnavailable):
        initialise(tmp_path / "home", keys={"path": str(tmp_path / "keys")})
    assert everything(tmp_path) == before


def test_a_second_checkpoint_directory_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unmounted"):
        initialise(tmp_path / "home", trail={"checkpoint_dirs": [str(tmp_path / "unmounted")]})
    assert everything(tmp_path) == []


def test_a_checkpoint_directory_that_went_away_is_told_and_not_made(tmp_path: Path) -> None:
    gone, other = tmp_path / "gone", tmp_path / "other"
    home = new_home(tmp_path / "home", {"trail": {"checkpoint_dirs": [str(gone), str(other)]}})
    gone.rmdir()
    with opened(home) as archive:
        with pytest.raises(StorageUnavailable, match=str(gone)):
            archive.checkpoint()
        # What is there is written all the same.
        assert (other / "latest.txt").exists()
        assert (home.checkpoints / "latest.txt").exists()
        (found,) = verify_trail(archive).findings
    assert f"{gone} is not there" in found.what
    assert [f"{gone} is not there" in each.what for each in check_home(home, lambda *_: None).findings] == [True]
    assert not gone.exists()


# --- the wrong key, and a home that cannot be written to


def test_a_wrong_passphrase_is_no_tampering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "correct horse battery")
    home = new_home(tmp_path / "home", {"keys": {"source": "passphrase"}})
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "correct horse batterz")
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        check_home(home, lambda *_: None)
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "correct horse battery")
    assert check_home(home, lambda *_: None).findings == ()


def test_another_key_under_the_right_name_is_no_tampering(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    (key,) = home.default_keys.glob("*.key")
    key.write_text("ab" * 32)
    with pytest.raises(ConfigError, match=f"{key.stem}: .*another key has that id"):
        check_home(home, lambda *_: None)


def test_a_home_that_cannot_be_written_to_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = new_home(tmp_path / "home")
    monkeypatch.setattr(os, "access", lambda place, how: not (how & os.W_OK and Path(place) == home.data))
    with pytest.raises(ConfigError, match=f"{home.data} is not writable"):
        check_home(home, lambda *_: None)


# --- who did it


def test_who_acts_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    for variable in ("USER", "LOGNAME"):
        monkeypatch.setenv(variable, "dr.house")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert app.local_principal().user == name
    monkeypatch.setenv("SUDO_USER", "alice")
    assert app.local_principal().user == f"{name} (claims to be alice)"
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    monkeypatch.delenv("SUDO_USER")
    assert app.local_principal().user == "uid 3999999999"
