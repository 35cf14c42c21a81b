"""digesting: the digests that come after storing, and pictures that stand under two patients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.archives import new_home, opened, trail_events
from harness.ingesting import SMALL_PIXELS, Sample, element, store
from strongroom.app import Archive
from strongroom.archive.integrity import Digests
from strongroom.archive.model import Action, Event
from strongroom.digesting import BATCH
from strongroom.errors import CodecFailed, LimitExceeded
from strongroom.store.deletion import StudyDeletion


@dataclass(frozen=True)
class Picture(Sample):
    """A sample whose pixels are those of ``shows``, in an image of 8 bits that says its shape."""

    shows: bytes = b""

    @property
    def dataset(self) -> bytes:
        """Its data set."""
        head = super().dataset
        shape = b"".join(
            element(tag, "US", value.to_bytes(2, "little"))
            for tag, value in (
                (0x00280002, 1), (0x00280010, 1), (0x00280011, len(self.shows)), (0x00280100, 8), (0x00280101, 8),
                (0x00280102, 7), (0x00280103, 0),
            )
        )  # fmt: skip
        return head[: -(SMALL_PIXELS + 12)] + shape + element(0x7FE00010, "OB", self.shows)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home")) as made:
        yield made


def digest_all(archive: Archive) -> int:
    """Compute what there is to compute; how many objects were looked at."""
    digesting, count = archive.digesting(), 0
    while step := digesting.step():
        count += step
    return count


def kept(archive: Archive) -> dict[str, tuple[bytes, bytes, bytes, int]]:
    with archive.index.database.read() as cursor:
        rows = cursor.execute(
            "SELECT sop_uid, canonical, clinical, pixels, is_blank FROM digest JOIN instance ON instance.id = digest.id"
        ).fetchall()
    return {sop_uid: tuple(rest) for sop_uid, *rest in rows}


def alerts(archive: Archive) -> list[str]:
    return [str(event.details["sop_uid"]) for event in trail_events(archive) if event.action is Action.ALERT]


def flags(archive: Archive) -> list[tuple[str, str]]:
    with archive.index.database.read() as cursor:
        rows = cursor.execute("SELECT sop_uid, reason FROM flagged JOIN instance ON instance.id = flagged.id")
        return [tuple(row) for row in rows.fetchall()]


def test_every_object_gets_its_digests_once_and_the_trail_has_them(archive: Archive) -> None:
    samples = [Sample(number, study=number % 3) for number in range(BATCH + 5)]
    for sample in samples:
        store(archive, sample)
    assert digest_all(archive) == len(samples)
    assert digest_all(archive) == 0
    assert kept(archive).keys() == {sample.sop_uid for sample in samples}
    events = [event.details for event in trail_events(archive) if event.action is Action.DIGEST]
    assert len(events) == len(samples)
    for details in events:
        row = kept(archive)[str(details["sop_uid"])]
        stored = archive.index.find_object(str(details["sop_uid"]))
        assert stored is not None
        expected = Digests(stored.sha256, *row[:3]).details()
        assert {name: details[name] for name in expected} == expected


def test_a_picture_under_another_patient_is_flagged_and_tells_somebody(archive: Archive) -> None:
    shows = bytes(range(200))
    first, same, other = Picture(1, 1, shows=shows), Picture(2, 1, shows=shows), Picture(3, 2, shows=shows)
    store(archive, first)
    store(archive, same)
    digest_all(archive)
    assert alerts(archive) == flags(archive) == []
    said: list[Event] = []
    archive.index.announce = said.append
    store(archive, other)
    digest_all(archive)
    assert alerts(archive) == [other.sop_uid]
    assert [event.details["sop_uid"] for event in said if event.action is Action.ALERT] == [other.sop_uid]
    (alert,) = (event for event in trail_events(archive) if event.action is Action.ALERT)
    twin = (alert.details["other_sop_uid"], alert.details["other_study_uid"])
    assert twin == (first.sop_uid, first.study_uid), "the instance that came first of those that show the same"
    assert flags(archive) == [(other.sop_uid, "pixels-of-another-patient")]


@pytest.mark.parametrize("shows", [bytes(200), b"\x07" * 200])
def test_blank_pictures_are_nobodys(archive: Archive, shows: bytes) -> None:
    for study in range(3):
        store(archive, Picture(1, study, shows=shows))
    digest_all(archive)
    assert all(row[3] for row in kept(archive).values())
    assert alerts(archive) == []


def test_an_object_that_does_not_open_keeps_nobody_waiting(archive: Archive) -> None:
    store(archive, Sample(1))
    store(archive, Sample(2))
    archive.index.database.write(
        lambda unit: unit.cursor.execute("UPDATE small_object SET sealed = zeroblob(length(sealed)) WHERE id = 1")
    )
    assert digest_all(archive) == 2
    assert kept(archive).keys() == {Sample(2).sop_uid}


def test_an_object_that_has_no_digests_is_not_read_again_and_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, Sample(1))
    tried: list[str] = []

    def fails(*_: object) -> NoReturn:
        tried.append("once")
        raise LimitExceeded("max_inflate_passes", 8)

    monkeypatch.setattr("strongroom.digesting.parts_of", fails)
    digesting = archive.digesting()
    for _ in range(6):
        digesting.step()
    assert tried == ["once"]


def test_a_study_that_goes_takes_its_digests_with_it(archive: Archive) -> None:
    store(archive, Sample(1, study=1))
    store(archive, Sample(1, study=2))
    digest_all(archive)
    deletion = StudyDeletion(archive.backend.dialect, archive.index.registry)
    archive.index.database.write(lambda unit: deletion.run(unit, Sample(1, study=1).study_uid))
    assert kept(archive).keys() == {Sample(1, study=2).sop_uid}


@pytest.mark.parametrize(("failures", "is_kept"), [(2, True), (9, False)])
def test_a_codec_that_fails_is_tried_again_but_not_for_ever(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, failures: int, is_kept: bool
) -> None:
    store(archive, Picture(1, shows=bytes(range(200))))
    pixels, left = archive.door.pixels, iter(range(failures))
    picture = type(pixels).picture

    def fails_at_first(*arguments: Any) -> object:
        if next(left, None) is not None:
            raise CodecFailed("a pixel worker took too long")
        return picture(*arguments)

    monkeypatch.setattr(type(pixels), "picture", fails_at_first)
    digesting = archive.digesting()
    for _ in range(8):
        digesting.step()
    ((_, _, found, _),) = kept(archive).values()
    assert bool(found) is is_kept
