"""Whether the doors are shut: what each fact about an archive means, and what to do about it. Pure.

``Facts`` are gathered elsewhere (``admin.posture``). Times are seconds since 1970, 0 = never; ``now_s`` is the time at
which all of it is judged. Each rule is a function of the facts, which gives lines; ``RULES`` is their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from strongroom.archive.facts import IS_OPEN, Disk, Facts, Standing

DAY_S: Final = 86_400.0
SILENT_S: Final = 180.0
"""A server that has said nothing for so long does not run, or is stuck."""
CERTIFICATE_DAYS, AUTHORITY_DAYS, EXCEPTION_DAYS = 30, 180, 14
"""Days before its end from which on something is pointed out."""
BACKUP_LOOK_DAYS, BACKUP_ACT_DAYS, DRILL_DAYS, KEY_DAYS, VERIFY_DAYS = 2, 14, 180, 730, 31
LEAST_FREE_BYTES: Final = 64 * 2**20
FULL_ACT_DAYS, FULL_LOOK_DAYS = 7, 60
LEAST_FREE_SHARE: Final = 0.05

DOORS, TRAIL, DATA, SERVICE = "Doors", "Trail", "Data and keys", "Service"


class State(StrEnum):
    """How a line stands, the worst last."""

    OK = "ok"
    LOOK = "look"
    ACT = "act now"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: which ``part`` it belongs to, what it is about, how that stands, and what to do unless it is well."""

    part: str
    about: str
    state: State
    says: str
    do: str = ""


def judge(facts: Facts) -> tuple[Line, ...]:
    """What the facts mean, line by line, by part."""
    return tuple(line for rule in RULES for line in rule(facts))


def worst_of(lines: Iterable[Line]) -> State:
    """The worst state of all lines, OK if there is none."""
    order = list(State)
    return max((line.state for line in lines), key=order.index, default=State.OK)


def _listening(facts: Facts) -> Iterator[Line]:
    if not facts.serving.listening or facts.serving.stopped_s or not facts.serving.is_held:
        yield Line(DOORS, "Listening", State.OK, "nothing: the server does not run")
        return
    for each in facts.serving.listening:
        kind, _, address = each.partition("=")
        if kind == "dicom":
            yield Line(
                DOORS, "DICOM", State.OK, f"{address}, TLS with a client certificate, profile {facts.doors.tls_profile}"
            )
        elif kind == "https":
            yield Line(DOORS, "HTTPS", State.OK, f"{address}, TLS")


def _exceptions(facts: Facts) -> Iterator[Line]:
    if not any(each.standing in IS_OPEN and each.ends_s > facts.now_s for each in facts.doors.exceptions):
        yield Line(DOORS, "Exceptions", State.OK, "none in effect: everything is encrypted")
    for each in facts.doors.exceptions:
        says = f"{each.peer} without TLS on port {each.port} from {each.addresses}: {each.reason}"
        left = _days(each.ends_s, facts.now_s)
        if left < 0:
            do = "it is closed; remove it from config.toml"
            yield Line(DOORS, "Exception", State.LOOK, f"{says}; ended {_date(each.ends_s - 1)}", do)
        elif each.standing is not Standing.IN_EFFECT:
            state = State.ACT if each.standing in IS_OPEN else State.LOOK
            yield Line(DOORS, "Exception", state, f"{says}; {each.standing}", _STANDING_DO[each.standing])
        else:
            do = f"give {each.peer} TLS"
            do += f": in {left:.0f} days it is shut out" if left <= EXCEPTION_DAYS else " before it ends"
            says += f"; {each.standing} until {_date(each.ends_s - 1)}"
            yield Line(DOORS, "Exception", State.LOOK, says, do)


_STANDING_DO: Final = {
    Standing.NOT_AGREED: "`strongroom unsafe approve`, by two people, or remove it from config.toml",
    Standing.NEXT_START: "restart the server, or remove it from config.toml",
    Standing.WITHDRAWN: "restart the server, which does not open it again",
}


