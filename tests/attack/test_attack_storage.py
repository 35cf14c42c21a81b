"""Somebody has the disk, or the database and its key, and changes what is stored: the check names what was changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.archives import new_home, opened
from harness.ingesting import LARGE_PIXELS, SMALL_PIXELS, Sample, store
from strongroom.admin.check import Report, check_home
from strongroom.admin.deletion import delete_study
from strongroom.app import Archive, next_object_id
from strongroom.config import Home
from strongroom.trail.tree import Frontier

LARGE, OTHER_LARGE, SMALL, OTHER_SMALL, ELSEWHERE, ELSEWHERE_SMALL = SAMPLES = (
    Sample(0, study=0, series=0, pixel_bytes=LARGE_PIXELS),
    Sample(1, study=0, series=0, pixel_bytes=LARGE_PIXELS),
    Sample(2, study=0, series=1, pixel_bytes=SMALL_PIXELS),
    Sample(3, study=0, series=1, pixel_bytes=SMALL_PIXELS),
    Sample(4, study=1, series=0, pixel_bytes=LARGE_PIXELS),
    Sample(5, study=1, series=0, pixel_bytes=SMALL_PIXELS),
)


class Store:
    """An archive that is not running, in the hands of somebody who has its keys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root / "home")
        self._connection: Any = None

    def copied_to(self, root: Path) -> Store:
        """Another one with the same content."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Store(root)

    def sql(self, statement: str, *values: object) -> list[tuple]:
        if self._connection is None:
            with opened(self.home) as archive:
                self._connection = archive.backend.connect()
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Let go of the index, so that its log is in its file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def file(self, sample: Sample) -> Path:
        ((object_id,),) = self.sql("SELECT object_id FROM instance WHERE sop_uid = ?", sample.sop_uid)
        name = object_id.hex()
        return self.home.objects / name[:5] / name[5:8] / name

    def sealed(self, sample: Sample) -> bytes:
        where = "SELECT sealed FROM small_object JOIN instance USING (id) WHERE sop_uid = ?"
        return self.sql(where, sample.sop_uid)[0][0]

    def seal(self, sample: Sample, sealed: bytes) -> None:
        where = "(SELECT id FROM instance WHERE sop_uid = ?)"
        self.sql(f"UPDATE small_object SET sealed = ? WHERE id = {where}", sealed, sample.sop_uid)

    def check(self) -> Report:
        self.close()
        return check_home(self.home, lambda *_: None)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Store:
    """Six instances of two studies, and a checkpoint of their trail at home and elsewhere."""
    root = tmp_path_factory.mktemp("untouched")
    home = new_home(root / "home")
    with opened(home) as archive:
        for sample in SAMPLES:
            store(archive, sample)
        archive.checkpoint()
    shutil.copytree(home.checkpoints, root / "elsewhere")
    return Store(root)


@pytest.fixture
def target(untouched, tmp_path) -> Iterator[Store]:
    target = untouched.copied_to(tmp_path)
    yield target
    target.close()


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x40
    path.write_bytes(raw)


def swap_files(target: Store, one: Sample, other: Sample) -> None:
    first, second = target.file(one), target.file(other)
    first.rename(first.with_suffix(".x"))
    second.rename(first)
    first.with_suffix(".x").rename(second)


def swap_small(target: Store) -> None:
    first, second = target.sealed(SMALL), target.sealed(OTHER_SMALL)
    target.seal(SMALL, second)
    target.seal(OTHER_SMALL, first)


def flip_small(target: Store) -> None:
    sealed = bytearray(target.sealed(SMALL))
    sealed[-1] ^= 1
    target.seal(SMALL, bytes(sealed))


def rewrite(target: Store, column: str, value: object, sample: Sample = LARGE) -> None:
    target.sql(f"UPDATE instance SET {column} = ? WHERE sop_uid = ?", value, sample.sop_uid)


def swap_keys(target: Store) -> None:
    (first, one), (second, other) = target.sql("SELECT key_id, wrapped FROM data_key")
    target.sql("UPDATE data_key SET wrapped = ? WHERE key_id = ?", other, first)
    target.sql("UPDATE data_key SET wrapped = ? WHERE key_id = ?", one, second)


def swap_studies_of_keys(target: Store) -> None:
    target.sql("UPDATE data_key SET study = 3 - study")


def remove_row(target: Store, sample: Sample = SMALL) -> None:
    target.sql("DELETE FROM small_object WHERE id = (SELECT id FROM instance WHERE sop_uid = ?)", sample.sop_uid)
    target.sql("DELETE FROM instance WHERE sop_uid = ?", sample.sop_uid)
    for table, uid in (("series", sample.series_uid), ("study", sample.study_uid)):
        target.sql(f"UPDATE {table} SET num_instances = num_instances - 1 WHERE {table}_uid = ?", uid)


def claim(target: Store) -> None:
    """A second row for an object that another row has, in the place of the row's own."""
    ((object_id,),) = target.sql("SELECT object_id FROM instance WHERE sop_uid = ?", LARGE.sop_uid)
    target.file(OTHER_LARGE).unlink()
    rewrite(target, "object_id", object_id, OTHER_LARGE)


