"""Debian's Chromium, driven as a person would, against a served archive whose CA it trusts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--disable-background-networking",
]


def _trusting_home(folder: Path, authorities: Sequence[Path]) -> Path:
    """A home directory whose certificate database trusts these CAs for servers."""
    database = folder / ".pki" / "nssdb"
    database.mkdir(parents=True)
    trusted = [["-A", "-n", f"ca-{at}", "-t", "C,,", "-i", str(each)] for at, each in enumerate(authorities)]
    for more in (["-N", "--empty-password"], *trusted):
        subprocess.run(["certutil", "-d", f"sql:{database}", *more], check=True, capture_output=True)
    return folder


def installed() -> str:
    """Where Chromium is. Skips where it, or what has it trust a CA, is not."""
    found = shutil.which("chromium")
    if found is None or shutil.which("certutil") is None:
        pytest.skip("Chromium or certutil is not installed")
    return found


@contextmanager
def browser(folder: Path, *authorities: Path) -> Iterator[sync_api.Browser]:
    """A browser without a window. Skips where there is none."""
    found = installed()
    home = _trusting_home(folder, authorities)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(home / "config")}
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS, env=environment)
        try:
            yield running
        finally:
            running.close()


@dataclass
class Window:
    """One page, and what went wrong in it: errors of scripts and of the policy, and requests to anywhere else."""

    page: sync_api.Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._asked)

    def _said(self, message: sync_api.ConsoleMessage) -> None:
        # htmx tells of each search that a later one has taken the place of.
        is_replaced = message.text.startswith(("htmx:sendAbort", "htmx:afterRequest"))
        if message.type in ("error", "warning") and not is_replaced:
            self.complaints.append(f"console {message.type}: {message.text} {message.location}")

    def _asked(self, request: sync_api.Request) -> None:
        if not request.url.startswith((self.origin + "/", "data:")):
            self.complaints.append(f"left: {request.url}")

    def go(self, path: str) -> None:
        """Go to a page."""
        self.page.goto(self.origin + path)


Open = Callable[..., Window]
"""Opens a window: ``session`` is the secret of whoever has signed in, ``origin`` another server, the rest is as of
``Browser.new_context``."""


@contextmanager
def windows(
    chromium: sync_api.Browser, origin: str, is_forgiven: Callable[[str], bool] = lambda _: False
) -> Iterator[Open]:
    """Opens windows that share nothing, one after the other; closes all in the end, when none may have complained of
    anything that is not forgiven."""
    opened: list[Window] = []

    def open_window(session: str = "", origin: str = origin, **more: Any) -> Window:
        context = chromium.new_context(viewport=more.pop("viewport", WIDE), **more)
        if session:
            context.add_cookies([session_cookie(origin, session)])
        opened.append(Window(context.new_page(), origin))
        return opened[-1]

    yield open_window
    complaints = [each for window in opened for each in window.complaints if not is_forgiven(each)]
    for each in opened:
        each.page.context.close()
    assert complaints == []


def session_cookie(origin: str, secret: str) -> sync_api.SetCookieParam:
    """The cookie of somebody who has signed in."""
    host = origin.removeprefix("https://").partition(":")[0]
    cookie = {"name": "__Host-session", "value": secret, "domain": host, "path": "/"}
    return {**cookie, "secure": True, "httpOnly": True, "sameSite": "Strict"}
