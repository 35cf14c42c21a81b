"""Long work, shown: a bar on a terminal, a line every few seconds otherwise. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class State:
    """How far the work has come."""

    items: int
    total_items: int
    size: int = 0
    total_size: int = 0
    """Bytes; 0 in all if the work is not measured in them."""


class Work:
    """One long piece of work; a ``with`` block around it draws it. ``show`` and ``say`` from one thread at a time."""

    def __init__(self, what: str, noun: str, *, is_even: bool = True) -> None:
        """``what`` is being done, to things of which ``noun`` is the plural.

        Unless they take about the same time each, nothing is said of how fast they are and of what is left.
        """
        self._what, self._noun, self._is_even = what, noun, is_even
        self._started = self._shown = time.monotonic()
        self._interval = LINE_INTERVAL_S
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Work:
        if sys.stderr.isatty():
            # Standard output stays what it is when it goes to a file or a pipe.
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[words]}"),
                *((TimeRemainingColumn(), TextColumn("left")) if self._is_even else ()),
                console=Console(stderr=True),
                redirect_stdout=sys.stdout.isatty(),
            )
            self._task = self._bar.add_task(self._what, total=None, words="")
            self._interval = BAR_INTERVAL_S
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, state: State) -> None:
        """Show how far the work is, if it is time to; the last state is always shown."""
        now = time.monotonic()
        last = state.items >= state.total_items
        if now - self._shown < self._interval and not (last and self._bar is not None):
            return
        self._shown = now
        elapsed = max(now - self._started, 1e-9)
        words = self._words(state, elapsed)
        done, total = (state.size, state.total_size) if state.total_size else (state.items, state.total_items)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=max(total, 1), words=words)
            return
        tells = self._is_even and 0 < done < total
        left = duration(elapsed * (total - done) / done) + " left" if tells else ""
        print(f"{self._what}: {words}" + (f", {left}" if left else ""), file=sys.stderr, flush=True)

    def _words(self, state: State, elapsed: float) -> str:
        words = f"{state.items} of {state.total_items} {self._noun}"
        if self._is_even:
            words += f", {state.items / elapsed:.0f}/s"
        if state.total_size:
            words += f", {size(state.size)} of {size(state.total_size)}, {size(state.size / elapsed)}/s"
        return words


@contextmanager
def phases(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Draws one phase of work after the other, each from its first report on: of what, how many are done, how many
    there are or 0 if that is not known."""
    with ExitStack() as stack:
        drawn: dict[str, Work] = {}

        def show(noun: str, done: int, total: int) -> None:
            if noun not in drawn:
                stack.pop_all().close()
                drawn.clear()
                drawn[noun] = stack.enter_context(Work(what, noun))
            drawn[noun].show(State(done, total or done))

        yield show


def printable(text: str) -> str:
    """``text`` with everything that a terminal could obey written out: names of files are anybody's."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def counted(number: int, noun: str) -> str:
    """``1 object``, ``2 objects``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def size(amount: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def duration(seconds: float) -> str:
    """A time span in the two units that matter."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
