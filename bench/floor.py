"""The floor: what the same bytes cost when they are only hashed, sealed, written and fsynced, one after the other.

One thread, no protocol, no index, no trail. Two writers: plain buffered files, and the archive's own store (O_DIRECT
for larger objects). The faster one is the stricter floor, and the one that counts.

    python bench/floor.py --size 512 --seconds 5
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import datasets
import load
import servers

SEGMENT_BYTES = 131072

Write = Callable[[memoryview], None]


def buffered_writer(directory: Path) -> Write:
    """Return a function that stores one object through the page cache: AES-256-GCM by segments, write, fsync."""
    names = iter(range(10**9))

    def write(plain: memoryview) -> None:
        hashlib.sha256(plain).digest()
        cipher, prefix = AESGCM(secrets.token_bytes(32)), secrets.token_bytes(8)
        fd = os.open(directory / f"{next(names):08x}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        for number, start in enumerate(range(0, len(plain), SEGMENT_BYTES)):
            nonce = prefix + number.to_bytes(4, "big")
            os.write(fd, cipher.encrypt(nonce, plain[start : start + SEGMENT_BYTES], None))
        os.fsync(fd)
        os.close(fd)

    return write


def store_writer(directory: Path) -> Write:
    """Return a function that stores one object through the archive's own store."""
    sys.path.insert(0, str(servers.BENCH_DIR.parent / "src"))
    from strongroom.store import blobs

    store, key = blobs.SealedBlobStore(directory), secrets.token_bytes(32)

    def write(plain: memoryview) -> None:
        hashlib.sha256(plain).digest()
        object_id = blobs.new_object_id(time.time_ns() // 10**6, secrets.token_bytes(10))
        writer = store.create(object_id, key)
        writer.write(plain)
        writer.commit()

    return write


WRITERS = {"buffered": buffered_writer, "store": store_writer}


def measure(writer: str, size: int, seconds: float, directory: Path) -> dict[str, object]:
    """Store new objects for ``seconds`` in a fresh ``directory`` and return the rate; the directory is removed."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write = WRITERS[writer](directory)
    places = datasets.Layout().places(load.new_run(), 0)
    first = next(places)
    data_set = datasets.encode_image(size, first)
    # One fragment: the buffer is then a short command, one header, and the data set as it stands.
    stream = datasets.Stream(data_set, first, 1, len(data_set) + 6)
    offset = len(stream.buffer) - len(data_set)
    try:
        for _ in range(20):
            write(memoryview(stream.patch(next(places)))[offset:])
        count, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            write(memoryview(stream.patch(next(places)))[offset:])
            count += 1
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return {
        "writer": writer,
        "size": size,
        "count": count,
        "object_bytes": len(data_set),
        "objects_per_s": round(count / elapsed, 2),
        "mb_per_s": round(count * len(data_set) / elapsed / 1e6, 3),
        "cpu_us_per_object": round(1e6 * cpu / count, 1),
    }


def measure_together(writer: str, size: int, seconds: float, directory: Path, processes: int) -> dict[str, object]:
    """The same in several processes at a time; rates are their sum."""
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=load.FORK) as pool:
        places = [directory.with_name(f"{directory.name}-{number}") for number in range(processes)]
        runs = [pool.submit(measure, writer, size, seconds, place) for place in places]
        rows = [run.result() for run in runs]
    total = {key: round(sum(row[key] for row in rows), 3) for key in ("count", "objects_per_s", "mb_per_s")}
    return rows[0] | total


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure hashing, sealing, writing and fsync alone.")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--writer", choices=sorted(WRITERS), action="append")
    options = parser.parse_args()
    for writer in options.writer or WRITERS:
        print(json.dumps(measure(writer, options.size, options.seconds, servers.OUT_DIR / "floor")))


if __name__ == "__main__":
    main()
