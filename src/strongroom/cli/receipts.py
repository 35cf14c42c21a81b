"""``trail receipt|verify-receipt``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin import offline
from strongroom.admin.receipts import Place, make_receipt, place_of_object, write_receipt
from strongroom.app import LOCAL_LOG, PUBLIC_KEY_NAME, Archive
from strongroom.archive.model import Detail, Outcome
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of
from strongroom.cli.progress import printable
from strongroom.config import environment
from strongroom.errors import ConfigError, IntegrityError
from strongroom.trail.receipt import key_id
from strongroom.trail.record import Record, format_time

_OF_OBJECT = (
    (
        "proven",
        "the archive's key signed that it received this data set from this peer, and that its trail has said so",
    ),
    ("", "since {checkpoint}. A data set with this SHA-256 is unchanged since it was received."),
    ("not proven", "that nobody changed it before that; who made it; and when, for this is the clock of the archive."),
)
_OF_OTHER = (
    ("proven", "the archive's key signed that its trail holds this record, unchanged since {checkpoint}."),
    ("not proven", "what the archive says of itself, and when, for this is the clock of the archive."),
)
_CLOCK = "The time stamp shows that it was no later than {stamp}."


def receipt(
    sop: Annotated[str, typer.Option(help="SOP Instance UID of an object that was received.")] = "",
    seq: Annotated[
        int | None, typer.Option(help="Instead: number of a record in its log.", min=0, show_default=False)
    ] = None,
    log: Annotated[str, typer.Option(help="With --seq: the log that holds the record.")] = LOCAL_LOG,
    out: Annotated[Path | None, typer.Option(help="The new file; else it is printed.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """Make the proof, under a signed checkpoint, that an object was received, or of any other record of the trail."""
    if bool(sop) == (seq is not None):
        raise ConfigError("name an object with --sop UID, or a record with --log LOG --seq N")
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        at = place_of_object(archive, sop) if seq is None else Place(log, seq)
        if out is None:
            print(make_receipt(archive, at).decode())
            return
        written = write_receipt(archive, at, out)
    finally:
        archive.close()
    print(f"receipt of record {at.seq} of log {at.log}, {written} bytes, written to {out}")


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt.")],
    key: Annotated[
        Path | None,
        typer.Option(
            help="The archive's public key (PEM), from whom you trust; else that of STRONGROOM_HOME.",
            show_default=False,
        ),
    ] = None,
    part10: Annotated[
        Path | None, typer.Option("--object", help="A DICOM file that is to be what was received.", show_default=False)
    ] = None,
    tsa_cert: Annotated[
        Path | None, typer.Option(help="Certificates (PEM) of the time stamp authority, root included.")
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Verify a receipt with nothing but the archive's public key; exit 1 if it does not prove what it says."""
    try:
        found = offline.verify_receipt(file, _key_of(key), tsa_cert, part10)
    except IntegrityError as error:
        print(json.dumps({"verified": False, "why": str(error)}) if output is Format.JSON else f"NOT VERIFIED: {error}")
        raise typer.Exit(BAD_NEWS) from None
    is_good = found.compared is None or found.compared.is_same
    if output is Format.JSON:
        print(json.dumps(_answer(found) | {"verified": is_good}, indent=2))
    else:
        for word, text in _words(found, part10):
            print(printable(f"{word:<12}{text}"))
    if not is_good:
        raise typer.Exit(BAD_NEWS)


def _key_of(path: Path | None) -> Path:
    if path is not None:
        return path
    home = environment("STRONGROOM_HOME")
    if not home:
        raise ConfigError(f"name the archive's public key with --key FILE: it is {PUBLIC_KEY_NAME} in its home")
    return Path(home) / PUBLIC_KEY_NAME


