"""``screen`` and ``disarm`` as a shell sees them: exit codes, what is printed, and what is never."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import jsonschema_rs
import pytest

from harness import clamd, hidden, media, payloads
from harness.archives import opened
from harness.ingesting import Sample
from harness.shell import Shell, shell
from strongroom.config import Home
from strongroom.screen.clamd import Clamd
from strongroom.screen.screening import screen_bytes
from strongroom.store.quarantine import Entry

GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2
NAME = b"Planted^Name"

CLEAN = hidden.file_of(hidden.encode(hidden.image() | {0x00100010: ("PN", NAME)}))
INFECTED = hidden.file_of(
    hidden.encode(
        hidden.image()
        | {
            0x00100010: ("PN", NAME),
            0x00290010: ("LO", b"TEST VENDOR"),
            0x00291010: ("OB", payloads.pe()),
            0x00204000: ("LT", b"Planted <script>alert(1)</script> comment"),
        }
    )
)


SCHEMAS = Path(__file__).parents[2] / "schemas"


def sarif_errors(log: object) -> list[str]:
    """What the schema of the standard has against it, formats of URIs included."""
    schema = json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text())
    for name in ("run", "toolComponent"):  # as it was released, these are no patterns
        del schema["definitions"][name]["properties"]["language"]["pattern"]
    # Its `uri-reference` is a format since Draft 6; nothing else in it has another meaning there.
    validator = jsonschema_rs.Draft7Validator(
        {name: value for name, value in schema.items() if name != "$schema"}, validate_formats=True
    )
    return [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(log)]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    return shell(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    (files / "below").mkdir(parents=True)
    (files / "clean.dcm").write_bytes(CLEAN)
    (files / "below" / "infected.dcm").write_bytes(INFECTED)
    (files / "notes.txt").write_text("no image")
    return files


# -- screen


def test_clean_files_exit_0_without_an_archive(run: Shell, folder: Path) -> None:
    ran = run("screen", folder / "clean.dcm")
    assert ran.code == GOOD
    assert "screened 1 file" in ran.out
    assert "nothing found" in ran.out


def test_a_program_exits_1_and_is_named_with_its_place(run: Shell, folder: Path) -> None:
    ran = run("screen", folder)
    assert ran.code == BAD_NEWS
    line = next(line for line in ran.out.splitlines() if "SR-PE-001" in line)
    assert "(0029,1010)" in line
    assert f"byte {INFECTED.index(payloads.pe())}" in line
    assert "1 not DICOM" in ran.out
    assert f"{folder}/below/infected.dcm" in ran.out


@pytest.mark.parametrize(("level", "code"), [("critical", BAD_NEWS), ("high", BAD_NEWS), ("low", BAD_NEWS)])
def test_what_is_at_least_as_bad_fails(run: Shell, folder: Path, level: str, code: int) -> None:
    assert run("screen", "--fail-on", level, folder / "below").code == code


def test_what_is_less_bad_does_not_fail(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(CLEAN + b"behind the data set")
    assert run("screen", tmp_path).code == GOOD
    assert run("screen", "--fail-on", "low", tmp_path).code == BAD_NEWS


def test_no_value_of_a_patient_is_printed(run: Shell, folder: Path) -> None:
    for form in ("text", "json", "sarif"):
        ran = run("screen", "--format", form, folder)
        assert "Planted" not in ran.out + ran.err
        assert "alert(1)" not in ran.out + ran.err


def test_names_of_files_cannot_command_the_terminal(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J\n.dcm").write_bytes(INFECTED)
    ran = run("screen", tmp_path)
    assert "\x1b" not in ran.out
    assert "a\\x1b[2J\\n.dcm" in ran.out


def test_json_has_what_why_and_what_to_do(run: Shell, folder: Path) -> None:
    ran = run("screen", "--format", "json", folder)
    report = json.loads(ran.out)
    assert ran.code == BAD_NEWS
    by_name = {Path(each["path"]).name: each for each in report["results"]}
    assert by_name["clean.dcm"]["findings"] == []
    worst = by_name["infected.dcm"]["findings"][0]
    assert (worst["rule"], worst["severity"], worst["path"]) == ("SR-PE-001", "critical", "(0029,1010)")
    assert worst["offset"] == INFECTED.index(payloads.pe())
    assert worst["why"]
    assert worst["remedy"]
    assert report["summary"]["files"] == 2
    assert report["summary"]["findings"]["critical"] >= 1


ODD_NAMES = (
    b"\xe4 name%.dcm",
    b"a#b?c[1].dcm",
    b"back\\slash:;'\"<>|.dcm",
    "\u65e5\u672c.dcm".encode(),
    b"new\nline.dcm",
)


def test_sarif_is_sarif(run: Shell, folder: Path) -> None:
    os.symlink("nowhere", folder / "link")
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(INFECTED)
    log = json.loads(run("screen", "--format", "sarif", folder).out)
    assert sarif_errors(log) == []
    (only,) = log["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert {result["ruleId"] for result in only["results"]} >= {"SR-PE-001", "SR-TXT-002"}
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert any(result["level"] == "error" for result in only["results"])
    assert only["invocations"][0]["exitCode"] == BAD_NEWS


def test_sarif_names_files_so_that_they_are_found_again(run: Shell, folder: Path) -> None:
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(INFECTED)
    (only,) = json.loads(run("screen", "--format", "sarif", folder).out)["runs"]
    uris = {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in only["results"]}
    assert all(urlsplit(uri).scheme == "file" and not urlsplit(uri).query + urlsplit(uri).fragment for uri in uris)
    named = {os.path.basename(unquote_to_bytes(urlsplit(uri).path)) for uri in uris}
    assert named == {*ODD_NAMES, b"infected.dcm"}


def test_the_same_finding_has_the_same_fingerprint_and_no_other_has(run: Shell, folder: Path) -> None:
    first, again = (json.loads(run("screen", "--format", "sarif", folder).out)["runs"][0] for _ in range(2))
    prints = [each["partialFingerprints"]["strongroomPlace/v1"] for each in first["results"]]
    assert prints == [each["partialFingerprints"]["strongroomPlace/v1"] for each in again["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_points_to_the_bytes(run: Shell, folder: Path) -> None:
    (only,) = json.loads(run("screen", "--format", "sarif", folder).out)["runs"]
    found = next(each for each in only["results"] if each["ruleId"] == "SR-PE-001")["locations"][0]
    assert found["physicalLocation"]["region"]["byteOffset"] == INFECTED.index(payloads.pe())
    assert found["logicalLocations"] == [{"fullyQualifiedName": "(0029,1010)", "kind": "member"}]


def test_sarif_of_nothing_found_is_sarif(run: Shell, folder: Path) -> None:
    log = json.loads(run("screen", "--format", "sarif", folder / "clean.dcm").out)
    assert sarif_errors(log) == []
    assert log["runs"][0]["results"] == []
    ended = {"executionSuccessful": True, "exitCode": GOOD, "toolExecutionNotifications": []}
    assert log["runs"][0]["invocations"] == [ended]


def test_the_schema_objects_to_what_is_no_sarif(run: Shell, folder: Path) -> None:
    log = json.loads(run("screen", "--format", "sarif", folder).out)
    log["runs"][0]["results"][0]["level"] = "high"
    log["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] = "a b|c"
    assert len(sarif_errors(log)) == 2


def test_media_are_screened_with_what_their_dicomdir_does_not_name(run: Shell, tmp_path: Path) -> None:
    sample = Sample(1)
    media.write(tmp_path / "IMAGES" / "ONE", sample)
    (tmp_path / "DICOMDIR").write_bytes(media.dicomdir([(("IMAGES", "ONE"), sample)]))
    (tmp_path / "IMAGES" / "HIDDEN").write_bytes(INFECTED)
    report = json.loads(run("screen", "--format", "json", tmp_path).out)
    assert [Path(each["path"]).name for each in report["results"]] == ["DICOMDIR", "HIDDEN", "ONE"]
    named = json.loads(run("screen", "--format", "json", tmp_path / "DICOMDIR").out)
    assert [Path(each["path"]).name for each in named["results"]] == ["DICOMDIR", "ONE"]


def test_what_is_no_dicom_is_screened_where_that_is_wanted(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "viewer.bin").write_bytes(payloads.pe())
    assert run("screen", tmp_path).code == GOOD
    assert run("screen", "--all", tmp_path).code == BAD_NEWS
    assert run("screen", tmp_path / "viewer.bin").code == BAD_NEWS


def test_a_path_that_is_not_there_could_not_be_run(run: Shell, tmp_path: Path) -> None:
    ran = run("screen", tmp_path / "nothing")
    assert ran.code == COULD_NOT_RUN
    assert "there is no" in ran.err


# -- engines


def test_rules_of_the_operator_are_run_and_fail_it(run: Shell, folder: Path, tmp_path: Path) -> None:
    rules = tmp_path / "ours.yar"
    rules.write_text('rule ours { meta: severity = "high" strings: $a = "TEST VENDOR" condition: $a }')
    ran = run("screen", "--yara", rules, folder)
    assert ran.code == BAD_NEWS
    assert "SR-YARA-001" in ran.out
    assert "(0029,0010)" in ran.out
    log = json.loads(run("screen", "--yara", rules, "--format", "sarif", folder).out)
    assert sarif_errors(log) == []
    assert "SR-YARA-001" in {each["ruleId"] for each in log["runs"][0]["results"]}


def test_rules_that_do_not_compile_could_not_be_run(run: Shell, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yar").write_text("rule x { condition: nothing }")
    ran = run("screen", "--yara", tmp_path / "bad.yar", folder)
    assert (ran.code, ran.out) == (COULD_NOT_RUN, "")
    assert "bad.yar" in ran.err


@pytest.mark.interop
@pytest.mark.skipif(not clamd.PROGRAM, reason="clamd is not installed")
def test_clamav_is_asked(run: Shell, folder: Path, tmp_path: Path) -> None:
    (folder / "marked.dcm").write_bytes(CLEAN + clamd.MARK)
    with clamd.clamd(tmp_path) as address:
        ran = run("screen", "--clamd", address, folder / "marked.dcm")
        assert ran.code == BAD_NEWS
        assert clamd.SIGNATURE in ran.out
        assert run("screen", "--clamd", address, folder / "clean.dcm").code == GOOD


def test_clamav_that_is_away_could_not_be_run(run: Shell, folder: Path, tmp_path: Path) -> None:
    ran = run("screen", "--clamd", f"unix:{tmp_path / 'nothing'}", folder)
    assert (ran.code, ran.out) == (COULD_NOT_RUN, "")
    assert "not reachable" in ran.err


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_a_file_that_an_engine_has_not_seen_is_bad_news(
    run: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(Clamd, "ping", lambda self: None)
    ran = run("screen", "--clamd", "unix:/nowhere/ctl", "--format", form, folder / "clean.dcm")
    assert ran.code == BAD_NEWS
    assert "not reachable" in ran.out
    if form == "sarif":
        log = json.loads(ran.out)
        assert sarif_errors(log) == []
        assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False


# -- disarm


def test_a_copy_is_clean_and_the_original_as_it_was(run: Shell, folder: Path) -> None:
    source, target = folder / "below" / "infected.dcm", folder / "copy.dcm"
    ran = run("disarm", source, target)
    assert ran.code == GOOD
    assert source.read_bytes() == INFECTED
    assert screen_bytes(target.read_bytes()).findings == ()
    assert f"sha256 of the original {sha256(INFECTED).hexdigest()}" in ran.out
    assert f"sha256 of the copy     {sha256(target.read_bytes()).hexdigest()}" in ran.out
    assert f"(0029,1010) byte {INFECTED.index(payloads.pe())}, {len(payloads.pe())} bytes" in ran.out
    assert "Planted" not in ran.out + ran.err


def test_json_of_a_copy_lists_what_was_removed(run: Shell, folder: Path) -> None:
    report = json.loads(run("disarm", "--format", "json", folder / "below" / "infected.dcm", folder / "copy.dcm").out)
    assert report["disarmed"] is True
    program = next(each for each in report["removed"] if each["path"] == "(0029,1010)")
    assert program["sha256"] == sha256(payloads.pe()).hexdigest()


def test_a_payload_in_the_pixels_is_refused_in_words(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(hidden.BINARY_SURFACES["as pixels"](payloads.pe()))
    ran = run("disarm", tmp_path / "a.dcm", tmp_path / "copy.dcm")
    assert ran.code == BAD_NEWS
    assert "the pixels themselves" in ran.err
    assert not (tmp_path / "copy.dcm").exists()
    ran = run("disarm", "--format", "json", tmp_path / "a.dcm", tmp_path / "copy.dcm")
    assert json.loads(ran.out)["reason"] == "payload-in-object"


def test_no_file_is_overwritten(run: Shell, folder: Path) -> None:
    (folder / "copy.dcm").write_bytes(b"mine")
    ran = run("disarm", folder / "below" / "infected.dcm", folder / "copy.dcm")
    assert ran.code == COULD_NOT_RUN
    assert (folder / "copy.dcm").read_bytes() == b"mine"
    assert run("disarm", folder / "clean.dcm", folder / "clean.dcm").code == COULD_NOT_RUN
    assert (folder / "clean.dcm").read_bytes() == CLEAN


def test_what_does_not_hold_together_is_refused(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(CLEAN[:-100])
    ran = run("disarm", tmp_path / "a.dcm", tmp_path / "copy.dcm")
    assert ran.code == BAD_NEWS
    assert "malformed" in ran.err
    assert not (tmp_path / "copy.dcm").exists()


# -- disarm: the original


@pytest.fixture
def home(archive_home: Callable[[], Home]) -> Home:
    return archive_home()


def entries(home: Home) -> list[Entry]:
    with opened(home) as archive:
        return list(archive.quarantine.entries())


def test_without_a_home_it_is_said_that_the_original_is_as_it_was(run: Shell, folder: Path) -> None:
    ran = run("disarm", folder / "below" / "infected.dcm", folder / "copy.dcm")
    assert "infected.dcm is as it was, with all that was found in it" in ran.out
    assert "quarantine" not in ran.out


def test_of_a_clean_file_it_is_said_that_nothing_had_to_be_removed(run: Shell, folder: Path) -> None:
    infected, clean = folder / "below" / "infected.dcm", folder / "clean.dcm"
    run("disarm", infected, clean)
    ran = run("disarm", clean, folder / "copy.dcm")
    assert ran.code == GOOD
    assert ran.out.startswith("nothing had to be removed; ")
    assert "clean.dcm is as it was\n" in ran.out


def test_with_a_home_the_original_is_held_sealed(run: Shell, folder: Path, home: Home) -> None:
    source = folder / "below" / "infected.dcm"
    ran = run("disarm", source, folder / "copy.dcm", "--home", home.root)
    assert ran.code == GOOD
    assert "held in the quarantine as Q1" in ran.out
    assert source.read_bytes() == INFECTED
    (entry,) = entries(home)
    assert (entry.reason, entry.severity) == ("screening", "critical")
    with opened(home) as archive, closing(archive.quarantine.open(entry)) as reader:
        data_set = b"".join(reader.chunks())
    assert INFECTED.endswith(data_set)
    assert payloads.pe() in data_set
    assert not [path for path in home.data.rglob("*") if path.is_file() and payloads.pe()[:256] in path.read_bytes()]


def test_the_same_original_is_held_once(run: Shell, folder: Path, home: Home) -> None:
    source = folder / "below" / "infected.dcm"
    for name in ("one.dcm", "two.dcm"):
        ran = run("disarm", "--format", "json", "--home", home.root, source, folder / name)
        assert json.loads(ran.out)["quarantine"] == "Q1"
    assert len(entries(home)) == 1


def test_nothing_is_held_of_what_is_refused_or_cannot_be_written(run: Shell, folder: Path, home: Home) -> None:
    (folder / "a.dcm").write_bytes(hidden.BINARY_SURFACES["as pixels"](payloads.pe()))
    assert run("disarm", folder / "a.dcm", folder / "copy.dcm", "--home", home.root).code == BAD_NEWS
    there = folder / "clean.dcm"
    assert run("disarm", folder / "below" / "infected.dcm", there, "--home", home.root).code == COULD_NOT_RUN
    assert there.read_bytes() == CLEAN
    assert entries(home) == []


def test_an_original_without_meta_information_is_held_under_its_own_uids(run: Shell, folder: Path, home: Home) -> None:
    bare = folder / "bare.dcm"
    bare.write_bytes(INFECTED[INFECTED.index(b"\x08\0\x05\0CS") :])
    assert run("disarm", bare, folder / "copy.dcm", "--home", home.root).code == GOOD
    assert [entry.sop_uid for entry in entries(home)] == ["2.25.1.4"]
