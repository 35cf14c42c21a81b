"""``screen`` and ``disarm`` as a shell sees them: exit codes, what is printed, and what is never."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import hidden, media, payloads
from harness.ingesting import Sample
from harness.shell import Shell, shell
from strongroom.screen.screening import screen_bytes

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


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


_TEXT = _object(("text",), text={"type": "string", "minLength": 1})
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_COUNT = {"type": "integer", "minimum": 0}
_LOCATION = _object(
    physicalLocation=_object(
        ("artifactLocation",),
        artifactLocation=_object(("uri",), uri={"type": "string", "pattern": r"^file:///[!-~]*$"}),
        region=_object(("byteOffset", "byteLength"), byteOffset=_COUNT, byteLength=_COUNT),
    ),
    logicalLocations={
        "type": "array",
        "items": _object(fullyQualifiedName={"type": "string"}, kind={"type": "string"}),
    },
)
_RULE = _object(
    ("id",),
    id={"type": "string"},
    shortDescription=_TEXT,
    fullDescription=_TEXT,
    help=_TEXT,
    defaultConfiguration=_object(level=_LEVEL),
    properties={"type": "object"},
)
_RUN = _object(
    ("tool",),
    tool=_object(
        ("driver",),
        driver=_object(
            ("name",),
            name={"type": "string"},
            version={"type": "string"},
            rules={"type": "array", "uniqueItems": True, "items": _RULE},
        ),
    ),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    invocations={
        "type": "array",
        "items": _object(
            ("executionSuccessful",),
            executionSuccessful={"type": "boolean"},
            toolExecutionNotifications={
                "type": "array",
                "items": _object(
                    ("message",), level=_LEVEL, message=_TEXT, locations={"type": "array", "items": _LOCATION}
                ),
            },
        ),
    },
    results={
        "type": "array",
        "items": _object(
            ("message",),
            ruleId={"type": "string"},
            level=_LEVEL,
            message=_TEXT,
            locations={"type": "array", "minItems": 1, "items": _LOCATION},
            properties={"type": "object"},
        ),
    },
)
SARIF = _object(
    ("version", "runs"),
    version={"const": "2.1.0"},
    runs={"type": "array", "items": _RUN},
    **{"$schema": {"type": "string", "format": "uri"}},
)
"""What SARIF 2.1.0 requires of the objects that are written here, and nothing that it does not have."""


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


def test_sarif_is_sarif(run: Shell, folder: Path) -> None:
    os.symlink("nowhere", folder / "link")
    (folder / os.fsdecode(b"\xe4 name%.dcm")).write_bytes(INFECTED)
    log = json.loads(run("screen", "--format", "sarif", folder).out)
    jsonschema.validate(log, SARIF)
    (only,) = log["runs"]
    known = {rule["id"] for rule in only["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in only["results"]} == known
    assert any(result["level"] == "error" for result in only["results"])
    places = [result["locations"][0]["physicalLocation"] for result in only["results"]]
    assert any(place["artifactLocation"]["uri"].endswith("/%E4%20name%25.dcm") for place in places)


def test_sarif_of_nothing_found_is_sarif(run: Shell, folder: Path) -> None:
    log = json.loads(run("screen", "--format", "sarif", folder / "clean.dcm").out)
    jsonschema.validate(log, SARIF)
    assert log["runs"][0]["results"] == []
    assert log["runs"][0]["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


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
