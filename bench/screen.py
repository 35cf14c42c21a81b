"""What screening costs, in one thread: MB/s of CT files, microseconds of objects as the door sees them.

python bench/screen.py        some 10 seconds; medians, so that what else the machine does matters less
"""

from __future__ import annotations

import statistics
import struct
import sys
import time
from collections.abc import Callable

import datasets
import load
import servers

sys.path.insert(0, str(servers.BENCH_DIR.parent / "src"))

from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN
from strongroom.screen.limits import DEFAULT_LIMITS
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.screening import Screening, screen_bytes

SIZES = (64, 512)
"""Rows and columns: objects of 10 and of 525 KB."""

OBJECTS, ROUNDS = 40, 5
FRAGMENT_BYTES = 131_072


def objects(size: int) -> list[bytes]:
    """Return the data sets of one series, as its scanner would send them."""
    places = datasets.Layout().places(load.new_run(), 0)
    first = next(places)
    data_set = datasets.encode_image(size, first)
    stream = datasets.Stream(data_set, first, 1, len(data_set) + 6)
    begin = len(stream.buffer) - len(data_set)
    return [bytes(memoryview(stream.patch(next(places)))[begin:]) for _ in range(OBJECTS)]


def file_of(data_set: bytes) -> bytes:
    """Return a file around a data set in Explicit VR Little Endian, with no more meta information than is needed."""
    uid = EXPLICIT_VR_LITTLE_ENDIAN.uid.encode() + b"\0"
    return bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid + data_set


def at_the_door(data_set: bytes, memory: ScreenMemory | None) -> None:
    """Screen a data set that comes in fragments."""
    screening = Screening(DEFAULT_LIMITS, EXPLICIT_VR_LITTLE_ENDIAN, memory)
    view = memoryview(data_set)
    for start in range(0, len(view), FRAGMENT_BYTES):
        screening.feed(view[start : start + FRAGMENT_BYTES])
    if screening.finish().findings:
        raise RuntimeError("something was found in an object that is clean")


def median_us(screen: Callable[[bytes], object], what: list[bytes]) -> float:
    """Return the median time of one call."""
    times = []
    for each in what * ROUNDS:
        started = time.perf_counter()
        screen(each)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def main() -> None:
    print("bytes    MB/s of files   us, first of an association   us, later ones")
    for size in SIZES:
        series, memory = objects(size), ScreenMemory()
        files = [file_of(each) for each in series]
        file_us = median_us(screen_bytes, files)
        first_us = median_us(lambda each: at_the_door(each, None), series)
        later_us = median_us(lambda each, known=memory: at_the_door(each, known), series)
        print(f"{len(series[0]):6d}   {len(files[0]) / file_us:13.0f}   {first_us:27.0f}   {later_us:14.0f}")


if __name__ == "__main__":
    main()
