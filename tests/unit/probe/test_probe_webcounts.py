"""Searches that are counted, retrievals of nothing, and what of all that is kept: numbers."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from harness.probe_http import Asked, Page, Site, Web, json_page, qido, web
from harness.probe_planted import FAMILY, NAME, PLAIN_SSN, SSN
from harness.probe_session import FAST, Probed, probed, target_with
from strongroom.probe.connecting import connect
from strongroom.probe.dimse.canary import PATIENT_ID, cleanup
from strongroom.probe.model import Answer, Observation
from strongroom.probe.tls import transport
from strongroom.probe.web import webcanary, webcounts
from strongroom.probe.web.site import look
from strongroom.probe.web.webcounts import MAX_ANSWERS, studies_in, values_of

STEPS = (
    connect, transport.handshakes, look, webcounts.search, webcounts.count, webcounts.shape,
    webcounts.retrieve_nothing, webcounts.store_nothing, webcounts.rest, webcanary.canary,
)  # fmt: skip
ROOT = "/dicom-web"


def studies(count: int, patients: int = 10, days: int = 365) -> list[Mapping[str, Any]]:
    """Studies of people who were never born, over a year before today."""
    made = []
    for number in range(count):
        date = dt.date(2026, 11, 1) - dt.timedelta(days=number % days)
        made.append(
            {
                "00080020": {"vr": "DA", "Value": [f"{date:%Y%m%d}"]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"{NAME}{number}"}]},
                "00100020": {"vr": "LO", "Value": [SSN if number % 2 else f"{int(PLAIN_SSN) + number % patients}"]},
                "00201208": {"vr": "IS", "Value": [3]},
                "0020000D": {"vr": "UI", "Value": [f"1.2.826.0.1.3680043.9.77.{number}"]},
            }
        )
    return made


def archive(found: list[Mapping[str, Any]], **more: Any) -> Site:
    """An open DICOMweb service with these studies."""
    pages = {
        f"{ROOT}/studies": qido(found),
        f"{ROOT}/patients": json_page([], "application/dicom+json"),
        f"{ROOT}/studies/*": Page(404, "no such object", "text/plain"),
    }
    return Site({**pages, **more})


def asked_of(site: Site | Callable[[Web], Site], **fields: Any) -> tuple[Probed, list[Asked]]:
    with web(site) as running:
        rates = replace(FAST, answer_s=3.0, connections_per_target=300)
        made = probed(target_with(http_ports=(running.port,)), rates=rates, **fields)
        for step in STEPS:
            step(made.session)
        return made, running.asked


def one_of(made: Probed, step: str) -> Observation:
    found = list(made.session.all_found(step))
    assert len(found) == 1, [seen.details for seen in found]
    return found[0]


def test_a_small_archive_is_counted_to_the_end() -> None:
    made, _ = asked_of(archive(studies(23)))
    assert one_of(made, "http.qido").details["answers"] == 1
    counted = one_of(made, "http.qido_count").details
    assert (counted["studies"], counted["images"], counted["capped"]) == (23, 69, False)
    assert counted["root"] == ROOT


def test_what_the_probe_wrote_itself_is_nobody() -> None:
    own = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": f"{PATIENT_ID}^SYNTHETIC"}]}}
    canaries = [{**study, **own, "00100020": {"vr": "LO", "Value": [PATIENT_ID]}} for study in studies(2)]
    made, _ = asked_of(archive(canaries))
    counted = one_of(made, "http.qido_count").details
    assert (counted["studies"], counted["patients"], counted["images"]) == (0, 0, 0)
    assert counted["keys"] == ("canaries left out",)
    assert one_of(made, "http.qido_shape").details["looked_at"] == 0


def test_a_large_archive_is_cut_at_the_cap_and_estimated_from_weeks() -> None:
    made, asked = asked_of(archive(studies(5000)))
    counted = one_of(made, "http.qido_count").details
    assert counted["capped"] is True
    assert MAX_ANSWERS <= int(str(counted["studies"])) < 2 * MAX_ANSWERS
    assert 3000 < int(str(counted["estimated_studies"])) < 8000
    assert len([each for each in asked if "StudyDate=" in each.target]) <= 9


def test_a_server_that_ignores_limit_dates_and_offset_is_counted_once() -> None:
    everything = json_page([dict(each) for each in studies(700)], "application/dicom+json")
    made, asked = asked_of(archive([], **{f"{ROOT}/studies": everything}))
    counted = one_of(made, "http.qido_count").details
    assert counted["studies"] == 700
    assert {"limit ignored", "dates ignored"} <= set(counted["keys"])
    assert len([each for each in asked if each.path == f"{ROOT}/studies" and each.method == "GET"]) < 10


def test_an_answer_without_an_end_costs_its_cap() -> None:
    one = '{"0020000D": {"vr": "UI", "Value": ["1.2.3"]}},'
    made, _ = asked_of(archive([], **{f"{ROOT}/studies": Page(200, "[" + one * 200_000, "application/dicom+json")}))
    counted = one_of(made, "http.qido_count")
    assert counted.answer is Answer.DONE
    assert counted.details["capped"] is True
    assert counted.details["studies"] == 1


def test_nothing_of_anybody_is_kept() -> None:
    made, _ = asked_of(archive(studies(60)))
    shape = one_of(made, "http.qido_shape").details
    assert (shape["looked_at"], shape["has_name"]) == (25, 25)
    assert int(str(shape["ssn_shaped"])) > 10
    for text in (FAMILY, NAME, SSN, PLAIN_SSN[:6], "1.2.826.0.1.3680043.9.77"):
        assert text not in made.log
        assert text not in repr(made.session.known)


def test_a_missing_study_is_told_from_a_missing_service() -> None:
    made, asked = asked_of(archive(studies(3), **{"/wado": Page(404, "no such object", "text/plain")}))
    assert one_of(made, "http.wado_rs").answer is Answer.DONE
    assert one_of(made, "http.wado_uri").answer is Answer.DONE
    assert all("/studies/2.25." in each.target for each in asked if each.path.startswith(f"{ROOT}/studies/"))
    nowhere, _ = asked_of(Site({}))
    for step in ("http.qido", "http.wado_rs", "http.wado_uri", "http.stow"):
        assert one_of(nowhere, step).answer is Answer.FAILED, step


def test_a_service_behind_a_login_is_refused_everywhere() -> None:
    made, _ = asked_of(replace(archive(studies(3)), login=Page(401, "", headers={"WWW-Authenticate": "Bearer"})))
    for step in ("http.qido", "http.wado_rs", "http.wado_uri", "http.stow"):
        assert one_of(made, step).answer is Answer.REFUSED, step
    for step in ("http.qido_count", "http.qido_shape"):
        assert made.session.found(step) is None, step


def test_a_hole_in_a_login_is_found() -> None:
    site = replace(archive(studies(3)), login=Page(401, ""), open=frozenset({f"{ROOT}/studies"}))
    made, _ = asked_of(site)
    assert one_of(made, "http.root").answer is Answer.REFUSED
    assert one_of(made, "http.qido").answer is Answer.DONE


def test_an_empty_post_has_no_part() -> None:
    made, asked = asked_of(archive(studies(3), **{f"{ROOT}/studies": store}), consents=frozenset())
    posted = [each for each in asked if each.method == "POST"]
    assert len(posted) == 1
    assert b"DICM" not in posted[0].body
    assert posted[0].body.startswith(b"--")
    assert one_of(made, "http.stow").answer is Answer.DONE
    assert one_of(made, "http.stow_canary").answer is Answer.NOT_ASKED


def store(asked: Asked) -> Page:
    """A STOW-RS service: takes what has a part, names it, and finds the study that is asked for."""
    wanted = parse_qs(urlsplit(asked.target).query).get("StudyInstanceUID", [""])[0]
    if asked.method == "GET" and wanted:
        return json_page([{"0020000D": {"vr": "UI", "Value": [wanted]}}], "application/dicom+json")
    if asked.method == "GET":
        return qido(studies(1))(asked)
    uids = [uid.decode() for uid in re.findall(rb"2\.25\.[0-9]+", asked.body)]
    stored = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": uids}}]}}
    return json_page(stored, "application/dicom+json") if uids else Page(400, "no part", "text/plain")


def test_a_canary_is_posted_with_consent_and_told_of() -> None:
    made, asked = asked_of(archive([], **{f"{ROOT}/studies": store}))
    seen = one_of(made, "http.stow_canary")
    assert (seen.answer, seen.details["stored"], seen.details["read"]) == (Answer.DONE, True, True)
    body = next(each.body for each in asked if b"DICM" in each.body)
    assert b"ZZ-AUDIT-CANARY" in body
    assert str(seen.details["sop_instance_uid"]).encode() in body
    lines = cleanup(made.session.known)
    assert any(str(seen.details["study_instance_uid"]) in line for line in lines)


def test_a_canary_that_is_refused_was_not_written() -> None:
    def refuse(asked: Asked) -> Page:
        return Page(403, "no") if b"DICM" in asked.body else store(asked)

    made, _ = asked_of(archive([], **{f"{ROOT}/studies": refuse}))
    assert one_of(made, "http.stow_canary").answer is Answer.REFUSED
    assert cleanup(made.session.known) == []


def test_a_products_own_counts_are_numbers_or_nothing() -> None:
    system = json_page({"ApiVersion": 1, "DicomAet": "X", "Version": "1.12.3"})
    numbers = json_page({"CountPatients": 4, "CountStudies": "many", "CountInstances": 9, "Name": NAME})
    made, _ = asked_of(Site({"/system": system, "/statistics": numbers}))
    details = one_of(made, "http.rest").details
    assert (details["patients"], details["instances"], "studies" in details) == (4, 9, False)
    assert NAME not in made.log


TAGS = st.sampled_from(["0020000D", "Value", "00100020"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TAGS, inner), max_leaves=20))
def test_any_json_is_a_study_or_none(value: object) -> None:
    assert all(isinstance(text, str) for text in values_of(value).values())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_none(raw: bytes) -> None:
    found, is_whole = studies_in(raw)
    assert isinstance(found, list)
    assert is_whole in (True, False)


def test_a_list_that_is_cut_gives_what_came_before() -> None:
    assert studies_in(b'[{"a": 1}, {"b": 2}, {"c"') == ([{"a": 1}, {"b": 2}], False)
    assert studies_in(b" [ ] ") == ([], True)
    assert studies_in(b'{"a": 1}') == ([], False)
    assert studies_in(b"[" * 100_000) == ([], False)
    assert studies_in(b"[" + b"{}," * 100_000 + b"{}]") == ([{}] * (MAX_ANSWERS + 1), False), "no more than is counted"


def test_a_root_of_the_scope_is_asked_first() -> None:
    root = "/v1/projects/p/dicomStores/s/dicomWeb"
    with web(Site({f"{root}/studies": qido(studies(2))})) as running:
        made = probed(target_with(http_ports=(running.port,), dicomweb_roots=(root,)))
        for step in STEPS:
            step(made.session)
        searched = [each.path for each in running.asked if "limit=1" in each.target]
    assert searched[0] == f"{root}/studies"
    assert one_of(made, "http.qido").details["root"] == root
    assert one_of(made, "http.qido_count").details["studies"] == 2
