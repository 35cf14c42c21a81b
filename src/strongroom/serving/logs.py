"""Lines of log: as text, or as JSON with fields that are named here and no others.

Whatever a bug raises may hold a patient's value: of an exception that is not ours only its type is told, and where it
came from. What other people's code wants to say in words is not passed on at all.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal

from strongroom.errors import StrongroomError

LogFormat = Literal["text", "json"]
OURS: Final = "strongroom"
FIELDS: Final = "fields"
"""Attribute of a log record: a mapping of texts by the names of ``TOLD``."""
TOLD: Final = (
    "event", "action", "reason", "severity", "aet", "user", "address", "via", "calling", "called", "tls", "sop_uid",
    "quarantine", "rules", "what", "unsaid",
)  # fmt: skip
"""The fields that a line may have besides those that each one has."""

log = logging.getLogger(__name__)


class TextFormatter(logging.Formatter):
    """``2026-11-22 09:30:00,123 WARNING strongroom.net.server what is said``, and below it where a bug is."""

    default_msec_format = "%s,%03d"

    def format(self, record: logging.LogRecord) -> str:
        """One record in a line, and a line for each frame of an exception."""
        said = "".join(each if each.isprintable() else repr(each)[1:-1] for each in said_by(record))
        lines = [f"{self.formatTime(record)} {record.levelname} {record.name} {said}"]
        return "\n".join(lines + [f"  {line}" for line in _trace(record)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, process, message; an exception's type and place; and ``TOLD``."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": said_by(record),
        }
        fields = getattr(record, FIELDS, {})
        line.update((name, str(fields[name])) for name in TOLD if fields.get(name))
        if trace := _trace(record):
            line["trace"] = trace
        return json.dumps(line)


def said_by(record: logging.LogRecord) -> str:
    """What a record says, as far as it is ours to say."""
    if record.name.partition(".")[0] != OURS:
        return "something went wrong in a library"
    arguments = record.args if isinstance(record.args, tuple) else ()
    try:
        return str(record.msg) % tuple(map(_harmless, arguments)) if arguments else str(record.msg)
    except (TypeError, ValueError):
        return str(record.msg)


def _harmless(argument: object) -> object:
    if isinstance(argument, StrongroomError) or not isinstance(argument, BaseException):
        return argument
    words = argument.strerror if isinstance(argument, OSError) else None
    return f"{type(argument).__name__}: {words}" if words else type(argument).__name__


def _trace(record: logging.LogRecord) -> list[str]:
    """Types and frames of an exception and of what it came from, without a word of theirs or a line of code."""
    error = record.exc_info[1] if record.exc_info else None
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        lines.append(f"{type(error).__module__}.{type(error).__name__}")
        frames = traceback.walk_tb(error.__traceback__)
        lines += [f"at {frame.f_code.co_filename}:{number} {frame.f_code.co_name}" for frame, number in frames]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def log_to_stderr(form: LogFormat = "text") -> None:
    """Warnings and worse, in lines that begin alike in all processes. Called again, it changes how."""
    formatter = JsonFormatter() if form == "json" else TextFormatter()
    for ours in logging.getLogger().handlers:
        if isinstance(ours.formatter, JsonFormatter | TextFormatter):
            ours.setFormatter(formatter)
            return
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def log_uncaught() -> None:
    """From now on have what nobody catches, in any thread, said in lines of log, and not by the interpreter."""

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("a bug ended the process", exc_info=(kind, error, trace))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            log.critical("a bug ended a thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        error = args.exc_value
        log.error(
            "a bug where nobody could be told", exc_info=(args.exc_type, error, args.exc_traceback) if error else None
        )

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_process, of_thread, unraisable
