"""``import``, ``export``, ``delete``, ``keys`` and ``user`` as a shell sees them: exit codes and what is printed."""

from __future__ import annotations

import getpass
import io
import json
import os
import sys
from pathlib import Path

import pytest

from harness import media
from harness.archives import new_home, opened
from harness.ingesting import Sample, store, visible_sop_uids
from harness.quarantines import PASSCODE, add_officers
from harness.shell import Ran, Shell, shell
from strongroom.config import Home
from strongroom.trail.receipt import parse_receipt

GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("STRONGROOM_HOME", "STRONGROOM_PASSCODE"):
        monkeypatch.delenv(name, raising=False)
    return shell(capsys, monkeypatch)


@pytest.fixture
def delete(run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs ``delete`` as the second of two people, the first of whom has proposed it."""
    monkeypatch.setenv("STRONGROOM_PASSCODE", PASSCODE)
    with opened(home) as archive:
        add_officers(archive, "ann", "bob")

    def call(*words: str | Path) -> Ran:
        run("delete", "--home", home.root, "--study", Sample(1).study_uid, "--reason", "asked", "--by", "ann")
        return run("delete", "--home", home.root, "--study", Sample(1).study_uid, "--by", "bob", *words)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        media.write(tmp_path / "files" / str(number), Sample(number))
    return tmp_path / "files"


# -- import


def test_import_counts_what_became_of_each_file(run: Shell, home: Home, folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    ran = run("import", "--home", home.root, folder)
    assert ran.code == GOOD
    counted = [line.split(maxsplit=1) for line in ran.out.splitlines()]
    assert ["3", "stored"] in counted
    assert ["1", "not DICOM"] in counted
    assert "objects/s" in ran.out
    ran = run("import", "--home", home.root, folder)
    assert ran.code == GOOD
    assert ["3", "imported before, skipped"] in [line.split(maxsplit=1) for line in ran.out.splitlines()]


def test_a_file_that_is_not_taken_is_named_and_exits_1(run: Shell, home: Home, folder: Path) -> None:
    (folder / "1").write_bytes(media.part10(Sample(1))[:-10])
    ran = run("import", "--home", home.root, folder)
    assert ran.code == BAD_NEWS
    assert f"refused {folder}/1: a value runs past the end" in ran.out


def test_files_that_are_not_dicom_are_named_where_that_is_wanted(run: Shell, home: Home, folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    notes = f"not DICOM {folder}/notes.txt\n"
    assert notes not in run("import", "--home", home.root, folder).out
    ran = run("import", "--home", home.root, "--verbose", folder)
    assert ran.code == GOOD
    assert notes in ran.out
    report = json.loads(run("import", "--home", home.root, "--format", "json", folder).out)
    assert report["failures"] == [{"path": f"{folder}/notes.txt", "what": "not_dicom", "reason": ""}]


def test_an_export_makes_no_parent_folders(run: Shell, home: Home, folder: Path, tmp_path: Path) -> None:
    run("import", "--home", home.root, folder)
    ran = run("export", "--home", home.root, "--study", Sample(1).study_uid, "--out", tmp_path / "no" / "out")
    assert ran.code == COULD_NOT_RUN
    assert not (tmp_path / "no").exists()


def test_import_as_json(run: Shell, home: Home, folder: Path) -> None:
    (folder / "1").write_bytes(media.part10(Sample(1))[:-10])
    ran = run("import", "--home", home.root, "--format", "json", folder)
    assert ran.code == BAD_NEWS
    report = json.loads(ran.out)
    assert (report["stored"], report["refused"], report["files"]) == (2, 1, 3)
    assert [failure["path"] for failure in report["failures"]] == [str(folder / "1")]
    again = json.loads(run("import", "--home", home.root, "--format", "json", folder).out)
    assert (again["stored"], again["resumed"], again["refused"]) == (0, 2, 1)
    assert again["objects_per_s"] > 0, "of what was read, as in the text"


def test_the_name_of_a_file_cannot_command_a_terminal(run: Shell, home: Home, folder: Path) -> None:
    evil = os.fsencode(folder) + b"/\x1b]0;gotcha\x07\n\xff\xe2\x80\xae"
    with open(evil, "wb") as file:
        file.write(media.part10(Sample(1))[:-10])
    ran = run("import", "--home", home.root, folder)
    assert ran.code == BAD_NEWS
    named = [line for line in ran.out.splitlines() if line.startswith("refused")]
    assert named == [f"refused {folder}/\\x1b]0;gotcha\\x07\\n\\udcff\\u202e: {named[0].partition(': ')[2]}"]
    assert run("import", "--home", home.root, "--format", "json", folder).code == BAD_NEWS


def test_import_that_cannot_run(run: Shell, home: Home, tmp_path: Path) -> None:
    ran = run("import", "--home", home.root, tmp_path / "nowhere")
    assert (ran.code, ran.out) == (COULD_NOT_RUN, "")
    assert "nowhere" in ran.err
    assert run("import", "--home", tmp_path / "none", tmp_path).code == COULD_NOT_RUN
    assert run("import", "--home", home.root).code == COULD_NOT_RUN
    assert run("import", tmp_path).code == COULD_NOT_RUN


# -- export and delete


def test_export_then_delete_state_the_same_manifest(
    run: Shell, delete: Shell, home: Home, folder: Path, tmp_path: Path
) -> None:
    run("import", "--home", home.root, folder)
    out, receipt = tmp_path / "out", tmp_path / "receipt.json"
    exported = run("export", "--home", home.root, "--study", Sample(1).study_uid, "--out", out, "--format", "json")
    assert exported.code == GOOD
    assert (out / "DICOMDIR").exists()
    deleted = delete("--reason", "retention ended", "--receipt", receipt, "--format", "json")
    assert deleted.code == GOOD
    report = json.loads(deleted.out)
    assert report["manifest_sha256"] == json.loads(exported.out)["manifest"]
    assert report["problems"] == []
    assert json.loads(report["proof"]["record"])["details"]["reason"] == "retention ended"
    assert parse_receipt(receipt.read_bytes()).raw == report["proof"]["record"].encode()
    assert receipt.stat().st_mode & 0o777 == 0o600
    with opened(home) as archive:
        assert visible_sop_uids(archive) == set()


def test_delete_prints_the_proof(run: Shell, delete: Shell, home: Home, folder: Path) -> None:
    run("import", "--home", home.root, folder)
    ran = delete("--reason", "x")
    assert ran.code == GOOD
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert {"deleted", "manifest", "destroyed", "trail", "record", "note"} <= set(lines)
    assert json.loads(lines["record"])["action"] == "delete"


def test_export_that_cannot_run(run: Shell, home: Home, folder: Path, tmp_path: Path) -> None:
    run("import", "--home", home.root, folder)
    study = ("--home", home.root, "--study", Sample(1).study_uid)
    assert run("export", *study, "--out", folder).code == COULD_NOT_RUN
    assert run("export", "--home", home.root, "--study", "1.2.3", "--out", tmp_path / "o").code == COULD_NOT_RUN
    assert run("export", "--home", home.root, "--study", "../..", "--out", tmp_path / "o").code == COULD_NOT_RUN
    assert run("export", *study).code == COULD_NOT_RUN


def test_a_damaged_object_is_bad_news(run: Shell, home: Home, tmp_path: Path) -> None:
    with opened(home) as archive:
        store(archive, Sample(1))
        sql = "UPDATE small_object SET sealed = zeroblob(length(sealed))"
        archive.index.database.write(lambda unit: unit.cursor.execute(sql))
    ran = run("export", "--home", home.root, "--study", Sample(1).study_uid, "--out", tmp_path / "out")
    assert ran.code == BAD_NEWS
    assert ran.out.startswith(f"damaged {Sample(1).sop_uid}: ")


def test_a_receipt_is_not_written_over_a_file(
    run: Shell, delete: Shell, home: Home, folder: Path, tmp_path: Path
) -> None:
    run("import", "--home", home.root, folder)
    (tmp_path / "receipt").write_text("precious")
    assert delete("--reason", "x", "--receipt", tmp_path / "receipt").code == COULD_NOT_RUN
    assert (tmp_path / "receipt").read_text() == "precious"
    with opened(home) as archive:
        assert len(visible_sop_uids(archive)) == 3


def test_a_study_is_not_deleted_before_its_receipt_has_a_place(
    run: Shell, delete: Shell, home: Home, folder: Path, tmp_path: Path
) -> None:
    run("import", "--home", home.root, folder)
    refused = delete("--reason", "x", "--receipt", tmp_path / "no" / "receipt")
    assert (refused.code, refused.out) == (COULD_NOT_RUN, "")
    assert "No such file or directory" in refused.err
    with opened(home) as archive:
        assert len(visible_sop_uids(archive)) == 3
    # A deletion that is refused leaves no empty receipt.
    assert delete("--reason", "", "--receipt", tmp_path / "receipt").code == COULD_NOT_RUN
    assert not (tmp_path / "receipt").exists()


def test_a_receipt_can_be_made_again(run: Shell, delete: Shell, home: Home, folder: Path, tmp_path: Path) -> None:
    run("import", "--home", home.root, folder)
    proof = json.loads(delete("--reason", "x", "--format", "json").out)["proof"]
    receipt = tmp_path / "receipt"
    where = ("--home", home.root, "--log", proof["log"], "--out", receipt)
    assert run("trail", "receipt", *where, "--seq", proof["seq"]).code == GOOD
    assert parse_receipt(receipt.read_bytes()).raw == proof["record"].encode()
    assert receipt.stat().st_mode & 0o777 == 0o600
    assert run("trail", "receipt", *where, "--seq", proof["seq"]).code == COULD_NOT_RUN  # it is there
    receipt.unlink()
    assert run("trail", "receipt", *where, "--seq", "999").code == COULD_NOT_RUN
    assert not receipt.exists()


def test_delete_wants_a_reason(run: Shell, delete: Shell, home: Home, folder: Path) -> None:
    run("import", "--home", home.root, folder)
    assert delete().code == COULD_NOT_RUN
    assert delete("--reason", " ").code == COULD_NOT_RUN
    assert delete("--study", "1.2.3", "--reason", "x").code == COULD_NOT_RUN


# -- keys


def test_keys_rotate_and_status(run: Shell, home: Home, folder: Path) -> None:
    run("import", "--home", home.root, folder)
    before = json.loads(run("keys", "status", "--home", home.root, "--format", "json").out)
    (old,) = (key["id"] for key in before["keys"])
    ran = run("keys", "rotate", "--home", home.root)
    assert ran.code == GOOD
    assert f"old      {old} is not needed by this archive any more" in ran.out
    assert "copy the new key" in ran.out
    after = run("keys", "status", "--home", home.root)
    assert after.code == GOOD
    assert old not in after.out
    assert after.out.splitlines()[1].endswith("present, active")
    rotated = json.loads(run("keys", "rotate", "--home", home.root, "--format", "json").out)
    assert (rotated["data_keys"], rotated["resumed"], rotated["unopened"]) == (1, False, [])


def test_a_missing_key_is_bad_news(run: Shell, home: Home) -> None:
    (path,) = home.default_keys.glob("*.key")
    path.unlink()
    ran = run("keys", "status", "--home", home.root)
    assert ran.code == BAD_NEWS
    assert "MISSING" in ran.out
    assert run("keys", "rotate", "--home", home.root).code == COULD_NOT_RUN
    assert run("keys", "rotate", "--home", home.root, "--new-key-id", "x").code == COULD_NOT_RUN


def test_a_key_that_others_may_read_is_unreadable_and_not_missing(run: Shell, home: Home) -> None:
    (path,) = home.default_keys.glob("*.key")
    path.chmod(0o644)
    ran = run("keys", "status", "--home", home.root)
    assert ran.code == BAD_NEWS
    assert "UNREADABLE, active" in ran.out
    assert f"chmod 600 {path}" in ran.out
    assert f"chmod 600 {path}" in run("check", "--home", home.root).err


def test_a_rotation_says_what_to_keep_with_a_passphrase(
    run: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_PASSPHRASE", "correct horse")
    assert run("init", "--home", tmp_path / "p", "--key-source", "passphrase").code == GOOD
    said = run("keys", "rotate", "--home", tmp_path / "p").out
    assert "copy the new salt" in said
    assert "copy the new key" not in said


# -- user


def users(run: Shell, home: Home) -> dict[str, tuple[str, bool]]:
    listed = json.loads(run("user", "list", "--home", home.root, "--format", "json").out)
    return {each["name"]: (each["role"], each["disabled"] is not None) for each in listed}


def test_without_a_terminal_a_passcode_is_made_and_shown_once(
    run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ran = run("user", "add", "--home", home.root, "jdoe", "--role", "physician")
    assert ran.code == GOOD
    (passcode,) = [line.split()[1] for line in ran.out.splitlines() if line.startswith("passcode")]
    assert len(passcode) >= 20
    assert passcode not in run("user", "list", "--home", home.root).out
    assert users(run, home) == {"jdoe": ("physician", False)}


def test_a_passcode_from_the_environment_is_not_shown(run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_PASSCODE", "correct horse battery")
    ran = run("user", "add", "--home", home.root, "jdoe")
    assert ran.code == GOOD
    assert "correct" not in ran.out + ran.err
    assert users(run, home) == {"jdoe": ("technologist", False)}
    monkeypatch.setenv("STRONGROOM_PASSCODE", "short")
    assert run("user", "add", "--home", home.root, "other").code == COULD_NOT_RUN


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (["correct horse battery", "correct horse battery"], GOOD),
        (["correct horse battery", "correct horse buttery"], COULD_NOT_RUN),
        (["short"], COULD_NOT_RUN),
    ],
)
def test_on_a_terminal_it_is_typed_twice(
    run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch, typed: list[str], code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    answers = iter(typed)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    assert run("user", "add", "--home", home.root, "jdoe").code == code
    assert list(users(run, home)) == (["jdoe"] if code == GOOD else [])


def test_disable(run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGROOM_PASSCODE", "correct horse battery")
    run("user", "add", "--home", home.root, "jdoe")
    assert run("user", "disable", "--home", home.root, "jdoe").code == GOOD
    assert users(run, home) == {"jdoe": ("technologist", True)}
    assert "DISABLED" in run("user", "list", "--home", home.root).out
    assert run("user", "disable", "--home", home.root, "nobody").code == COULD_NOT_RUN
    assert run("user", "add", "--home", home.root, "jdoe", "--role", "god").code == COULD_NOT_RUN
