"""What a server says of refusals: one plain line each, not too many, and nothing that is not ours to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness import archives
from harness.wire import Asks, RawPeer
from strongroom.archive.model import Action, Detail, Event, Outcome
from strongroom.serving.announcing import KINDS, LINES, LINES_OF_A_KIND, WINDOW_S, Announcer
from strongroom.types import Principal


@contextmanager
def said() -> Iterator[tuple[Announcer, list[str], list[float]]]:
    lines: list[str] = []
    now = [0.0]
    yield Announcer(lambda: now[0], lambda line, _: lines.append(line)), lines, now


def refusal(reason: str = "no-right-store", address: str = "10.0.0.7", **details: Detail) -> Event:
    return Event(Action.STORE, Outcome.REFUSED, Principal("CT1", "f" * 64, "", address), {"reason": reason, **details})


def test_a_refusal_is_one_line_that_says_who_and_why() -> None:
    with said() as (announce, lines, _):
        announce(refusal(sop_uid="1.2.3"))
    assert lines == ["refused action=store reason=no-right-store aet=CT1 address=10.0.0.7 sop_uid=1.2.3"]


def test_a_request_that_was_refused_for_several_reasons_names_them() -> None:
    why: dict[str, Detail] = {"reasons": ("sop-class-not-supported", "no-right-store"), "objects": 7}
    many: dict[str, Detail] = {"reasons": tuple(f"over-limit-{number}" for number in range(20)), "objects": 20}
    who = Principal("viewer", address="10.0.0.7", via="token")
    with said() as (announce, lines, _):
        announce(Event(Action.STORE, Outcome.REFUSED, who, why))
        announce(Event(Action.STORE, Outcome.REFUSED, who, many))
    where = "aet=viewer address=10.0.0.7 via=token"
    assert lines[0] == f"refused action=store reason=sop-class-not-supported,no-right-store {where}"
    first = lines[1].removeprefix("refused action=store reason=").removesuffix(f" {where}")
    assert first.startswith("over-limit-0,over-limit-1,over-limit-2,")
    assert len(first) <= 64


def test_a_copy_that_is_refused_is_named_by_what_it_is() -> None:
    with said() as (announce, lines, _):
        announce(Event(Action.STORE, Outcome.REFUSED, Principal("CT1"), {"verdict": "sop-instance-altered"}))
    assert lines == ["refused action=store reason=sop-instance-altered aet=CT1 address=local"]


def test_no_flood_of_refusals_hides_an_alert() -> None:
    alert = {"reason": "screening", "severity": "critical", "rules": ("SR-PE-001", "SR-ELF-001")}
    with said() as (announce, lines, _):
        for number in range(2 * LINES):
            announce(refusal(address=f"10.0.0.{number}"))
        assert len(lines) == LINES
        for _ in range(LINES_OF_A_KIND + 3):
            announce(Event(Action.ALERT, Outcome.WARNING, Principal("CT1", address="10.0.0.7"), alert))
    assert len(lines) == LINES + LINES_OF_A_KIND
    assert lines[-1] == ("alert reason=screening aet=CT1 address=10.0.0.7 severity=critical rules=SR-PE-001,SR-ELF-001")


def test_what_went_well_is_not_said() -> None:
    with said() as (announce, lines, _):
        announce(Event(Action.STORE, Outcome.SUCCESS, Principal("CT1"), {}))
    assert lines == []


@pytest.mark.parametrize("text", ["A\nrefused action=forged", "a\x1b[2J", "M\u00fcller Anna", "x" * 500])
def test_what_a_stranger_says_of_itself_is_made_plain(text: str) -> None:
    with said() as (announce, lines, _):
        announce(refusal(calling=text, patient="DOE^JANE"))
    assert lines[0].isascii()
    assert lines[0].isprintable()
    assert len(lines[0]) < 300
    assert lines[0].count("refused") == 1 + ("refused" in text)
    assert lines[0].count(" ") == 5
    assert "DOE" not in lines[0]


def test_many_of_a_kind_are_a_number_in_the_next_line() -> None:
    with said() as (announce, lines, now):
        for _ in range(100):
            announce(refusal())
        announce(refusal("outside-scope"))
        assert len(lines) == LINES_OF_A_KIND + 1
        now[0] = WINDOW_S
        announce(refusal())
        announce(refusal())
    assert lines[-2].endswith(f" unsaid={100 - LINES_OF_A_KIND}")
    assert "unsaid" not in lines[-1]


def test_who_comes_from_everywhere_fills_no_log_and_no_memory() -> None:
    with said() as (announce, lines, _):
        for number in range(3 * KINDS):
            announce(refusal(address=f"10.0.{number >> 8}.{number & 255}"))
        assert len(lines) == LINES
        assert len(announce._kinds) <= KINDS


def test_a_server_says_why_a_modality_was_refused(tmp_path) -> None:
    home = archives.new_home(tmp_path / "home")
    with archives.opened(home) as opened:
        archives.add_peer(opened, "CT1", "echo")
    with archives.serving(home) as running:
        with RawPeer(running.port, running.credentials("CT1")) as peer:
            peer.associate(Asks("CT1", called="ELSEWHERE"))
        running.wait_for_event(lambda event: event.outcome is Outcome.REFUSED)
        running.stop()
    assert "refused action=association reason=wrong-called-ae" in running.output
    assert "calling=CT1 called=ELSEWHERE" in running.output
