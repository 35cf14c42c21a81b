"""What starting the server does beside listening: say what has changed, renew what would expire."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import RunningArchive, change_config, new_home, opened, trail_events
from strongroom import service
from strongroom.app import SERVER_SECRET, Archive, now_utc
from strongroom.archive.model import Action, Event
from strongroom.errors import ConfigError
from strongroom.net.certificates import is_issued_by, issue, read_certificate

ArchiveFactory = Callable[..., RunningArchive]


def changes(archive: Archive) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is Action.CONFIG_CHANGE]


def with_certificate(archive: Archive, days: int) -> str:
    issued = issue(archive.tls().authority, archive.aet, [], now_utc(), days)
    archive.secrets.put(SERVER_SECRET, archive.ring.seal_secret(SERVER_SECRET, issued.certificate_pem + issued.key_pem))
    return read_certificate(issued.certificate_pem).fingerprint


def test_a_changed_configuration_is_recorded_once(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        made = len(changes(archive))
        service.record_configuration(archive)
        service.record_configuration(archive)
        assert len(changes(archive)) == made + 1
    change_config(home, {"limits": {"max_query_results": 5}})
    with opened(home) as archive:
        service.record_configuration(archive)
        first, second = changes(archive)[made:]
    assert second.details["before"] == first.details["sha256"] != second.details["sha256"]


@pytest.mark.parametrize(("days", "is_renewed"), [(5, True), (29, True), (31, False)])
def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path, days: int, is_renewed: bool) -> None:
    with opened(new_home(tmp_path / "home")) as archive:
        before = with_certificate(archive, days)
        service.renew_certificate(archive)
        now = read_certificate(archive.issued(SERVER_SECRET).certificate_pem)
        assert (now.fingerprint != before) is is_renewed
        assert is_issued_by(now.pem, archive.tls().authority.certificate_pem.decode())
        assert [event.details.get("before") for event in changes(archive)[1:]] == ([before] if is_renewed else [])


def test_an_expired_authority_is_no_silent_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(new_home(tmp_path / "home")) as archive:
        monkeypatch.setattr(service, "now_utc", lambda: now_utc() + dt.timedelta(days=4000))
        with pytest.raises(ConfigError, match="authority has expired"):
            service.renew_certificate(archive)


def test_the_reason_of_a_plaintext_exception_is_in_the_trail(local_archive: ArchiveFactory) -> None:
    exception = {
        "peer": "OLD1",
        "addresses": "127.0.0.1/32",
        "expires": now_utc().date() + dt.timedelta(days=1),
        "reason": "its vendor is gone",
        "port": 0,
    }
    archive = local_archive(peers={"OLD1": "echo"}, unsafe_plaintext=[exception])
    started = archive.wait_for_event(lambda event: event.action is Action.SERVICE_START)
    assert started.details["unsafe_reasons"] == ("OLD1: its vendor is gone",)
