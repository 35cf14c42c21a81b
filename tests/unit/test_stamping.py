"""Time stamps of checkpoints: kept beside them, asked for again after a failure, and never in anybody's way."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.archives import new_home, opened, serving_in_process, trail_events
from harness.authority import Authority, answering, new_authority
from harness.shell import shell
from strongroom.app import Archive
from strongroom.archive.model import Action, Outcome
from strongroom.checkpoints import name_of, stamped, write_stamp
from strongroom.config import Home, parse
from strongroom.errors import ConfigError, IntegrityError, PeerUnavailable
from strongroom.net.timestamps import ask
from strongroom.stamping import Stamper, stamped_checkpoints
from strongroom.trail.stamp import MAX_RESPONSE_BYTES, new_request


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with answering(new_authority(tmp_path_factory.mktemp("authority") / "tsa")) as authority:
        yield authority


@pytest.fixture(autouse=True)
def honest(authority: Authority) -> Iterator[None]:
    authority.asked.clear()
    yield
    authority.answer, authority.status, authority.content_type = None, 200, "application/timestamp-reply"


@pytest.fixture
def home(tmp_path: Path, authority: Authority) -> Home:
    trail = {
        "timestamp_url": authority.url,
        "timestamp_cert": str(authority.root),
        "timestamp_interval_s": 600,
        "checkpoint_dirs": [str(tmp_path / "elsewhere")],
    }
    return new_home(tmp_path / "home", {"trail": trail})


@pytest.fixture
def archive(home: Home) -> Iterator[Archive]:
    with opened(home) as archive:
        yield archive


def alerts(archive: Archive) -> list[str]:
    return [
        str(event.details["reason"])
        for event in trail_events(archive)
        if event.action is Action.ALERT and event.outcome is Outcome.FAILED
    ]


def test_a_stamp_lies_beside_its_checkpoint_and_openssl_verifies_it(archive: Archive, authority: Authority) -> None:
    text = archive.checkpoint()
    assert Stamper(archive, Clock()).keep_up(text)
    for folder in archive.checkpoint_folders:
        path = folder / name_of(text)
        of = ("-in", str(path.with_suffix(".tsr")), "-data", str(path), "-CAfile", str(authority.root))
        done = subprocess.run(["openssl", "ts", "-verify", *of], capture_output=True, text=True)
        assert done.stdout.strip() == "Verification: OK"


def test_one_in_an_interval_and_only_of_what_is_new(archive: Archive, authority: Authority) -> None:
    clock = Clock()
    stamper = Stamper(archive, clock)
    first = archive.checkpoint()
    assert stamper.keep_up(first)
    archive.record(Action.ECHO, {})
    second = archive.checkpoint()
    clock.now += 599
    assert not stamper.keep_up(second)
    clock.now += 1
    assert stamper.keep_up(second)
    clock.now += 5000
    assert not stamper.keep_up(second)
    assert len(authority.asked) == 2


def test_a_failure_is_said_once_and_tried_again(archive: Archive, authority: Authority, caplog) -> None:
    clock, text = Clock(), archive.checkpoint()
    stamper = Stamper(archive, clock)
    authority.status = 503
    pauses = (60, 120, 240, 480, 960, 1920, 3600, 3600)
    for pause in pauses:
        assert not stamper.keep_up(text)
        clock.now += pause - 1
        assert not stamper.keep_up(text)  # not asked: it is too soon
        clock.now += 1
    assert len(authority.asked) == len(pauses)
    assert alerts(archive) == ["the time stamp authority answered with HTTP status 503"]
    authority.status = 200
    assert stamper.keep_up(text)
    assert caplog.text.count("no time stamp") == len(pauses)
    assert "answers again, after 8 failures" in caplog.text


def test_an_answer_that_proves_nothing_is_not_kept(archive: Archive, authority: Authority, tmp_path: Path) -> None:
    text, other = archive.checkpoint(), new_authority(tmp_path / "other")
    nonce = new_request(text.encode()).raw  # the right message, and another nonce
    authority.issue("expired", "stamper", "20200101000000Z", "20210101000000Z")
    stamper = Stamper(archive, Clock())
    for answer in (authority.reply(nonce), authority.reply(new_request(b"x").raw), other.reply(nonce), b"", b"x" * 100):
        authority.answer = answer
        with pytest.raises(IntegrityError):
            stamper.stamp(text)
    for signer, by in (("expired", authority), ("tsa", other)):
        with pytest.raises(IntegrityError, match="not signed by the authority"):
            Stamper(archive, ask=lambda _url, query, _most, by=by, signer=signer: by.reply(query, signer)).stamp(text)
    assert not list(archive.home.checkpoints.glob("*.tsr"))


@pytest.mark.parametrize(
    ("status", "content_type", "answer"),
    [
        (500, "application/timestamp-reply", b""),
        (302, "application/timestamp-reply", b""),
        (200, "text/html", b"<html>"),
        (200, "application/timestamp-reply", b"x" * (MAX_RESPONSE_BYTES + 1)),
    ],
)
def test_what_is_no_reply(authority: Authority, status: int, content_type: str, answer: bytes) -> None:
    authority.status, authority.content_type, authority.answer = status, content_type, answer
    with pytest.raises(PeerUnavailable):
        ask(authority.url, new_request(b"x").raw, MAX_RESPONSE_BYTES)


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for scheme in ("http", "https"):
        with pytest.raises(PeerUnavailable, match="cannot be asked"):
            ask(f"{scheme}://127.0.0.1:{port}/", b"x", MAX_RESPONSE_BYTES)


def test_an_authority_that_drips_is_cut_off() -> None:
    """A byte within each timeout of a socket, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not stop.wait(0.02):
                    try:
                        connection.send(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(PeerUnavailable):
                ask(f"http://127.0.0.1:{server.getsockname()[1]}/", b"x", MAX_RESPONSE_BYTES, 0.2)
        finally:
            stop.set()
            thread.join()


def test_the_smallest_stamped_checkpoint_comes_first(archive: Archive) -> None:
    stamper = Stamper(archive, Clock())
    texts = []
    for _ in range(3):
        archive.record(Action.ECHO, {})
        texts.append(archive.checkpoint())
        stamper.stamp(texts[-1])
    found = [each.text for each in stamped_checkpoints(archive, archive.trail.name, 0)]
    assert list(dict.fromkeys(found)) == texts
    # What was put there, or changed, by somebody else is passed over.
    write_stamp(archive.home.checkpoints, "no checkpoint", b"x")
    (archive.home.checkpoints / name_of(texts[0])).write_text(texts[1])
    assert len(list(stamped(archive.home.checkpoints, MAX_RESPONSE_BYTES))) == 2


def test_a_server_stamps_by_itself(home: Home, authority: Authority) -> None:
    text = home.config.read_text().replace("[trail]", "[trail]\ncheckpoint_interval_s = 0.05")
    home.config.write_text(text)
    with serving_in_process(home) as running:
        pause = threading.Event()
        for _ in range(1000):
            if list(home.checkpoints.glob("*.tsr")):
                break
            pause.wait(0.01)
        assert running.archive is not None
        assert alerts(running.archive) == []
    assert list(home.checkpoints.glob("*.tsr"))


def test_the_command_stamps_too_and_says_what_failed(home: Home, authority: Authority, capsys, monkeypatch) -> None:
    run = shell(capsys, monkeypatch)
    ran = run("trail", "checkpoint", "--home", home.root)
    assert (ran.code, ran.err) == (0, "")
    assert (home.checkpoints / name_of(ran.out)).with_suffix(".tsr").exists()
    authority.status = 503
    ran = run("trail", "checkpoint", "--home", home.root)
    assert (ran.code, "no time stamp: the time stamp authority answered with HTTP status 503" in ran.err) == (0, True)


@pytest.mark.parametrize("url", ["ftp://tsa", "http://", "https://user:secret@tsa/", "tsa.example", "http://tsa/\n"])
def test_what_is_no_url(url: str) -> None:
    text = f'[archive]\nid = "a1"\n[trail]\ntimestamp_url = {url!r}\n'.replace("\\n'", '\\n"').replace("'", '"')
    with pytest.raises(ConfigError):
        parse(text)


def test_certificates_that_cannot_be_read_are_said(archive: Archive, home: Home, authority: Authority) -> None:
    text = archive.checkpoint()
    authority_file = authority.folder / "gone.pem"
    home.config.write_text(home.config.read_text().replace(str(authority.root), str(authority_file)))
    with opened(home) as again:
        stamper = Stamper(again, Clock())
        assert not stamper.keep_up(text)
        assert "cannot read" in alerts(again)[0]
