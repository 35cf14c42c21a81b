"""The reports: valid, alike in what they say, with nothing that runs, loads or breaks out, whatever a server put in."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.probe_observed import DONE, FAILED, OPEN_SERVICES, REFUSED, TLS, facts, seen, shape
from strongroom.errors import ConfigError
from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.findings import Judgement, Verdict
from strongroom.probe.judging.judge import judge
from strongroom.probe.model import Answer, Endpoint, Identity, Level
from strongroom.probe.reporting.report_html import report_html
from strongroom.probe.reporting.report_json import parse_run, report_json
from strongroom.probe.reporting.report_sarif import report_sarif
from strongroom.probe.reporting.report_text import WIDTH, report_text
from strongroom.probe.reporting.reports import reports

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "</style><script>alert(1)</script><img src=//192.0.2.1/x onerror=alert(1)>\x1b[31m\"'&"
OPEN = (
    seen("tcp.connect", ms=1),
    seen("dicom.associate", implementation_version="OFFIS_DCMTK_367", max_pdu_bytes=16384),
    seen("dicom.services", **OPEN_SERVICES),
    seen("dicom.find_empty", status=0, pending=0),
    seen("dicom.find_count", studies=1000, capped=True),
    seen("dicom.find_shape", **shape(looked_at=25, has_name=25, ssn_shaped=4)),
    seen("dicom.find_empty", REFUSED, Identity.NAMED, status=0x0124),
    seen("http.qido", FAILED, port=8042, status=404, root=HOSTILE),
    seen("http.root", REFUSED, over=TLS, port=8443, status=401, hsts=True, server=HOSTILE),
    seen("dicom.idle", Answer.NOT_ASKED, reason="no consent idle"),
)


def judgement(*observations: Any, level: Level = Level.COUNT, **changes: object) -> Judgement:
    return judge(observations or OPEN, facts(level, **changes))


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_well_formed_and_nothing_in_it_runs_or_loads() -> None:
    page = Page(report_html(judgement(authoriser=HOSTILE, purpose=HOSTILE, stopped=HOSTILE)))
    assert page.stack == []
    assert {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "form", "base"} == set()
    for _, attributes in page.tags:
        assert not {"src", "href", "style", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_the_policy_allows_its_own_style_and_nothing_else() -> None:
    text = report_html(judgement())
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [a["content"] for tag, a in Page(text).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style
    assert "@import" not in style


def test_the_first_screen_answers_what_people_ask() -> None:
    words = " ".join(" ".join(Page(report_html(judgement())).words).split())
    first = words[: words.index("Why grade F")]
    for said in (
        "A. Operator", "security@example.org", "lan", "archive (192.0.2.10)", "GRADE F", "A stranger could",
        "search the archive", "Do first", "DCMTK", "45 CFR 164.404(a)(2)", "ab" * 32,
    ):  # fmt: skip
        assert said in first, said
    assert "Synthetic, phantom or demonstration data is nobody's" in words


@pytest.mark.parametrize("name", ["report.txt", "report.html"])
def test_every_check_stands_in_what_people_read(name: str) -> None:
    text = reports(judgement())[name]
    for check in catalogue().checks:
        assert check.id in text, check.id


def test_text_has_no_control_characters_and_keeps_to_its_width() -> None:
    text = report_text(judgement(authoriser=HOSTILE))
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if len(line) > WIDTH + 20] == []


@pytest.mark.parametrize("name", ["report.txt", "report.json", "report.sarif", "report.html"])
def test_no_report_has_control_characters(name: str) -> None:
    text = reports(judgement(authoriser=HOSTILE, contact=HOSTILE, vantage="lan", stopped=HOSTILE))[name]
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) == []


def test_sarif_is_valid_and_says_every_verdict() -> None:
    found = judgement()
    told = json.loads(report_sarif(found))
    schema = json.loads((ROOT / "tests/schemas/sarif-2.1.0-rtm.5.json").read_text())
    jsonschema.Draft7Validator(schema).validate(told)
    (run,) = told["runs"]
    assert len(run["tool"]["driver"]["rules"]) == len(catalogue().checks)
    results = {each["ruleId"]: each for each in run["results"]}
    (target,) = found.targets
    assert {each.check_id for each in target.findings} == set(results)
    assert (results["SP-010"]["kind"], results["SP-010"]["level"]) == ("fail", "error")
    assert (results["SP-020"]["kind"], results["SP-020"]["level"]) == ("open", "none")
    for each in run["results"]:
        assert run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"]
    assert len({each["partialFingerprints"]["strongroomProbe/v1"] for each in run["results"]}) == len(run["results"])


def test_json_is_what_its_schema_says() -> None:
    schema = json.loads((ROOT / "docs/probe-report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    told = json.loads(report_json(judgement()))
    jsonschema.Draft202012Validator(schema).validate(told)
    told["targets"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(told)


def test_evidence_in_json_leads_to_the_observations() -> None:
    told = json.loads(report_json(judgement()))
    (finding,) = [each for each in told["targets"][0]["findings"] if each["check"] == "SP-010"]
    steps = {told["observations"][number]["step"] for number in finding["evidence"]}
    assert steps == {"dicom.find_empty", "dicom.find_count"}


def test_a_report_can_be_judged_again() -> None:
    found = judgement(calling={"archive": "CT1"})
    head, observations = parse_run(report_json(found).encode())
    assert head == found.facts
    assert judge(observations, head) == found


@pytest.mark.parametrize("bad", [b"", b"{}", b'{"format": "strongroom-probe-report/1", "run": {}}', b"[]"])
def test_what_is_no_report_cannot_be_judged_again(bad: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_run(bad)


def test_a_run_that_reached_nobody_says_so() -> None:
    for name in ("report.txt", "report.html"):
        text = reports(judge((), facts()))[name]
        assert "No address of the scope answered" in text


def test_what_was_written_has_to_be_removed() -> None:
    wrote = [seen("dicom.store_canary", status=0, sop_instance_uid=f"2.25.{n}") for n in (1, 2, 2)]
    for name in ("report.txt", "report.html"):
        assert "wrote 2 synthetic objects" in " ".join(reports(judgement(*wrote, level=Level.CANARY))[name].split())
        assert "cleanup.txt" not in reports(judgement())[name]


def test_an_older_report_is_judged_with_what_it_has() -> None:
    told = json.loads(report_json(judgement()))
    del told["run"]["window"]
    head, _ = parse_run(json.dumps(told).encode())
    assert head.window == ""


def test_an_incomplete_run_says_so_first() -> None:
    text = report_html(judgement(stopped="the operator ended it"))
    assert text.index("not complete") < text.index("GRADE")


def test_what_is_only_offered_is_told_as_probable() -> None:
    offered = seen("dicom.services", DONE, **OPEN_SERVICES)
    text = report_text(judgement(seen("dicom.associate"), offered, level=Level.ASSOCIATE))
    assert "probably put images into it (C-STORE)" in text
    assert "grade D" in text


def test_what_was_seen_over_the_web_is_mended_there() -> None:
    looked = shape(looked_at=2, has_name=2)
    over = {"dicom": seen("dicom.find_shape", **looked), "http": seen("http.qido_shape", port=8042, **looked)}
    remedies = {}
    for name, observation in over.items():
        told = json.loads(report_json(judgement(observation)))
        (finding,) = [each for each in told["targets"][0]["findings"] if each["check"] == "SP-012"]
        remedies[name] = finding["remedy"]
    assert "application entities" in remedies["dicom"]
    assert "web interface" in remedies["http"]


def test_what_a_certificate_may_do_is_not_called_open() -> None:
    known = seen("dicom.find_empty", DONE, Identity.CERTIFICATE, TLS, status=0)
    text = report_text(judgement(seen("dicom.associate", REFUSED, over=TLS), known))
    assert "OPEN" not in text
    assert "OPEN" in report_text(judgement(seen("dicom.find_empty", status=0)))


def test_not_tested_is_never_told_as_good() -> None:
    found = judgement(seen("tcp.connect"), level=Level.CONNECT)
    (target,) = found.targets
    untested = {each.check_id for each in target.findings if each.verdict is Verdict.NOT_TESTED}
    text = report_text(found)
    passed = text[text.index("Passed") : text.index("Not tested, which is no good news")]
    assert "SP-010" in {each.check_id for each in target.findings}
    assert not [check for check in untested if f"{check}  " in passed]


@pytest.mark.parametrize(
    ("observations", "warns"),
    [
        (OPEN, True),
        ([seen("dicom.associate", REFUSED)], True),
        ([seen("tcp.connect", Answer.UNREACHABLE, reason="refused")], False),
        (
            [
                seen("tcp.connect"),
                seen("http.root", REFUSED, over=TLS, port=443, status=401, hsts=True),
                seen("http.qido", REFUSED, over=TLS, port=443, status=401),
            ],
            False,
        ),
    ],
    ids=["F", "C", "nobody", "A"],
)
@pytest.mark.parametrize("name", ["report.txt", "report.html"])
def test_the_clock_is_named_where_data_might_be_reached(name: str, observations: Any, warns: bool) -> None:
    assert ("start a clock" in reports(judgement(*observations))[name]) is warns


def two_targets() -> Judgement:
    """One that is shut and one that is open."""
    shut = (seen("tcp.connect"), seen("dicom.associate", REFUSED))
    moved = [replace(each, endpoint=Endpoint("other", "192.0.2.11", 104)) for each in shut]
    return judge((*moved, *OPEN), facts(Level.COUNT))


def test_a_text_of_several_targets_begins_with_a_line_for_each_the_worst_first() -> None:
    text = report_text(two_targets())
    overview = text[: text.index("=" * WIDTH)]
    assert overview.index("  F    archive (192.0.2.10)") < overview.index("  C    other (192.0.2.11)")
    assert "a stranger could" in overview


def test_what_is_alike_is_said_once() -> None:
    text = report_text(two_targets())
    for check in catalogue().checks:
        if check.untested:
            assert text.count(f"{check.id}  ") == 1, check.id
    said = "No HTTP was found on the ports that were tried."
    assert sum(each.says == said for target in two_targets().targets for each in target.findings) > 2
    assert " ".join(text.split()).count(said) == 1


def test_what_was_shown_for_one_stranger_is_not_told_as_probable_for_another() -> None:
    offered = seen("dicom.services", DONE, Identity.JUNK_USER, **OPEN_SERVICES)
    text = report_text(judgement(offered, seen("dicom.store_canary", status=0), level=Level.CANARY))
    assert "put images into it, as was shown" in text
    assert "probably put images into it" not in text
    assert "probably take images out of it" in text