def clone(target: Store) -> None:
    """A row that nobody sent, whose object opens."""
    columns = "series, sop_class, instance_number, transfer_syntax, object_id, key_id, data_bytes, sha256, received_us"
    columns += ", is_small, attributes"
    target.sql(
        f"INSERT INTO instance (sop_uid, {columns}) SELECT '2.25.666', {columns} FROM instance WHERE sop_uid = ?",
        LARGE.sop_uid,
    )


def plant(target: Store) -> None:
    name = next_object_id().hex()
    path = target.home.objects / name[:5] / name[5:8] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(target.file(LARGE), path)
    os.utime(path, (1e9, 1e9))


def misplace(target: Store) -> None:
    path = target.file(LARGE)
    (target.home.objects / "00000" / "000").mkdir(parents=True)
    shutil.copy(path, target.home.objects / "00000" / "000" / path.name)


def link(target: Store) -> None:
    path = target.file(LARGE)
    path.rename(target.root / "away")
    path.symlink_to(target.root / "away")


def edit_attributes(target: Store, table: str, old: str, new: str, where: str = "1") -> None:
    edited = "CAST(replace(CAST(attributes AS TEXT), ?, ?) AS BLOB)"
    assert target.sql(f"UPDATE {table} SET attributes = {edited} WHERE {where} RETURNING id", old, new)


def rename_patient(target: Store) -> None:
    """A name that is edited in both of its places, as an expert does it."""
    target.sql("UPDATE patient SET patient_name = 'roe^john'")
    edit_attributes(target, "patient", "Doe^Jane", "Roe^John")


