"""A session of the probe with one address, as step functions get it, and no scope file, signature or directory."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass, replace
from ipaddress import ip_network

from strongroom.probe.model import Level
from strongroom.probe.permits.scope import Rates, Scope, ScopeTarget, Window
from strongroom.probe.runlog import RunLog
from strongroom.probe.session import Run, Session

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
FAST = Rates(interval_s=0.0, connect_s=5.0, answer_s=5.0, connection_s=30.0)


@dataclass
class Probed:
    """A session, and what its run log has written so far."""

    session: Session
    run: Run
    file: io.BytesIO

    @property
    def log(self) -> str:
        return self.file.getvalue().decode()


def probed(
    target: ScopeTarget | None = None,
    *,
    level: Level = Level.CANARY,
    consents: frozenset[str] = frozenset({"guess_titles", "default_credentials", "idle", "write_canary"}),
    rates: Rates = FAST,
    address: str = "127.0.0.1",
) -> Probed:
    """A session at ``level`` with every consent, for ``target`` (``target_with`` makes one), in an open window."""
    target = target or target_with()
    window = Window(NOW - dt.timedelta(hours=1), NOW + dt.timedelta(hours=1))
    scope = Scope("test", "Test", "test@example.org", window, (target,), level, rates=rates, consents=consents)
    file = io.BytesIO()
    run = Run(scope, RunLog(file, b"key of a test"), now=lambda: NOW)
    return Probed(Session(run, target, address), run, file)


def target_with(**fields: object) -> ScopeTarget:
    """A target on loopback that has no ports but those given: ``target_with(dicom_ports=(port,))``."""
    bare = ScopeTarget("test", (ip_network("127.0.0.1/32"),), dicom_ports=(), http_ports=(), neighbour_ports=())
    return replace(bare, **fields)  # type: ignore[arg-type]


def scope_text(target: str = "", *, head: str = "", window: str = "", rates: str = "", consent: str = "") -> bytes:
    """A scope against loopback with these lines added to its tables."""
    times = window or "start = 2026-11-22T20:00:00+01:00\nend = 2026-11-23T06:00:00+01:00"
    addresses = "" if "addresses" in target else 'addresses = ["127.0.0.1"]'
    return f"""
format = 1
name = "a test"
{head}
[authorisation]
by = "Dr. Example, CISO"
contact = "+1 555 0100"
[window]
{times}
[rates]
{rates}
[consent]
{consent}
[[target]]
name = "pacs"
{addresses}
{target}
""".encode()
