"""Hostile pixel data: a codec may crash, hang or swell, and the request that asked for it fails; nothing else does."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import pack
from typing import cast

import numpy as np
import pytest

from harness.pixels import Held, element, encapsulated, image_header, native
from strongroom.errors import Busy, CodecFailed, LimitExceeded, MalformedRequest, NotFound, NotRepresentable
from strongroom.pixels import syntaxes as uid
from strongroom.pixels.pool import Pixels
from strongroom.pixels.rendering import GIF, MP4, PNG, Region, Rendering, Size, Window
from strongroom.pixels.wire import PixelLimits

EXPECTED = (NotRepresentable, LimitExceeded, CodecFailed, MalformedRequest, NotFound)
NAME = "SECRET^PATIENT^NAME"
ENCAPSULATED = [row.uid for row in uid.CODECS.values() if row.encodes and row.uid not in uid.NATIVE]
DECODED_ONLY = [row.uid for row in uid.CODECS.values() if row.decodes and not row.encodes and row.uid not in uid.NATIVE]
IMAGE = Rendering(PNG)
ROUNDS = int(os.environ.get("STRONGROOM_ATTACK_ROUNDS", "12"))


@pytest.fixture(scope="module")
def pixels() -> Iterator[Pixels]:
    pool = Pixels(
        PixelLimits(max_pixel_workers=2, pixel_worker_bytes=512 << 20, pixel_frame_cpu_s=10, pixel_step_timeout_s=20.0)
    )
    yield pool
    pool.close()


@pytest.fixture
def pool_of() -> Iterator[Callable[[PixelLimits], Pixels]]:
    made: list[Pixels] = []

    def make(limits: PixelLimits) -> Pixels:
        made.append(Pixels(limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


def small() -> Held:
    return native(16, 24, bytes(range(256)) + bytes(128))


def works(pool: Pixels) -> bool:
    return pool.render(small(), uid.EXPLICIT, IMAGE).body.startswith(b"\x89PNG")


def code_stream(pool: Pixels, to_uid: str) -> bytes:
    return next(pool.frames(small(), uid.EXPLICIT, to_uid, [1]))


def children() -> set[int]:
    raw = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {int(pid) for task in raw for pid in (task / "children").read_text().split()}


@dataclass(frozen=True)
class Watched(Held):
    """An object that does something as soon as it is read."""

    then: Callable[[], object]

    def read(self, offset: int, length: int) -> bytes:
        self.then()
        return super().read(offset, length)


@pytest.mark.parametrize("from_uid", [uid.EXPLICIT, *ENCAPSULATED, *DECODED_ONLY])
@pytest.mark.parametrize("sides", [(65_535, 65_535), (65_535, 1), (1, 65_535)])
def test_an_image_that_only_claims_to_be_large(pixels: Pixels, from_uid: str, sides: tuple[int, int]) -> None:
    rows, columns = sides
    if from_uid in uid.NATIVE:
        source = native(rows, columns, b"\1\2\3\4", allocated=16)
    else:
        source = encapsulated(rows, columns, code_stream(pixels, from_uid) if from_uid in ENCAPSULATED else b"\1" * 99)
    with pytest.raises(EXPECTED):
        pixels.render(source, from_uid, IMAGE)
    assert works(pixels)


def test_frames_that_are_not_there(pixels: Pixels) -> None:
    source = native(512, 512, bytes(512 * 512), frames=2_147_483_647)
    assert pixels.render(source, uid.EXPLICIT, Rendering(PNG, frames=(1,))).frame_count == 2_147_483_647
    for rendering in (Rendering(PNG), Rendering(GIF, frames=()), Rendering(MP4, frames=())):
        with pytest.raises(EXPECTED):
            pixels.render(source, uid.EXPLICIT, rendering)
    with pytest.raises(NotRepresentable):
        list(pixels.transcode(source, uid.EXPLICIT, uid.RLE))
    assert works(pixels)


def jpeg_2000_head(rows: int, columns: int, tile: int) -> bytes:
    """A main header that promises a great many tiles, and no tile."""
    size = pack(">HLLLLLLLL", 0, columns, rows, 0, 0, tile, tile, 0, 0) + pack(">HBBB", 1, 7, 1, 1)
    coding = bytes.fromhex("ff52000c00000001000504040001")
    quantisation = bytes.fromhex("ff5c00132040484850484850484850484850484850")
    return b"\xff\x4f\xff\x51" + pack(">H", len(size) + 2) + size + coding + quantisation


@pytest.mark.parametrize("to_uid", [uid.JPEG_2000, uid.HTJ2K])
def test_a_code_stream_that_unpacks_into_far_more_than_it_is(pixels: Pixels, to_uid: str) -> None:
    for rows, columns, tile in ((16_000, 16_000, 1), (60_000, 60_000, 60_000), (16_000, 16_000, 100)):
        source = encapsulated(rows, columns, jpeg_2000_head(rows, columns, tile) + bytes(64))
        with pytest.raises(EXPECTED):
            pixels.render(source, to_uid, IMAGE)
    assert works(pixels)


def test_a_bomb_in_each_lossless_syntax_is_bounded_by_the_frame(pixels: Pixels) -> None:
    black = np.zeros((4000, 4000), "u1").tobytes()
    for to_uid in (uid.RLE, uid.JPEG_LS, uid.JPEG_2000_LOSSLESS, uid.HTJ2K_LOSSLESS, uid.JPEG_LOSSLESS_SV1):
        stream = next(pixels.frames(native(4000, 4000, black), uid.EXPLICIT, to_uid, [1]))
        assert len(stream) < len(black) // 7
        with pytest.raises(NotRepresentable):  # the stream is of another size than its header
            pixels.render(encapsulated(40, 40, stream), to_uid, IMAGE)
    with pytest.raises(LimitExceeded):
        pixels.render(small(), uid.EXPLICIT, Rendering(PNG, size=Size(65_535, 65_535)))
    assert works(pixels)


def test_an_animation_too_long_and_one_too_large(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    frames = native(64, 64, np.random.default_rng(3).integers(0, 256, 64 * 64 * 9, "u1").tobytes(), frames=9)
    limits = PixelLimits(max_pixel_workers=1, max_rendered_frames=5, max_rendered_bytes=9000, max_rendered_pixels=5000)
    pool = pool_of(limits)
    for rendering, limit in (
        (Rendering(GIF, frames=()), "max_rendered_frames"),
        (Rendering(GIF, frames=(1, 2, 3)), "max_rendered_bytes"),
        (Rendering(PNG, size=Size(71, 71)), "max_rendered_pixels"),
    ):
        with pytest.raises(LimitExceeded) as caught:
            pool.render(frames, uid.EXPLICIT, rendering)
        assert caught.value.limit_name == limit
    assert works(pool)


def test_a_deflated_bomb(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_frame_bytes=8 << 20, max_pixel_workers=1))
    packed = b"".join(pool.transcode(native(4000, 2000, bytes(8_000_000)), uid.EXPLICIT, uid.DEFLATED))
    assert len(packed) < 100_000
    pool_small = pool_of(PixelLimits(max_frame_bytes=1 << 20, max_pixel_workers=1))
    with pytest.raises(LimitExceeded):
        pool_small.render(Held(packed), uid.DEFLATED, IMAGE)
    assert works(pool_small)


@pytest.mark.parametrize("to_uid", ENCAPSULATED)
def test_cut_and_mutated_code_streams(pool_of: Callable[[PixelLimits], Pixels], to_uid: str) -> None:
    pixels = pool_of(PixelLimits(max_pixel_workers=1, pixel_frame_cpu_s=1))
    chance = random.Random(to_uid)
    stream = code_stream(pixels, to_uid)
    ends: Counter[str] = Counter()
    for number in range(ROUNDS):
        broken = bytearray(stream)
        if number % 3 == 0:
            del broken[chance.randrange(len(broken)) :]
        else:
            for _ in range(chance.randint(1, 8)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            rendered = pixels.render(encapsulated(16, 24, bytes(broken)), to_uid, IMAGE)
            ends["shown"] += len(rendered.body) > 0
        except EXPECTED as error:
            ends[type(error).__name__] += 1
    assert sum(ends.values()) == ROUNDS
    assert works(pixels)


def test_mutated_headers(pixels: Pixels) -> None:
    chance = random.Random(7)
    raw = image_header(8, 8, samples=3, photometric="RGB", frames=2) + element(0x7FE00010, b"OB", bytes(384))
    for _ in range(20 * ROUNDS):
        broken = bytearray(raw)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(raw) - 384)] = chance.randrange(256)
        with Expecting():
            pixels.render(Held(bytes(broken)), uid.EXPLICIT, IMAGE)
    assert works(pixels)


@pytest.mark.parametrize(
    "extra",
    [
        element(0x00281052, b"DS", b"1e308") + element(0x00281053, b"DS", b"1e308"),
        element(0x00281053, b"DS", b"nan"),
        element(0x00281050, b"DS", b"inf") + element(0x00281051, b"DS", b"1"),
        element(0x00281050, b"DS", b"x") + element(0x00281051, b"DS", b"\\\\"),
        element(0x00283010, b"SQ", b""),
        element(0x00280120, b"US", b"\0\0"),
        element(0x00181063, b"DS", b"-1"),
    ],
)
def test_values_that_make_no_sense(pixels: Pixels, extra: bytes) -> None:
    source = native(4, 4, bytes(range(16)), extra=extra)
    with Expecting():
        pixels.render(source, uid.EXPLICIT, IMAGE)
    assert works(pixels)


class Expecting:
    """Lets the errors pass that a caller is told of, but not that a worker has failed."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, EXPECTED) and not issubclass(kind, CodecFailed)