UNCHANGED_SIZE = 4096 + 7
ATTACKS: dict[str, tuple[Callable[[Store], None], str, Sample | None]] = {
    "a byte of the header": (lambda t: flip(t.file(LARGE), 5), "object-altered", LARGE),
    "a byte of the first segment": (lambda t: flip(t.file(LARGE), UNCHANGED_SIZE), "object-altered", LARGE),
    "a byte of the last segment": (lambda t: flip(t.file(LARGE), -3), "object-altered", LARGE),
    "a byte of a small object": (flip_small, "object-altered", SMALL),
    "two files swapped": (lambda t: swap_files(t, LARGE, OTHER_LARGE), "object-altered", OTHER_LARGE),
    "two files of two studies swapped": (lambda t: swap_files(t, LARGE, ELSEWHERE), "object-altered", ELSEWHERE),
    "two small objects swapped": (swap_small, "object-altered", OTHER_SMALL),
    "a file cut": (lambda t: os.truncate(t.file(LARGE), 70_000), "object-size", LARGE),
    "a file cut at a segment": (lambda t: os.truncate(t.file(LARGE), 65_536), "object-size", LARGE),
    "a file cut to nothing": (lambda t: os.truncate(t.file(LARGE), 0), "object-altered", LARGE),
    "a file removed": (lambda t: t.file(LARGE).unlink(), "object-missing", LARGE),
    "a small object removed": (lambda t: t.sql("DELETE FROM small_object"), "object-missing", SMALL),
    "a file replaced by a link to it": (link, "object-altered", LARGE),
    "a file added": (plant, "object-without-row", None),
    "something else added": (lambda t: (t.home.objects / "notes.txt").write_text("x"), "foreign-file", None),
    "an object's copy in another place": (misplace, "foreign-file", None),
    "a small object added": (
        lambda t: t.sql("INSERT INTO small_object SELECT 99, sealed FROM small_object LIMIT 1"),
        "object-without-row",
        None,
    ),
    "a digest edited": (lambda t: rewrite(t, "sha256", bytes(32)), "digest-differs", LARGE),
    "a digest of another type": (lambda t: rewrite(t, "sha256", "x"), "row-malformed", LARGE),
    "an object id cut": (lambda t: rewrite(t, "object_id", b"short"), "row-malformed", LARGE),
    "a size edited": (lambda t: rewrite(t, "data_bytes", 1), "object-size", LARGE),
    "a SOP Class edited": (lambda t: rewrite(t, "sop_class", "1.2.3"), "row-altered", LARGE),
    "a transfer syntax edited": (lambda t: rewrite(t, "transfer_syntax", "1.2.840.10008.1.2"), "row-altered", LARGE),
    "a patient's name edited": (rename_patient, "row-differs", LARGE),
    "a patient's name edited in its column": (
        lambda t: t.sql("UPDATE patient SET patient_name = 'roe^john' WHERE id = 2"),
        "row-differs",
        ELSEWHERE,
    ),
    "a study hung on another patient": (
        lambda t: t.sql("UPDATE study SET patient = 1 WHERE id = 2"),
        "row-differs",
        ELSEWHERE,
    ),
    "an instance put into another series": (
        lambda t: rewrite(t, "series", t.sql("SELECT series FROM instance WHERE sop_uid = ?", SMALL.sop_uid)[0][0]),
        "row-differs",
        LARGE,
    ),
    "an accession number added": (lambda t: t.sql("UPDATE study SET accession = 'A1'"), "row-differs", LARGE),
    "a modality edited": (
        lambda t: edit_attributes(t, "series", '"CT"', '"MR"', "id = 2"),
        "row-differs",
        SMALL,
    ),
    "the attributes of an instance replaced": (
        lambda t: t.sql("UPDATE instance SET attributes = (SELECT attributes FROM instance ORDER BY id DESC)"),
        "row-differs",
        OTHER_SMALL,
    ),
    "the attributes of an instance emptied": (lambda t: rewrite(t, "attributes", b"", SMALL), "row-differs", SMALL),
    "an instance number edited": (lambda t: rewrite(t, "instance_number", "77"), "row-differs", LARGE),
    "an instance put into another study": (
        lambda t: rewrite(t, "series", t.sql("SELECT series FROM instance ORDER BY id DESC")[0][0]),
        "key-of-another-study",
        LARGE,
    ),
    "an instance put into no series": (lambda t: rewrite(t, "series", 99), "row-orphaned", LARGE),
    "a small object said to be large": (lambda t: rewrite(t, "is_small", 0, SMALL), "object-claimed-twice", SMALL),
    "a row removed": (remove_row, "row-missing", SMALL),
    "a row of a file removed": (lambda t: remove_row(t, LARGE), "row-missing", LARGE),
    "an object claimed by another row": (claim, "object-claimed-twice", OTHER_LARGE),
    "a row added": (clone, "row-unrecorded", None),
    "wrapped keys of two studies swapped": (swap_keys, "key-unusable", LARGE),
    "keys given to each other's studies": (swap_studies_of_keys, "key-of-another-study", LARGE),
    "a key removed": (lambda t: t.sql("DELETE FROM data_key"), "key-missing", LARGE),
    "a destroyed key put back": (
        lambda t: t.sql("INSERT INTO destroyed_key SELECT key_id FROM data_key LIMIT 1"),
        "key-revived",
        None,
    ),
    "a key said to be destroyed": (lambda t: t.sql("UPDATE data_key SET study = NULL"), "key-orphaned", None),
    "a counter lowered": (lambda t: t.sql("UPDATE series SET num_instances = 0"), "counter-wrong", None),
    "a study of nobody": (lambda t: t.sql("UPDATE study SET patient = 99"), "row-orphaned", None),
    "a counter edited": (lambda t: t.sql("UPDATE study SET num_instances = 7"), "counter-wrong", None),
    "a series removed": (lambda t: t.sql("DELETE FROM series WHERE id = 1"), "row-orphaned", LARGE),
    "a study added": (
        lambda t: t.sql(
            "INSERT INTO patient (patient_id, issuer, patient_name, birth_date, attributes) VALUES ('', '', '', '', '')"
        ),
        "level-empty",
        None,
    ),
    "a record of the trail removed": (
        lambda t: t.sql("DELETE FROM trail_record WHERE seq = 2"),
        "trail",
        None,
    ),
    "a record of the trail edited": (
        lambda t: t.sql("UPDATE trail_record SET record = replace(record, 'CT1', 'CT2') WHERE seq = 3"),
        "trail",
        None,
    ),
    "a byte of a secret": (lambda t: flip(t.home.secrets / "authority.sealed", -1), "secret-altered", None),
    "a secret removed": (lambda t: (t.home.secrets / "server.sealed").unlink(), "secret-altered", None),
    "a byte of the CA certificate": (lambda t: flip(t.home.root / "ca.pem", 200), "file-altered", None),
    "a byte of the trail's public key": (lambda t: flip(t.home.root / "trail-public-key.pem", 40), "trail", None),
    "a byte of a checkpoint": (lambda t: flip(t.home.checkpoints / "latest.txt", 60), "trail", None),
    "a checkpoint removed": (lambda t: (t.home.checkpoints / "latest.txt").unlink(), "trail", None),
    "a byte of the index": (lambda t: flip(t.home.index, 3 * 4096 + 100), "index-damaged", None),
    "the first byte of the index": (lambda t: flip(t.home.index, 20), "index-damaged", None),
    "a byte of the index's key": (lambda t: flip(t.home.secrets / "index.sealed", -1), "secret-altered", None),
}


