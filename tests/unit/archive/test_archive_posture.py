"""What each fact about an archive means: from an archive with which all is well, one thing at a time goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.archive.facts import (
    IS_OPEN,
    Certificate,
    CheckpointFolder,
    Data,
    Disk,
    Doors,
    Facts,
    Keys,
    PlaintextException,
    Serving,
    Standing,
    Trail,
)
from strongroom.archive.posture import DAY_S, SILENT_S, Line, State, full_in_days, judge, worst_of

NOW = 1_800_000_000.0
GIB = 2**30


def certificate(whose: str, days: float) -> Certificate:
    return Certificate(whose, f"CN={whose}", "ab" * 32, NOW + days * DAY_S)


def exception(days: float, standing: Standing = Standing.IN_EFFECT) -> PlaintextException:
    return PlaintextException("OLD_US", 104, "192.0.2.0/28", NOW + days * DAY_S, "no TLS in it", standing)


WELL = Facts(
    NOW,
    Serving(
        version="1.0", started_s=NOW - DAY_S, said_s=NOW - 5, is_held=True, own_version="1.0", processes=6,
        listening=("dicom=127.0.0.1:2762", "https=127.0.0.1:8443"),
    ),
    Doors("bcp195", (), certificate("archive", 400), certificate("ca", 3000), (certificate("CT_1", 200),), 1, 2, 0),
    Trail(
        100, 3, NOW - DAY_S, 0,
        (CheckpointFolder("/home", NOW - 60, NOW - 600, False), CheckpointFolder("/far", NOW - 60, 0, True)),
        60.0, 3600.0, 0,
    ),
    Data(
        10, Keys("files in /keys", "mk-1", NOW - 30 * DAY_S, copied_s=NOW - DAY_S),
        (Disk("/data", 500 * GIB, 1000 * GIB, {1: 501 * GIB, 11: 500 * GIB}),),
        check_days=30.0, check_ended_s=NOW - DAY_S, backup_s=NOW - DAY_S, drill_s=NOW - 20 * DAY_S,
    ),
)  # fmt: skip


def doors(**more: object) -> Facts:
    return replace(WELL, doors=replace(WELL.doors, **more))


def trail(**more: object) -> Facts:
    return replace(WELL, trail=replace(WELL.trail, **more))


def data(**more: object) -> Facts:
    return replace(WELL, data=replace(WELL.data, **more))


def serving(**more: object) -> Facts:
    return replace(WELL, serving=replace(WELL.serving, **more))


def keys(**more: object) -> Facts:
    return data(keys=replace(WELL.data.keys, **more))


def test_nothing_is_to_be_done_where_all_is_well() -> None:
    lines = judge(WELL)
    assert worst_of(lines) is State.OK, [line for line in lines if line.state is not State.OK]
    assert not any(line.do for line in lines)
    assert {"DICOM", "HTTPS", "Trail", "Disk", "Backup", "Server"} <= {line.about for line in lines}


HOME, FAR = WELL.trail.folders
WRONG: dict[str, tuple[Facts, str, State]] = {
    "exception": (doors(exceptions=(exception(100),)), "Exception", State.LOOK),
    "exception ends soon": (doors(exceptions=(exception(3),)), "Exception", State.LOOK),
    "exception not agreed to": (doors(exceptions=(exception(9, Standing.NOT_AGREED),)), "Exception", State.LOOK),
    "exception not open yet": (doors(exceptions=(exception(9, Standing.NEXT_START),)), "Exception", State.LOOK),
    "exception open still": (doors(exceptions=(exception(9, Standing.WITHDRAWN),)), "Exception", State.ACT),
    "exception is over": (doors(exceptions=(exception(-1),)), "Exception", State.LOOK),
    "certificate ends": (doors(server=certificate("archive", 10)), "Certificate", State.LOOK),
    "certificate ended": (doors(server=certificate("archive", -1)), "Certificate", State.ACT),
    "CA ends": (doors(authority=certificate("ca", 100)), "Its CA", State.LOOK),
    "peer's ends": (doors(peers=(certificate("CT_1", 10),)), "Peers", State.LOOK),
    "peer's ended": (doors(peers=(certificate("CT_1", -10),)), "Peers", State.ACT),
    "one administrator": (doors(administrators=1), "Administrators", State.LOOK),
    "no administrator": (doors(administrators=0), "Administrators", State.LOOK),
    "no second factor": (doors(without_factor=1), "Administrators", State.LOOK),
    "never verified": (trail(findings=None), "Trail", State.LOOK),
    "verified long ago": (trail(verified_s=NOW - 40 * DAY_S), "Trail", State.LOOK),
    "trail altered": (trail(findings=2), "Trail", State.ACT),
    "no checkpoint": (trail(folders=(HOME, replace(FAR, written_s=0.0))), "Checkpoint outside", State.ACT),
    "checkpoint behind": (trail(folders=(HOME, replace(FAR, written_s=NOW - DAY_S))), "Checkpoint", State.ACT),
    "none outside": (trail(folders=(HOME,)), "Checkpoint outside", State.LOOK),
    "nothing signs": (trail(unsigned_s=NOW - DAY_S), "Checkpoint", State.ACT),
    "no witness": (trail(stamp_interval_s=0.0), "Witness", State.LOOK),
    "witness is away": (trail(folders=(replace(HOME, stamped_s=NOW - DAY_S), FAR)), "Witness", State.LOOK),
    "alert": (trail(alerts=1), "Alerts", State.ACT),
    "damaged": (data(damaged=1), "Background check", State.ACT),
    "no check": (data(check_days=0.0), "Background check", State.LOOK),
    "check is late": (data(check_ended_s=NOW - 61 * DAY_S), "Background check", State.LOOK),
    "first check does not end": (
        data(check_ended_s=0.0, check_began_s=NOW - 61 * DAY_S),
        "Background check",
        State.LOOK,
    ),
    "disk full": (data(disks=(Disk("/data", 2**20, GIB),)), "Disk", State.ACT),
    "disk fills up": (data(disks=(Disk("/data", 50 * GIB, 99 * GIB, {1: 60 * GIB, 2: 50 * GIB}),)), "Disk", State.ACT),
    "disk is low": (data(disks=(Disk("/data", GIB, 99 * GIB),)), "Disk", State.LOOK),
    "disk is away": (data(disks=(Disk("/data", 0, 0),)), "Disk", State.ACT),
    "key missing": (keys(missing=("mk-0",)), "Master key", State.ACT),
    "rotation": (keys(rotation_unfinished=True), "Master key", State.LOOK),
    "old key": (keys(since_s=NOW - 1000 * DAY_S), "Master key", State.LOOK),
    "no copy": (keys(copied_s=0.0), "Copy of the key", State.LOOK),
    "no backup": (data(backup_s=0.0), "Backup", State.ACT),
    "backup is old": (data(backup_s=NOW - 5 * DAY_S), "Backup", State.LOOK),
    "backup is too old": (data(backup_s=NOW - 50 * DAY_S), "Backup", State.ACT),
    "never drilled": (data(drill_s=0.0), "Restore", State.LOOK),
    "drill failed": (data(drill_findings=1), "Restore", State.ACT),
    "held": (data(held=3), "Quarantine", State.LOOK),
    "not running": (serving(is_held=False), "Server", State.ACT),
    "silent": (serving(said_s=NOW - SILENT_S - 1), "Server", State.ACT),
    "other version": (serving(own_version="1.1"), "Version", State.LOOK),
    "process away": (serving(silent=("https-1",)), "Processes", State.ACT),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_thing_that_is_wrong_is_one_line_with_what_to_do(what: str) -> None:
    facts, about, state = WRONG[what]
    wrong = [line for line in judge(facts) if line.state is not State.OK]
    assert [(line.about, line.state) for line in wrong] == [(about, state)]
    assert wrong[0].do


@pytest.mark.parametrize(
    "facts",
    [
        trail(unsigned_s=NOW - 100),
        replace(trail(unsigned_s=NOW - DAY_S), serving=replace(WELL.serving, started_s=NOW - 100)),
        data(check_ended_s=0.0, check_began_s=NOW - 20 * DAY_S),
        data(check_ended_s=0.0),
    ],
)
def test_what_has_had_no_time_yet_is_not_late(facts: Facts) -> None:
    assert worst_of(judge(facts)) is State.OK


def test_an_archive_that_does_not_run_listens_nowhere() -> None:
    (line,) = [line for line in judge(serving(is_held=False)) if line.about == "Listening"]
    assert line.says.startswith("nothing")
    assert not any(line.about in ("DICOM", "HTTPS") for line in judge(serving(is_held=False)))


def test_open_alerts_are_told_by_what_they_are_about() -> None:
    kinds = ("sop-instance-altered", "screening", "sop-instance-altered")
    (line,) = [line for line in judge(trail(alerts=3, alert_kinds=kinds)) if line.about == "Alerts"]
    assert line.says == "3 open: 2 sop-instance-altered, 1 screening"


def test_an_exception_is_told_with_whom_where_why_and_until_when() -> None:
    (line,) = [line for line in judge(doors(exceptions=(exception(100),))) if line.about == "Exception"]
    assert all(word in line.says for word in ("OLD_US", "104", "192.0.2.0/28", "no TLS in it", "2027-04-2"))


@pytest.mark.parametrize("standing", Standing)
def test_everything_is_encrypted_unless_an_exception_is_in_effect(standing: Standing) -> None:
    lines = judge(doors(exceptions=(exception(-1 if standing is Standing.ENDED else 9, standing),)))
    is_encrypted = any(line.about == "Exceptions" and line.state is State.OK for line in lines)
    assert is_encrypted == (standing not in IS_OPEN)
    (line,) = [line for line in lines if line.about == "Exception"]
    assert standing in line.says


@pytest.mark.parametrize(
    ("history", "days"),
    [({}, None), ({1: 100}, None), ({1: 100, 2: 100}, None), ({1: 90, 2: 100}, None), ({1: 200, 11: 100}, 10.0)],
)
def test_when_a_disk_is_full_is_told_by_what_was_free(history: dict[int, int], days: float | None) -> None:
    assert full_in_days(Disk("/", 100, 1000, history)) == days


def test_the_worst_line_is_what_counts() -> None:
    assert worst_of(()) is State.OK
    lines = [Line("", "", state, "") for state in (State.OK, State.ACT, State.LOOK)]
    assert worst_of(lines) is State.ACT
    assert worst_of(lines[::2]) is State.LOOK
