"""child: a process that `serve` starts gets its orders, logs as `serve` does, and ends without a word."""

from __future__ import annotations

import re
import subprocess
import sys

DONE = "from strongroom.serving import child; orders = child.read_orders(); child.follow_parent(print); print(orders)"
FOLLOWS = (
    "import threading; from strongroom.serving import child; ended = threading.Event(); child.read_orders();"
    "child.follow_parent(ended.set); print('ready', flush=True); ended.wait(); print('ended')"
)
HANGS = (
    "import threading; from strongroom.serving import child;"
    "child.follow_parent(lambda: print(flush=True), 0.05); threading.Event().wait()"
)
WARNS = (
    "import logging; from strongroom.serving.logs import log_to_stderr; log_to_stderr();"
    "logging.getLogger('strongroom.a').warning('b=c')"
)


def started(program: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe)


def test_one_that_is_done_before_its_parent_ends_in_order() -> None:
    with started(DONE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"home": "a"}\n')
        process.stdin.flush()
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b'b\'{"home": "a"}\'\n'
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_orders_of_any_length_are_read_to_their_end() -> None:
    long = b"x" * 200_000
    with started("from strongroom.serving import child; print(len(child.read_orders()))") as process:
        assert process.communicate(long + b"\n", 60) == (b"200000\n", b"")
    with started("from strongroom.serving import child; print(child.read_orders())") as process:
        assert process.communicate(b"cut", 60) == (b"b'cut'\n", b"")


def test_it_hears_that_its_parent_has_ended() -> None:
    with started(FOLLOWS) as process:
        assert process.communicate(b"orders\n", 60) == (b"ready\nended\n", b"")
        assert process.returncode == 0


def test_one_that_hangs_is_gone_soon_after_its_parent() -> None:
    with started(HANGS) as process:
        assert process.communicate(b"", 60) == (b"\n", b"")
        assert process.returncode == 1


def test_its_lines_begin_with_the_time_and_who_speaks() -> None:
    with started(WARNS) as process:
        said = process.communicate(b"", 60)[1].decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING strongroom\.a b=c\n", said)