def test_requests_that_make_no_sense(pixels: Pixels) -> None:
    for rendering in (
        Rendering(PNG, region=Region(left=20, width=10)),
        Rendering(PNG, region=Region(width=0.001, height=0.001)),
        Rendering(PNG, frames=(2,)),
        Rendering(PNG, window=Window(1e308, 1e-308)),
        Rendering(PNG, size=Size(1, 1), region=Region(width=1, height=1)),
    ):
        with Expecting():
            pixels.render(small(), uid.EXPLICIT, rendering)
    assert works(pixels)


def test_a_worker_that_is_killed_costs_one_request(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1))
    before = children()
    assert works(pool)
    (worker,) = children() - before
    with pytest.raises(CodecFailed, match="signal 9"):
        pool.render(Watched(small().raw, lambda: os.kill(worker, signal.SIGKILL)), uid.EXPLICIT, IMAGE)
    assert works(pool)
    assert worker not in children()


def test_a_codec_that_crashes_costs_one_request(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1))
    before = children()
    assert works(pool)
    (worker,) = children() - before
    with pytest.raises(CodecFailed, match="signal 11"):
        pool.render(Watched(small().raw, lambda: os.kill(worker, signal.SIGSEGV)), uid.EXPLICIT, IMAGE)
    assert works(pool)


