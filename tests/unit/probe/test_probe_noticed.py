"""Were we seen: contacts of a run against lines of a server's log, and the lines of each kind of log."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from harness.probe_observed import STARTED_US, facts
from strongroom.probe.reporting.noticed import Contact, contacts_of, match, noticed_json, noticed_text, verdicts
from strongroom.probe.reporting.serverlogs import LogKind, Reading, Sighting, sightings

PROBE = "STRONGROOM-PRB"
AT = dt.datetime.fromtimestamp(STARTED_US / 1_000_000, dt.UTC)
HERE = frozenset({"192.0.2.99"})


def contact(second: int, step: str = "dicom.associate", title: str = PROBE) -> Contact:
    is_http = step.startswith("http.")
    return Contact("archive", STARTED_US + second * 1_000_000, 104, step, "stranger", title, is_http)


def line(second: float, *, title: str = PROBE, address: str = "192.0.2.99", http: bool = False) -> Sighting:
    at_us = STARTED_US + round(second * 1_000_000)
    return Sighting(at_us, frozenset({address}), frozenset({title} - {""}), is_agent=False, is_http=http)


def test_each_contact_has_its_line_and_its_delay() -> None:
    found = match([contact(0), contact(10)], [line(0.5), line(12)], HERE)
    assert [each.by for each in found] == [("address", "time", "title")] * 2
    assert [each.delay_s for each in found] == [0.5, 2.0]
    assert verdicts(found) == {"archive": "all"}


def test_lines_of_one_association_do_not_stand_for_another() -> None:
    found = match([contact(0), contact(10)], [line(0.1), line(0.2), line(0.3)], HERE)
    assert [bool(each.by) for each in found] == [True, False]
    assert verdicts(found) == {"archive": "some"}


def test_a_clock_that_lags_by_a_second_is_forgiven() -> None:
    (found,) = match([contact(10)], [line(9)], HERE)
    assert (bool(found.by), found.delay_s) == (True, 0.0)


@pytest.mark.parametrize(
    "other",
    [
        line(1, title="", address="192.0.2.7"),
        line(-60),
        line(100_000),
        line(1, title="", http=True),
    ],
)
def test_a_line_about_somebody_or_something_else_is_no_notice(other: Sighting) -> None:
    (found,) = match([contact(0)], [other], HERE)
    assert found.by == ()
    assert found.delay_s is None
    assert verdicts([found]) == {"archive": "none"}


def test_lines_cut_to_the_second_are_given_to_each_contact_of_that_second() -> None:
    soon, later = (Contact("archive", STARTED_US + us, 104, "dicom.echo", "stranger", PROBE, False) for us in (9, 99))
    found = match([soon, later], [line(0), line(0)], HERE)
    assert [bool(each.by) for each in found] == [True, True]


def test_a_log_that_names_nobody_can_still_hold_what_was_asked_for() -> None:
    asked = Contact("archive", STARTED_US, 8042, "http.paths", "stranger", "", True, frozenset({"/system"}))

    def request(path: str) -> Sighting:
        return Sighting(STARTED_US + 5, frozenset(), frozenset(), is_agent=False, is_http=True, path=path)

    assert match([asked], [request("/system")], frozenset())[0].by == ("path", "time")
    assert match([asked], [request("/other")], frozenset())[0].by == ()


def test_what_is_below_the_root_of_a_service_was_asked_for_while_it_was_asked() -> None:
    asked = Contact("archive", STARTED_US, 8042, "http.qido", "stranger", "", True, roots=frozenset({"/dicom-web"}),
                    ended_us=STARTED_US + 1_000_000)  # fmt: skip

    def request(path: str, second: int) -> Sighting:
        at_us = STARTED_US + second * 1_000_000
        return Sighting(at_us, frozenset(), frozenset(), is_agent=False, is_http=True, path=path)

    assert match([asked], [request("/dicom-web/studies", 1)], frozenset())[0].by == ("path", "time")
    assert match([asked], [request("/dicom-webs", 1)], frozenset())[0].by == ()
    assert match([asked], [request("/dicom-web/studies", 114)], frozenset())[0].by == ()


@pytest.mark.parametrize(
    ("step", "answer", "status", "is_attempt"),
    [
        ("http.root", "closed", 0, False),  # plain HTTP to a port of HTTPS: no request reached it
        ("http.root", "failed", 404, False),
        ("http.root", "done", 301, False),
        ("http.root", "done", 200, True),
        ("http.paths", "refused", 401, True),
        ("http.wado_rs", "failed", 404, True),
        ("http.stow", "failed", 400, True),
        ("dicom.associate", "closed", 0, True),
    ],
)
def test_what_touches_nothing_is_no_attempt(step: str, answer: str, status: int, is_attempt: bool) -> None:
    place = {"target": "archive", "address": "192.0.2.10", "port": 443, "at_us": STARTED_US}
    told = {"step": step, "answer": answer, "identity": "stranger", "entries": [1], "details": {"status": status}}
    log = [{"n": 1, "kind": "connect", **place}, {"n": 2, "kind": "observation", **place, **told}]
    (found,) = contacts_of(log, facts())
    assert found.is_attempt is is_attempt
    missed = match([found], [], HERE)
    assert verdicts(missed) == ({"archive (192.0.2.10)": "none"} if is_attempt else {})
    assert ("MISSED" in noticed_text(missed)) is is_attempt
    assert noticed_json(missed)["contacts"] == is_attempt


def test_the_address_is_learnt_from_lines_that_name_the_title() -> None:
    random_title = contact(10, "dicom.calling_title", "")
    found = match([contact(0), random_title], [line(0), line(10, title="")], frozenset())
    assert [bool(each.by) for each in found] == [True, True]


def test_lines_without_a_time_are_given_out_one_each() -> None:
    untimed = [Sighting(0, frozenset(), frozenset({PROBE}), is_agent=False, is_http=False)] * 2
    found = match([contact(0), contact(10), contact(20)], untimed, frozenset())
    assert [each.by for each in found] == [("title",), ("title",), ()]
    assert all(each.delay_s is None for each in found)


def test_contacts_are_the_connections_on_which_something_was_asked() -> None:
    def entry(n: int, kind: str, **fields: object) -> dict[str, object]:
        place: dict[str, object] = {"target": "archive", "address": "192.0.2.10", "port": 104}
        return {"n": n, "kind": kind, "at_us": STARTED_US + n, **place, **fields}

    def observed(n: int, step: str, answer: str, entries: list[int], identity: str = "stranger") -> dict[str, object]:
        return entry(n, "observation", step=step, answer=answer, entries=entries, identity=identity)

    log = [
        entry(1, "connect"), observed(2, "tcp.connect", "done", [1]),
        entry(3, "connect"), observed(4, "dicom.associate", "done", [3]), observed(5, "dicom.echo", "done", [3]),
        entry(6, "connect"), entry(7, "connect"), observed(8, "dicom.calling_title", "done", [6, 7]),
        entry(9, "connect"), observed(10, "dicom.associate", "unreachable", [9]),
        entry(11, "connect"), observed(12, "dicom.associate", "done", [11], "named"),
        entry(13, "connect"), observed(14, "http.root", "refused", [13]),
        entry(17, "connect"), entry(18, "connect"), observed(19, "http.paths", "refused", [17, 18]),
        {**entry(15, "connect"), "port": 443}, observed(16, "dicom.move_nowhere", "refused", [15]),
    ]  # fmt: skip
    found = contacts_of(log, facts(calling={"archive": "CT1"}))
    assert [(each.step, each.title) for each in found] == [
        ("dicom.associate", PROBE), ("dicom.calling_title", ""), ("dicom.calling_title", ""),
        ("dicom.associate", "CT1"), ("http.root", ""), ("http.paths", ""),
    ]  # fmt: skip
    assert {each.subject for each in found} == {"archive (192.0.2.10)"}


def stamp(pattern: str, seconds: int = 1) -> str:
    return (AT + dt.timedelta(seconds=seconds)).strftime(pattern)


TRAIL = json.dumps({"v": 1, "time": stamp("%Y-%m-%dT%H:%M:%S.000000Z"), "address": "192.0.2.99", "aet": PROBE,
                    "action": "association", "outcome": "refused"})  # fmt: skip
LINES = {
    LogKind.STRONGROOM: TRAIL,
    LogKind.ORTHANC: stamp("I%m%d %H:%M:%S.000000")
    + f" main.cpp:321] Incoming connection from AET {PROBE} on IP 192.0.2.99, calling AET ANY-SCP",
    LogKind.DCMTK: stamp("%Y-%m-%d %H:%M:%S.000 I: ") + f"Association Received (192.0.2.99:{PROBE} -> ANY-SCP)",
    LogKind.PYNETDICOM: stamp("%Y-%m-%d %H:%M:%S,000") + f" D: Calling Application Name:    {PROBE:<16}",
    LogKind.NGINX: f'192.0.2.99 - - [{stamp("%d/%b/%Y:%H:%M:%S +0000")}] "GET / HTTP/1.1" 401 12 "-" '
    '"strongroom-probe/0.1 (authorised test)"',
    LogKind.TEXT: stamp("%b %d %H:%M:%S") + " pacs gateway[7]: 192.0.2.99 hello",
}


@pytest.mark.parametrize("kind", list(LogKind))
def test_the_lines_of_each_kind_are_read(kind: LogKind) -> None:
    reading = Reading(kind, frozenset({PROBE}), dt.UTC, AT.year)
    (found,) = sightings(["", "nothing of interest\n", LINES[kind] + "\n", "{]"], reading)
    assert found.at_us == STARTED_US // 1_000_000 * 1_000_000 + 1_000_000
    assert found.addresses == (frozenset() if kind is LogKind.PYNETDICOM else HERE)
    assert bool(found.titles) is (kind not in (LogKind.NGINX, LogKind.TEXT))
    assert found.is_agent is (kind is LogKind.NGINX)
    assert found.is_http is (kind is LogKind.NGINX)


@pytest.mark.parametrize(("log", "is_http"), [("serve", False), ("https-1", True)])
def test_a_record_of_a_refusal_is_of_the_service_whose_log_it_is(log: str, is_http: bool) -> None:
    record = {"v": 1, "time": stamp("%Y-%m-%dT%H:%M:%S.000000Z"), "address": "192.0.2.99", "aet": "", "log": log}
    details = {"reason": "unknown-peer", "calling": PROBE}
    text = json.dumps({**record, "action": "association", "outcome": "refused", "details": details})
    (found,) = sightings([text], Reading(LogKind.STRONGROOM, frozenset({PROBE}), dt.UTC, AT.year))
    assert found.is_http is is_http
    assert found.titles == {PROBE}


def test_a_time_without_a_zone_is_in_the_zone_that_is_given() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    text = f"{(AT + dt.timedelta(hours=2)):%Y-%m-%d %H:%M:%S} association from 192.0.2.99"
    (found,) = sightings([text], Reading(LogKind.TEXT, frozenset(), zone, AT.year))
    assert found.at_us == STARTED_US // 1_000_000 * 1_000_000


def test_a_path_ends_with_its_line() -> None:
    text = "I1122 10:17:07.748215 HttpServer.cpp:1244] (http) GET /system\n"
    (found,) = sightings([text], Reading(LogKind.ORTHANC, frozenset(), dt.UTC, 2026))
    assert (found.path, found.is_http) == ("/system", True)


def test_a_refused_handshake_in_the_trail_is_no_request() -> None:
    record = {"time": "2026-11-22T10:17:18.289882Z", "address": "192.0.2.99", "aet": "", "log": "serve"}
    reading = Reading(LogKind.STRONGROOM, frozenset(), dt.UTC, 2026)
    (handshake,) = sightings([json.dumps(record)], reading)
    (request,) = sightings([json.dumps({**record, "log": "https-1"})], reading)
    assert (handshake.is_http, request.is_http) == (False, True)


def test_an_ipv6_address_is_one_and_a_time_is_none() -> None:
    (found,) = sightings(["2026-03-01 10:00:00 from fd00::5"], Reading(LogKind.TEXT, frozenset(), dt.UTC, 2026))
    assert found.addresses == {"fd00::5"}


@pytest.mark.parametrize("text", ['[99/Foo/2026:10:00:00 +0000] "GET / "', "2026-13-45 99:99:99 from 192.0.2.99"])
def test_a_time_that_is_none_is_no_time(text: str) -> None:
    (found,) = sightings([text], Reading(LogKind.TEXT, frozenset(), dt.UTC, 2026))
    assert found.at_us == 0


def test_what_was_noticed_is_told() -> None:
    found = match([contact(0), contact(10)], [line(3)], HERE)
    told = noticed_json(found)
    assert (told["contacts"], told["noticed"], told["delay_s"]) == (2, 1, {"median": 3.0, "max": 3.0})
    text = noticed_text(found)
    assert "noticed by address and time and title, 3.0 s" in text
    assert "MISSED" in text
    assert "1 of 2" in text
