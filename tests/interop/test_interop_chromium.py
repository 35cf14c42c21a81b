"""A browser trusts the archive's TLS chain once its CA is trusted, and refuses it before."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import archives
from harness.archives import RunningArchive
from harness.chromium import installed

pytestmark = pytest.mark.interop

TIMEOUT_S = 90


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("chromium") / "home", {"https": {"workers": 1}})
    with archives.serving(home) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> str:
    return installed()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A home directory with an empty certificate database, where Chromium looks on Linux."""
    database = tmp_path / ".pki" / "nssdb"
    database.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{database}", "-N", "--empty-password"], check=True, capture_output=True)
    return tmp_path


def trust(profile: Path, authority: Path) -> None:
    """What an operator does on a workstation with the archive's CA: trust it for servers."""
    database = profile / ".pki" / "nssdb"
    command = ["certutil", "-d", f"sql:{database}", "-A", "-n", "archive", "-t", "C,,", "-i", str(authority)]
    subprocess.run(command, check=True, capture_output=True)


def page(chromium: str, profile: Path, url: str) -> tuple[str, str]:
    """The page that a browser without a window shows, as markup, and what it logged."""
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--enable-logging=stderr", "--no-first-run", "--disable-background-networking", "--no-proxy-server"]
    command += [f"--user-data-dir={profile / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", url]
    environment = {"HOME": str(profile), "PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(profile / "config")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    return done.stdout, done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_chromium_accepts_the_chain_once_the_ca_is_trusted(
    chromium: str, profile: Path, served: RunningArchive, host: str
) -> None:
    url = f"https://{host}:{served.https_port}/health"
    before, said = page(chromium, profile, url)
    assert not re.search(r"<pre[^>]*>ok\s*</pre>", before)
    assert "ERR_CERT_AUTHORITY_INVALID" in before + said or "net_error -202" in said
    trust(profile, served.home.root / "ca.pem")
    after, said = page(chromium, profile, url)
    assert re.search(r"<pre[^>]*>ok\s*</pre>", after), said[-2000:]
