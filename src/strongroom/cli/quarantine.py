"""``quarantine list|show|release|destroy``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin import quarantine as administration
from strongroom.admin.comparing import Compared, compared
from strongroom.admin.quarantine import Done, Explained, Step, class_name, encoding_of, explained
from strongroom.admin.receipts import ReservedFile
from strongroom.admin.two_people import Order, now_us, verified
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.reasons import parse_reason
from strongroom.cli import BAD_NEWS, COULD_NOT_RUN, new_group
from strongroom.cli.options import (
    WHO_MAY_NOT,
    Format,
    FormatOption,
    HomeOption,
    asked_passcode,
    home_of,
    minute_text,
    time_text,
)
from strongroom.cli.progress import counted, printable, size
from strongroom.errors import ConfigError, Denied, IntegrityError, NotFound, Refused, StrongroomError
from strongroom.store.quarantine import Entry, What, parse_quarantine_id, quarantine_id

MOST_NAMED = 40
"""Attributes that differ, in text."""

group = new_group("Objects that were taken in and are kept out of the archive.")

IdArgument = Annotated[str, typer.Argument(help="Quarantine id, for example Q17.", metavar="ID")]
IdsArgument = Annotated[list[str], typer.Argument(help="Quarantine ids, for example Q17.", metavar="ID...")]
UserOption = Annotated[
    str, typer.Option(help="Your account; the passcode comes from STRONGROOM_PASSCODE or the terminal.")
]
ReasonOption = Annotated[
    str, typer.Option(help="Why, in a line. It stays in the trail for ever: no names of patients.")
]


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show what is held: when it came, from whom, why, how bad, and what was asked for."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        entries = archive.quarantine.entries()
    finally:
        archive.close()
    if output is Format.JSON:
        print(json.dumps([_summary(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        asked = "".join(f"  {request.what.value} asked by {request.user}" for request in entry.requests)
        line = (
            f"{entry.id:<8} {minute_text(entry.received_us)}  {_sender(entry)}  {entry.severity or '-':<8} "
            f"{entry.reason}  {size(entry.data_bytes)}  {class_name(entry)}{asked}"
        )
        print(printable(line))
    print(f"{counted(len(entries), 'object')} in quarantine, {size(sum(entry.data_bytes for entry in entries))}")


@group.command()
def show(which: IdArgument, home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show one held object: each finding with its place, why it is bad and what to do, and which attributes differ from
    what is stored under its UID; never the bytes or a value."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        entry = archive.quarantine.find(parse_quarantine_id(which))
        differs = compared(archive, entry)
    finally:
        archive.close()
    findings = explained(entry)
    if output is Format.JSON:
        named = {name: getattr(entry, name) for name in ("sop_uid", "series_uid", "study_uid", "transfer_syntax")}
        report = _summary(entry) | named | {"sha256": entry.sha256.hex()}
        report["findings"] = [{name: getattr(each, name) for name in Explained.__slots__} for each in findings]
        report["compared_with_stored"] = _compared_json(differs)
        print(json.dumps(report, indent=2))
        return
    for line in (
        *_lines(entry),
        *_compared_lines(differs),
        *(line for each in findings for line in _finding_lines(each)),
    ):
        print(printable(line))


@group.command()
def release(
    which: IdsArgument,
    user: UserOption,
    reason: ReasonOption,
    home: HomeOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Ask that objects go into the archive, or, where somebody else has asked, take them in."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        orders = _orders(archive, What.RELEASE, which, user, reason)
        _carry_out(archive, orders, administration.release, output)
    finally:
        archive.close()


@group.command()
def destroy(
    which: IdsArgument,
    user: UserOption,
    reason: ReasonOption,
    home: HomeOption = None,
    receipt: Annotated[Path | None, typer.Option(help="A new file for the signed proof, for one object.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Ask that objects be destroyed, or, where somebody else has asked, destroy their keys and remove them."""
    if receipt is not None and len(which) != 1:
        raise ConfigError("--receipt is for one object: `strongroom trail receipt` makes those of others")
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        orders = _orders(archive, What.DESTROY, which, user, reason)
        # Before a key is destroyed: a proof that has no place to go is noticed while all is still there.
        reserved = None if receipt is None else ReservedFile(receipt)

        def act(archive: Archive, order: Order) -> Done:
            try:
                done = administration.destroy(archive, order)
            except BaseException:
                if reserved is not None:
                    reserved.discard()
                raise
            if reserved is not None:
                _write_receipt(reserved, done)
            return done

        _carry_out(archive, orders, act, output)
    finally:
        archive.close()


def _orders(archive: Archive, what: What, which: list[str], user: str, reason: str) -> list[Order]:
    numbers = [parse_quarantine_id(text) for text in which]
    why = parse_reason(reason)
    try:
        name = verified(archive, user, asked_passcode())
    except Denied as refusal:
        raise StrongroomError(_REFUSALS.get(refusal.reason, str(refusal))) from None
    return [Order(what, number, name, why, now_us()) for number in dict.fromkeys(numbers)]


def _carry_out(archive: Archive, orders: list[Order], act: Callable[[Archive, Order], Done], output: Format) -> None:
    """Do one after the other; what cannot be done keeps nobody from the next."""
    reports: list[dict[str, object]] = []
    is_good, unknown = True, 0
    for order in orders:
        try:
            done = act(archive, order)
        except (Denied, NotFound, Refused, IntegrityError) as error:
            is_good = False
            unknown += isinstance(error, NotFound)
            name = quarantine_id(order.number)
            word = error.reason if isinstance(error, Denied | Refused) else "not-found"
            reports.append({"id": name, "step": "refused", "reason": word, "why": str(error)})
            if output is Format.TEXT:
                print(f"{name} refused: {_REFUSALS.get(word, str(error))}")
            continue
        is_good = is_good and not done.problems
        reports.append(_as_json(done))
        if output is Format.TEXT:
            print("\n".join(_as_text(done, order.what)))
    if output is Format.JSON:
        print(json.dumps(reports, indent=2))
    if not is_good:
        raise typer.Exit(COULD_NOT_RUN if unknown == len(orders) else BAD_NEWS)


