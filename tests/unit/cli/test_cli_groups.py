"""``group`` and ``user add --group``, as a shell sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.archives import new_home
from harness.shell import Shell, shell
from strongroom.config import Home

GOOD, COULD_NOT_RUN = 0, 2


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    home: Home = new_home(tmp_path / "home")
    monkeypatch.setenv("STRONGROOM_HOME", str(home.root))
    return shell(capsys, monkeypatch)


def test_a_group_is_made_filled_changed_and_removed(run: Shell) -> None:
    assert "no groups" in run("group", "list").out
    assert (
        run("group", "add", "Nord", "--scope", "institution=Nord", "--scope", "or", "--scope", "study=1.2").code == GOOD
    )
    assert run("user", "add", "jdoe", "--role", "viewer", "--group", "Nord").code == GOOD
    assert run("user", "add", "roe", "--role", "viewer", "--scope", "none", "--link").code == GOOD
    assert run("group", "join", "Nord", "roe").code == GOOD
    assert "jdoe, roe" in run("group", "list").out
    (group,) = json.loads(run("group", "list", "--format", "json").out)
    assert (group["members"], group["scope"]) == (["jdoe", "roe"], ["institution=Nord", "or", "study=1.2"])
    users = {each["name"]: each for each in json.loads(run("user", "list", "--format", "json").out)}
    assert (users["jdoe"]["scope"], users["jdoe"]["groups"]) == (["none"], ["Nord"])
    assert "with Nord" in run("user", "list").out
    assert run("group", "leave", "Nord", "roe").code == GOOD
    assert run("group", "change", "Nord", "--scope", "modality=CT").code == GOOD
    assert "modality=CT" in run("group", "list").out
    assert run("group", "remove", "Nord").code == GOOD
    assert "no groups" in run("group", "list").out


def test_an_account_is_not_made_for_a_group_that_is_not_there(run: Shell) -> None:
    assert run("user", "add", "jdoe", "--role", "viewer", "--group", "Nowhere").code == COULD_NOT_RUN
    assert "no users" in run("user", "list").out


def test_who_is_not_limited_is_put_into_no_group(run: Shell) -> None:
    run("group", "add", "Nord", "--scope", "institution=Nord")
    run("user", "add", "chief", "--role", "physician")
    refused = run("group", "join", "Nord", "chief")
    assert refused.code == COULD_NOT_RUN
    assert "whole archive" in refused.err
