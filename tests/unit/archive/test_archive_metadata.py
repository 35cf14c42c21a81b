"""Metadata of many objects, made once: what is taken out of the cache is right for whoever asks, or is made anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.archives import new_home, opened
from harness.ingesting import LARGE_PIXELS, Sample, store
from harness.instances import instance, new_ring
from strongroom.app import Archive
from strongroom.archive import metadata as made_of
from strongroom.archive.metadata import ENTRY_OBJECTS, SERVICE_ROOT, Metadata, NoCache, Outliner, with_root
from strongroom.archive.model import DataKey, StoredObject
from strongroom.dicom.elements import ScanLimits
from strongroom.errors import IntegrityError

ROOT = 'https://pacs"\\.example/dicomweb'


class Cache:
    """Keeps everything, and says what it was asked for."""

    def __init__(self) -> None:
        self.entries: dict[tuple[bytes, str], bytes] = {}
        self.got: list[str] = []

    def get(self, key: DataKey, name: str) -> bytes | None:
        self.got.append(name)
        return self.entries.get((key.key_id, name))

    def put(self, key: DataKey, name: str, plain: bytes) -> None:
        self.entries[key.key_id, name] = plain


class Counting:
    """An outliner whose metadata is the SOP Instance UID; ``made`` are those it was asked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def to_json(self, stored: StoredObject) -> bytes:
        self.made.append(stored.sop_uid)
        return json.dumps(stored.sop_uid).encode()


@pytest.fixture
def outliner() -> Counting:
    return Counting()


@pytest.fixture
def cache() -> Cache:
    return Cache()


def stored_objects(count: int, series: str = "2.25.1", key: DataKey | None = None) -> list[StoredObject]:
    found = new_ring().new_data_key() if key is None else key
    return [replace(instance({}, found).stored, series_uid=series) for _ in range(count)]


def all_of(metadata: Metadata, objects: list[StoredObject]) -> list[str]:
    return [json.loads(one) for group in metadata.of(objects) for one in group]


def new(outliner: Counting, cache: Cache | NoCache) -> Metadata:
    return Metadata(outliner, cache)  # type: ignore[arg-type]  # an outliner by what is used of it


def test_what_was_made_once_is_not_made_again(outliner: Counting, cache: Cache) -> None:
    objects = stored_objects(ENTRY_OBJECTS + 3)
    wanted = [each.sop_uid for each in objects]
    for _ in range(3):
        assert all_of(new(outliner, cache), objects) == wanted
    assert outliner.made == wanted
    assert len(cache.entries) == 2


def test_only_what_came_later_is_made(outliner: Counting, cache: Cache) -> None:
    objects = stored_objects(10)
    all_of(new(outliner, cache), objects[:7])
    outliner.made.clear()
    assert all_of(new(outliner, cache), objects) == [each.sop_uid for each in objects]
    assert outliner.made == [each.sop_uid for each in objects[7:]]


def test_nothing_is_taken_out_that_was_not_asked_for(outliner: Counting, cache: Cache) -> None:
    objects = stored_objects(5)
    all_of(new(outliner, cache), objects)
    some = objects[1:3]
    assert all_of(new(outliner, cache), some) == [each.sop_uid for each in some]


def test_another_object_under_the_same_uids_is_made_anew(outliner: Counting, cache: Cache) -> None:
    objects = stored_objects(2)
    all_of(new(outliner, cache), objects)
    again = [replace(objects[0], object_id=bytes(16), sop_uid="2.25.9"), objects[1]]
    assert all_of(new(outliner, cache), again) == ["2.25.9", objects[1].sop_uid]


def test_series_that_came_in_turns_are_kept_apart(outliner: Counting, cache: Cache) -> None:
    key = new_ring().new_data_key()
    first, second = stored_objects(3, "2.25.1", key), stored_objects(3, "2.25.2", key)
    mixed = [each for pair in zip(first, second, strict=True) for each in pair]
    assert all_of(new(outliner, cache), mixed) == [each.sop_uid for each in first + second]
    assert {name for _, name in cache.entries} == {"2.25.1/0", "2.25.2/0"}


def test_a_single_instance_does_without_the_entry_of_its_series(outliner: Counting, cache: Cache) -> None:
    all_of(new(outliner, cache), stored_objects(1))
    assert not cache.got


def test_an_entry_of_another_version_is_none(outliner: Counting, cache: Cache) -> None:
    objects = stored_objects(2)
    all_of(new(outliner, cache), objects)
    cache.entries = {name: b"0" + entry[1:] for name, entry in cache.entries.items()}
    outliner.made.clear()
    all_of(new(outliner, cache), objects)
    assert len(outliner.made) == 2


def test_an_object_whose_key_does_not_open_is_damaged_and_no_other_is(cache: Cache, archive: Archive) -> None:
    objects = stored_objects(2, key=DataKey(bytes(16), b"", b""))
    with pytest.raises(IntegrityError):
        list(Metadata(archive.outliner, cache).of(objects))
    assert not cache.got


def test_what_is_large_is_handed_out_as_it_is_made_and_not_kept(
    outliner: Counting, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_of, "ENTRY_BYTES", 100)
    objects = stored_objects(50)
    size = 0
    for group in new(outliner, cache).of(objects):
        assert sum(map(len, group[:-1])) <= 100, "more is held than ENTRY_BYTES and one object"
        size += len(group)
    assert size == 50
    assert not cache.entries
    assert all_of(new(outliner, cache), objects) == [each.sop_uid for each in objects]


def test_no_cache_keeps_nothing(outliner: Counting) -> None:
    objects = stored_objects(2)
    for _ in range(2):
        all_of(new(outliner, NoCache()), objects)
    assert len(outliner.made) == 4


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(new_home(tmp_path / "home")) as found:
        yield found


@pytest.mark.parametrize("pixel_bytes", [600, LARGE_PIXELS])
def test_metadata_of_an_object_names_its_pixels_under_the_root_of_the_service(
    archive: Archive, pixel_bytes: int
) -> None:
    sample = Sample(1, pixel_bytes=pixel_bytes, patient_name="D\u00f6e")
    store(archive, sample)
    found = archive.index.find_object(sample.sop_uid)
    assert found is not None
    raw = Outliner(archive.reader, ScanLimits()).to_json(found)
    assert raw.count(SERVICE_ROOT) == 1
    (whole,) = with_root([raw], ROOT)
    metadata = json.loads(whole)
    place = f"/studies/{sample.study_uid}/series/{sample.series_uid}/instances/{sample.sop_uid}/bulkdata/7FE00010"
    assert metadata["7FE00010"] == {"vr": "OW", "BulkDataURI": ROOT + place}
    assert metadata["00080018"]["Value"] == [sample.sop_uid]