def _answer(found: offline.Verified) -> dict[str, object]:
    """As JSON."""
    record, stated = found.proven.record, found.proven.note.checkpoint
    stamp, compared, principal = found.stamp, found.compared, record.event.principal
    return {
        "record": {
            "log": record.log,
            "seq": record.seq,
            "time": format_time(record.time),
            "action": record.event.action,
            "outcome": record.event.outcome,
            "aet": principal.aet,
            "fingerprint": principal.fingerprint,
            "user": principal.user,
            "address": principal.address,
            "via": principal.via,
            "details": dict(record.event.details),
        },
        "checkpoint": {"origin": stated.origin, "size": stated.size, "time": format_time(stated.time)},
        "key": {"id": key_id(found.proven.verifier), "sha256": found.key_sha256},
        "timestamp": stamp
        and {
            "time": format_time(stamp.time),
            "authority": stamp.authority,
            "serial": str(stamp.serial),
            "policy": stamp.policy,
            "verified": found.stamp_is_trusted,
        },
        "object": compared
        and {"sha256": compared.sha256, "bytes": compared.data_bytes, "same": compared.is_same, "what": compared.words},
    }


def _words(found: offline.Verified, part10: Path | None) -> Iterator[tuple[str, str]]:
    record, stated = found.proven.record, found.proven.note.checkpoint
    yield "record", f"number {record.seq} of log {record.log} of archive {stated.origin.split('/')[1]}: VERIFIED"
    yield from _acted(record)
    yield "signed", f"checkpoint of {stated.size} records at {format_time(stated.time)}"
    yield "key", f"{key_id(found.proven.verifier)}, SHA-256 of its PEM file {found.key_sha256}"
    yield "time stamp", _stamped(found)
    if found.compared is not None:
        yield "object", f"{part10} {found.compared.words}"
    for word, text in _OF_OBJECT if _is_reception(record) else _OF_OTHER:
        yield word, text.format(checkpoint=format_time(stated.time))
    if found.stamp is not None and found.stamp_is_trusted:
        yield "", _CLOCK.format(stamp=format_time(found.stamp.time))


def _is_reception(record: Record) -> bool:
    told = record.event.details
    is_taken_in = told.get("verdict") == "stored" or "held" in told
    return record.event.outcome is Outcome.SUCCESS and is_taken_in and bool(told.get("sha256"))


def _acted(record: Record) -> Iterator[tuple[str, str]]:
    """Who did what, and when."""
    event, told, who = record.event, record.event.details, record.event.principal
    if _is_reception(record):
        name = offline.class_name(str(told.get("sop_class")))
        sop_uid, size, digest = told.get("sop_uid"), told.get("bytes"), told.get("sha256")
        yield "received", f"SOP instance {sop_uid} ({name}), {size} bytes, SHA-256 {digest}"
        became = f"held as {told.get('quarantine')}, not in the archive" if "held" in told else "stored"
        yield "how", f"{event.action} in transfer syntax {told.get('transfer_syntax')}, and {became}"
    else:
        yield "act", f"{event.action}, {event.outcome}  {_listed(told)}".rstrip()
    if who.address == "local":
        yield "by", f"user {who.user}, with a command on the archive's own machine"
        yield "at", format_time(record.time)
        return
    parts = [f"{who.via} {who.aet}" if who.via else f"AE title {who.aet}"]
    parts.append(f"{'token' if who.via else 'certificate'} {who.fingerprint}" if who.fingerprint else "no certificate")
    parts += [f"user {who.user}"] if who.user else []
    yield "by", f"{', '.join(parts)}, from {who.address}"
    yield "at", format_time(record.time)


def _listed(details: Mapping[str, Detail]) -> str:
    words = ((key, ",".join(value) if isinstance(value, tuple) else value) for key, value in sorted(details.items()))
    return "  ".join(f"{key}={value}" for key, value in words)


def _stamped(found: offline.Verified) -> str:
    stamp = found.stamp
    if stamp is None:
        return "none"
    said = f"{format_time(stamp.time)} by {stamp.authority or 'an authority without a name'}, number {stamp.serial}"
    if found.stamp_is_trusted:
        return f"{said}: verified"
    return f"{said}: NOT verified, name the authority's certificates with --tsa-cert"
