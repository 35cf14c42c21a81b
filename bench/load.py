"""The load generator: one process an association, pre-encoded C-STORE requests; prints one line of JSON.

    python bench/load.py --host 127.0.0.1 --port 11112 --called STRONGROOM --calling BENCH --size 64 --associations 4

It reports its own CPU time beside the rate, so that one sees that the server was measured and not the generator.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from pathlib import Path

import datasets
import wire

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: ``count`` objects of ``size`` x ``size`` in all, after ``warm_up`` that are not counted.

    After ``seconds`` no new object is begun, and fewer are counted. ``run`` makes the UIDs unique, ``starts`` is the
    place in the layout of each association's first object, zero when empty.
    """

    endpoint: wire.Endpoint
    size: int = 64
    associations: int = 4
    count: int = 2000
    warm_up: int = 40
    seconds: float = 3600.0
    run: int = 0
    starts: tuple[int, ...] = ()
    layout: datasets.Layout = field(default_factory=datasets.Layout)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one association did between the common start and its last response."""

    started_s: float
    ended_s: float
    cpu_s: float
    latencies_s: list[float]
    object_bytes: int
    max_pdu_bytes: int
    cipher: str | None
    error: str | None = None


class _Sender:
    """One association, as one scanner that sends its own studies."""

    def __init__(self, load: Load, number: int) -> None:
        self.association = wire.Association(
            load.endpoint, [(wire.CT_IMAGE_STORAGE, [wire.EXPLICIT_VR_LITTLE_ENDIAN])], timeout_s=120
        )
        context_id = self.association.require_context()
        self.places = load.layout.places(load.run, number, load.starts[number] if load.starts else 0)
        first = datasets.Place(load.run, number, 99999999, 1, 999999)
        data_set = datasets.encode_image(load.size, first)
        self.stream = datasets.Stream(data_set, first, context_id, self.association.max_pdu_bytes)
        self.latencies_s: list[float] = []

    def send_one(self) -> None:
        buffer = self.stream.patch(next(self.places))
        started = time.perf_counter()
        self.association.socket.sendall(buffer)
        message = self.association.read_message()
        self.latencies_s.append(time.perf_counter() - started)
        if message.status != wire.SUCCESS:
            raise wire.PeerError(f"C-STORE answered 0x{message.status:04X}")

    def send(self, load: Load, tickets: Synchronized[int], barrier: Barrier) -> Sent:
        """Warm up, wait for the others, and send until the tickets are sold out or the time is up."""
        for _ in range(-(-load.warm_up // load.associations)):
            self.send_one()
        self.latencies_s.clear()
        barrier.wait()
        started_s, cpu_s = time.perf_counter(), time.process_time()
        while True:
            with tickets.get_lock():
                tickets.value -= 1
                sold_out = tickets.value < 0
            if sold_out or time.perf_counter() - started_s > load.seconds:
                break
            self.send_one()
        ended_s, cpu_s = time.perf_counter(), time.process_time() - cpu_s
        self.association.__exit__(None)
        cipher = self.association.cipher
        return Sent(
            started_s,
            ended_s,
            cpu_s,
            self.latencies_s,
            self.stream.data_set_bytes,
            self.association.max_pdu_bytes,
            cipher[0] if cipher else None,
        )


def _send(load: Load, number: int, tickets: Synchronized[int], barrier: Barrier, results: Connection) -> None:
    try:
        results.send(_Sender(load, number).send(load, tickets, barrier))
    except KeyboardInterrupt:
        return
    except (wire.PeerError, OSError, threading.BrokenBarrierError) as error:
        barrier.abort()
        results.send(Sent(0, 0, 0, [], 0, 0, None, f"{type(error).__name__}: {error}"))


def new_run() -> int:
    """Return a run number that no earlier run of this machine had: tenths of seconds of the clock."""
    return time.time_ns() // 10**8 % 10**10


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0..1) of the sorted values lie; 0.0 when there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def run(load: Load) -> dict[str, object]:
    """Send everything and return the measurement; the clock runs from the common start to the last response.

    One process an association: with threads, waiting for each other's interpreter lock doubled the generator's CPU.

    Raises:
        wire.PeerError: the server refused something; a rate with failures in it would be worth nothing.
    """
    tickets, barrier = FORK.Value("q", load.count), FORK.Barrier(load.associations, timeout=120)
    pipes, processes = [], []
    for number in range(load.associations):
        receiving, sending = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_send, args=(load, number, tickets, barrier, sending), daemon=True)
        process.start()
        sending.close()
        pipes.append(receiving)
        processes.append(process)
    try:
        sent: list[Sent] = [pipe.recv() for pipe in pipes]
    except EOFError:
        raise wire.PeerError("an association of the generator died") from None
    for process in processes:
        process.join()
    errors = sorted((one.error for one in sent if one.error), key=lambda text: text.startswith("BrokenBarrier"))
    if errors:
        raise wire.PeerError(errors[0])
    return _measured(load, sent)


def _measured(load: Load, sent: Sequence[Sent]) -> dict[str, object]:
    latencies = sorted(itertools.chain.from_iterable(one.latencies_s for one in sent))
    elapsed_s = max(one.ended_s for one in sent) - min(one.started_s for one in sent)
    cpu_s = sum(one.cpu_s for one in sent)
    count = len(latencies)
    return {
        "size": load.size,
        "associations": load.associations,
        "count": count,
        "sent_by_association": [len(one.latencies_s) for one in sent],
        "run": load.run,
        "object_bytes": sent[0].object_bytes,
        "max_pdu_bytes": sent[0].max_pdu_bytes,
        "tls": sent[0].cipher,
        "seconds": round(elapsed_s, 4),
        "objects_per_s": round(count / elapsed_s, 2),
        "mb_per_s": round(count * sent[0].object_bytes / elapsed_s / 1e6, 3),
        "p50_ms": round(1e3 * percentile(latencies, 0.50), 3),
        "p95_ms": round(1e3 * percentile(latencies, 0.95), 3),
        "p99_ms": round(1e3 * percentile(latencies, 0.99), 3),
        "max_ms": round(1e3 * latencies[-1], 3),
        "generator_cpu_us_per_object": round(1e6 * cpu_s / count, 1),
        "generator_cores": round(cpu_s / elapsed_s, 3),
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
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no new object after this time")
    parser.add_argument("--run", type=int, help="number that makes the UIDs of this run its own; default: the clock")
    options = parser.parse_args()
    load = Load(
        parse_endpoint(options),
        options.size,
        options.associations,
        options.count,
        options.warm_up,
        options.seconds,
        options.run if options.run is not None else new_run(),
    )
    try:
        print(json.dumps(run(load)))
    except (wire.PeerError, OSError) as error:
        raise SystemExit(f"load: {error}") from None


if __name__ == "__main__":
    main()