def _certificates(facts: Facts) -> Iterator[Line]:
    doors = facts.doors
    for own, about, warn_days, do in (
        (doors.server, "Certificate", 20, "restart the server: it renews it 30 days before its end"),
        (doors.authority, "Its CA", AUTHORITY_DAYS, "`strongroom keys renew-ca`, then give ca.pem to every peer"),
    ):
        if own is not None:
            left = _days(own.ends_s, facts.now_s)
            state = State.ACT if left < 0 else State.LOOK if left <= warn_days else State.OK
            says = f"{own.subject}, until {_date(own.ends_s)}, SHA-256 {own.fingerprint[:16]}…"
            yield Line(DOORS, about, state, says, do if state is not State.OK else "")
    ended = [each.whose for each in doors.peers if each.ends_s < facts.now_s]
    soon = [each.whose for each in doors.peers if 0 <= _days(each.ends_s, facts.now_s) <= CERTIFICATE_DAYS]
    if not ended and not soon:
        yield Line(DOORS, "Peers", State.OK, f"{doors.peer_count} may connect; no certificate ends within 30 days")
    for peers, words, state in ((ended, "cannot connect: the certificate has ended", State.ACT),
                                (soon, "ends within 30 days", State.LOOK)):  # fmt: skip
        if peers:
            yield Line(DOORS, "Peers", state, f"{_listed(peers)}: {words}", "issue another one on the peer's page")


def _administrators(facts: Facts) -> Iterator[Line]:
    count, without = facts.doors.administrators, facts.doors.without_factor
    says = f"{count} enabled"
    if without:
        do = "at the next sign-in a second factor has to be set up; reset whoever should not be there"
        yield Line(DOORS, "Administrators", State.LOOK, f"{says}, {without} without a second factor", do)
    elif count == 0:
        do = "open the link that the server prints at its start"
        yield Line(DOORS, "Administrators", State.LOOK, "nobody has signed in yet", do)
    elif count == 1:
        do = "add a second one: nobody can reset himself"
        yield Line(DOORS, "Administrators", State.LOOK, says, do)
    else:
        yield Line(DOORS, "Administrators", State.OK, says)


def _trail(facts: Facts) -> Iterator[Line]:
    trail = facts.trail
    says = f"{trail.records} records in {trail.logs} logs"
    if trail.findings is None:
        yield Line(TRAIL, "Trail", State.LOOK, f"{says}, never verified", "`strongroom trail verify`")
    elif trail.findings:
        do = "keep everything as it is; `strongroom trail verify` says what is wrong"
        yield Line(TRAIL, "Trail", State.ACT, f"{says}, {trail.findings} findings on {_time(trail.verified_s)}", do)
    else:
        is_old = _days(trail.verified_s, facts.now_s) < -VERIFY_DAYS
        do = "`strongroom trail verify`" if is_old else ""
        state = State.LOOK if is_old else State.OK
        yield Line(TRAIL, "Trail", state, f"{says}, verified {_time(trail.verified_s)}", do)


def _checkpoints(facts: Facts) -> Iterator[Line]:
    trail, late_s = facts.trail, max(10 * facts.trail.interval_s, 900.0)
    for each in trail.folders:
        where = "outside" if each.is_outside else "at home"
        if not each.written_s:
            is_early = not facts.serving.is_held or facts.now_s - facts.serving.started_s <= late_s
            state, do = (State.OK, "") if is_early else (State.ACT, "see that it is mounted and may be written")
            says = f"none {'yet ' if is_early else ''}in {each.folder}"
            yield Line(TRAIL, f"Checkpoint {where}", state, says, do)
        else:
            yield Line(TRAIL, f"Checkpoint {where}", State.OK, f"{_time(each.written_s)} in {each.folder}")
    newest = max((each.written_s for each in trail.folders), default=0.0)
    behind = [each.folder for each in trail.folders if each.written_s and newest - each.written_s > late_s]
    if behind:
        do = "see that it is mounted and may be written"
        yield Line(TRAIL, "Checkpoint", State.ACT, f"{_listed(behind)} is behind the others", do)
    since_s = max(trail.unsigned_s, facts.serving.started_s)
    if trail.unsigned_s and facts.serving.is_held and facts.now_s - since_s > late_s:
        do = "see the server's log: it signs none, so that nobody could tell if these records were changed"
        yield Line(TRAIL, "Checkpoint", State.ACT, f"none covers the records since {_time(trail.unsigned_s)}", do)
    if not any(each.is_outside for each in trail.folders):
        do = "name a folder on another machine in `trail.checkpoint_dirs`"
        yield Line(TRAIL, "Checkpoint outside", State.LOOK, "none: whoever has this disk can rewrite the trail", do)


