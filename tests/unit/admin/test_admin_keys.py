"""Going over to a new master key while everything goes on, and saying which keys are needed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.archives import add_peer, new_home, opened, serving_in_process, trail_events
from harness.ingesting import LARGE_PIXELS, Sample, store, stored_digest, visible_sop_uids
from harness.wire import A_ASSOCIATE_AC, Asks, RawPeer, tls_context
from strongroom.admin import keys as module
from strongroom.admin.check import check
from strongroom.admin.keys import MISSING, PRESENT, ROTATION, WRONG, Rotation, rotate, status
from strongroom.app import AUTHORITY_SECRET, INDEX_SECRET, Archive
from strongroom.archive.model import Action, Outcome
from strongroom.cli.commands import commands
from strongroom.config import Home
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.net.certificates import read_certificate
from strongroom.store import rewrapping
from strongroom.store.keys import secret_master_id
from strongroom.store.transaction import ACTIVE_MASTER

STUDIES = 12
SAMPLES = [Sample(1, study=number, pixel_bytes=LARGE_PIXELS if number % 3 else 600) for number in range(STUDIES)]


@pytest.fixture
def archive(archive_home) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        for sample in SAMPLES:
            store(found, sample)
        yield found


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrapping, "BATCH_KEYS", 5)


def run(archive: Archive, new_key_id: str = "") -> Rotation:
    return rotate(archive, new_key_id, lambda *_: None)


def masters(archive: Archive) -> dict[str, int]:
    with archive.index.database.read() as cursor:
        return dict(cursor.execute("SELECT master_id, count(*) FROM data_key GROUP BY master_id").fetchall())


def meta(archive: Archive, name: str) -> str:
    with archive.index.database.read() as cursor:
        return archive.index.registry.get_meta(cursor, name)


def secret_masters(archive: Archive) -> set[str]:
    return {secret_master_id(archive.secrets.get(name)) for name in archive.secrets.names()}


def test_a_renewed_authority_is_trusted_with_what_it_issued_before(archive_home) -> None:
    """Peers with the old CA certificate reach the server under the new one, and the other way round."""
    home = archive_home()
    with opened(home) as archive:
        old = add_peer(archive, "OLD1")
        before = read_certificate((home.root / "ca.pem").read_bytes())
        result = CliRunner().invoke(commands(), ["keys", "renew-ca", "--home", str(home.root)])
        after = read_certificate((home.root / "ca.pem").read_bytes())
        assert result.stdout.startswith(f"CA     good until {after.not_after.date()}")
        assert after.not_after >= before.not_after
        assert read_certificate(archive.issued(AUTHORITY_SECRET).certificate_pem) == after
        new = add_peer(archive, "NEW1")
        event = next(each for each in trail_events(archive) if "renewed" in str(each.details.get("what")))
        assert (event.details["before"], event.details["after"]) == (before.fingerprint, after.fingerprint)
    assert old.authority.read_bytes() != new.authority.read_bytes()
    with serving_in_process(home) as running:
        for credentials, authority in ((old, old), (old, new), (new, old), (new, new)):
            context = tls_context(credentials, authority=authority.authority)
            with RawPeer(running.port, context=context) as peer:
                assert peer.associate(Asks(credentials.aet))[0] == A_ASSOCIATE_AC


def key_file(home: Home, master_id: str) -> Path:
    return home.default_keys / f"{master_id}.key"


def everything_opens(home: Home, samples: list[Sample] = SAMPLES) -> bool:
    with opened(home) as archive:
        archive.tls()
        return (
            visible_sop_uids(archive) == {sample.sop_uid for sample in samples}
            and all(stored_digest(archive, sample.sop_uid) == sample.sha256 for sample in samples)
            and check(archive, lambda *_: None).findings == ()
        )


# -- rotation


def test_after_a_rotation_the_old_key_opens_nothing_that_is_needed(archive: Archive) -> None:
    old = meta(archive, ACTIVE_MASTER)
    rotation = run(archive)
    new = rotation.master_id
    assert (rotation.replaced, rotation.data_keys, rotation.resumed, rotation.unopened) == ((old,), STUDIES, False, ())
    assert rotation.secrets == len(list(archive.secrets.names())) >= 4
    assert masters(archive) == {new: STUDIES}
    assert secret_masters(archive) == {new}
    assert (meta(archive, ACTIVE_MASTER), meta(archive, ROTATION)) == (new, "")
    archive.close()
    key_file(archive.home, old).unlink()  # not before
    assert everything_opens(archive.home)


def test_what_was_wrapped_is_the_same_key_and_no_object_is_touched(archive: Archive) -> None:
    before = {sample: archive.index.study_key(sample.study_uid) for sample in SAMPLES}
    files = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in archive.home.objects.rglob("*") if path.is_file()
    }
    run(archive)
    for sample, key in before.items():
        after = archive.index.study_key(sample.study_uid)
        assert key is not None
        assert after is not None
        assert (after.key_id, after.key) == (key.key_id, key.key)
        assert after.wrapped != key.wrapped
    assert len(files) == sum(sample.pixel_bytes == LARGE_PIXELS for sample in SAMPLES)
    assert all((path.stat().st_mtime_ns, path.read_bytes()) == seen for path, seen in files.items())


def test_the_old_key_is_kept_and_another_rotation_makes_another(archive: Archive) -> None:
    first = meta(archive, ACTIVE_MASTER)
    second, third = run(archive).master_id, run(archive).master_id
    assert len({first, second, third}) == 3
    assert all(key_file(archive.home, master_id).exists() for master_id in (first, second, third))
    assert masters(archive) == {third: STUDIES}


def test_the_trail_says_when_it_began_and_ended(archive: Archive) -> None:
    rotation = run(archive)
    begin, end = [event for event in trail_events(archive) if event.action is Action.KEY_ROTATION]
    assert (begin.details["phase"], begin.details["master"], begin.details["replaced"]) == (
        "begin", rotation.master_id, rotation.replaced,
    )  # fmt: skip
    assert (end.details["phase"], end.details["data_keys"], end.details["unopened"]) == ("end", STUDIES, 0)
    assert end.outcome is Outcome.SUCCESS


def test_a_server_goes_on_and_new_studies_come_under_the_new_key(archive: Archive) -> None:
    """At every step of the rotation another process, which knows the old key only, stores a study."""
    new = [Sample(1, study=100 + number) for number in range(20)]
    left = iter(new)
    with opened(archive.home, "serve") as server:
        old = server.ring.active_id

        def store_another(*_: int) -> None:
            sample = next(left, None)
            if sample is not None:
                store(server, sample)

        store_another()
        rotation = rotate(archive, "", store_another)
        assert rotation.data_keys == STUDIES + 1
        stored = [sample for sample in new if server.index.find_object(sample.sop_uid)]
        assert len(stored) >= 4
        assert masters(archive) == {rotation.master_id: STUDIES + len(stored)}
        assert server.ring.active_id == rotation.master_id != old
        # What it had open before, and what it stores into studies that it knows, goes on as well.
        store(server, Sample(2, study=SAMPLES[0].study))
        store(server, Sample(2, study=stored[0].study))
        assert all(stored_digest(server, sample.sop_uid) == sample.sha256 for sample in (*SAMPLES, *stored))
    key_file(archive.home, old).unlink()
    archive.close()
    everything = [*SAMPLES, *stored, Sample(2, study=SAMPLES[0].study), Sample(2, study=stored[0].study)]
    assert everything_opens(archive.home, everything)


def test_storing_in_threads_all_the_while(archive: Archive) -> None:
    done = threading.Event()
    stored: list[Sample] = []

    def keep_storing() -> None:
        with opened(archive.home, "serve") as server:
            number = 1000
            while not done.is_set() or len(stored) < 10:
                sample = Sample(1, study=number)
                store(server, sample)
                stored.append(sample)
                number += 1

    thread = threading.Thread(target=keep_storing)
    thread.start()
    try:
        rotations = [run(archive) for _ in range(3)]
    finally:
        done.set()
        thread.join()
    assert masters(archive) == {rotations[-1].master_id: STUDIES + len(stored)}
    archive.close()
    for master_id in {*rotations[0].replaced, rotations[0].master_id, rotations[1].master_id}:
        key_file(archive.home, master_id).unlink()
    assert everything_opens(archive.home, SAMPLES + stored)


class Killed(BaseException):
    """The process is gone: nothing that comes after runs."""


STEPS = ["_begin", "secrets", "second secret", "_rewrap", "second batch", "_end"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_archive_opens_and_the_next_rotation_ends_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old = meta(archive, ACTIVE_MASTER)
    calls = 0

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if step == "secrets":
            patch.setattr(archive.secrets, "rewrap_all", die)
        elif step in ("second secret", "second batch"):
            owner, name = (archive.secrets, "put") if step == "second secret" else (rewrapping.Rewrapping, "batch")
            real = getattr(owner, name)

            def die_second(*arguments: object) -> object:
                nonlocal calls
                calls += 1
                if calls == 2:
                    raise Killed
                return real(*arguments)

            patch.setattr(owner, name, die_second)
        else:
            patch.setattr(module, step, die)
        with pytest.raises(Killed):
            run(archive)
    archive.close()
    assert everything_opens(archive.home)
    found = status(archive.home)
    assert found.is_good
    begun = step != "_begin"
    assert found.rotation_unfinished is begun
    with opened(archive.home) as again:
        store(again, Sample(1, study=500))
        halfway = meta(again, ACTIVE_MASTER)
        assert (halfway != old) is begun
        rotation = run(again)
        assert rotation.resumed is begun
        assert (rotation.master_id == halfway) is begun
        assert masters(again) == {rotation.master_id: STUDIES + 1}
        assert secret_masters(again) == {rotation.master_id}
        assert meta(again, ROTATION) == ""
    key_file(archive.home, old).unlink()
    assert everything_opens(archive.home, [*SAMPLES, Sample(1, study=500)])


def test_a_key_that_does_not_open_is_left_and_named(archive: Archive) -> None:
    bad = archive.index.study_key(SAMPLES[3].study_uid)
    assert bad is not None
    sql = "UPDATE data_key SET wrapped = ? WHERE key_id = ?"
    archive.index.database.write(lambda unit: unit.cursor.execute(sql, (bytes(60), bad.key_id)))
    archive.ring.forget_all()
    rotation = run(archive)
    assert rotation.unopened == (bad.key_id,)
    assert rotation.data_keys == STUDIES - 1
    assert trail_events(archive)[-1].outcome is Outcome.WARNING
    assert meta(archive, ROTATION) == ""


def test_two_rotations_at_once_do_not_undo_each_other(archive: Archive) -> None:
    with opened(archive.home) as other:
        begun = []

        def begin_another(*_: int) -> None:
            if not begun:
                begun.append(module.rotate(other, "", lambda *_: None))

        # The second one ends the first; the first then finds its work done.
        first = rotate(archive, "", begin_another)
        assert begun[0].master_id == first.master_id
        assert masters(archive) == {first.master_id: STUDIES}


def test_a_rotation_gives_way_to_one_that_began_later(archive: Archive) -> None:
    def activate_another(*_: int) -> None:
        archive.index.set_meta(ACTIVE_MASTER, archive.source.create())  # type: ignore[union-attr]

    with pytest.raises(StorageUnavailable, match="another rotation"):
        rotate(archive, "", activate_another)


def test_nothing_is_begun_with_a_key_that_cannot_be_had(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    old = meta(archive, ACTIVE_MASTER)
    monkeypatch.setattr(archive.source, "create", lambda: "mk-nowhere")
    with pytest.raises(ConfigError, match="mk-nowhere"):
        run(archive)
    assert (meta(archive, ACTIVE_MASTER), meta(archive, ROTATION)) == (old, "")
    assert masters(archive) == {old: STUDIES}


def test_only_a_key_command_is_told_the_new_id(archive: Archive) -> None:
    with pytest.raises(ConfigError, match="--new-key-id"):
        run(archive, "mk-mine")


PRINT_KEY = "import hashlib, sys; print(hashlib.sha256(sys.argv[1].encode()).hexdigest())"


def test_a_key_command_gives_the_new_key(archive_home) -> None:
    command = {"source": "command", "command": [sys.executable, "-c", PRINT_KEY, "{key_id}"]}
    home = archive_home(keys=command)
    with opened(home) as archive:
        for sample in SAMPLES:
            store(archive, sample)
        with pytest.raises(ConfigError, match="name it with --new-key-id"):
            run(archive)
        old = meta(archive, ACTIVE_MASTER)
        rotation = run(archive, "kms-key-of-2027-with-a-long-name")
        assert rotation.replaced == (old,)
        assert masters(archive) == {"kms-key-of-2027-with-a-long-name": STUDIES}
        with pytest.raises(ConfigError, match="active master key already"):
            run(archive, "kms-key-of-2027-with-a-long-name")
    assert everything_opens(home)


# -- status


def test_status_counts_what_each_key_is_needed_for(archive: Archive) -> None:
    found = status(archive.home)
    (key,) = found.keys
    assert (key.data_keys, key.active, key.state) == (STUDIES, True, PRESENT)
    assert key.secrets == len(list(archive.secrets.names()))
    assert found.is_good
    assert not found.rotation_unfinished


def half_rotated(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The old and the new master key of a rotation that stopped after its first batch."""
    calls = 0
    real = rewrapping.Rewrapping.batch

    def die_second(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed
        return real(*arguments)  # type: ignore[arg-type]

    old = meta(archive, ACTIVE_MASTER)
    with monkeypatch.context() as patch:
        patch.setattr(rewrapping.Rewrapping, "batch", die_second)
        with pytest.raises(Killed):
            run(archive)
    return old, meta(archive, ACTIVE_MASTER)


def test_a_key_that_is_still_needed_and_missing_is_bad_news(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = half_rotated(archive, monkeypatch)
    archive.close()
    key_file(archive.home, old).unlink()
    found = status(archive.home)
    states = {key.key_id: (key.state, key.active) for key in found.keys}
    assert states == {old: (MISSING, False), new: (PRESENT, True)}
    assert sum(key.data_keys or 0 for key in found.keys) == STUDIES
    assert not found.is_good
    with opened(archive.home) as again, pytest.raises(ConfigError, match=old):
        run(again)


def test_a_key_under_the_name_of_another_is_bad_news(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = half_rotated(archive, monkeypatch)
    archive.close()
    key_file(archive.home, old).write_text("00" * 32)
    assert {key.key_id: key.state for key in status(archive.home).keys} == {old: WRONG, new: PRESENT}


@pytest.mark.parametrize("state", [MISSING, WRONG])
def test_without_the_key_of_the_index_it_says_which_key_that_is(archive: Archive, state: str) -> None:
    active = meta(archive, ACTIVE_MASTER)
    archive.close()
    path = key_file(archive.home, active)
    path.unlink() if state == MISSING else path.write_text("00" * 32)
    found = status(archive.home)
    (key,) = found.keys
    assert (key.key_id, key.data_keys, key.state, key.active) == (active, None, state, True)
    assert not found.index_opened
    assert not found.is_good


def test_there_is_no_status_without_an_archive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no archive"):
        status(Home(tmp_path))
    home = new_home(tmp_path / "home")
    (home.secrets / f"{INDEX_SECRET}.sealed").unlink()
    with pytest.raises(ConfigError, match="damaged"):
        status(home)
