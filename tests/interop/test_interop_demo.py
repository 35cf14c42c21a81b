"""``make run``: what it prints lets somebody in who knows nothing of it yet."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from harness import archives
from harness.people import PASSCODE
from strongroom.admin import users
from strongroom.archive.roles import Role
from strongroom.config import Home

pytestmark = pytest.mark.interop
TOOL = Path(__file__).resolve().parents[2] / "tools" / "demo.py"
READY = "ready dicom=127.0.0.1:2762 https=127.0.0.1:8443\n"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_physician_gets_a_link_until_he_has_come_in_and_nobody_is_added_to_an_archive_that_is_there(
    demo: ModuleType, tmp_path: Path
) -> None:
    home = archives.new_home(tmp_path / "home").root
    assert demo.physician(home) == ""
    demo.invite(home)
    first, second = demo.physician(home), demo.physician(home)
    link = re.compile(
        r"user physician signs in with this, once, until \d{4}-\d\d-\d\d \d\d:\d\d UTC:\nhttps://localhost:\d+/welcome/\S+"
    )
    assert link.fullmatch(first)
    assert link.fullmatch(second)
    assert first != second
    with archives.opened(Home(home)) as archive:
        users.add(archive, demo.PHYSICIAN, PASSCODE, Role.PHYSICIAN)
    assert "welcome" not in demo.physician(home)
    with archives.opened(Home(home)) as archive:
        users.disable(archive, demo.PHYSICIAN)
    assert demo.physician(home) == ""


def test_all_links_of_a_browser_are_for_one_name_under_which_the_session_is_good(demo: ModuleType) -> None:
    home = Path("demo")
    for comes_in in ("sign in as physician:", "user physician signs in:\nhttps://localhost:8443/welcome/x", ""):
        said = demo.browse(home, READY, comes_in)
        assert set(re.findall(r"https://([^:/]+)", said)) == {"localhost"}