def _witness(facts: Facts) -> Iterator[Line]:
    trail = facts.trail
    stamped = max((each.stamped_s for each in trail.folders), default=0.0)
    if not trail.stamp_interval_s:
        do = "name a time stamp authority (RFC 3161) in `trail.timestamp_url`"
        yield Line(TRAIL, "Witness", State.LOOK, "none: nobody outside vouches for the time of the trail", do)
        return
    newest = max((each.written_s for each in trail.folders), default=0.0)
    is_late = newest - stamped > 3 * trail.stamp_interval_s
    says = f"last time stamp {_time(stamped)}" if stamped else "no time stamp yet"
    yield Line(
        TRAIL, "Witness", State.LOOK if is_late else State.OK, says, "see `strongroom alerts`" if is_late else ""
    )


def _alerts(facts: Facts) -> Iterator[Line]:
    alerts = facts.trail.alerts
    if alerts is not None:
        do = "a security officer looks at them; `strongroom alerts`" if alerts else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(facts.trail.alert_kinds).most_common())
        says = f"{alerts} open" + (f": {kinds}" if kinds else "") if alerts else "none open"
        yield Line(TRAIL, "Alerts", State.ACT if alerts else State.OK, says, do)


def _check(facts: Facts) -> Iterator[Line]:
    data, about = facts.data, "Background check"
    if data.damaged:
        do = "keep everything as it is, `strongroom check --last`, and restore what is damaged from a backup"
        yield Line(DATA, about, State.ACT, f"{data.damaged} damaged objects", do)
    elif not data.check_days:
        yield Line(DATA, about, State.LOOK, "switched off", "set `check.every_days`")
    else:
        since_s = data.check_ended_s or data.check_began_s
        is_late = bool(since_s) and _days(since_s, facts.now_s) < -2 * data.check_days
        do = "`strongroom check`; see in the log why the background check does not end" if is_late else ""
        if data.check_ended_s:
            says = f"every object was read and is well, {_time(data.check_ended_s)}"
        else:
            says = f"first round under way since {_time(data.check_began_s)}" if data.check_began_s else "begins soon"
        yield Line(DATA, about, State.LOOK if is_late else State.OK, says, do)


def _disks(facts: Facts) -> Iterator[Line]:
    for each in facts.data.disks:
        share = each.free_bytes / each.size_bytes if each.size_bytes else 0.0
        days = full_in_days(each)
        says = f"{_bytes(each.free_bytes)} free ({share:.0%}) in {each.folder}"
        says += "" if days is None else f", full in {days:.0f} days at this rate"
        is_short = each.free_bytes < LEAST_FREE_BYTES or (days is not None and days < FULL_ACT_DAYS)
        is_low = share < LEAST_FREE_SHARE or (days is not None and days < FULL_LOOK_DAYS)
        state = State.ACT if is_short else State.LOOK if is_low else State.OK
        yield Line(
            DATA, "Disk", state, says, "make room: with a full disk nothing is taken in" if state != State.OK else ""
        )


def full_in_days(disk: Disk) -> float | None:
    """When a disk is full if it goes on as in the days that are remembered; None if it does not fill up, or nobody can
    tell yet."""
    if len(disk.history) < 2:
        return None
    first, last = min(disk.history), max(disk.history)
    per_day = (disk.history[first] - disk.history[last]) / (last - first)
    return disk.free_bytes / per_day if per_day > 0 and disk.free_bytes / per_day < 3650 else None


