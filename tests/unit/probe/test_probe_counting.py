"""Counting: exact where it can be, a lower bound where it is not, nothing of a patient in either, and always an end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_certificates import Issuer, Subject
from harness.probe_dicom import Conduct, Identifier, Scp, scp
from harness.probe_hostile import hostile_answers
from harness.probe_lures import identical, phantoms, real_looking, tcia
from harness.probe_planted import STUDY_DATE, STUDY_INSTANCES, STUDY_UID, leaks, planted_scp
from harness.probe_session import NOW, Probed, probed, target_with
from harness.wire import C_FIND_RQ
from strongroom.probe.connecting import connect
from strongroom.probe.dimse import association, counting, services
from strongroom.probe.dimse.canary import OTHER_PATIENT_ID, PATIENT_ID
from strongroom.probe.dimse.counting import (
    DAYS_OF_A_SLICE,
    MAX_ANSWERS,
    MAX_SLICES,
    Slice,
    Tally,
    estimate,
    may_be_cut,
    week_slices,
)
from strongroom.probe.model import Answer, Detail, Identity, Observation
from strongroom.probe.tls.transport import handshakes

STEPS = (
    association.associate,
    association.user_identity,
    services.services,
    services.ask_for_nothing,
    counting.count,
    counting.shape,
)


def run(server: Scp, **target: object) -> Probed:
    made = probed(target_with(dicom_ports=(server.port,), **target))
    for step in STEPS:
        step(made.session)
    return made


def counted(conduct: Conduct) -> Observation:
    with scp(conduct) as server:
        return seen(run(server), "dicom.find_count")


def seen(made: Probed, step: str) -> Observation:
    (one,) = made.session.all_found(step)
    return one


def archive(count: int, *, per_day: int = 10, images: int = 3) -> Conduct:
    """Studies of as many days as it takes, the newest of yesterday, each of another person."""
    yesterday = NOW.date() - dt.timedelta(days=1)
    answers: list[Identifier] = [
        {
            STUDY_DATE: f"{yesterday - dt.timedelta(days=number // per_day):%Y%m%d}".encode(),
            STUDY_UID: f"1.2.826.0.1.3680043.9.77.{number}".encode(),
            0x00100020: f"MR{number // 2}".encode(),
            STUDY_INSTANCES: str(images).encode(),
        }
        for number in range(count)
    ]
    return Conduct(answers=tuple(answers))


@pytest.mark.parametrize("count", [0, 1, 7, 49, 51])
def test_a_small_archive_is_counted_exactly(count: int) -> None:
    found = counted(archive(count))
    assert found.answer is Answer.DONE
    assert (found.details["studies"], found.details["images"]) == (count, 3 * count)
    assert found.details["patients"] == (count + 1) // 2
    assert (found.details["capped"], found.details["slices"]) == (False, 1)
    assert "estimated_studies" not in found.details


def test_a_large_archive_is_counted_up_to_the_cap_and_estimated() -> None:
    with scp(archive(1900, per_day=12)) as server:
        found = seen(run(server), "dicom.find_count").details
    assert found["capped"] is True
    assert MAX_ANSWERS <= int(str(found["studies"])) < 1900
    assert found["images"] == 3 * int(str(found["studies"]))
    assert found["slices"] == MAX_SLICES
    assert found["cancelled"] == "kept"
    # Twelve a day, and of the seven years that were asked about only the last has any.
    assert found["estimated_studies"] == 12 * 365
    assert len(server.requests("C-CANCEL")) >= 1


def test_a_round_number_is_not_believed_before_weeks_were_asked_for() -> None:
    found = counted(archive(100)).details
    assert (found["studies"], found["slices"], found["capped"]) == (100, MAX_SLICES, False)
    assert may_be_cut(Slice("", "", 100, 100, 0, 0, False))
    assert not may_be_cut(Slice("", "", 99, 99, 0, 0, False))
    assert may_be_cut(Slice("", "", 3, 3, 0, 0xA700, False))


def test_weeks_that_have_what_everything_had_not_show_a_limit_of_the_server() -> None:
    tally = Tally(b"key")
    for number in range(110):
        tally.add({0x0020000D: f"1.2.{number}", 0x00201208: "1"})
    slices = [Slice("", "", 100, 100, 100, 0, False), Slice("20260101", "20260107", 10, 10, 10, 0, False)]
    details = counting.counted(tally, slices, ignores_dates=False)
    assert (details["studies"], details["capped"]) == (110, True)
    assert details["estimated_studies"] == 10 * 365 // 7


def test_where_everything_is_refused_the_weeks_say_which_days_were_counted() -> None:
    tally = Tally(b"key")
    tally.add({0x0020000D: "1.2"})
    slices = [Slice("", "", 0, 0, 0, 0xA700, False), Slice("20260101", "20260107", 1, 1, 0, 0, False)]
    details = counting.counted(tally, slices, ignores_dates=False)
    assert (details["studies"], details["capped"]) == (1, True)
    assert (details["from_date"], details["to_date"]) == ("20260101", "20260107")
    assert "no image counts" in details["keys"]  # type: ignore[operator]


def test_a_server_that_never_stops_is_cut_off() -> None:
    with scp(replace(real_looking(), endless=True)) as server:
        made = run(server)
        found = seen(made, "dicom.find_count").details
    assert (found["studies"], found["capped"], found["cancelled"]) == (30, True, "ignored")
    assert found["keys"] == ("studies repeated",)
    assert len(server.requests("abort")) >= 1
    assert all(visit.received_bytes < 100_000 for visit in server.listener.visits)


def test_a_server_that_goes_on_sending_people_is_cut_off_soon() -> None:
    with scp(replace(real_looking(), endless=True)) as server:
        made = run(server)
    assert seen(made, "dicom.find_shape").details["looked_at"] == 25
    shaped = [each for each in server.asked if 0x00100010 in each.identifier]
    assert len(shaped) == 1
    # What the server could send before it was cut off is what lay in buffers, not what it wanted to send.
    assert server.requests("abort")
    assert all(visit.closed_s is not None for visit in server.listener.visits)


def test_a_server_that_ignores_dates_is_not_asked_for_weeks() -> None:
    odd: Identifier = {STUDY_DATE: services.NOBODYS_DAY.encode(), STUDY_UID: b"1.2.3", STUDY_INSTANCES: b"1"}
    found = counted(Conduct(answers=(odd,) * 100)).details
    assert found["slices"] == 1
    assert "dates ignored" in found["keys"]  # type: ignore[operator]


def test_a_query_that_fails_is_no_count_of_nothing() -> None:
    with scp(Conduct(statuses={C_FIND_RQ: 0xC001})) as server:
        made = run(server)
    assert list(made.session.all_found("dicom.find_count")) == list(made.session.all_found("dicom.find_shape")) == []
    assert {each.answer for each in made.session.all_found("dicom.find_empty")} == {Answer.FAILED}


def test_a_count_that_breaks_off_is_a_lower_bound() -> None:
    with scp(replace(archive(30), statuses={})) as server:
        made = probed(target_with(dicom_ports=(server.port,)))
        for step in STEPS[:4]:
            step(made.session)
    # The server is gone: what was found out before stands, and no number is made up.
    counting.count(made.session)
    found = seen(made, "dicom.find_count")
    assert found.answer is Answer.UNREACHABLE
    assert (found.details["studies"], found.details["capped"]) == (0, True)


def test_nonsense_in_answers_is_counted_as_nonsense() -> None:
    with scp(hostile_answers()) as server:
        found = seen(run(server), "dicom.find_count").details
    assert (found["studies"], found["images"]) == (3, 0)
    assert "no image counts" in found["keys"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("told", "images"),
    [("12", 12), ("0", 0), ("-5", 0), ("99999999", 0), ("9999999", 9_999_999), ("", 0), ("\u0663", 0), ("1e9", 0)],
)
def test_a_number_of_images_is_a_number_or_nothing(told: str, images: int) -> None:
    tally = Tally(b"key")
    assert tally.add({0x0020000D: "1.2", 0x00201208: told}) == (True, images)
    assert tally.add({0x0020000D: "1.2", 0x00201208: told}) == (False, images)
    assert tally.images == images


def test_what_the_probe_wrote_itself_is_no_patient() -> None:
    own: list[Identifier] = [
        {
            STUDY_DATE: b"20261121",
            STUDY_UID: b"2.25.1",
            0x00100010: name + b"^SYNTHETIC",
            0x00100020: name,
            STUDY_INSTANCES: b"2",
        }
        for name in (PATIENT_ID.encode(), OTHER_PATIENT_ID.encode(), PATIENT_ID.encode() + b" ")
    ]
    with scp(Conduct(answers=tuple(own))) as server:
        made = run(server)
    found = seen(made, "dicom.find_count")
    assert found.answer is Answer.DONE
    assert [found.details[each] for each in ("studies", "patients", "images", "capped")] == [0, 0, 0, False]
    assert found.details["keys"] == ("canaries left out",)
    assert seen(made, "dicom.find_shape").details["looked_at"] == 0
    others = archive(7)
    found = counted(replace(others, answers=(*others.answers, *own)))
    assert [found.details[each] for each in ("studies", "patients", "images")] == [7, 4, 21]
    assert found.details["keys"] == ("canaries left out",)


def test_canaries_stand_for_no_year_of_studies() -> None:
    weeks = [Slice("20250101", "20250107", 5, 2, 6, 0, is_capped=False, canaries=3)]
    assert estimate(weeks) == (2 * 365 // 7, 6 * 365 // 7)


def test_an_answer_that_names_no_study_is_none() -> None:
    tally = Tally(b"key")
    assert tally.add({0x00100020: "P1", 0x00201208: "5"}) == (False, 0)
    assert (len(tally.studies), tally.images, tally.malformed, tally.answers) == (0, 0, 1, 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 99)), max_size=40))
def test_distinct_is_distinct_whatever_comes_twice(answers: list[tuple[int, int, int]]) -> None:
    tally = Tally(b"key")
    for study, patient, images in answers:
        tally.add({0x0020000D: f"1.{study}", 0x00100020: f"P{patient}", 0x00201208: str(images)})
    assert len(tally.studies) == len({study for study, _, _ in answers})
    assert len(tally.patients) == len({patient for _, patient, _ in answers})
    first = {study: images for study, _, images in reversed(answers)}
    assert tally.images == sum(first.values())


def test_what_is_held_is_no_digest_that_somebody_else_could_make() -> None:
    one, other = Tally(b"one"), Tally(b"other")
    for tally in (one, other):
        tally.add({0x0020000D: "1.2", 0x00100020: "219-37-4581"})
    assert not one.patients & other.patients
    assert not set(one.studies) & set(other.studies)
    assert "219" not in repr(one)


def test_the_weeks_lie_in_years_that_are_over_and_do_not_overlap() -> None:
    weeks = week_slices(dt.date(2026, 11, 22))
    assert len(weeks) == MAX_SLICES - 1
    days = [dt.date(int(day[:4]), int(day[4:6]), int(day[6:])) for week in weeks for day in week]
    assert max(days) <= dt.date(2026, 11, 8)
    assert all((last - first).days == DAYS_OF_A_SLICE - 1 for first, last in zip(days[::2], days[1::2], strict=True))
    assert days[::2] == sorted(days[::2], reverse=True)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 10**6)), max_size=7))
def test_an_estimate_grows_with_what_was_seen(weeks: list[tuple[int, int]]) -> None:
    slices = [Slice("a", "b", answers, 0, images, 0, False) for answers, images in weeks]
    studies, images = estimate(slices)
    assert studies >= sum(answers for answers, _ in weeks)
    assert images >= sum(images for _, images in weeks)


@pytest.mark.parametrize(
    ("conduct", "expected"),
    [
        (real_looking(), {"demo_uids": 0, "phantom": 0, "synthetic": 0, "identical": False, "ssn_shaped": 0}),
        (tcia(), {"demo_uids": 25, "phantom": 0, "identical": False}),
        (phantoms(), {"phantom": 25, "demo_uids": 0}),
        (identical(), {"identical": True}),
    ],
    ids=["real", "public collection", "phantoms", "honeypot"],
)
def test_lures_are_told_from_people(conduct: Conduct, expected: Mapping[str, Detail]) -> None:
    with scp(conduct) as server:
        details = seen(run(server), "dicom.find_shape").details
    assert details["looked_at"] == details["has_name"] == details["has_patient_id"] == 25
    assert {name: details[name] for name in expected} == expected


def test_nothing_of_planted_people_is_kept_or_logged() -> None:
    with scp(planted_scp(30)) as server:
        made = run(server)
    told = seen(made, "dicom.find_shape").details
    assert (told["looked_at"], told["ssn_shaped"], told["ssn_bare"]) == (25, 25, 24)
    assert seen(made, "dicom.find_count").details["patients"] == 30
    assert leaks((made.log + repr(made.session.known)).encode()) == []
    # The control: what was planted did come over the wire.
    assert leaks(b"".join(repr(each).encode() for each in server.listener.visits) + repr(planted_scp(30)).encode())


def test_people_are_not_counted_for_somebody_who_has_a_certificate(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    client = issuer.issue("client", Subject("client", client=True))
    context = issuer.issue("server", Subject("server")).server_context(client_required=True)
    with scp(real_looking(), tls=context) as server:
        files = {"certificate": str(client.certificate), "certificate_key": str(client.key)}
        made = probed(target_with(dicom_ports=(server.port,), **files))
        for step in (connect, handshakes, *STEPS):
            step(made.session)
    assert {each.identity for each in made.session.all_found("dicom.find_empty")} == {Identity.CERTIFICATE}
    assert list(made.session.all_found("dicom.find_count")) == list(made.session.all_found("dicom.find_shape")) == []


def test_counting_is_done_once_on_a_port_by_who_knows_least() -> None:
    with scp(real_looking()) as server:
        made = run(server, called="PACS", calling="CT1")
    assert seen(made, "dicom.find_count").identity is Identity.STRANGER
    assert {each.identity for each in made.session.all_found("dicom.find_empty")} == {
        Identity.STRANGER,
        Identity.JUNK_USER,
        Identity.NAMED,
    }
    shaped = [each for each in server.requests("C-FIND") if 0x00100010 in each.identifier]
    assert len(shaped) == 1