def test_untouched_is_clean(target):
    report = target.check()
    assert report.findings == ()
    assert (report.objects, report.files, report.data_keys) == (6, 3, 2)
    assert report.compared_with == (str(target.home.checkpoints / "latest.txt"),)


@pytest.mark.parametrize("attack", ATTACKS)
def test_change_is_named(target, attack):
    act, kind, sample = ATTACKS[attack]
    act(target)
    report = target.check()
    of_kind = [found for found in report.findings if found.kind == kind]
    assert of_kind, report.findings
    assert report.total_findings >= len(report.findings) > 0
    if sample is not None:
        assert sample.sop_uid in {found.sop_uid for found in of_kind}, report.findings


def test_an_edited_name_is_told_by_its_attribute_and_without_its_value(target):
    rename_patient(target)
    findings = target.check().findings
    assert [found.sop_uid for found in findings] == [LARGE.sop_uid, ELSEWHERE.sop_uid], "who came first of each patient"
    assert {found.what for found in findings} == {
        "what the index says of the patient is not what the object says: PatientName"
    }


def test_words_of_later_instances_are_not_those_of_the_row(target):
    with opened(target.home) as archive:
        store(archive, Sample(9, study=1, patient_name="Doe^Jane^^Dr"))
        assert archive.index.find_object(Sample(9, study=1).sop_uid) is not None
    assert target.check().findings == ()


