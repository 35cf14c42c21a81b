"""What pages say to people: plain words, once, and a way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest
from starlette.requests import Request

from strongroom.archive.administration import User
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.errors import Denied
from strongroom.types import Principal, Right
from strongroom.web import ui
from strongroom.web.call import Call, Services
from strongroom.web.operation import Operation
from strongroom.web.operations import OPERATIONS
from strongroom.web.ui.account import RIGHT_WORDS
from strongroom.web.ui.failing import page_of
from strongroom.web.ui.pages import page
from strongroom.web.ui.people import ROLE_WORDS
from strongroom.web.ui.studies import StudyRow

TEMPLATES = Path(ui.__file__).parent / "templates"
ADMINISTRATOR = Principal("ann", user="ann", via="session", rights=RIGHTS_OF[Role.ADMINISTRATOR])
PHYSICIAN = Principal("jdoe", user="jdoe", via="session", rights=RIGHTS_OF[Role.PHYSICIAN])
MEMBER = User("jdoe", (Role.PHYSICIAN,), None, True, (), 1, 0, ("Radiology Nord", "Cardiology"))
STUDY = StudyRow("2.25.46", "Bergström, Åsa", "4711", "", "", "", "", "CT of the chest", "CT", "", "", "1", "1")


def navigation(path: str) -> Request:
    headers = [(b"sec-fetch-mode", b"navigate"), (b"host", b"localhost")]
    return Request({"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers})


def call_of(principal: Principal, path: str = "/") -> Call:
    return Call(navigation(path), principal, cast(Services, None), "")


def test_no_page_shows_the_marks_of_another_format() -> None:
    for path in sorted(TEMPLATES.iterdir()):
        said = re.sub(r"{{.*?}}|{%.*?%}|{#.*?#}", "", path.read_text("utf-8"), flags=re.S)
        assert "`" not in said, path.name


@pytest.mark.parametrize("role", Role)
def test_what_a_role_may_is_said_in_words(role: Role) -> None:
    for_programs = {Right.ECHO, Right.COMMIT}
    assert set(RIGHTS_OF[role]) - for_programs <= set(RIGHT_WORDS)


def test_groups_are_named_once_in_the_list_and_on_the_page_of_an_account() -> None:
    listed = bytes(page("people.html", call_of(ADMINISTRATOR), people=[MEMBER]).body).decode()
    values = {"shown_person": MEMBER, "sessions": [], "own": "", "is_self": False, "wrong": "", "form": {}}
    of_one = bytes(
        page("person.html", call_of(ADMINISTRATOR), roles=ROLE_WORDS, need_factor=(), **values).body  # type: ignore[arg-type]
    ).decode()
    assert [text.count("Radiology Nord") for text in (listed, of_one)] == [1, 1]
    assert "2 groups" not in listed
    assert of_one.count("<dt>Groups</dt>") == 1


def test_the_viewer_leads_back_to_its_study() -> None:
    text = bytes(
        page("viewer.html", call_of(PHYSICIAN), study=STUDY, series=[], has_ohif=False, cut=5000).body
    ).decode()
    assert 'href="/studies/2.25.46"' in text
    assert "The first 5000 instances that came are here." in text


@pytest.mark.parametrize("right", [Right.ADMINISTER, Right.AUDIT])
def test_who_may_not_is_told_who_can_change_that(right: Right) -> None:
    answer = page_of(navigation("/people"), Denied(f"no-right-{right}"))
    assert answer is not None
    assert answer.status_code == 403
    text = bytes(answer.body).decode()
    assert "An administrator can change" in text
    assert "no-right" not in text


def test_a_word_for_the_trail_is_shown_to_nobody() -> None:
    answer = page_of(navigation("/people"), Denied("session-of-another"))
    assert answer is not None
    assert "session-of-another" not in bytes(answer.body).decode()


def test_a_page_is_named_as_no_box_on_it_is() -> None:
    """What frames a box would frame the whole page."""
    boxes = set(re.findall(r"^\.([a-z-]+) {[^}]*border:", (TEMPLATES.parent / "static" / "app.css").read_text(), re.M))
    assert {"once", "raised"} <= boxes
    for path in sorted(TEMPLATES.iterdir()):
        kinds = re.findall(r"{% block kind %}([a-z ]+){% endblock %}", path.read_text("utf-8"))
        assert not boxes & {word for kind in kinds for word in kind.split()}, path.name


def test_an_empty_scope_is_not_called_by_the_word_that_means_nothing() -> None:
    """``none`` is the scope of nothing (``archive.access.parse_scope``); an empty field limits nothing."""
    text = bytes(
        page("person_new.html", call_of(ADMINISTRATOR), roles=ROLE_WORDS, need_factor=(), wrong="", form={}).body
    ).decode()
    said = re.search(r"Only this part of the archive <small>(.*?)</small>", text)
    assert said is not None
    assert re.search(r"empty: everything", said[1])
    assert re.search(r"none: nothing", said[1])


FORMS = [each for each in OPERATIONS if each.method == "POST" and each.proof_for and each.right is not Right.ADMINISTER]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_who_has_to_prove_himself_does_so_before_he_fills_in_a_form(form: Operation) -> None:
    """What he has written would be lost on the way."""
    (page,) = (each for each in OPERATIONS if each.method == "GET" and each.path == form.proof_for)
    assert page.proof_for == form.proof_for


def marked(path: str) -> list[tuple[str, ...]]:
    text = bytes(page("people.html", call_of(ADMINISTRATOR, path), people=[]).body).decode()
    return [found.groups() for found in re.finditer(r'<a href="([^"]*)" aria-current="([a-z]*)"', text)]


def test_the_navigation_says_where_one_is() -> None:
    assert marked("/people") == [("/people", "page")]
    assert marked("/people/person") == [("/people", "true")]
    assert marked("/review/break-glass/1") == [("/review/break-glass", "true")]
    assert marked("/account") == [("/account", "page")]
    assert marked("/peoples") == marked("/") == []
