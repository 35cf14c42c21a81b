"""``token`` and the scopes of ``peer``, as a shell sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.archives import new_home
from harness.shell import Shell, shell
from strongroom.archive.peers import PEER_RIGHTS
from strongroom.archive.tokens import RIGHTS
from strongroom.config import Home
from strongroom.types import Right

GOOD, COULD_NOT_RUN = 0, 2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    return shell(capsys, monkeypatch)


def test_a_token_is_shown_once_and_listed_without_its_secret(run: Shell, home: Home) -> None:
    assert "no tokens" in run("token", "list", "--home", home.root).out
    ran = run("token", "add", "--home", home.root, "viewer", "--scope", "patient=1", "--scope", "modality=CT,MR")
    assert ran.code == GOOD
    secret = ran.out.splitlines()[-1]
    assert secret.startswith("strongroom_")
    listed = run("token", "list", "--home", home.root).out
    assert "viewer" in listed
    assert "patient=1; modality=CT,MR" in listed
    assert secret not in listed
    (token,) = json.loads(run("token", "list", "--home", home.root, "--format", "json").out)
    assert (token["name"], token["state"], token["rights"]) == ("viewer", "good", ["search", "read"])
    assert token["scope"] == ["patient=1", "modality=CT,MR"]
    assert secret not in json.dumps(token)


def test_a_token_is_revoked_by_its_name(run: Shell, home: Home) -> None:
    run("token", "add", "--home", home.root, "robot", "--allow", "store,delete", "--days", "7")
    assert run("token", "revoke", "--home", home.root, "robot").code == GOOD
    assert "REVOKED" in run("token", "list", "--home", home.root).out
    (token,) = json.loads(run("token", "list", "--home", home.root, "--format", "json").out)
    assert (token["state"], token["rights"], token["scope"]) == ("revoked", ["store", "delete"], ["all"])
    assert run("token", "revoke", "--home", home.root, "nobody").code == COULD_NOT_RUN


@pytest.mark.parametrize(
    "words",
    [
        ("--allow", "everything"),
        ("--allow", ""),
        ("--days", "0"),
        ("--days", "366"),
        ("--scope", "ward=7"),
        ("--scope", ""),
        ("--scope", "all", "--scope", "patient=1"),
    ],
)
def test_what_a_token_cannot_be_makes_none(run: Shell, home: Home, words: tuple[str, ...]) -> None:
    ran = run("token", "add", "--home", home.root, "viewer", *words)
    assert ran.code == COULD_NOT_RUN
    assert "strongroom_" not in ran.out
    assert "no tokens" in run("token", "list", "--home", home.root).out


@pytest.mark.parametrize(
    ("words", "rights"), [(("peer", "add"), PEER_RIGHTS), (("token", "add"), tuple(RIGHTS))], ids=["peer", "token"]
)
def test_help_and_error_name_the_same_rights(
    run: Shell, home: Home, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], rights: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert f"of {','.join(rights)}" in run(*words, "--help").out
    assert ", ".join(rights) in run(*words, "--home", home.root, "X", "--allow", "nothing").err
    assert run(*words, "--home", home.root, "X", "--allow", ",".join(rights)).code == GOOD


@pytest.mark.parametrize("right", sorted(set(Right) - set(PEER_RIGHTS)))
def test_no_machine_gets_a_right_for_people(run: Shell, home: Home, right: str) -> None:
    assert run("peer", "add", "--home", home.root, "CT1", "--allow", right).code == COULD_NOT_RUN
    assert run("token", "add", "--home", home.root, "viewer", "--allow", right).code == COULD_NOT_RUN


def test_a_peer_has_a_scope_until_it_is_lifted(run: Shell, home: Home) -> None:
    def scope_of(*words: str) -> list[str]:
        assert run("peer", "add", "--home", home.root, "CT1", *words).code == GOOD
        (peer,) = json.loads(run("peer", "list", "--home", home.root, "--format", "json").out)
        return list(peer["scope"])

    assert scope_of() == ["all"]
    assert scope_of("--scope", "patient=7\\HOSP", "--scope", "date=20240101-") == ["patient=7\\HOSP", "date=20240101-"]
    assert "within patient=7\\HOSP" in run("peer", "list", "--home", home.root).out
    assert scope_of("--allow", "find") == ["patient=7\\HOSP", "date=20240101-"]
    assert scope_of("--scope", "study=1.2") == ["study=1.2"]
    assert scope_of("--scope", "all") == ["all"]
    assert run("peer", "add", "--home", home.root, "CT1", "--scope", "ward=7").code == COULD_NOT_RUN
