"""Somebody wants an object out of the quarantine, or out of the world, and has the disk, the database or a flood."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.archives import opened, trail_events
from harness.ingesting import LARGE_PIXELS, Sample, store, visible_sop_uids
from harness.quarantines import add_officers, hold
from strongroom.admin.check import check
from strongroom.admin.quarantine import Step, destroy, release
from strongroom.admin.recovery import recover
from strongroom.admin.two_people import Order
from strongroom.app import Archive
from strongroom.archive.model import Action
from strongroom.errors import Denied, IntegrityError, LimitExceeded, NotFound, StrongroomError
from strongroom.serving.checkworker import Damaged, Done, Orders, Pace, Walked, Word, walk
from strongroom.store.quarantine import What

SMALL, LARGE = Sample(1, study=1), Sample(2, study=1, pixel_bytes=LARGE_PIXELS)


@pytest.fixture
def archive(archive_home) -> Iterator[Archive]:
    """Two objects are held, one in a row and one in a file, and one is stored."""
    with opened(archive_home()) as found:
        add_officers(found, "ann", "bob", "cid")
        store(found, Sample(9, study=9))
        hold(found, SMALL)
        hold(found, LARGE)
        yield found


def sql(archive: Archive, statement: str, *values: object) -> None:
    """What somebody does who has the index and its key."""
    archive.index.database.write(lambda transaction: transaction.cursor.execute(statement, values))


def file_of(archive: Archive, number: int) -> Path:
    return Path(archive.blobs.path(archive.quarantine.find(number).object_id))


def kinds(archive: Archive) -> set[str]:
    return {finding.kind for finding in check(archive, lambda *_: None).findings}


# -- the disk and the database


def _flip(archive: Archive) -> None:
    raw = bytearray(file_of(archive, 2).read_bytes())
    raw[len(raw) // 2] ^= 1
    file_of(archive, 2).write_bytes(raw)


def _swap(archive: Archive) -> None:
    hold(archive, Sample(3, pixel_bytes=LARGE_PIXELS))
    file_of(archive, 2).write_bytes(file_of(archive, 3).read_bytes())


def _truncate(archive: Archive) -> None:
    file_of(archive, 2).write_bytes(file_of(archive, 2).read_bytes()[:1000])


def _stored_claims_it(archive: Archive) -> None:
    """The released one without two people: a row of the archive that points to its file."""
    entry = archive.quarantine.find(2)
    sql(archive, "UPDATE instance SET object_id = ?, is_small = 0", entry.object_id)


TAMPERING: dict[str, tuple[Callable[[Archive], None], set[str]]] = {
    "a bit of the file": (_flip, {"object-altered"}),
    "another file": (_swap, {"object-altered"}),
    "the end of the file": (_truncate, {"object-size"}),
    "the file": (lambda archive: file_of(archive, 2).unlink(), {"object-missing"}),
    "the row": (
        lambda archive: [
            sql(archive, "DELETE FROM held_key WHERE held = 2"),
            sql(archive, "DELETE FROM held WHERE number = 2"),
        ],
        {"row-missing"},
    ),
    "the bytes of a small one": (
        lambda archive: sql(archive, "UPDATE held SET sealed = zeroblob(200) WHERE number = 1"),
        {"object-altered"},
    ),
    "where it is": (lambda archive: sql(archive, "UPDATE held SET is_small = 1 WHERE number = 2"), {"row-malformed"}),
    "its digest": (
        lambda archive: sql(archive, "UPDATE held SET sha256 = zeroblob(32) WHERE number = 1"),
        {"digest-differs", "row-altered"},
    ),
    "its object id": (
        lambda archive: sql(archive, "UPDATE held SET object_id = 'text' WHERE number = 1"),
        {"row-malformed"},
    ),
    "its number": (
        lambda archive: [
            sql(archive, "UPDATE held_key SET held = NULL WHERE held = 1"),
            sql(archive, "UPDATE held SET number = 77 WHERE number = 1"),
        ],
        {"row-missing", "row-unrecorded", "key-missing", "key-orphaned"},
    ),
    "its key": (
        lambda archive: sql(archive, "UPDATE held_key SET wrapped = zeroblob(60) WHERE held = 1"),
        {"key-unusable"},
    ),
    "the key of another": (
        lambda archive: sql(
            archive, "UPDATE held_key SET wrapped = (SELECT wrapped FROM held_key WHERE held = 2) WHERE held = 1"
        ),
        {"key-unusable"},
    ),
    "its key as destroyed": (
        lambda archive: sql(archive, "INSERT INTO destroyed_key SELECT key_id FROM held_key WHERE held = 1"),
        {"key-revived"},
    ),
    "a request about nothing": (
        lambda archive: sql(archive, "INSERT INTO held_request VALUES (55, 'release', 'ann', 'x', 1)"),
        {"row-orphaned"},
    ),
    "a stored row": (_stored_claims_it, {"object-claimed-twice"}),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_the_check_names_what_was_changed(archive: Archive, what: str) -> None:
    change, expected = TAMPERING[what]
    sql(archive, "PRAGMA foreign_keys = OFF")
    change(archive)
    assert expected <= kinds(archive)


def words_of_the_background_check(archive: Archive) -> list[Word]:
    said: list[Word] = []
    orders = Orders(str(archive.home.root), "serve", -(2**63), 3600.0, 2**30)
    walk(archive, orders, said.append, lambda rate: Pace(rate, lambda: 0.0, lambda _: False))
    assert isinstance(said[-1], Done)
    return said


def test_the_check_that_runs_by_itself_reads_what_is_held_as_well(archive: Archive) -> None:
    before = words_of_the_background_check(archive)
    assert not [word for word in before if isinstance(word, Damaged)]
    assert sum(word.objects for word in before if isinstance(word, Walked)) == 3
    _flip(archive)
    (damaged,) = [word for word in words_of_the_background_check(archive) if isinstance(word, Damaged)]
    assert (damaged.damage.kind, damaged.damage.sop_uid) == ("object-altered", LARGE.sop_uid)
    assert "quarantine Q2" in damaged.damage.what


def test_untouched_nothing_is_found(archive: Archive) -> None:
    report = check(archive, lambda *_: None)
    assert (report.findings, report.held, report.data_keys) == ((), 2, 3)


def test_a_row_put_back_after_its_destruction_opens_nothing_and_is_found(archive: Archive) -> None:
    with archive.index.database.read() as cursor:
        row = cursor.execute("SELECT * FROM held WHERE number = 1").fetchone()
        key = cursor.execute("SELECT * FROM held_key WHERE held = 1").fetchone()
    for user in ("ann", "bob"):
        destroy(archive, Order(What.DESTROY, 1, user, "x", 1))
    sql(archive, f"INSERT INTO held VALUES ({', '.join('?' * len(row))})", *row)
    sql(archive, "UPDATE held_key SET held = 1 WHERE key_id = ?", key[0])
    with pytest.raises(IntegrityError):
        archive.quarantine.open(archive.quarantine.find(1))
    assert {"key-revived", "key-unusable", "row-unrecorded"} <= kinds(archive)


@pytest.mark.parametrize("change", [_flip, _swap, _truncate], ids=["flipped", "swapped", "cut"])
def test_what_was_changed_is_not_released(archive: Archive, change: Callable[[Archive], None]) -> None:
    change(archive)
    release(archive, Order(What.RELEASE, 2, "ann", "x", 1))
    with pytest.raises(IntegrityError):
        release(archive, Order(What.RELEASE, 2, "bob", "x", 1))
    assert LARGE.sop_uid not in visible_sop_uids(archive)
    assert archive.quarantine.find(2).number == 2
    # What cannot be opened can still be destroyed.
    for user in ("ann", "bob"):
        destroy(archive, Order(What.DESTROY, 2, user, "damaged", 1))
    with pytest.raises(NotFound):
        archive.quarantine.find(2)


def test_a_copy_of_the_home_without_the_master_key_opens_nothing(archive: Archive) -> None:
    """Findings, senders and what was asked for are in the encrypted index, objects are sealed."""
    release(archive, Order(What.RELEASE, 2, "ann", "suspicious but needed", 1))
    archive.close()
    for path in archive.home.data.rglob("*"):
        raw = path.read_bytes() if path.is_file() else b""
        for word in (b"SR-PE-001", b"192.0.2.7", b"suspicious but needed", b"screening", SMALL.sop_uid.encode()):
            assert word not in raw, path


# -- many at once


@pytest.mark.parametrize("what", list(What))
def test_two_second_persons_at_once_do_it_once(archive: Archive, what: What) -> None:
    act = release if what is What.RELEASE else destroy
    assert act(archive, Order(what, 2, "ann", "x", 1)).step is Step.ASKED
    steps: list[Step] = []
    failures: list[type[StrongroomError]] = []
    barrier = threading.Barrier(4)

    def second(user: str) -> None:
        with opened(archive.home) as mine:
            barrier.wait()
            try:
                steps.append(act(mine, Order(what, 2, user, "x", 1)).step)
            except StrongroomError as error:
                failures.append(type(error))

    threads = [threading.Thread(target=second, args=(user,)) for user in ("bob", "cid", "bob", "cid")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [step for step in steps if step is not Step.ASKED] == [
        Step.RELEASED if what is What.RELEASE else Step.DESTROYED
    ]
    assert set(failures) <= {NotFound, Denied}
    assert (LARGE.sop_uid in visible_sop_uids(archive)) is (what is What.RELEASE)
    assert kinds(archive) == set()
    done = [e for e in trail_events(archive) if e.action is Action.QUARANTINE and e.details.get("what") == what.value]
    assert len([event for event in done if event.outcome == "success"]) == 1


def test_a_flood_stays_within_its_limits_and_a_crash_leaves_no_file(archive_home) -> None:
    with opened(archive_home(limits={"max_quarantine_objects": 5, "max_quarantine_bytes": 10_000_000})) as archive:
        floods = [Sample(number, pixel_bytes=LARGE_PIXELS) for number in range(20)]
        for sample in floods[:5]:
            hold(archive, sample)
        for sample in floods[5:]:
            with pytest.raises(LimitExceeded, match="max_quarantine_objects"):
                hold(archive, sample)
        assert len(archive.quarantine.entries()) == 5
        # The harness, as a process that was killed would, leaves what was refused behind.
        recover(archive)
        assert len(list(archive.blobs.ids())) == 5
        assert kinds(archive) == set()
