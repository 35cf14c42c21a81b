"""The catalogue: complete, held against the table of steps, and strict about what it cannot mean."""

from __future__ import annotations

import copy
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from strongroom.probe.judging import classify, estimates, grade, matrix, recognised
from strongroom.probe.judging.catalogue import ABOUT, catalogue, parse_catalogue, placeholders
from strongroom.probe.judging.conditions import BadCondition
from strongroom.probe.model import Level
from strongroom.probe.steps import STEPS

RAW = tomllib.loads((files("strongroom.probe.judging") / "catalogue.toml").read_text(encoding="utf-8"))
SURVEY_ROWS = {str(number) for number in range(1, 38)}
CONTROL_ROWS = {
    "EXP-01", "EXP-02", "EXP-03", "EXP-04", "EXP-05", "EXP-06", "EXP-07", "EXP-08", "EXP-10", "EXP-12", "AUT-01",
    "AUT-03", "AUT-05", "AUT-06", "AUT-07", "TLS-01", "TLS-02", "TLS-03", "INT-03", "INT-04", "INT-06", "CFG-03",
}  # fmt: skip
"""The rows of the survey, and those of the control catalogue that can be told from outside."""

ONLY_SHOWN: dict[str, str] = {
    "reason": "of any step: why it is not tested, or what was refused",
    "ms": "how near the server is",
    "version": "of a handshake: tls.versions judges; of a page: recognised",
    "suite": "tls.suites judges", "certificate_sha256": "which certificate, to tell it again",
    "alert": "how it refused",
    "refused": "of versions and services: what was tried in vain", "requested": "required judges",
    "result": "of a rejection: whether it is for good",
    "source": "who refused an association", "abort": "who ended it", "called": "under which title it was asked",
    "max_pdu_bytes": "what the server can take", "models": "of find and move, which information models",
    "tried": "how many", "pending": "how many answers came before the end", "cancelled": "whether the cap was kept",
    "keys": "what was asked for", "slices": "of dates", "sop_instance_uid": "to remove the canary",
    "study_instance_uid": "to remove the canary", "estimated_studies": "estimates says it beside the bound",
    "estimated_images": "estimates says it beside the bound",
    "same_pixels": "of the canary, found judges", "read": "of the canary over the web, stored judges",
    "scheme": "the channel again", "authenticate": "how one may log in", "location_host": "where a redirect leads",
    "title": "of a page, masked", "login": "open judges", "root": "which root",
    "rare_storage_classes": "storage_classes judges", "answers": "done judges",
    "shapes": "of patient IDs, masked",
}  # fmt: skip
"""Details that no rule reads: each stands in the evidence of the reports, and why it is kept."""


def source_of(*modules: Any) -> str:
    return "\n".join(Path(m.__file__).read_text() for m in modules)


def named_in_rules() -> set[str]:
    found: set[str] = set()
    for check in RAW["check"]:
        for rule in check.get("rule", ()):
            found |= set(placeholders(rule["says"]))
            for condition in (*rule.get("all", ()), *rule.get("any", ()), *rule.get("none", ())):
                found |= set(condition) - {"step", "as", "over", "answer", "fact", "is", "check", "verdict"}
    return found


def test_every_row_of_the_survey_and_of_the_controls_has_a_check() -> None:
    rows = {row for check in catalogue().checks for row in check.rows}
    assert rows == SURVEY_ROWS | CONTROL_ROWS


def test_ids_are_stable_and_say_their_row() -> None:
    ids = [check.id for check in catalogue().checks]
    assert len(ids) == len(set(ids))
    for check in catalogue().checks:
        assert re.fullmatch(r"SP-\d{3}", check.id)
        if int(check.id[3:]) <= 37:
            assert check.rows[0] == str(int(check.id[3:]))


def test_every_step_is_used_by_a_check() -> None:
    used = {step for check in catalogue().checks for step in check.steps}
    assert set(STEPS) - used == set()


def test_every_detail_that_is_kept_is_used() -> None:
    kept = {key for step in STEPS.values() for key in step.kept}
    words = source_of(classify, estimates, grade, matrix, recognised)
    used = named_in_rules() | {key for key in kept if f'"{key}"' in words}
    assert kept - used - set(ONLY_SHOWN) == set(), "a detail that nobody reads"
    assert set(ONLY_SHOWN) - kept == set(), "a reason for what is not kept"


def test_every_check_can_be_read_by_people() -> None:
    for check in catalogue().checks:
        assert check.about in ABOUT
        for words in (check.title, check.sends, check.evidence, check.why):
            assert words[0].isupper(), check.id
            assert "  " not in words, check.id
        assert check.why.endswith("."), check.id
        assert check.clauses, check.id
        for clause in check.clauses:
            assert re.match(r"45 CFR 164\.\d{3}|DICOM PS3\.\d+ |RFC \d+|IHE ITI-\d+", clause), clause
        for rule in check.rules:
            assert rule.says.endswith((".", "}")), rule.says


def test_a_check_needs_no_higher_level_than_its_steps() -> None:
    for check in catalogue().checks:
        if check.steps and not check.untested:
            assert any(STEPS[step].level <= check.level for step in check.steps), check.id


def test_every_remedy_is_used_and_every_product_has_one() -> None:
    used = {check.remedy for check in catalogue().checks}
    assert set(catalogue().remedies) == used
    helped = {product for remedy in catalogue().remedies.values() for product in remedy.products}
    assert set(catalogue().products) - helped == {"meddream", "pacsone", "sante"}


def test_what_is_written_goes_to_the_highest_level() -> None:
    writing = {name for name, step in STEPS.items() if step.level is Level.CANARY}
    for check in catalogue().checks:
        if set(check.steps) & writing and check.id != "SP-027":
            assert check.level is Level.CANARY, check.id


BROKEN: dict[str, Any] = {
    "an unknown key": lambda check: check.update(colour="red"),
    "an unknown step": lambda check: check.update(steps=["dicom.nothing"]),
    "an unknown detail": lambda check: check["rule"][0]["all"][0].update(colour="= red"),
    "an unknown remedy": lambda check: check.update(remedy="prayer"),
    "an unknown severity": lambda check: check.update(severity="awful"),
    "an unknown level": lambda check: check.update(level=9),
    "an unknown verdict": lambda check: check["rule"][0].update(verdict="maybe"),
    "nothing to be about": lambda check: check.update(about="weather"),
    "rules and a reason for none": lambda check: check.update(untested="never"),
    "neither rules nor a reason": lambda check: check.pop("rule"),
    "a rule that always holds": lambda check: check["rule"][0].pop("all"),
    "an unknown key of a rule": lambda check: check["rule"][0].update(unless=[]),
    "a sentence that names what nobody keeps": lambda check: check["rule"][0].update(says="It has {colour}."),
    "no title": lambda check: check.pop("title"),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_what_cannot_be_meant_is_an_error(what: str) -> None:
    raw = copy.deepcopy(RAW)
    BROKEN[what](raw["check"][0])
    with pytest.raises(BadCondition, match="SP-001"):
        parse_catalogue(raw)


def test_an_id_stands_once() -> None:
    raw = copy.deepcopy(RAW)
    raw["check"].append(copy.deepcopy(raw["check"][0]))
    with pytest.raises(BadCondition, match="twice"):
        parse_catalogue(raw)


def test_a_remedy_is_for_a_known_product() -> None:
    raw = copy.deepcopy(RAW)
    raw["remedies"]["query"]["acme"] = "Buy another."
    with pytest.raises(BadCondition, match="acme"):
        parse_catalogue(raw)