def test_a_patient_whose_first_study_is_gone_is_not_accused(target):
    with opened(target.home) as archive:
        store(archive, Sample(9, study=7, patient_id="PID-0", patient_name="Doe^Jane^^Dr"))
        delete_study(archive, LARGE.study_uid, "test", lambda *_: None)
    assert target.check().findings == ()


def test_added_file_is_named_by_its_id(target):
    plant(target)
    (found,) = target.check().findings
    assert (target.home.objects / found.object_id[:5] / found.object_id[5:8] / found.object_id).exists()


def test_destroyed_key_that_is_put_back_in_its_place(target):
    rows = target.sql("SELECT wrapped, key_id FROM data_key")
    target.close()
    with opened(target.home) as archive:
        delete_study(archive, LARGE.study_uid, "test", lambda *_: None)
    assert target.check().findings == ()
    for row in rows:
        target.sql("UPDATE data_key SET wrapped = ? WHERE key_id = ?", *row)
    assert [found.kind for found in target.check().findings] == ["key-revived"]


def test_untouched_instances_are_not_accused(target):
    flip(target.file(LARGE), 5)
    assert [found.sop_uid for found in target.check().findings] == [LARGE.sop_uid]


def cut_consistently(archive: Archive, log: str, size: int) -> None:
    """Cut a log to ``size`` records, with a head and stored checkpoints that agree."""
    connection = archive.backend.connect()
    leaves = connection.execute("SELECT leaf FROM trail_record WHERE log = ? AND seq < ? ORDER BY seq", (log, size))
    frontier = Frontier()
    for (leaf,) in leaves.fetchall():
        frontier.append(leaf)
    connection.execute("DELETE FROM trail_record WHERE log = ? AND seq >= ?", (log, size))
    connection.execute("DELETE FROM trail_checkpoint WHERE log = ? AND size > ?", (log, size))
    connection.execute("UPDATE trail_log SET size = ?, frontier = ? WHERE name = ?", (size, frontier.to_bytes(), log))
    connection.close()


def test_tail_cut_consistently_is_shown_by_the_checkpoint_that_left(target):
    remove_row(target, ELSEWHERE_SMALL)
    with opened(target.home) as archive:
        cut_consistently(archive, "local", 6)  # creation and five of the six instances
    findings = target.check().findings
    assert {found.kind for found in findings} == {"trail"}
    assert "cut off" in " ".join(found.what for found in findings)
    # Without it nothing is left to see, which is why it has to leave.
    shutil.rmtree(target.home.checkpoints)
    with opened(target.home) as archive:
        cut_consistently(archive, "local", 6)
    assert target.check().findings == ()


def test_older_copy_of_the_whole_data_is_shown(target, untouched):
    with opened(target.home) as archive:
        store(archive, Sample(9, study=1, pixel_bytes=SMALL_PIXELS))
        archive.checkpoint()
    shutil.rmtree(target.home.data)
    shutil.copytree(untouched.home.data, target.home.data)
    findings = target.check().findings
    assert {found.kind for found in findings} == {"trail"}
    assert "cut off" in " ".join(found.what for found in findings)


def test_older_copy_of_the_index_orphans_what_came_later(target, untouched):
    with opened(target.home) as archive:
        store(archive, Sample(9, study=1, pixel_bytes=LARGE_PIXELS))
        path = target.file(Sample(9, study=1))
    target.close()
    os.utime(path, (1e9, 1e9))
    shutil.copy(untouched.home.index, target.home.index)
    (found,) = target.check().findings
    assert (found.kind, found.object_id) == ("object-without-row", path.name)