_REFUSALS = WHO_MAY_NOT | {
    "same-person": "you have asked for this yourself; it takes another person to do it",
    "request-lapsed": "the request lapsed, or was withdrawn with its account, meanwhile: ask again",
}


def _write_receipt(reserved: ReservedFile, done: Done) -> None:
    if done.proof is None or done.proof.receipt is None:
        reserved.discard()
        return
    reserved.write(done.proof.receipt)


def _as_text(done: Done, what: What) -> list[str]:
    if done.step is Step.ASKED:
        return [
            f"{done.id} {what.value} asked for: another person has to run the same command",
            f"          the request lapses {minute_text(done.lapses_us)}",
        ]
    verdict = f", {done.verdict}" if done.verdict else ""
    lines = [f"{done.id} {done.step.value}{verdict}; asked for by {done.asked_by}"]
    if (proof := done.proof) is not None:
        lines.append(f"trail     log {proof.log}, record {proof.seq}, leaf {proof.leaf.hex()}")
    lines += [f"problem   {problem}" for problem in done.problems]
    return [*lines, *(f"note      {note}" for note in done.notes)]


def _as_json(done: Done) -> dict[str, object]:
    report: dict[str, object] = {
        "id": done.id,
        "step": done.step.value,
        "asked_by": done.asked_by,
        "lapses": time_text(done.lapses_us),
        "verdict": done.verdict,
        "proof": None,
        "problems": done.problems,
        "notes": done.notes,
    }
    if (proof := done.proof) is not None:
        report["proof"] = {"log": proof.log, "seq": proof.seq, "leaf": proof.leaf.hex()}
    return report


def _sender(entry: Entry) -> str:
    user = f" ({entry.sender.user})" if entry.sender.user else ""
    return f"{entry.sender.aet}{user} {entry.sender.address}"


def _summary(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "received": time_text(entry.received_us),
        "sender": entry.sender.aet,
        "user": entry.sender.user,
        "address": entry.sender.address,
        "via": entry.sender.via,
        "certificate_sha256": entry.sender.fingerprint,
        "reason": entry.reason,
        "severity": entry.severity,
        "bytes": entry.data_bytes,
        "sop_class": entry.sop_class,
        "sop_class_name": class_name(entry),
        "times": entry.times,
        "requests": [
            {
                "what": request.what.value,
                "user": request.user,
                "reason": request.reason,
                "asked": time_text(request.asked_us),
            }
            for request in entry.requests
        ],
    }


def _lines(entry: Entry) -> list[str]:
    conflict = administration.conflict_of(entry.reason)
    lines = [
        f"{entry.id}: {entry.reason}, {entry.severity or 'no'} severity" + (f": {conflict}" if conflict else ""),
        f"received        {minute_text(entry.received_us)}, {counted(entry.times, 'time')}",
        f"from            {_sender(entry)}" + (f", by {entry.sender.via}" if entry.sender.via else ""),
        f"SOP class       {class_name(entry)}",
        f"SOP instance    {entry.sop_uid}",
        f"series          {entry.series_uid}",
        f"study           {entry.study_uid}",
        f"encoding        {encoding_of(entry)}",
        f"size            {size(entry.data_bytes)}",
        f"SHA-256         {entry.sha256.hex()}",
    ]
    for request in entry.requests:
        lines.append(
            f"{request.what.value:<15} asked by {request.user}, {minute_text(request.asked_us)}: {request.reason}"
        )
    return lines


def _compared_json(found: Compared | None) -> dict[str, object] | None:
    if found is None:
        return None
    differences = [
        {"tag": f"{each.tag:08X}", "keyword": each.keyword, "vr": each.vr, "how": each.how}
        for each in found.differences
    ]
    return {"problem": found.problem, "differences": differences}


_HOW = {"only-stored": ", only in what is stored", "only-held": ", only in what is held"}


def _compared_lines(found: Compared | None) -> list[str]:
    if found is None:
        return []
    if found.problem:
        return [f"{'compared':<15} cannot be compared with what is stored under its UID: {found.problem}"]
    named = found.differences[:MOST_NAMED]
    lines = [
        f"{'differs':<15} ({each.tag >> 16:04X},{each.tag & 0xFFFF:04X}) {each.keyword or 'private or unknown'} "
        f"{each.vr}{_HOW.get(each.how, '')}"
        for each in named
    ]
    more = len(found.differences) - len(named)
    if more:
        lines.append(f"{'':<15} and {counted(more, 'attribute')} more: --format json has all")
    return lines or [f"{'differs':<15} in no attribute from what is stored under its UID, at most in encoding"]


def _finding_lines(each: Explained) -> list[str]:
    length = f", {counted(each.length, 'byte')}" if each.length else ""
    lines = [
        f"{each.severity:<8} {each.rule} {each.title} ({each.confidence} confidence)",
        f"         at {each.path}, byte {each.offset}{length}: {each.what}",
    ]
    if each.why:
        lines.append(f"         why: {each.why}")
    if each.remedy:
        lines.append(f"         do: {each.remedy}")
    return lines
