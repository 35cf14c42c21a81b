"""The run log: one byte changed, taken out or put in is seen, and a killed run goes on where it stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.probe.runlog import KEY_NAME, LOG_NAME, continue_log, new_log, read_entries, verify_log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of a whole run of five entries."""
    log = new_log(tmp_path)
    log.append("run", {"run": "r1", "scope_sha256": "d"})
    for number in range(3):
        log.append("sent", {"message": "A-ABORT", "bytes": number})
    log.append("end", {"how": "complete"})
    log.close()
    return tmp_path


def test_a_log_that_nobody_touched_holds(folder: Path) -> None:
    found = verify_log(folder)
    assert (found.problem, found.entries, found.run, found.scope_digest, found.ended) == ("", 5, "r1", "d", "complete")


def test_log_and_key_are_their_owners_alone(folder: Path) -> None:
    assert [(folder / name).stat().st_mode & 0o777 for name in (LOG_NAME, KEY_NAME)] == [0o600, 0o600]


def test_any_changed_byte_is_found(folder: Path) -> None:
    path = folder / LOG_NAME
    whole, head = path.read_bytes(), verify_log(folder).head
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = verify_log(folder)
        # The last line alone is held by the head only, which is printed and signed.
        assert found.problem or found.head != head, at


@pytest.mark.parametrize("number", range(5))
def test_an_entry_taken_out_or_doubled_or_moved_is_found(folder: Path, number: int) -> None:
    path = folder / LOG_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    for forged in (
        lines[:number] + lines[number + 1 :],
        [*lines[: number + 1], *lines[number:]],
        [*lines[:number], *reversed(lines[number:])],
    ):
        path.write_bytes(b"".join(forged))
        found = verify_log(folder)
        assert forged == lines or found.problem or found.ended == ""


def test_half_a_line_is_named_and_cut_off_when_the_run_goes_on(folder: Path) -> None:
    path = folder / LOG_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n":6,"at_us":1')
    assert verify_log(folder).problem == "entry 6 is not whole: the run was killed"
    assert len(list(read_entries(folder))) == 5
    log = continue_log(folder)
    assert log.append("resumed", {}) == 6
    log.append("end", {"how": "stopped"})
    log.close()
    found = verify_log(folder)
    assert (found.problem, found.entries, found.ended) == ("", 7, "stopped")


def test_an_altered_log_is_not_continued(folder: Path) -> None:
    path = folder / LOG_NAME
    path.write_bytes(path.read_bytes().replace(b'"bytes":1', b'"bytes":9'))
    with pytest.raises(ConfigError, match="the log was altered: give another --out"):
        continue_log(folder)


def test_a_log_whose_key_was_destroyed_is_not_continued_but_still_verified(folder: Path) -> None:
    (folder / KEY_NAME).unlink()
    with pytest.raises(ConfigError, match="cannot be continued"):
        continue_log(folder)
    assert verify_log(folder).problem == ""


def test_a_continued_log_keeps_its_key(folder: Path) -> None:
    key = bytes.fromhex((folder / KEY_NAME).read_text())
    log = continue_log(folder)
    log.close()
    assert log.key == key


def test_nothing_may_follow_a_signature_but_the_run_going_on(folder: Path) -> None:
    log = continue_log(folder)
    log.append("signature", {"signature": "s"})
    log.close()
    found = verify_log(folder)
    assert (found.problem, found.signature) == ("", "s")
    assert found.signed_head != found.head
    log = continue_log(folder)
    log.append("sent", {})
    log.close()
    assert verify_log(folder).problem == "entry 7 comes after the signature"


def test_two_processes_do_not_write_one_log(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from strongroom.probe.runlog import continue_log\n"
        "continue_log(Path(sys.argv[1]))"
    )
    log = continue_log(folder)
    ran = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60)
    log.close()
    assert "another probe writes to this directory" in ran.stderr


def test_entries_of_many_threads_are_one_chain(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.append("run", {"run": "r"})
    threads = [threading.Thread(target=lambda: [log.append("sent", {}) for _ in range(200)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = verify_log(tmp_path)
    assert (found.problem, found.entries) == ("", 1001)


@pytest.mark.parametrize("raw", [b"", b"{}\n", b"[]\n", b"\xff\n", b"[" * 100_000 + b"\n", b'{"n":1,"prev":null}\n'])
def test_what_is_no_log_is_told(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / LOG_NAME).write_bytes(raw)
    assert verify_log(tmp_path).problem
    with pytest.raises(ConfigError, match="cannot be read"):
        verify_log(tmp_path / "none")


def test_a_log_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOG_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        new_log(tmp_path / "run")
    with pytest.raises(ConfigError):
        continue_log(tmp_path / "run")
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_an_entry_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.append("run", {"run": "a\nb\u2028\x1b\udcff"})
    log.close()
    raw = (tmp_path / LOG_NAME).read_bytes()
    assert raw.count(b"\n") == 1
    assert raw.isascii()
    assert json.loads(raw)["run"] == "a\nb\u2028\x1b\udcff"
