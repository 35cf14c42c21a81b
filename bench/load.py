"""The load generator: one process, n associations, pre-encoded C-STORE requests; prints one line of JSON.

    python bench/load.py --host 127.0.0.1 --port 11112 --called STRONGROOM --calling BENCH --size 64 --associations 4

It reports its own CPU time beside the rate, so that one sees that the server was measured and not the generator.
"""

from __future__ import annotations

import argparse
import itertools
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import wire


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: ``count`` objects of ``size`` x ``size`` in all, after ``warm_up`` that are not counted."""

    endpoint: wire.Endpoint
    size: int = 64
    associations: int = 4
    count: int = 2000
    warm_up: int = 40
    run: int = 0
    start: int = 0
    layout: datasets.Layout = datasets.Layout()


class _Sender:
    """One association in its own thread, as one scanner; a scanner sends its own studies."""

    def __init__(self, load: Load, number: int) -> None:
        self.association = wire.Association(
            load.endpoint, [(wire.CT_IMAGE_STORAGE, [wire.EXPLICIT_VR_LITTLE_ENDIAN])], timeout_s=120
        )
        context_id = self.association.require_context()
        self.places = load.layout.places(load.run, number, load.start)
        first = datasets.Place(load.run, number, 99999999, 1, 999999)
        data_set = datasets.encode_image(load.size, first)
        self.stream = datasets.Stream(data_set, first, context_id, self.association.max_pdu_bytes)
        self.latencies_s: list[float] = []
        self.error: BaseException | None = None

    def send_one(self) -> None:
        buffer = self.stream.patch(next(self.places))
        started = time.perf_counter()
        self.association.socket.sendall(buffer)
        message = self.association.read_message()
        self.latencies_s.append(time.perf_counter() - started)
        if message.status != wire.SUCCESS:
            raise wire.PeerError(f"C-STORE answered 0x{message.status:04X}")

    def send(self, tickets: itertools.count[int], count: int, barrier: threading.Barrier, warm_up: int) -> None:
        try:
            for _ in range(warm_up):
                self.send_one()
            self.latencies_s.clear()
            barrier.wait()
            while next(tickets) < count:
                self.send_one()
        except BaseException as error:
            self.error = error
            barrier.abort()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0..1) of the sorted ``values`` lie."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def run(load: Load) -> dict[str, object]:
    """Send everything and return the measurement; the clock runs from the common start to the last response.

    Raises:
        wire.PeerError: the server refused something; a rate with failures in it would be worth nothing.
    """
    senders = [_Sender(load, number) for number in range(load.associations)]
    tickets = itertools.count()
    barrier = threading.Barrier(load.associations + 1)
    warm_up = -(-load.warm_up // load.associations)
    threads = [
        threading.Thread(target=sender.send, args=(tickets, load.count, barrier, warm_up), daemon=True)
        for sender in senders
    ]
    for thread in threads:
        thread.start()
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        pass
    started, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    failures = [sender.error for sender in senders if sender.error is not None]
    real = [error for error in failures if not isinstance(error, threading.BrokenBarrierError)]
    if failures:
        raise (real or failures)[0]
    for sender in senders:
        sender.association.__exit__(None)
    return _measured(load, senders, elapsed_s, cpu_s)


def _measured(load: Load, senders: Sequence[_Sender], elapsed_s: float, cpu_s: float) -> dict[str, object]:
    latencies = sorted(itertools.chain.from_iterable(sender.latencies_s for sender in senders))
    object_bytes = senders[0].stream.data_set_bytes
    cipher = senders[0].association.cipher
    return {
        "size": load.size,
        "associations": load.associations,
        "count": load.count,
        "run": load.run,
        "object_bytes": object_bytes,
        "max_pdu_bytes": senders[0].association.max_pdu_bytes,
        "tls": cipher[0] if cipher else None,
        "seconds": round(elapsed_s, 4),
        "objects_per_s": round(load.count / elapsed_s, 2),
        "mb_per_s": round(load.count * object_bytes / elapsed_s / 1e6, 3),
        "p50_ms": round(1e3 * percentile(latencies, 0.50), 3),
        "p95_ms": round(1e3 * percentile(latencies, 0.95), 3),
        "p99_ms": round(1e3 * percentile(latencies, 0.99), 3),
        "max_ms": round(1e3 * latencies[-1], 3),
        "generator_cpu_s": round(cpu_s, 4),
        "generator_cpu_us_per_object": round(1e6 * cpu_s / load.count, 1),
    }


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", default="STRONGROOM")
    parser.add_argument("--calling", default="BENCH")
    parser.add_argument("--tls", type=Path, metavar="DIR", help="directory with cert.pem, key.pem and ca.pem")


def parse_endpoint(options: argparse.Namespace) -> wire.Endpoint:
    return wire.Endpoint(options.host, options.port, options.called, options.calling, options.tls)


def main() -> None:
    parser = argparse.ArgumentParser(description="Store synthetic CT images as fast as the server answers.")
    add_endpoint_arguments(parser)
    parser.add_argument("--size", type=int, default=64, help="rows and columns of the 16-bit image")
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--count", type=int, default=2000, help="objects in all, not per association")
    parser.add_argument("--warm-up", type=int, default=40)
    parser.add_argument("--run", type=int, help="number that makes the UIDs of this run its own; default: the clock")
    parser.add_argument("--start", type=int, default=0, help="place in the layout of the first object")
    options = parser.parse_args()
    load = Load(
        parse_endpoint(options),
        options.size,
        options.associations,
        options.count,
        options.warm_up,
        options.run if options.run is not None else time.time_ns() // 10**8 % 10**10,
        options.start,
    )
    try:
        print(json.dumps(run(load)))
    except (wire.PeerError, OSError) as error:
        raise SystemExit(f"load: {error}") from None


if __name__ == "__main__":
    main()