def _keys(facts: Facts) -> Iterator[Line]:
    keys = facts.data.keys
    age = -_days(keys.since_s, facts.now_s) if keys.since_s else 0.0
    says = f"from {keys.source}, {keys.active}" + (f", in use since {_date(keys.since_s)}" if keys.since_s else "")
    if keys.missing:
        do = "put it back from its copy: what it wraps cannot be opened"
        yield Line(DATA, "Master key", State.ACT, f"{_listed(keys.missing)} is missing", do)
    elif keys.rotation_unfinished:
        do = "`strongroom keys rotate` goes on with it"
        yield Line(DATA, "Master key", State.LOOK, f"{says}; a rotation has not ended", do)
    elif age > KEY_DAYS:
        yield Line(DATA, "Master key", State.LOOK, says, "`strongroom keys rotate`")
    else:
        says += f"; {keys.others} older still needed" if keys.others else ""
        yield Line(DATA, "Master key", State.OK, says)
    if keys.copied_s:
        yield Line(DATA, "Copy of the key", State.OK, f"sealed in a backup, {_time(keys.copied_s)}")
    else:
        do = "keep a copy away from this machine, without which nothing opens: `strongroom backup create "
        do += "--with-master-key`, or by hand, which nobody here can see"
        yield Line(DATA, "Copy of the key", State.LOOK, "none in a backup", do)


def _backups(facts: Facts) -> Iterator[Line]:
    data = facts.data
    do = "`strongroom backup create`"
    if not data.backup_s:
        state = State.ACT if data.objects else State.LOOK
        yield Line(DATA, "Backup", state, f"none, of {data.objects} objects", do)
    else:
        age = -_days(data.backup_s, facts.now_s)
        state = State.ACT if age > BACKUP_ACT_DAYS else State.LOOK if age > BACKUP_LOOK_DAYS else State.OK
        yield Line(DATA, "Backup", state, f"last {_time(data.backup_s)}", do if state is not State.OK else "")
    if data.drill_findings:
        do = "`strongroom backup drill` again, with its report"
        yield Line(DATA, "Restore", State.ACT, f"{data.drill_findings} findings, {_time(data.drill_s)}", do)
    elif not data.drill_s or -_days(data.drill_s, facts.now_s) > DRILL_DAYS:
        says = f"last tried {_time(data.drill_s)}" if data.drill_s else "never tried"
        yield Line(DATA, "Restore", State.LOOK, says, "`strongroom backup drill`")
    else:
        yield Line(DATA, "Restore", State.OK, f"tried with success, {_time(data.drill_s)}")


def _held(facts: Facts) -> Iterator[Line]:
    held = facts.data.held
    do = "two security officers decide; `strongroom quarantine list`" if held else ""
    says = f"{held} objects wait for a decision" if held else "empty"
    yield Line(DATA, "Quarantine", State.LOOK if held else State.OK, says, do)


def _service(facts: Facts) -> Iterator[Line]:
    serving = facts.serving
    if not serving.is_held:
        says = f"stopped {_time(serving.stopped_s)}" if serving.stopped_s else "does not run"
        yield Line(SERVICE, "Server", State.ACT, says, "`strongroom serve`")
        return
    if facts.now_s - serving.said_s > SILENT_S:
        do = "see its log; restart it"
        yield Line(SERVICE, "Server", State.ACT, f"has said nothing since {_time(serving.said_s)}", do)
    else:
        yield Line(SERVICE, "Server", State.OK, f"version {serving.version}, runs since {_time(serving.started_s)}")
    if serving.version and serving.version != serving.own_version:
        says = f"{serving.version} runs, {serving.own_version} is installed"
        yield Line(SERVICE, "Version", State.LOOK, says, "restart the server")
    if serving.silent:
        do = "see the log; what ended is started again by itself"
        yield Line(SERVICE, "Processes", State.ACT, f"{_listed(serving.silent)} does not answer", do)
    else:
        yield Line(SERVICE, "Processes", State.OK, f"all {serving.processes} answer")


RULES: Final[tuple[Callable[[Facts], Iterator[Line]], ...]] = (
    _listening,
    _exceptions,
    _certificates,
    _administrators,
    _trail,
    _checkpoints,
    _witness,
    _alerts,
    _check,
    _disks,
    _keys,
    _backups,
    _held,
    _service,
)


def _days(at_s: float, now_s: float) -> float:
    """Whole and broken days from now until then; negative if it is past."""
    return (at_s - now_s) / DAY_S


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - 5
    return ", ".join(listed[:5]) + (f" and {more} more" if more > 0 else "")


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
