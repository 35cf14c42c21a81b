"""What pages say to people: plain words, once, and a way back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.requests import Request

from strongroom.archive.administration import User
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.errors import Denied
from strongroom.types import Principal, Right
from strongroom.web import ui
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


def test_no_page_shows_the_marks_of_another_format() -> None:
    for path in sorted(TEMPLATES.iterdir()):
        said = re.sub(r"{{.*?}}|{%.*?%}|{#.*?#}", "", path.read_text("utf-8"), flags=re.S)
        assert "`" not in said, path.name


@pytest.mark.parametrize("role", Role)
def test_what_a_role_may_is_said_in_words(role: Role) -> None:
    for_programs = {Right.ECHO, Right.COMMIT}
    assert set(RIGHTS_OF[role]) - for_programs <= set(RIGHT_WORDS)


def test_groups_are_named_once_in_the_list_and_on_the_page_of_an_account() -> None:
    listed = bytes(page("people.html", ADMINISTRATOR, people=[MEMBER]).body).decode()
    values = {"shown_person": MEMBER, "sessions": [], "own": "", "is_self": False, "wrong": "", "form": {}}
    of_one = bytes(
        page("person.html", ADMINISTRATOR, roles=ROLE_WORDS, need_factor=(), **values).body  # type: ignore[arg-type]
    ).decode()
    assert [text.count("Radiology Nord") for text in (listed, of_one)] == [1, 1]
    assert "2 groups" not in listed
    assert of_one.count("<dt>Groups</dt>") == 1


def test_the_viewer_leads_back_to_its_study() -> None:
    text = bytes(page("viewer.html", PHYSICIAN, study=STUDY, series=[], has_ohif=False).body).decode()
    assert 'href="/studies/2.25.46"' in text


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
        page("person_new.html", ADMINISTRATOR, roles=ROLE_WORDS, need_factor=(), wrong="", form={}).body
    ).decode()
    said = re.search(r"Only this part of the archive <small>(.*?)</small>", text)
    assert said is not None
    assert re.search(r"empty: everything", said[1])
    assert re.search(r"none: nothing", said[1])


@pytest.mark.parametrize("path", ["/studies/{study}/share", "/studies/{study}/delete", "/quarantine/{held}/{what}"])
def test_who_has_to_prove_himself_does_so_before_he_fills_in_a_form(path: str) -> None:
    """What he has written would be lost on the way."""
    proofs = {operation.method: operation.proof_for for operation in OPERATIONS if operation.path == path}
    assert proofs["GET"] == proofs["POST"] != ""
