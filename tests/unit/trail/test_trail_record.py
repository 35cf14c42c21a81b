"""The canonical form of a record: one spelling, bounded, and never failing over what a stranger sent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from strongroom.archive.model import Action, Event, Level, Outcome
from strongroom.errors import IntegrityError, LimitExceeded, LocalProtocolError
from strongroom.trail.record import (
    MAX_DETAIL_CHARS,
    MAX_DETAILS,
    MAX_LIST_ITEMS,
    MAX_RECORD_BYTES,
    MAX_TEXT_CHARS,
    Record,
    encode_record,
    format_time,
    parse_record,
    parse_time,
)
from strongroom.types import AeTitle, Principal, Uid

TIME = datetime(2026, 3, 1, 12, 30, 5, 7, tzinfo=UTC)


def record(details=None, aet="CT1", **others):
    event = Event(Action.STORE, Outcome.SUCCESS, Principal(aet, "ab" * 32, "", "10.0.0.7"), details or {})
    return Record(**{"log": "main", "seq": 5, "time": TIME, "salt": bytes(range(16)), "event": event} | others)


def test_the_bytes_are_those_the_format_page_shows():
    raw = encode_record(record({"sop_uid": Uid("1.2.3"), "bytes": 10240, "new": True, "uids": ("1.2", "1.3")}))
    assert raw == (
        b'{"action":"store","address":"10.0.0.7","aet":"CT1",'
        b'"details":{"bytes":10240,"new":true,"sop_uid":"1.2.3","uids":["1.2","1.3"]},'
        b'"fingerprint":"' + b"ab" * 32 + b'","log":"main","outcome":"success",'
        b'"salt":"000102030405060708090a0b0c0d0e0f","seq":5,"time":"2026-03-01T12:30:05.000007Z","user":"","v":1}'
    )


def test_who_acts_by_a_token_is_marked_and_nobody_else():
    """Records from before there were tokens are spelled as they always were."""
    plain = record()
    assert b'"via"' not in encode_record(plain)
    by_token = record(event=replace(plain.event, principal=replace(plain.event.principal, via="token")))
    raw = encode_record(by_token)
    assert raw.endswith(b',"user":"","v":1,"via":"token"}')
    assert parse_record(raw) == by_token
    with pytest.raises(IntegrityError):
        parse_record(raw.replace(b'"via":"token"', b'"via":""'))


def test_what_is_read_is_what_was_written():
    written = record({"sop_uid": "1.2.3", "count": -3, "done": False, "uids": ("1", "2"), "level": Level.STUDY})
    assert parse_record(encode_record(written)) == written


def test_the_words_of_other_rooms_are_taken_as_texts():
    read = parse_record(encode_record(record({"uid": Uid("1.2"), "uids": (Uid("1.3"),)}, aet=AeTitle("CT1"))))
    assert (read.event.details, read.event.principal.aet) == ({"uid": "1.2", "uids": ("1.3",)}, "CT1")


@pytest.mark.parametrize(
    ("title", "spelled"),
    [
        ('"\\/', rb'"\"\\/"'),
        ("\0\x1f\x08\t\n\x0c\r", rb'"\u0000\u001f\b\t\n\f\r"'),
        ("\x7fé€😀\u2028", '"\x7fé€😀\u2028"'.encode()),
        ("\ud800x\udfff", '"\ufffdx\ufffd"'.encode()),
    ],
    ids=["quotes", "controls", "not ASCII", "lone surrogates"],
)
def test_hostile_titles_are_spelled_as_rfc_8785_says(title, spelled):
    raw = encode_record(record(aet=title))
    assert b'"aet":' + spelled + b"," in raw
    assert b"\n" not in raw
    assert encode_record(parse_record(raw)) == raw


def test_a_long_text_is_cut_and_says_so():
    for size in (MAX_TEXT_CHARS, MAX_TEXT_CHARS + 1, 10 * MAX_TEXT_CHARS):
        read = parse_record(encode_record(record({"reason": "x" * size}, aet="y" * size)))
        for text in (read.event.principal.aet, read.event.details["reason"]):
            assert len(text) == MAX_TEXT_CHARS
            assert text.endswith("…") == (size > MAX_TEXT_CHARS)


def test_too_many_details_and_items_are_left_out_and_counted():
    details = {f"k{number:03}": number for number in range(MAX_DETAILS + 5)}
    read = parse_record(encode_record(record(details)))
    assert len(read.event.details) == MAX_DETAILS + 1
    assert read.event.details["cut"] == 5
    read = parse_record(encode_record(record({"uids": ("1",) * (MAX_LIST_ITEMS + 9)})))
    assert (len(read.event.details["uids"]), read.event.details["cut"]) == (MAX_LIST_ITEMS, 9)


def test_keys_and_texts_share_one_budget():
    texts = {chr(ord("a") + number): "x" * MAX_TEXT_CHARS for number in range(MAX_DETAIL_CHARS // MAX_TEXT_CHARS)}
    assert parse_record(encode_record(record(texts))).event.details["cut"] == 1
    texts["a"] = "x" * (MAX_TEXT_CHARS - len(texts))
    assert parse_record(encode_record(record(texts))).event.details == texts


def test_a_record_over_its_cap_is_refused_before_it_is_read():
    with pytest.raises(IntegrityError, match="over 65536"):
        parse_record(b" " * (MAX_RECORD_BYTES + 1))


def test_the_worst_record_still_fits_its_cap():
    worst = {f"k{number}": ("\0" * 9999,) * 9999 for number in range(99)}
    hostile = Principal("\0" * 9999, "\0" * 9999, "\0" * 9999, "\0" * 9999)
    event = Event(Action.STORE, Outcome.FAILED, hostile, worst | {f"t{n}": "\0" * 9999 for n in range(99)})
    raw = encode_record(record(event=event))
    assert len(raw) <= MAX_RECORD_BYTES
    assert encode_record(parse_record(raw)) == raw


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**5000], ids=["up", "down", "far"])
def test_an_integer_that_no_double_holds_is_refused(value):
    with pytest.raises(LimitExceeded):
        encode_record(record({"n": value}))


@pytest.mark.parametrize("details", [{"naïve": 1}, {"k" * 65: 1}, {"x": 1.5}, {"x": None}, {"x": {"y": 1}}])
def test_details_of_no_allowed_kind_are_our_own_mistake(details):
    with pytest.raises(LocalProtocolError):
        encode_record(record(details))


def rewritten(**changes):
    return json.dumps(
        json.loads(encode_record(record({"n": 1}))) | changes,
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


def test_the_rewriting_of_the_tests_changes_nothing_by_itself():
    assert rewritten() == encode_record(record({"n": 1}))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"seq": -1},
        {"seq": 2**53},
        {"seq": 1.0},
        {"seq": "1"},
        {"salt": "00"},
        {"salt": "AB" * 16},
        {"log": ""},
        {"log": "a/b"},
        {"action": "steal"},
        {"time": "2026-03-01T12:30:05Z"},
        {"time": "2026-03-01T12:30:05.000007"},
        {"time": "2026-03-01T12:30:05.000007+00:00"},
        {"time": "2026-03-01T12:30:05.000007+01:00"},
        {"time": "yesterday"},
        {"extra": 1},
        {"details": {"x": 1.5}},
        {"details": {"x": 2**60}},
        {"details": {"x": "y" * 600}},
        {"details": {"é": "y"}},
        {"details": {"x": ["y", 1]}},
        {"details": {"x": {"y": "z"}}},
        {"aet": "z" * 600},
        {"aet": None},
    ],
    ids=str,
)
def test_what_is_no_record_is_refused(changes):
    with pytest.raises(IntegrityError):
        parse_record(rewritten(**changes))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b" ",
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b'":', b'": ', 1),
        lambda raw: raw.replace(b'"CT1"', b'"\\u0043T1"'),
        lambda raw: raw[:-1] + b',"v":1}',
        lambda raw: raw.replace(b'"seq":5', b'"seq":05'),
        lambda raw: raw.replace(b'"CT1"', b'"\xff"'),
        lambda raw: raw[:-1],
        lambda raw: b"",
        lambda raw: b"[" * 100_000,
        lambda raw: b"[" * 10_000,
        lambda raw: raw[:-1] + b" " * MAX_RECORD_BYTES + b"}",
    ],
)
def test_another_spelling_is_another_record(change):
    with pytest.raises(IntegrityError):
        parse_record(change(encode_record(record())))


def test_times_have_one_spelling():
    assert format_time(TIME) == "2026-03-01T12:30:05.000007Z"
    assert parse_time("2026-03-01T12:30:05.000000Z").utcoffset() == timedelta(0)
    for text in ("2026-03-01 12:30:05.000000Z", "2026-W09-7T12:30:05.000000Z", ""):
        with pytest.raises(ValueError):
            parse_time(text)
    assert parse_time(format_time(TIME)).astimezone(timezone(timedelta(hours=2))) == TIME
