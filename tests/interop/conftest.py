"""Fixtures of tests with browsers, for modules that have ``served``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.archives import RunningArchive


@pytest.fixture(scope="module")
def chromium(served: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that trusts the archive's CA."""
    from harness.chromium import browser  # skips where there is no Playwright

    with browser(tmp_path_factory.mktemp("chromium"), served.home.root / "ca.pem") as running:
        yield running
