"""``quarantine list|show|release|destroy`` as a shell sees them: what is printed, and how it exits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness import media
from harness.archives import new_home, opened, trail_events
from harness.ingesting import LARGE_PIXELS, Sample, element, store, visible_sop_uids
from harness.quarantines import PASSCODE, add_officers, hold, infected
from harness.shell import Ran, Shell, shell
from strongroom.admin import users
from strongroom.archive.model import Action, Outcome
from strongroom.archive.roles import Role
from strongroom.config import Home
from strongroom.trail.receipt import parse_receipt
from strongroom.types import Principal

GOOD, BAD_NEWS, COULD_NOT_RUN = 0, 1, 2
SMALL, LARGE = Sample(1, study=1), Sample(2, study=1, pixel_bytes=LARGE_PIXELS)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two objects are held, and there are two people."""
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        add_officers(archive, "ann", "bob")
        hold(archive, SMALL)
        hold(archive, LARGE, sender=Principal("web-upload", "", "dan\x1b[2J", "2001:db8::7", via="token"))
    return home


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("STRONGROOM_HOME", "STRONGROOM_PASSCODE"):
        monkeypatch.delenv(name, raising=False)
    return shell(capsys, monkeypatch)


@pytest.fixture
def as_user(run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs a command of the quarantine as somebody, with the right passcode."""
    monkeypatch.setenv("STRONGROOM_PASSCODE", PASSCODE)

    def call(user: str | Path, what: str | Path, *which: str | Path) -> Ran:
        options = ("--home", home.root, "--user", user, "--reason", "looked at it")
        return run("quarantine", what, *which, *options)

    return call


def held(home: Home) -> list[int]:
    with opened(home) as archive:
        return [entry.number for entry in archive.quarantine.entries()]


# -- list and show


def test_an_empty_quarantine_says_so(run: Shell, tmp_path: Path) -> None:
    empty = new_home(tmp_path / "empty")
    ran = run("quarantine", "list", "--home", empty.root)
    assert (ran.code, ran.out) == (GOOD, "0 objects in quarantine, 0 B\n")
    assert json.loads(run("quarantine", "list", "--home", empty.root, "--format", "json").out) == []


def test_the_list_says_what_when_from_whom_and_why(run: Shell, home: Home, as_user: Shell) -> None:
    as_user("ann", "destroy", "Q2")
    ran = run("quarantine", "list", "--home", home.root)
    assert ran.code == GOOD
    first, second, total = ran.out.splitlines()
    for word in ("Q1", "CT1", "192.0.2.7", "critical", "screening", "CT Image Storage", "2027-01-15 08:00 UTC"):
        assert word in first
    assert "web-upload" in second
    assert "2001:db8::7" in second
    assert "destroy asked by ann" in second
    assert "\x1b" not in ran.out
    assert total.startswith("2 objects in quarantine, ")


def test_the_list_as_json(run: Shell, home: Home) -> None:
    first, second = json.loads(run("quarantine", "list", "--home", home.root, "--format", "json").out)
    assert first == {
        "id": "Q1",
        "received": first["received"],
        "sender": "CT1",
        "user": "",
        "address": "192.0.2.7",
        "via": "",
        "certificate_sha256": "ab" * 32,
        "reason": "screening",
        "severity": "critical",
        "bytes": len(SMALL.dataset),
        "sop_class": "1.2.840.10008.5.1.4.1.1.2",
        "sop_class_name": "CT Image Storage",
        "times": 1,
        "requests": [],
    }
    assert (second["id"], second["via"]) == ("Q2", "token")


def test_show_explains_each_finding_and_shows_no_byte_and_no_patient(run: Shell, home: Home, as_user: Shell) -> None:
    as_user("ann", "release", "Q1")
    for output in ("text", "json"):
        ran = run("quarantine", "show", "Q1", "--home", home.root, "--format", output)
        assert ran.code == GOOD
        for word in ("SR-PE-001", "(0042,0011)", "1234", "PE32+ for x86-64, 3 sections", "ann", "looked at it"):
            assert word in ran.out
        assert SMALL.sop_uid in ran.out
        assert "Doe" not in ran.out
        assert "PID" not in ran.out
    report = json.loads(ran.out)
    (finding,) = report["findings"]
    assert finding["why"]
    assert finding["remedy"]
    assert report["requests"][0]["what"] == "release"


def altered(home: Home, data: bytes) -> None:
    """The first sample is stored, and another object is held that has its UIDs."""
    with opened(home) as archive:
        store(archive, SMALL)
        hold(archive, SMALL, data)


def test_show_names_what_differs_from_what_is_stored_and_no_value(run: Shell, home: Home) -> None:
    data = SMALL.dataset.replace(b"Doe^Jane", b"Roe^Jack")
    start, pixels = data.index(b"\x20\0\x13\0IS"), data.index(b"\xe0\x7f\x10\0OW")
    private = element(0x00291010, "LO", "4711")
    altered(home, data[:start] + private + data[pixels:-2] + b"\xff\xff")
    ran = run("quarantine", "show", "Q3", "--home", home.root)
    assert [line for line in ran.out.splitlines() if line.startswith("differs")] == [
        "differs         (0010,0010) PatientName PN",
        "differs         (0020,0013) InstanceNumber IS, only in what is stored",
        "differs         (0029,1010) private or unknown UN, only in what is held",
        "differs         (7FE0,0010) PixelData OW or OB",
    ]
    assert "Doe" not in ran.out
    assert "Roe" not in ran.out
    report = json.loads(run("quarantine", "show", "Q3", "--home", home.root, "--format", "json").out)
    first, *others = report["compared_with_stored"]["differences"]
    assert first == {"tag": "00100010", "keyword": "PatientName", "vr": "PN", "how": "differs"}
    assert [each["how"] for each in others] == ["only-stored", "only-held", "differs"]


def test_show_compares_with_nothing_where_nothing_is_stored(run: Shell, home: Home) -> None:
    assert "differs" not in run("quarantine", "show", "Q1", "--home", home.root).out
    report = json.loads(run("quarantine", "show", "Q1", "--home", home.root, "--format", "json").out)
    assert report["compared_with_stored"] is None


def test_show_says_when_it_cannot_compare(run: Shell, home: Home) -> None:
    altered(home, SMALL.dataset[:-3])
    ran = run("quarantine", "show", "Q3", "--home", home.root)
    assert ran.code == GOOD
    assert "cannot be compared with what is stored under its UID: a value runs past the end" in ran.out


@pytest.mark.parametrize("which", ["Q3", "Q999999999", "q3"])
def test_what_is_not_held_is_not_shown(run: Shell, home: Home, which: str) -> None:
    ran = run("quarantine", "show", which, "--home", home.root)
    assert (ran.code, ran.out) == (COULD_NOT_RUN, "")
    assert "nothing is held" in ran.err


@pytest.mark.parametrize("which", ["17", "../../etc/passwd", "Q1/../Q2", "", "Q1 OR 1=1", "-1"])
@pytest.mark.parametrize("what", ["show", "release", "destroy"])
def test_what_is_no_id_is_refused(run: Shell, home: Home, as_user: Shell, what: str, which: str) -> None:
    options = [] if what == "show" else ["--user", "ann", "--reason", "x"]
    ran = run("quarantine", what, "--home", home.root, *options, "--", which)
    assert ran.code == COULD_NOT_RUN
    assert "a quarantine id is Q and a number" in ran.err
    assert held(home) == [1, 2]


# -- release and destroy


def test_release_takes_two_people(run: Shell, home: Home, as_user: Shell) -> None:
    ran = as_user("ann", "release", "Q1")
    assert ran.code == GOOD
    assert "Q1 release asked for: another person has to run the same command" in ran.out
    assert "lapses" in ran.out
    ran = as_user("ann", "release", "Q1")
    assert ran.code == BAD_NEWS
    assert "Q1 refused: you have asked for this yourself" in ran.out
    ran = as_user("bob", "release", "q1")
    assert ran.code == GOOD
    assert "Q1 released, stored; asked for by ann" in ran.out
    assert held(home) == [2]
    with opened(home) as archive:
        assert visible_sop_uids(archive) == {SMALL.sop_uid}


def test_destroy_takes_two_people_and_leaves_a_receipt(run: Shell, home: Home, as_user: Shell, tmp_path: Path) -> None:
    out = tmp_path / "receipt"
    assert as_user("ann", "destroy", "Q2", "--receipt", out).code == GOOD
    assert not out.exists()
    ran = as_user("bob", "destroy", "Q2", "--receipt", out)
    assert ran.code == GOOD
    assert "Q2 destroyed; asked for by ann" in ran.out
    assert "leaf" in ran.out
    assert parse_receipt(out.read_bytes())
    assert held(home) == [1]


def test_a_receipt_that_has_no_place_keeps_the_object(run: Shell, home: Home, as_user: Shell, tmp_path: Path) -> None:
    out = tmp_path / "receipt"
    out.write_text("here")
    assert as_user("ann", "destroy", "Q2").code == GOOD
    ran = as_user("bob", "destroy", "Q2", "--receipt", out)
    assert ran.code == COULD_NOT_RUN
    assert held(home) == [1, 2]
    assert as_user("bob", "destroy", "Q1", "Q2", "--receipt", tmp_path / "new").code == COULD_NOT_RUN


def test_several_at_once_and_one_that_fails_keeps_nobody_from_the_next(home: Home, as_user: Shell) -> None:
    ran = as_user("ann", "destroy", "Q1", "Q9", "Q2", "Q1")
    assert ran.code == BAD_NEWS
    assert [line.split()[0] for line in ran.out.splitlines() if line.startswith("Q")] == ["Q1", "Q9", "Q2"]
    assert "Q9 refused: nothing is held as Q9" in ran.out
    assert as_user("bob", "destroy", "Q1", "Q2").code == GOOD
    assert held(home) == []


@pytest.mark.parametrize("what", ["release", "destroy"])
def test_where_nothing_that_was_named_is_held_nothing_could_be_done(home: Home, as_user: Shell, what: str) -> None:
    ran = as_user("ann", what, "Q9")
    assert (ran.code, ran.out) == (COULD_NOT_RUN, "Q9 refused: nothing is held as Q9\n")
    assert as_user("ann", what, "Q8", "Q9", "--format", "json").code == COULD_NOT_RUN


def test_as_json_each_order_has_its_step(home: Home, as_user: Shell) -> None:
    ran = as_user("ann", "destroy", "Q1", "Q9", "--format", "json")
    asked, refused = json.loads(ran.out)
    assert (ran.code, asked["step"], refused["step"], refused["reason"]) == (BAD_NEWS, "asked", "refused", "not-found")
    assert asked["lapses"]
    (done,) = json.loads(as_user("bob", "destroy", "Q1", "--format", "json").out)
    assert (done["step"], done["asked_by"]) == ("destroyed", "ann")
    assert done["proof"]["log"] == "local"


def test_a_conflict_with_what_is_stored_is_told_in_words(home: Home, as_user: Shell) -> None:
    with opened(home) as archive:
        store(archive, Sample(1, study=1, pixel_bytes=602))
    as_user("ann", "release", "Q1")
    ran = as_user("bob", "release", "Q1")
    assert ran.code == BAD_NEWS
    assert "Q1 cannot be released: another object, with other pixels, is stored" in ran.out
    assert held(home) == [1, 2]


@pytest.mark.parametrize("passcode", ["", "not the passcode", PASSCODE.upper()])
def test_a_wrong_passcode_does_nothing_and_is_recorded(
    run: Shell, home: Home, as_user: Shell, monkeypatch: pytest.MonkeyPatch, passcode: str
) -> None:
    as_user("ann", "destroy", "Q1")
    monkeypatch.setenv("STRONGROOM_PASSCODE", passcode)
    ran = as_user("bob", "destroy", "Q1")
    assert ran.code == COULD_NOT_RUN
    assert "or not its passcode" in ran.err
    assert held(home) == [1, 2]
    with opened(home) as archive:
        last = [event for event in trail_events(archive, "local") if event.action is Action.QUARANTINE][-1]
    assert (last.outcome, last.details["user"]) == (Outcome.REFUSED, "bob")


def test_a_role_that_may_not_does_nothing(home: Home, as_user: Shell) -> None:
    with opened(home) as archive:
        users.add(archive, "vic", PASSCODE, Role.VIEWER)
    ran = as_user("vic", "release", "Q1")
    assert ran.code == COULD_NOT_RUN
    assert "this takes a security-officer or an administrator" in ran.err


def test_the_terminal_asks_for_the_passcode(run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    command = ("quarantine", "release", "Q1", "--home", home.root, "--user", "ann", "--reason", "fine")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = run(*command)
    assert ran.code == COULD_NOT_RUN
    assert "STRONGROOM_PASSCODE" in ran.err
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _: PASSCODE)
    assert run(*command).code == GOOD


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 201])
def test_a_reason_is_one_line_of_words(run: Shell, home: Home, as_user: Shell, reason: str) -> None:
    ran = run("quarantine", "destroy", "Q1", "--home", home.root, "--user", "ann", "--reason", reason)
    assert ran.code == COULD_NOT_RUN
    assert held(home) == [1, 2]


def test_an_import_names_what_it_was_held_as_and_exits_1(run: Shell, tmp_path: Path) -> None:
    home = new_home(tmp_path / "empty")
    media.write(tmp_path / "files" / "good.dcm", SMALL)
    media.write(tmp_path / "files" / "bad.dcm", LARGE)
    bad = tmp_path / "files" / "bad.dcm"
    bad.write_bytes(bad.read_bytes().replace(LARGE.dataset, infected(LARGE)))
    ran = run("import", "--home", home.root, tmp_path / "files")
    assert ran.code == BAD_NEWS
    assert f"quarantined {bad}: Q1: screening" in ran.out
    assert ["1", "quarantined"] in [line.split(maxsplit=1) for line in ran.out.splitlines()]
    ran = run("import", "--home", home.root, tmp_path / "files", "--format", "json")
    report = json.loads(ran.out)
    assert (report["quarantined"], report["resumed"], report["refused"]) == (1, 1, 0)
    assert report["failures"][0]["reason"] == "Q1: screening"
