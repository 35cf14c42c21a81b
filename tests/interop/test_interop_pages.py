"""Every page, as every role and as nobody, in Chromium against the real server over TLS.

The pages are those of the table of operations; how each is called stands in ``harness.pages``. Each is looked at by who
may see it, wide and on a telephone, light and dark: no script or policy complains, nothing is asked of another server,
axe-core finds nothing serious, nothing has to be scrolled sideways. What was seen is kept in the folder that
``STRONGROOM_SCREENSHOTS`` names, if it names one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import axe
from harness.chromium import NARROW, WIDE, Window, browser, session_cookie, sync_api
from harness.pages import CASES, PAGES, PREPARED, ROLES, SEEN, TO_SIGN_IN, expected, may, onlooker
from harness.people import looked_into
from harness.walking import NOBODY, Walked, walked
from strongroom.admin.telling import telling
from strongroom.archive.roles import Role

pytestmark = pytest.mark.interop
expect = sync_api.expect

MAX_PICTURE_PIXELS = 3000
"""Of a page's height: what is further down looks like what is above it."""

SCREENSHOTS = os.environ.get("STRONGROOM_SCREENSHOTS", "")
LOOKS = [(name, state) for name in PAGES if name in SEEN and name in CASES for state in CASES[name].paths]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    with walked(tmp_path_factory.mktemp("pages"), PREPARED) as found:
        yield found


@dataclass
class Windows:
    """One window for each visitor, of one browser, opened when it is first asked for."""

    world: Walked
    browser: sync_api.Browser
    stack: ExitStack
    opened: dict[str, Window] = field(default_factory=dict)

    def of(self, visitor: str) -> Window:
        """The window of a visitor, who has signed in."""
        if visitor not in self.opened:
            context = self.browser.new_context(viewport=WIDE, reduced_motion="reduce")
            self.stack.callback(context.close)
            if secret := self.world.visitors[visitor].session:
                context.add_cookies([session_cookie(self.world.origin, secret)])
            self.opened[visitor] = Window(context.new_page(), self.world.origin)
        window = self.opened[visitor]
        window.complaints.clear()
        return window


@pytest.fixture(scope="module")
def windows(world: Walked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    authority = world.running.home.root / "ca.pem"
    with browser(tmp_path_factory.mktemp("chromium"), authority) as running, ExitStack() as stack:
        yield Windows(world, running, stack)


def path_of(world: Walked, name: str, state: str = "") -> str:
    return CASES[name].paths[state].format_map(world.values)


@pytest.mark.parametrize("name", [name for name in PAGES if name in CASES])
def test_a_page_is_for_those_whom_its_right_names(world: Walked, name: str) -> None:
    operation, path = PAGES[name], path_of(world, name)
    answers = {who: client.page(path, Sec_Fetch_Mode="navigate") for who, client in world.visitors.items()}
    assert {who: answer.status for who, answer in answers.items()} == {
        who: expected(operation, who) for who in world.visitors
    }
    for answer in answers.values():
        if answer.status == TO_SIGN_IN and name != "page":
            assert answer.headers["Location"].startswith("/sign-in")


def look(windows: Windows, visitor: str, path: str, until: str) -> Window:
    """Go to a page, and wait until it is there."""
    window = windows.of(visitor)
    window.go(path)
    window.page.wait_for_selector(until)
    return window


@pytest.mark.parametrize("name", sorted(name for name in SEEN & set(CASES) if not PAGES[name].public))
def test_a_page_works_for_every_role_that_may_see_it(windows: Windows, name: str) -> None:
    operation, path = PAGES[name], path_of(windows.world, name)
    complaints = {}
    for role in (role for role in ROLES if may(operation, role) and CASES[name].answers.get(role, 200) == 200):
        window = look(windows, role, path, CASES[name].until)
        assert window.page.url == windows.world.origin + path, role
        complaints[role] = list(window.complaints)
    assert not any(complaints.values()), complaints


@pytest.mark.parametrize(("name", "state"), LOOKS, ids=["-".join(filter(None, each)) for each in LOOKS])
def test_a_page_is_fit_to_be_seen_wide_and_narrow_in_light_and_dark(windows: Windows, name: str, state: str) -> None:
    visitor, path = onlooker(PAGES[name]), path_of(windows.world, name, state)
    window = look(windows, visitor, path, CASES[name].until if not state else "main")
    page, wrong = window.page, []
    # What is there and how it is ordered depends on the width, colours on the scheme.
    for width, scheme, rules in (
        (WIDE, "light", ()),
        (WIDE, "dark", axe.COLOURS),
        (NARROW, "dark", ()),
        (NARROW, "light", axe.COLOURS),
    ):
        page.set_viewport_size(width)
        page.emulate_media(color_scheme=scheme)
        look_of_it = f"{width['width']}-{scheme}"
        wrong += [f"{look_of_it}: {each}" for each in axe.violations(page, *rules)]
        if is_wide(page, width):
            wrong.append(f"{look_of_it}: wider than the window")
        keep(page, "-".join(filter(None, (name.removeprefix("page"), state, look_of_it))))
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    # A page that says what is wrong with what was asked has the status of that, of which a browser complains.
    mine = "Failed to load resource: the server responded with a status of 4"
    is_told_so = bool(state) or expected(PAGES[name], visitor) >= 400
    assert wrong + [each for each in window.complaints if not (is_told_so and mine in each and path in each)] == []


def test_the_walk_would_see_what_it_looks_for(windows: Windows) -> None:
    window = look(windows, NOBODY, "/sign-in", "main")
    window.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        document.body.append(document.createElement("input"));
        const wide = document.createElement("pre");
        wide.textContent = "x".repeat(2000);
        document.body.append(wide);
    }""")
    assert any("violates the following Content Security Policy" in each for each in window.complaints)
    assert window.page.title() != "run"
    assert any(each.startswith("critical label") for each in axe.violations(window.page))
    assert is_wide(window.page, WIDE)
    with pytest.raises(sync_api.Error):
        window.page.goto("https://localhost:1/")
    assert any(each.startswith("left: https://localhost:1/") for each in window.complaints)


def test_a_job_is_seen_as_it_goes_on(windows: Windows) -> None:
    window = look(windows, Role.SECURITY_OFFICER.value, "/jobs", "#jobs")
    running = window.page.locator("tr", has_text="Export of many")
    assert running.count() == 0
    with looked_into(windows.world.running) as archive, telling(archive, "export of many", "objects"):
        expect(running).to_contain_text("running", timeout=20_000)
    expect(running).to_contain_text("done", timeout=20_000)
    assert window.complaints == []


def test_what_people_see_when_something_fails_is_fit_to_be_seen(windows: Windows) -> None:
    window = windows.of(Role.AUDITOR.value)
    window.go("/studies")
    assert axe.violations(window.page) == []
    keep(window.page, "failed")
    window.go("/nowhere")
    assert axe.violations(window.page) == []
    assert all("Failed to load resource" in each for each in window.complaints), "more than the status itself"


def is_wide(page: sync_api.Page, window: Mapping[str, int]) -> bool:
    """Whether somebody has to scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth") > window["width"])


def keep(page: sync_api.Page, name: str) -> None:
    """Keep what is seen now, if somebody wants it."""
    if not SCREENSHOTS:
        return
    folder = Path(SCREENSHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], MAX_PICTURE_PIXELS)}
    page.screenshot(path=str(folder / f"{name}.png"), full_page=True, clip=clip)
