"""What starting the server does beside listening: say what has changed, renew what would expire."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import (
    RunningArchive,
    add_peer,
    change_config,
    new_home,
    new_reporter,
    opened,
    serving,
    trail_events,
)
from harness.ingesting import Sample, store
from strongroom.admin.deletion import delete_study
from strongroom.admin.peers import revoke
from strongroom.app import SERVE_LOG, SERVER_SECRET, Archive, now_utc, own_addresses
from strongroom.archive.model import Action, Event
from strongroom.config import Home
from strongroom.errors import ConfigError, StorageUnavailable
from strongroom.net.associations import Associations
from strongroom.net.certificates import CA_DAYS, PEER_DAYS, is_good_for, is_issued_by, issue, read_certificate
from strongroom.net.places import Places
from strongroom.serving import dicomservice
from strongroom.store.keys import KeyRing

ArchiveFactory = Callable[..., RunningArchive]


def changes(archive: Archive) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is Action.CONFIG_CHANGE]


def with_certificate(archive: Archive, days: int) -> str:
    issued = issue(archive.tls().authority, archive.aet, own_addresses(archive.config), now_utc(), days)
    archive.secrets.put(SERVER_SECRET, archive.ring.seal_secret(SERVER_SECRET, issued.certificate_pem + issued.key_pem))
    return read_certificate(issued.certificate_pem).fingerprint


def test_a_changed_configuration_is_recorded_once(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with opened(home) as archive:
        made = len(changes(archive))
        dicomservice.record_configuration(archive)
        dicomservice.record_configuration(archive)
        assert len(changes(archive)) == made + 1
    change_config(home, {"limits": {"max_query_results": 5}})
    with opened(home) as archive:
        dicomservice.record_configuration(archive)
        first, second = changes(archive)[made:]
    assert second.details["before"] == first.details["sha256"] != second.details["sha256"]


@pytest.mark.parametrize(("days", "is_renewed"), [(5, True), (29, True), (31, False)])
def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path, days: int, is_renewed: bool) -> None:
    with opened(new_home(tmp_path / "home")) as archive:
        before = with_certificate(archive, days)
        dicomservice.renew_certificate(archive)
        now = read_certificate(archive.issued(SERVER_SECRET).certificate_pem)
        assert (now.fingerprint != before) is is_renewed
        assert is_issued_by(now.pem, archive.tls().authority.certificate_pem.decode())
        assert [event.details.get("before") for event in changes(archive)[1:]] == ([before] if is_renewed else [])


def test_a_certificate_gets_every_name_that_the_archive_is_called_by(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    change_config(home, {"https": {"names": ["pacs.example", "viewer.pacs.example"]}})
    with opened(home) as archive:
        assert dicomservice.renew_certificate(archive)
        pem = archive.issued(SERVER_SECRET).certificate_pem
        assert is_good_for(pem, ["pacs.example", "127.0.0.1", "localhost", "0:0:0:0:0:0:0:1"])
        assert not dicomservice.renew_certificate(archive)


def test_a_renewed_certificate_is_presented_without_a_restart(local_archive: ArchiveFactory) -> None:
    running = local_archive(peers={"CT1": "echo"}, trail={"checkpoint_interval_s": 0.05})
    assert running.archive is not None
    before = with_certificate(running.archive, days=5)
    shown = ssl.create_default_context(cafile=str(running.home.root / "ca.pem"))
    credentials = running.credentials("CT1")
    shown.load_cert_chain(credentials.certificate, credentials.key)
    running.wait_for_event(lambda event: event.details.get("before") == before)
    pause = threading.Event()
    for _ in range(200):
        with (
            socket.create_connection(("127.0.0.1", running.port)) as plain,
            shown.wrap_socket(plain, server_hostname="localhost") as line,
        ):
            der = line.getpeercert(binary_form=True)
        assert der is not None
        ends = read_certificate(ssl.DER_cert_to_PEM_cert(der).encode()).not_after
        if ends - now_utc() > dt.timedelta(days=30):
            break
        pause.wait(0.02)
    else:
        raise AssertionError("the old certificate is still presented")


def test_an_expired_authority_is_no_silent_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(new_home(tmp_path / "home")) as archive:
        monkeypatch.setattr(dicomservice, "now_utc", lambda: now_utc() + dt.timedelta(days=4000))
        with pytest.raises(ConfigError, match="authority has expired"):
            dicomservice.renew_certificate(archive)


def test_certificates_that_end_soon_are_warned_of_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(new_home(tmp_path / "home")) as archive:
        for aet in ("CT1", "OLD1"):
            add_peer(archive, aet)
        revoke(archive, "OLD1")
        served = dicomservice.DicomService(archive, new_reporter(archive))
        today = now_utc()

        def warned_in(days: int) -> list[str]:
            caplog.clear()
            monkeypatch.setattr(dicomservice, "now_utc", lambda: today + dt.timedelta(days=days))
            served._warn_of_ends()
            served._warn_of_ends()
            return [record.getMessage() for record in caplog.records]

        assert warned_in(PEER_DAYS - 32) == []
        (soon,) = warned_in(PEER_DAYS - 10)
        assert soon.startswith(("the certificate of peer CT1 ends in 9 days", "the certificate of peer CT1 ends in 10"))
        assert "peer CT1 has expired" in warned_in(PEER_DAYS + 1)[0]
        authority, *_ = warned_in(CA_DAYS - 100)
        assert authority.startswith("the certificate of the archive's CA ends in")
        assert authority.endswith("run `keys renew-ca`")


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


TIMERS = {
    "checkpoints": (Archive, "checkpoint"),
    "checkpoints, forgetting": (Archive, "forget_deleted"),
    "peers": (Associations, "end_sessions"),
    "peers, refusals": (Places, "record_refusal_sums"),
}


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StorageUnavailable("no space")])
@pytest.mark.parametrize("job", TIMERS)
def test_a_timer_outlives_whatever_goes_wrong(
    local_archive: ArchiveFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    job: str,
    error: Exception,
) -> None:
    owner, name = TIMERS[job]
    as_it_is = getattr(owner, name)
    calls, again = iter([error]), threading.Event()

    def fails_once(*arguments: object, **named: object) -> object:
        for raised in calls:
            raise raised
        again.set()
        return as_it_is(*arguments, **named)

    monkeypatch.setattr(dicomservice, "PEER_WATCH_INTERVAL_S", 0.01)
    monkeypatch.setattr(owner, name, fails_once)
    local_archive(trail={"checkpoint_interval_s": 0.01})
    assert again.wait(10)
    assert str(error) in caplog.text


def test_the_timer_forgets_the_keys_of_what_another_process_deleted(
    local_archive: ArchiveFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = threading.Event()
    forget_all = KeyRing.forget_all

    def noted(ring: KeyRing) -> None:
        forget_all(ring)
        forgotten.set()

    monkeypatch.setattr(KeyRing, "forget_all", noted)
    running = local_archive(trail={"checkpoint_interval_s": 0.01})
    assert running.archive is not None
    sample = Sample(1)
    store(running.archive, sample)
    running.archive.writers.release()
    key = running.archive.index.study_key(sample.study_uid)
    assert key is not None
    assert key.key_id in running.archive.ring._data_keys
    with opened(running.home) as other:
        forgotten.clear()
        delete_study(other, sample.study_uid, "asked for", lambda *_: None)
    assert forgotten.wait(10)
    assert key.key_id not in running.archive.ring._data_keys


def test_the_end_of_the_service_is_recorded_last(archive_home: Callable[..., Home]) -> None:
    home = archive_home()
    with serving(home) as running:
        assert running.stop() == 0
    with opened(home) as archive:
        actions = [event.action for event in trail_events(archive, SERVE_LOG)]
    assert Action.SERVICE_START in actions
    assert actions[-1] is Action.SERVICE_STOP


def test_every_change_of_a_peer_is_recorded_with_its_rights(tmp_path: Path) -> None:
    with opened(new_home(tmp_path / "home")) as archive:
        add_peer(archive, "CT1", "store")
        add_peer(archive, "CT1", "echo,store")
        revoke(archive, "CT1")
        told = [event.details for event in trail_events(archive) if event.action is Action.PEER_CHANGE]
    assert [(each["what"], each["rights"]) for each in told] == [
        ("add", ("store",)),
        ("add", ("echo", "store")),
        ("revoke", ("echo", "store")),
    ]
