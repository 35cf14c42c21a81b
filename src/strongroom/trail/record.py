"""One act as bytes: the canonical JSON of a trail record (docs/trail-format.md, section 1). Pure.

The form is that of RFC 8785: keys sorted, no white space, UTF-8, and of numbers only integers that a double holds.
A record therefore has one spelling, and its leaf hash can be recomputed from its values alone. Texts may come from a
stranger (a calling AE title does), so every one is capped here; a cut is marked and never fails the act.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.errors import IntegrityError, LimitExceeded, LocalProtocolError
from strongroom.types import Principal

FORMAT_VERSION: Final = 1
SALT_BYTES: Final = 16
MAX_RECORD_BYTES: Final = 65536
MAX_TEXT_CHARS: Final = 512
MAX_KEY_CHARS: Final = 64
MAX_DETAILS: Final = 32
MAX_LIST_ITEMS: Final = 64
MAX_DETAIL_CHARS: Final = 8192
"""All keys and texts of the details together: six bytes for each (an escaped control) still fit a record."""
MAX_INTEGER: Final = 2**53 - 1
CUT_KEY: Final = "cut"
"""Detail that counts the values left out of a record because they passed a cap."""

_CUT_MARK = "…"
_LOG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SURROGATES = re.compile("[\ud800-\udfff]")
_SALT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of one log. ``time`` is in UTC, ``salt`` 16 random bytes that keep the leaf hash from being guessed."""

    log: str
    seq: int
    time: datetime
    salt: bytes
    event: Event


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """The wire form. The fields stand in the order of RFC 8785 3.2.3, which is the order they are written in.

    An empty ``via`` is left out: so are written, and read, the records from before there was one.
    """

    action: Action
    address: str
    aet: str
    details: dict[str, Detail]
    fingerprint: str
    log: str
    outcome: Outcome
    salt: str
    seq: int
    time: str
    user: str
    v: int
    via: str = ""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(_Line).decode


def parse_log_name(text: str) -> str:
    """Return ``text`` if it can name a log: 1 to 64 letters, digits, dots, dashes. Raises LocalProtocolError."""
    if not _LOG_NAME.fullmatch(text):
        raise LocalProtocolError("a log name has 1 to 64 letters, digits, dots, underscores or dashes")
    return text


def format_time(time: datetime) -> str:
    """Return ``time``, which is in UTC, as ISO 8601 with microseconds and Z."""
    return time.isoformat(timespec="microseconds")[:26] + "Z"


def parse_time(text: str) -> datetime:
    """Return the UTC time in ``text``. Raises ValueError unless it is spelled as format_time spells it."""
    time = datetime.fromisoformat(text)
    if format_time(time) != text:
        raise ValueError("not a time with microseconds and Z")
    return time


def encode_record(record: Record) -> bytes:
    """Return the record's only spelling; see encode_event."""
    return encode_event(record.event, record.log, record.seq, format_time(record.time), record.salt)


def encode_event(event: Event, log: str, seq: int, time_text: str, salt: bytes) -> bytes:
    """Return the only spelling of an event's record, at most MAX_RECORD_BYTES; ``time_text`` is from format_time.

    Texts over MAX_TEXT_CHARS end in an ellipsis; details over a cap are left out and counted in ``cut``; lone
    surrogates become U+FFFD.

    Raises:
        LimitExceeded: a detail's integer does not fit a double. Texts of strangers never raise.
        LocalProtocolError: a detail's key is not ASCII or its value of no type that Detail allows.
    """
    principal = event.principal
    return _encode(
        _Line(
            event.action,
            _text(principal.address),
            _text(principal.aet),
            _details(event.details),
            _text(principal.fingerprint),
            log,
            event.outcome,
            salt.hex(),
            seq,
            time_text,
            _text(principal.user),
            FORMAT_VERSION,
            _text(principal.via),
        )
    )


def parse_record(raw: bytes) -> Record:
    """Return the record in ``raw``.

    Raises:
        IntegrityError: over the size cap, not canonical, of another version, or not a record at all.
    """
    if len(raw) > MAX_RECORD_BYTES:
        raise IntegrityError(f"trail record of {len(raw)} bytes, over {MAX_RECORD_BYTES}")
    try:
        line = _decode(raw)
        if line.v != FORMAT_VERSION or not 0 <= line.seq <= MAX_INTEGER or not _SALT.fullmatch(line.salt):
            raise IntegrityError("not a trail record of this version")
        principal = Principal(line.aet, line.fingerprint, line.user, line.address, via=line.via)
        event = Event(line.action, line.outcome, principal, line.details)
        record = Record(parse_log_name(line.log), line.seq, parse_time(line.time), bytes.fromhex(line.salt), event)
        canonical = encode_record(record)
    except (msgspec.DecodeError, UnicodeError, ValueError, LimitExceeded, LocalProtocolError) as error:
        raise IntegrityError("trail record cannot be read") from error
    if canonical != raw:
        raise IntegrityError("trail record is not in its canonical form")
    return record


def _text(value: str) -> str:
    if len(value) > MAX_TEXT_CHARS:
        value = value[: MAX_TEXT_CHARS - 1] + _CUT_MARK
    if not value.isascii():
        value = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
    # msgspec refuses subclasses of str such as Uid; str() of an exact str is the object itself.
    return str(value)


def _details(details: Mapping[str, Detail]) -> dict[str, Detail]:
    bounded: dict[str, Detail] = {}
    left = MAX_DETAIL_CHARS
    cut = 0
    for key, value in details.items():
        if key == CUT_KEY and type(value) is int and 0 < value <= MAX_INTEGER:
            cut += value  # a record that was cut once keeps its count and its spelling
            continue
        if len(key) > MAX_KEY_CHARS or not key.isascii():
            raise LocalProtocolError("a trail detail's key is ASCII, at most 64 characters")
        if isinstance(value, str):
            value = _text(value)
            left -= len(value)
        elif isinstance(value, int):
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise LimitExceeded("trail_max_integer", MAX_INTEGER)
            value = value if type(value) is bool else int(value)
        elif isinstance(value, tuple):
            cut += max(0, len(value) - MAX_LIST_ITEMS)
            value = tuple(_text(item) for item in value[:MAX_LIST_ITEMS])
            left -= sum(map(len, value))
        else:
            raise LocalProtocolError("a trail detail is a text, an integer, a truth value or a tuple of texts")
        left -= len(key)
        if left < 0 or len(bounded) >= MAX_DETAILS:
            cut += 1
            continue
        bounded[str(key)] = value
    if cut:
        bounded[CUT_KEY] = cut
    return bounded