def test_a_codec_that_hangs_costs_one_request(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1, pixel_step_timeout_s=0.5))
    before = children()
    assert works(pool)
    (worker,) = children() - before
    with pytest.raises(CodecFailed, match="too long"):
        pool.render(Watched(small().raw, lambda: os.kill(worker, signal.SIGSTOP)), uid.EXPLICIT, IMAGE)
    assert works(pool)


def test_a_codec_that_computes_for_ever_costs_one_request(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1, pixel_frame_cpu_s=1))
    noise = np.random.default_rng(5).integers(0, 65_536, 6000 * 6000, "u2").tobytes()
    with pytest.raises(CodecFailed, match=f"signal {int(signal.SIGXCPU)}"):
        list(pool.frames(native(6000, 6000, noise, allocated=16), uid.EXPLICIT, uid.JPEG_2000_LOSSLESS, [1]))
    assert works(pool)


def test_a_codec_that_swells_costs_one_request(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1, pixel_worker_bytes=64 << 20))
    with pytest.raises(CodecFailed):
        pool.render(native(8000, 8000, bytes(64_000_000)), uid.EXPLICIT, IMAGE)
    assert works(pool)


def test_an_object_that_cannot_be_read_frees_its_worker(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1, pixel_wait_s=0.1))

    def fail() -> None:
        raise ConnectionError

    for _ in range(3):
        with pytest.raises(ConnectionError):
            pool.render(Watched(small().raw, fail), uid.EXPLICIT, IMAGE)
    assert works(pool)


def test_whoever_stops_reading_frees_the_worker(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=1, pixel_wait_s=5.0))
    many = native(512, 512, bytes(512 * 512 * 8), frames=8)
    chunks = pool.transcode(many, uid.EXPLICIT, uid.RLE)
    with closing(cast("Generator[bytes]", chunks)):
        assert next(chunks)
    assert works(pool)


