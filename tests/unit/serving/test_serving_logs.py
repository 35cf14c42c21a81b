"""logs: a line holds what is ours to say; a patient's name that a bug, a library or a peer brings in is in none."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.archives import clean_environment
from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import StorageUnavailable
from strongroom.serving.announcing import Announcer
from strongroom.serving.logs import FIELDS, TOLD, JsonFormatter, TextFormatter
from strongroom.types import Principal

PLANTED = "Zyxplanted^Qwertius"
ALWAYS = {"time", "level", "logger", "process", "message"}
BOTH = pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[Callable[[logging.Formatter], str]]:
    """Everything that is logged, as a formatter writes it."""
    kept, root = _Kept(), logging.getLogger()
    root.addHandler(kept)
    yield lambda formatter: "\n".join(map(formatter.format, kept.records))
    root.removeHandler(kept)


def a_bug(inner: str = PLANTED) -> None:
    try:
        {}[inner]
    except KeyError as error:
        raise ValueError(f"cannot do anything with {inner}") from error


@BOTH
def test_a_bug_is_said_with_its_place_and_without_its_words(
    formatter: logging.Formatter, lines: Callable[[logging.Formatter], str]
) -> None:
    try:
        a_bug()
    except ValueError as error:
        logging.getLogger("strongroom.net.server").exception("a bug ended an association")
        logging.getLogger("strongroom.net.server").error("a bug: %s", error)
    said = lines(formatter)
    assert PLANTED not in said
    assert "Zyxplanted" not in said
    assert "builtins.ValueError" in said
    assert "builtins.KeyError" in said
    assert "test_serving_logs.py:" in said
    assert "a_bug" in said
    assert "a bug ended an association" in said


@BOTH
def test_what_a_library_says_is_not_passed_on(
    formatter: logging.Formatter, lines: Callable[[logging.Formatter], str]
) -> None:
    logging.getLogger("asyncio").error("Exception in callback %s", PLANTED)
    logging.getLogger("sqlalchemy.engine").warning(f"INSERT INTO patient VALUES ('{PLANTED}')")
    said = lines(formatter)
    assert "Zyxplanted" not in said
    assert "asyncio" in said
    assert "sqlalchemy.engine" in said


@BOTH
def test_our_own_errors_and_the_system_s_are_said_in_words(
    formatter: logging.Formatter, lines: Callable[[logging.Formatter], str]
) -> None:
    log = logging.getLogger("strongroom.serving.dicomservice")
    log.error("%s: %s", "no checkpoint could be written", StorageUnavailable("the share is away"))
    log.error("an end: %s", OSError(28, "No space left on device", f"/x/{PLANTED}"))
    said = lines(formatter)
    assert "no checkpoint could be written: the share is away" in said
    assert "No space left on device" in said
    assert PLANTED not in said


def test_json_has_the_fields_of_the_list_and_no_others(lines: Callable[[logging.Formatter], str]) -> None:
    fields = {"reason": "screening", "severity": "high", "patient": PLANTED, "PatientName": PLANTED}
    logging.getLogger("strongroom.a").warning("%s", "alert", extra={FIELDS: fields})
    (line,) = lines(JsonFormatter()).splitlines()
    found = json.loads(line)
    assert set(found) == ALWAYS | {"reason", "severity"}
    assert set(found) <= ALWAYS | set(TOLD)
    assert (found["level"], found["logger"], found["message"]) == ("warning", "strongroom.a", "alert")


def test_refusals_and_alerts_have_their_parts_as_fields(lines: Callable[[logging.Formatter], str]) -> None:
    announce = Announcer(lambda: 0.0)
    details = {"reason": "no-right-store", "sop_uid": "1.2.3", "patient": PLANTED}
    announce(Event(Action.STORE, Outcome.REFUSED, Principal("CT1", address="10.0.0.7"), details))
    found = json.loads(lines(JsonFormatter()))
    assert found["event"] == "refused"
    assert (found["action"], found["reason"], found["aet"], found["address"], found["sop_uid"]) == (
        "store", "no-right-store", "CT1", "10.0.0.7", "1.2.3",
    )  # fmt: skip
    assert "Zyxplanted" not in json.dumps(found)


@BOTH
def test_a_line_is_one_line(formatter: logging.Formatter, lines: Callable[[logging.Formatter], str]) -> None:
    logging.getLogger("strongroom.a").warning("%s", "one\nfake 2026 WARNING strongroom.b two")
    assert len(lines(formatter).splitlines()) == 1


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("where", ["raise ValueError(name)", "threading.Thread(target=lambda: int(name)).start()"])
def test_what_nobody_catches_is_said_without_its_words(tmp_path: Path, form: str, where: str) -> None:
    program = (
        "import threading; from strongroom.serving.logs import log_to_stderr, log_uncaught;"
        f"log_to_stderr(); log_to_stderr({form!r}); log_uncaught(); name = {PLANTED!r}; {where}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Zyxplanted" not in done.stderr
    assert "builtins.ValueError" in done.stderr
    assert done.stderr.startswith("{") is (form == "json")
