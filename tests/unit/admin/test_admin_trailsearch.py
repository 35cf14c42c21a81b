"""What is found in the trail: the newest first, of all logs, so many at a time, whatever is recorded meanwhile."""

from __future__ import annotations

import time
from itertools import count, pairwise

import pytest

from harness.archives import new_home, opened
from harness.ingesting import Sample, store
from strongroom.admin import trailsearch
from strongroom.admin.trailsearch import MAX_LOOKED_AT, everything, one, parse_position, search
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.oversight import TrailQuery
from strongroom.errors import IntegrityError, MalformedRequest, NotFound
from strongroom.types import Principal

EVERYTHING = TrailQuery()
WHO = Principal("CT1", "ab" * 32, "jdoe", "192.0.2.7")


@pytest.fixture
def home(tmp_path):
    return new_home(tmp_path / "home")


@pytest.fixture
def archive(home):
    with opened(home) as archive:
        yield archive


def write(archive, *numbers, who=WHO, action=Action.QUERY, outcome=Outcome.SUCCESS):
    archive.index.record(
        *(Event(action, outcome, who, {"number": number, "sop_uid": f"1.2.{number}"}) for number in numbers)
    )


def numbers(entries):
    return [entry.details["number"] for entry in entries if "number" in entry.details]


def walk(archive, query=EVERYTHING, each=7):
    older, pages = "", []
    for _ in range(1000):
        page = search(archive, query, older, each)
        pages.append(page)
        if not (older := page.older):
            return pages
    raise AssertionError("there is no end")


def test_the_newest_comes_first_of_whatever_log(archive, home):
    with opened(home, "https-1") as other, opened(home, "dicom-1") as third:
        for number, log in zip(range(12), (archive, other, third) * 4, strict=True):
            write(log, number)
        found = search(archive, EVERYTHING)
    assert numbers(found.entries) == list(reversed(range(12)))
    assert {entry.log for entry in found.entries} == {"local", "https-1", "dicom-1"}
    assert all(newer.time_us >= older.time_us for newer, older in pairwise(found.entries))
    assert found.older == ""


def test_pages_have_every_record_once_while_others_are_written(archive, home):
    with opened(home, "https-1") as other:
        write(archive, *range(30))
        write(other, *range(30, 60))
        more, seen, older = count(1000), [], ""
        while True:
            page = search(archive, EVERYTHING, older, 7)
            seen += numbers(page.entries)
            write(archive, next(more))
            write(other, next(more))
            if not (older := page.older):
                break
    assert seen == list(reversed(range(60)))


def test_each_request_reads_so_much_and_no_more(archive, monkeypatch):
    monkeypatch.setattr(trailsearch, "MAX_LOOKED_AT", 10)
    write(archive, *range(35))
    pages = walk(archive, TrailQuery(about="1.2.3"))
    assert [page.looked_at for page in pages[:3]] == [10, 10, 10]
    assert [numbers(page.entries) for page in pages] == [[], [], [], [3]]
    assert MAX_LOOKED_AT > 1000


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (TrailQuery(about="1.2.1"), [1]),
        (TrailQuery(about="1.2"), []),
        (TrailQuery(about='1.2.1","x'), []),
        (TrailQuery(user="JDO"), [2, 1, 0]),
        (TrailQuery(user="doe,"), []),
        (TrailQuery(peer="ct"), [2, 1, 0]),
        (TrailQuery(peer="ABAB"), [2, 1, 0]),
        (TrailQuery(peer="baba"), []),
        (TrailQuery(address="192.0.2."), [2, 1, 0]),
        (TrailQuery(address="2.0"), []),
        (TrailQuery(action="query", outcome="refused"), [4, 3]),
        (TrailQuery(action="store"), []),
        (TrailQuery(user="root", action="query"), [4, 3]),
        (TrailQuery(since_us=1), [4, 3, 2, 1, 0]),
        (TrailQuery(until_us=1), []),
        (TrailQuery(since_us=2**52), []),
        (TrailQuery(until_us=2**52), [4, 3, 2, 1, 0]),
    ],
)
def test_records_are_chosen(archive, query, expected):
    write(archive, 0, 1, 2)
    write(archive, 3, 4, who=archive.principal, outcome=Outcome.REFUSED)
    assert numbers(entry for page in walk(archive, query) for entry in page.entries) == expected


def test_records_are_chosen_by_time(archive):
    for number in range(6):
        write(archive, number)
    times = {
        entry.details["number"]: entry.time_us
        for entry in search(archive, EVERYTHING).entries
        if entry.details.get("number") is not None
    }
    found = search(archive, TrailQuery(since_us=times[2], until_us=times[4]))
    assert numbers(found.entries) == [number for number in (5, 4, 3, 2, 1, 0) if times[2] <= times[number] < times[4]]


def test_a_clock_that_was_set_back_hides_nothing(archive):
    began_s = time.time() + 3600

    def work(transaction):
        for number, after_s in enumerate((10, 20, 30, 5, 40, 50)):
            transaction.record(Event(Action.QUERY, Outcome.SUCCESS, WHO, {"number": number}), began_s + after_s)

    archive.index.database.write(work)
    found = search(archive, TrailQuery(until_us=round((began_s + 25) * 1e6)))
    assert numbers(found.entries) == [3, 1, 0]


def test_a_patient_is_found_by_what_is_stored_under_the_whole_id(archive):
    for number, patient in enumerate(("4711", "4711", "47", "4711*")):
        store(archive, Sample(number, study=number, patient_id=patient))
    write(archive, 0)
    found = search(archive, TrailQuery(patient="4711"))
    studies = {entry.details["study_uid"] for entry in found.entries}
    assert studies == {Sample(0, study=0).study_uid, Sample(1, study=1).study_uid}
    assert search(archive, TrailQuery(patient="nobody")).entries == ()
    assert "4711" not in repr(TrailQuery(patient="4711"))
    assert TrailQuery(patient="4711", user="x").asked == ("user", "patient")


def test_everything_is_what_pages_have(archive, monkeypatch):
    monkeypatch.setattr(trailsearch, "MAX_PAGE", 4)
    write(archive, *range(10))
    assert numbers(entry for page in everything(archive, EVERYTHING) for entry in page) == list(reversed(range(10)))


def test_a_record_that_cannot_be_read_is_seen_and_stops_nobody(archive):
    write(archive, 0, 1, 2)
    broken = search(archive, EVERYTHING).entries[1]
    connection = archive.backend.connect()
    connection.execute("UPDATE trail_record SET record = ? WHERE log = ? AND seq = ?", (b"{", broken.log, broken.seq))
    connection.close()
    found = search(archive, EVERYTHING).entries
    assert [entry.action for entry in found[:3]] == ["query", "unreadable", "query"]
    assert numbers(search(archive, TrailQuery(action="query")).entries) == [2, 0]
    with pytest.raises(IntegrityError):
        one(archive, broken.log, broken.seq)


def test_one_record(archive):
    write(archive, 5)
    newest = search(archive, EVERYTHING).entries[0]
    assert one(archive, newest.log, newest.seq) == newest
    for log, seq in ((newest.log, newest.seq + 1), ("nowhere", 0)):
        with pytest.raises(NotFound):
            one(archive, log, seq)


@pytest.mark.parametrize(
    "text", ["x", "local:-1", "local:1~", "local:1~../x:2", "local:99999999999999999", "a:1~" * 2000]
)
def test_nobody_goes_on_where_no_page_has_ended(text):
    with pytest.raises(MalformedRequest):
        parse_position(text)