def test_slow_readers_give_way_when_others_wait(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    limits = PixelLimits(max_pixel_workers=2, pixel_wait_s=30.0, max_pixel_pause_s=0.1)
    pool = pool_of(limits)
    many = native(512, 512, bytes(512 * 512 * 8), frames=8)
    with ExitStack() as open_:
        readers = [
            open_.enter_context(closing(cast("Generator[bytes]", pool.transcode(many, uid.EXPLICIT, uid.RLE))))
            for _ in range(limits.max_pixel_workers)
        ]
        for reader in readers:
            assert next(reader)
        assert works(pool)
        ended = []
        for reader in readers:
            try:
                ended.append(sum(map(len, reader)))
            except Busy:
                ended.append(-1)
        assert sorted(ended)[0] == -1, "the one that had waited longest"
        assert sorted(ended)[1] > 0, "nobody else was in the way"
    assert works(pool)
    assert works(pool)


def test_a_slow_reader_whom_nobody_waits_for_keeps_its_worker(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    pool = pool_of(PixelLimits(max_pixel_workers=2, max_pixel_pause_s=0.0))
    many = native(512, 512, bytes(512 * 512 * 8), frames=8)
    reader = pool.transcode(many, uid.EXPLICIT, uid.RLE)
    assert next(reader)
    assert works(pool)
    assert sum(map(len, reader)) > 0


def test_a_hundred_at_once_are_bounded(pool_of: Callable[[PixelLimits], Pixels]) -> None:
    limits = PixelLimits(max_pixel_workers=2, max_pixel_jobs_waiting=30, pixel_wait_s=30.0)
    pool = pool_of(limits)
    before, most = children(), [0]
    start = threading.Barrier(100)

    def ask(_: int) -> str:
        start.wait()
        try:
            pool.render(small(), uid.EXPLICIT, IMAGE)
        except Busy:
            return "busy"
        finally:
            most[0] = max(most[0], len(children() - before))
        return "shown"

    with ThreadPoolExecutor(100) as threads:
        ends = Counter(threads.map(ask, range(100)))
    assert ends["shown"] >= limits.max_pixel_workers + limits.max_pixel_jobs_waiting
    assert ends["shown"] + ends["busy"] == 100
    assert most[0] <= limits.max_pixel_workers
    assert works(pool)


LOCKED_IN = """
import ctypes, os, signal, socket, sys
from strongroom.pixels.sandbox import lock_in
lock_in(256 << 20)
libc = ctypes.CDLL(None, use_errno=True)
attempts = {
    "socket": lambda: socket.socket(),
    "open": lambda: open("/etc/hostname"),
    "write": lambda: os.open("/tmp/pixels", os.O_CREAT | os.O_WRONLY),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "dup": lambda: os.dup(1),
    "limits of another": lambda: __import__("resource").prlimit(os.getppid(), __import__("resource").RLIMIT_CPU),
    "memory": lambda: bytearray(512 << 20),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, MemoryError):
        continue
    print("could", name)
print("done")
"""


def test_a_worker_has_no_files_no_network_and_no_processes() -> None:
    done = subprocess.run([sys.executable, "-c", LOCKED_IN], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stdout + done.stderr


def test_the_serving_process_never_loads_a_codec() -> None:
    code = (
        "import sys, strongroom.serving.webworker, strongroom.pixels.pool\n"
        "print(sorted({'numpy', 'imagecodecs', 'PIL', 'jpeg_ls', 'pydicom'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_no_error_and_no_log_tells_a_patient_or_a_pixel(pixels: Pixels, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chance = random.Random(11)
    named = element(0x00100010, b"PN", NAME.encode()) + element(0x00100020, b"LO", NAME.encode())
    words: list[str] = []
    sources = [
        (native(8, 8, NAME.encode() * 4, before=named, frames=9), uid.EXPLICIT),
        (native(8, 8, bytes(64), before=named, photometric=NAME[:16]), uid.EXPLICIT),
        (native(8, 8, bytes(64), before=named, extra=element(0x00281050, b"DS", NAME.encode())), uid.EXPLICIT),
        *((encapsulated(16, 24, NAME.encode() * 9, before=named), each) for each in ENCAPSULATED),
    ]
    for source, from_uid in sources:
        elsewhere = uid.RLE if from_uid == uid.EXPLICIT else uid.EXPLICIT
        frame = Rendering(PNG, frames=(chance.randint(1, 9),))
        asks: list[Callable[[], object]] = [
            partial(pixels.render, source, from_uid, frame),
            lambda s=source, f=from_uid, t=elsewhere: list(pixels.transcode(s, f, t)),
        ]
        for ask in asks:
            try:
                ask()
            except EXPECTED as error:
                words += [str(error), repr(error)]
    assert words
    assert not [word for word in (*words, caplog.text) if "SECRET" in word or "PATIENT" in word]
