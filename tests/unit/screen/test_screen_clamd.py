"""ClamAV's daemon: a real one with a signature of ours, and false ones that fail in every way a daemon can."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import unpack

import pytest

from harness import clamd, hidden
from strongroom.errors import ConfigError, EngineFailed
from strongroom.screen.clamd import Clamd
from strongroom.screen.engine import Engines
from strongroom.screen.findings import Report, Severity

IMAGE = hidden.file_of(hidden.encode(hidden.image()))
MARKED = hidden.BINARY_SURFACES["private OB"](clamd.MARK)
with_clamd = pytest.mark.skipif(not clamd.PROGRAM, reason="clamd is not installed")


def screened(engines: Engines, data: bytes, piece: int = 100_000) -> Report:
    screening = engines.screening()
    for start in range(0, len(data), piece):
        screening.feed(bytearray(data[start : start + piece]))
    return screening.finish()


# -- a real one


@pytest.mark.interop
@with_clamd
def test_what_clamav_knows_is_found_and_what_it_does_not_know_is_not(tmp_path: Path) -> None:
    with clamd.clamd(tmp_path) as address:
        engines = Engines.load(clamd=address)
        engines.check()
        for piece in (1, 100_000):
            report = screened(engines, MARKED, piece)
            (found,) = [each for each in report.findings if each.rule.id == "SR-CLAM-001"]
            assert found.what == f"signature {clamd.SIGNATURE}.UNOFFICIAL"
            assert found.severity is Severity.CRITICAL
            assert (found.place.path, found.place.offset, found.place.length) == ("file", 0, len(MARKED))
            assert report.failures == ()
        clean = screened(engines, IMAGE)
        assert (clean.findings, clean.failures) == ((), ())
        assert screened(engines, b"").failures == ()


@pytest.mark.interop
@with_clamd
def test_a_deflated_data_set_is_shown_inflated_as_well(tmp_path: Path) -> None:
    data = hidden.BINARY_SURFACES["private, deflated"](clamd.MARK)
    assert clamd.MARK not in data
    with clamd.clamd(tmp_path) as address:
        report = screened(Engines.load(clamd=address), data)
        (found,) = [each for each in report.findings if each.rule.id == "SR-CLAM-001"]
        assert (found.place.path, found.place.offset, found.place.inflated) == ("file", 0, True)
        assert report.failures == ()


@pytest.mark.interop
@with_clamd
def test_a_large_object_is_streamed_and_found_at_its_end(tmp_path: Path) -> None:
    with clamd.clamd(tmp_path) as address:
        data = bytes(range(256)) * 40_000 + clamd.MARK
        assert "SR-CLAM-001" in screened(Engines.load(clamd=address), data).counts


@pytest.mark.interop
@with_clamd
def test_what_clamd_does_not_take_whole_is_a_failure_and_what_we_do_not_send_is_said(tmp_path: Path) -> None:
    with clamd.clamd(tmp_path, StreamMaxLength="1M") as address:
        data = bytes(3 << 20)
        report = screened(Engines.load(clamd=address), data)
        assert [(each.engine, each.reason) for each in report.failures] == [("clamd", "more than its StreamMaxLength")]
        partly = screened(Engines.load(clamd=address, clamd_max_bytes=1 << 20), data)
        assert partly.failures == ()
        (said,) = [each for each in partly.findings if each.rule.id == "SR-CLAM-002"]
        assert (said.place.offset, said.place.length) == (1 << 20, 2 << 20)


@pytest.mark.interop
@with_clamd
def test_an_object_that_does_not_arrive_whole_is_forgotten(tmp_path: Path) -> None:
    with clamd.clamd(tmp_path) as address:
        engines = Engines.load(clamd=address)
        for _ in range(40):
            screening = engines.screening()
            screening.feed(MARKED * 2000)
            screening.close()  # type: ignore[union-attr]
        assert "SR-CLAM-001" in screened(engines, MARKED).counts


# -- false ones


@contextmanager
def false_clamd(folder: Path, behave: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "ctl"))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"unix:{folder / 'ctl'}"
        finally:
            thread.join()


def drained(connection: socket.socket) -> bytes:
    """What INSTREAM brings, up to its end."""
    file = connection.makefile("rb")
    assert file.read(10) == b"zINSTREAM\0"
    stream = b""
    while (length := unpack(">L", file.read(4))[0]) > 0:
        stream += file.read(length)
    return stream


def answers(said: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        drained(connection)
        connection.sendall(said)

    return behave


def failure(address: str, data: bytes = IMAGE, timeout_s: float = 5) -> str:
    (failed,) = screened(Engines.load(clamd=address, timeout_s=timeout_s), data).failures
    assert failed.engine == "clamd"
    return failed.reason


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_every_byte_is_sent_once_and_in_order(tmp_path: Path, piece: int) -> None:
    data, got = IMAGE[:3000] + bytes(600_000 if piece > 7 else 0), []

    def behave(connection: socket.socket) -> None:
        got.append(drained(connection))
        connection.sendall(b"stream: OK\0")

    with false_clamd(tmp_path, behave) as address:
        assert screened(Engines.load(clamd=address), data, piece).failures == ()
    assert got == [data]


def test_one_that_is_away_is_a_failure(tmp_path: Path) -> None:
    assert failure(f"unix:{tmp_path / 'nothing'}").startswith("not reachable")


def test_one_that_says_nothing_is_a_failure_in_time(tmp_path: Path) -> None:
    ended = threading.Event()

    def behave(connection: socket.socket) -> None:
        drained(connection)
        ended.wait(10)

    with false_clamd(tmp_path, behave) as address:
        assert failure(address, timeout_s=0.2) == "timeout"
        ended.set()


def test_one_that_does_not_read_is_a_failure_in_time(tmp_path: Path) -> None:
    ended = threading.Event()
    with false_clamd(tmp_path, lambda _: ended.wait(10) and None) as address:
        assert failure(address, bytes(8 << 20), timeout_s=0.2) == "timeout"
        ended.set()


def test_one_that_hangs_up_is_a_failure(tmp_path: Path) -> None:
    with false_clamd(tmp_path, lambda _: None) as address:
        assert failure(address, bytes(8 << 20)) == "it hung up"


@pytest.mark.parametrize(
    "said",
    [b"stream: lstat() failed. ERROR\0", b"stream: OK and more\0", b"\x1b[2J\0", b"stream:  FOUND\0", b"x" * 100_000],
)
def test_what_is_no_verdict_is_a_failure(tmp_path: Path, said: bytes) -> None:
    with false_clamd(tmp_path, answers(said)) as address:
        reason = failure(address)
    assert reason.startswith("it said")
    assert reason.isprintable()
    assert len(reason) < 150


def test_a_failure_does_not_hide_what_our_rules_find(tmp_path: Path) -> None:
    data = hidden.BINARY_SURFACES["private OB"](b"\x7fELF" + bytes(3)) + b"behind"
    report = screened(Engines.load(clamd=f"unix:{tmp_path / 'nothing'}"), data)
    assert "SR-TRAIL-001" in report.counts
    assert len(report.failures) == 1


def test_check_asks_whether_it_is_there(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="not reachable"):
        Engines.load(clamd=f"unix:{tmp_path / 'nothing'}").check()

    def behave(connection: socket.socket) -> None:
        connection.recv(6)
        connection.sendall(b"220 mail\0")

    with false_clamd(tmp_path, behave) as address, pytest.raises(EngineFailed, match="no clamd"):
        Engines.load(clamd=address).check()


@pytest.mark.parametrize(
    "text",
    ["", "clamd", "unix:", "unix:relative", "tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:0", "tcp:localhost:3310", "x:y"],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="clamd is unix:"):
        Clamd.parse(text, 1, 1)


@pytest.mark.parametrize("text", ["tcp:10.0.0.5:3310", "tcp:0.0.0.0:3310", "tcp:[2001:db8::1]:3310"])
def test_images_do_not_leave_the_machine_in_the_clear(text: str) -> None:
    with pytest.raises(ConfigError, match="on this machine"):
        Clamd.parse(text, 1, 1)


def test_loopback_is_on_this_machine() -> None:
    assert Clamd.parse("tcp:127.0.0.1:3310", 1, 1).address == ("127.0.0.1", 3310)
    assert Clamd.parse("tcp:[::1]:3310", 1, 1).address == ("::1", 3310)
