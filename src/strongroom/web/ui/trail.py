"""The trail as those read it who watch over the archive: filtered, one record with its proof, and as a file.

Nobody sees an image for it. Whoever looks is in the trail himself (45 CFR 164.312(b)).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from strongroom.archive.model import Action, Outcome
from strongroom.archive.oversight import Form, Oversight, TrailEntry, TrailQuery
from strongroom.errors import MalformedRequest, NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import Operation, Parameter
from strongroom.web.ui.downloads import Download, csv_row
from strongroom.web.ui.pages import joined, page

TRAIL: Final = "/trail"
MAX_FILTER_CHARS: Final = 128
FORMS: Final[Mapping[str, tuple[Form, str]]] = {
    "csv": ("csv", "text/csv; charset=utf-8"),
    "jsonl": ("jsonl", "application/x-ndjson"),
}
COLUMNS: Final = (
    "time", "action", "outcome", "user", "peer", "address", "via", "fingerprint", "log", "seq", "details",
)  # fmt: skip

_TEXTS: Final = ("user", "peer", "address", "about", "patient")
_TIMES: Final = ("since", "until")


def oversight_of(call: Call) -> Oversight:
    """What answers. Raises NotFound where nobody watches with a browser."""
    if call.services.oversight is None:
        raise NotFound("nobody watches here")
    return call.services.oversight


async def show_trail(call: Call) -> Response:
    """The newest records that are wanted."""
    fields, query, wrong = _wanted(call)
    older = call.request.query_params.get("older", "")
    found = None
    if not wrong:
        found = await call.services.run_blocking(oversight_of(call).trail, call.principal, query, older)
    return page(
        "trail.html", call, 400 if wrong else 200, found=found, fields=fields, wrong=wrong, older=older,
        actions=tuple(Action), outcomes=tuple(Outcome), asked=bool(query.asked),
    )  # fmt: skip


async def show_record(call: Call) -> Response:
    """One record; with its proof, if somebody asks for that."""
    watching, log, seq = oversight_of(call), call.path["log"], number_of(call)
    entry = await call.services.run_blocking(watching.record, call.principal, log, seq)
    proof = None
    if call.request.query_params.get("proof"):
        proof = await call.services.run_blocking(watching.proof, call.principal, log, seq)
    details = [(name, joined(value)) for name, value in entry.details.items()]
    return page("trail_record.html", call, entry=entry, details=details, proof=proof)


async def download_receipt(call: Call) -> Response:
    """The receipt of a record, which proves it to whoever has the archive's public key."""
    watching, log, seq = oversight_of(call), call.path["log"], number_of(call)
    receipt = await call.services.run_blocking(watching.receipt, call.principal, log, seq)
    headers = {"content-disposition": f'attachment; filename="receipt-{seq}.json"', "cache-control": "no-store"}
    return Response(receipt, headers=headers, media_type="application/json")


async def download_trail(call: Call) -> Response:
    """Every record that is wanted, as a file."""
    _, query, wrong = _wanted(call)
    form, media_type = FORMS.get(call.request.query_params.get("form", "csv"), ("csv", ""))
    if wrong or not media_type:
        raise MalformedRequest(wrong or "the trail is saved as csv or jsonl")
    found = await call.services.run_blocking(oversight_of(call).all_of_trail, call.principal, query, form)
    pieces = _as_csv(found) if form == "csv" else _as_lines(found)
    return await Download(pieces, call.services.run_blocking, f"trail.{form}", media_type).begun()


def _wanted(call: Call) -> tuple[dict[str, str], TrailQuery, str]:
    """What the form says, as it said so and as a query; what is wrong with it, "" if nothing is."""
    given = call.request.query_params
    fields = {name: given.get(name, "").strip()[:MAX_FILTER_CHARS] for name in (*_TEXTS, *_TIMES)}
    fields |= {name: given.get(name, "") for name in ("action", "outcome")}
    is_known = fields["action"] in ("", *Action) and fields["outcome"] in ("", *Outcome)
    try:
        since_us, until_us = (_time_us(fields[name]) for name in _TIMES)
    except (ValueError, OverflowError):
        fields |= dict.fromkeys(_TIMES, "")  # a browser's own field takes no other text either
        return fields, TrailQuery(), "A time is a day and a time of it, in UTC: 2026-11-22T08:00."
    if not is_known:
        return fields, TrailQuery(), "The trail has no such action or outcome."
    texts = {name: fields[name] for name in (*_TEXTS, "action", "outcome")}
    return fields, TrailQuery(since_us=since_us, until_us=until_us, **texts), ""


def _time_us(text: str) -> int:
    """Microseconds since 1970 of ISO 8601, UTC unless it says; 0 for "". Raises ValueError, OverflowError."""
    if not text:
        return 0
    time = datetime.fromisoformat(text)
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).timestamp() * 1e6)


def number_of(call: Call) -> int:
    """The number of a record in a path. Raises NotFound."""
    text = call.path["seq"]
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise NotFound("no such record of the trail")
    return int(text)


def _as_csv(found: Iterator[tuple[TrailEntry, ...]]) -> Iterator[bytes]:
    yield csv_row(COLUMNS)
    for entries in found:
        yield b"".join(csv_row(_cells(each)) for each in entries)


def _cells(entry: TrailEntry) -> tuple[str, ...]:
    who, details = entry.who, json.dumps(dict(entry.details), sort_keys=True)
    time = datetime.fromtimestamp(entry.time_us / 1e6, UTC).isoformat(timespec="microseconds")
    whence = (who.user, who.aet, who.address, who.via, who.fingerprint)
    return (time, entry.action, entry.outcome, *whence, entry.log, str(entry.seq), details)


def _as_lines(found: Iterator[tuple[TrailEntry, ...]]) -> Iterator[bytes]:
    """The exact bytes of each record, so that its leaf hash can be made of its line (docs/trail-format.md, 2)."""
    for entries in found:
        yield b"".join(each.raw + b"\n" for each in entries)


_FILTERS: Final = (
    Parameter("since", "query", "The first moment, UTC."),
    Parameter("until", "query", "The first moment after."),
    Parameter("action", "query", "What was done."),
    Parameter("outcome", "query", "How it ended."),
    Parameter("user", "query", "Part of a name of somebody."),
    Parameter("peer", "query", "Part of an AE title or a token's name, or the beginning of a fingerprint."),
    Parameter("address", "query", "The beginning of an address."),
    Parameter("about", "query", "A whole detail: a UID, a quarantine id."),
    Parameter("patient", "query", "A Patient ID, of what is stored now."),
)
_RECORD: Final = f"{TRAIL}/logs/{{log}}/{{seq}}"

OPERATIONS: Final = (
    Operation(
        "pageTrail", "GET", TRAIL, show_trail, "The trail, the newest records first.", Right.AUDIT,
        (*_FILTERS, Parameter("older", "query", "Where an earlier page has ended.")),
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "downloadTrail", "GET", f"{TRAIL}/download", download_trail, "What was found in the trail, as a file.",
        Right.AUDIT, (*_FILTERS, Parameter("form", "query", "csv or jsonl.")),
        produces=("text/csv", "application/x-ndjson"), is_page=True,
    ),
    Operation(
        "pageTrailRecord", "GET", _RECORD, show_record, "One record of the trail.", Right.AUDIT,
        (Parameter("proof", "query", "Whether to prove it."),), produces=("text/html",), is_page=True,
    ),
    Operation(
        "downloadReceipt", "GET", f"{_RECORD}/receipt", download_receipt, "The receipt of a record.", Right.AUDIT,
        produces=("application/json",), is_page=True,
    ),
)  # fmt: skip
