"""DICOMweb over HTTPS: queries, metadata, retrieval, storing and frames, the servers taking turns."""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cine
import datasets
import fill
import load
import readers
import servers
import webclient
import wire

SEED = 53
BLOCK = 20
SERIES = datasets.Layout(instances_per_series=500, series_per_study=1)
SERIES_INSTANCES = 500
STORED_INSTANCES = 100
CT_SIZE = 512
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"'
JPEG = f'multipart/related; type="image/jpeg"; transfer-syntax={cine.JPEG_BASELINE}'

Row = dict[str, object]
Path = Callable[[datasets.Place], str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of search: its path, and how many answers it must have."""

    label: str
    path: Path
    answers: int


def _exact(name: str, tag: int) -> Path:
    return lambda place: f"/studies?{name}={datasets.values(place)[tag]}"


KINDS = (
    Kind("StudyInstanceUID", _exact("StudyInstanceUID", datasets.STUDY_INSTANCE_UID), 1),
    Kind("PatientID", _exact("PatientID", datasets.PATIENT_ID), 1),
    Kind("AccessionNumber", _exact("AccessionNumber", datasets.ACCESSION_NUMBER), 1),
    Kind("limit=100", lambda _: "/studies?limit=100", 100),
)


class _Searcher:
    """One connection to one filled archive, and the latencies it has seen by kind."""

    def __init__(self, connection: webclient.Connection, state: fill.Filled) -> None:
        self.connection, self._state = connection, state
        self._random = random.Random(SEED)
        self.latencies_s: dict[str, list[float]] = {kind.label: [] for kind in KINDS}

    def _place(self) -> datasets.Place:
        number = self._random.randrange(len(self._state.sent))
        return datasets.Place(self._state.run, number, self._random.randrange(self._state.sent[number]), 1, 1)

    def ask(self, kind: Kind) -> float:
        """Search once and return how long it took, from the first byte sent to the last one read.

        Raises:
            wire.PeerError: the number of answers is not the one it must be.
        """
        connection = self.connection
        request = connection.encode("GET", kind.path(self._place()), {"Accept": webclient.JSON})
        connection.refresh()
        started = time.perf_counter()
        answer = connection.exchange(request)
        elapsed_s = time.perf_counter() - started
        if len(json.loads(answer.content)) != kind.answers:
            raise wire.PeerError(f"{kind.label}: {len(json.loads(answer.content))} answers, not {kind.answers}")
        return elapsed_s


def _latencies(seconds: Sequence[float]) -> Row:
    ordered = sorted(seconds)
    return {
        "count": len(ordered),
        "p50_ms": round(1e3 * load.percentile(ordered, 0.5), 3),
        "p95_ms": round(1e3 * load.percentile(ordered, 0.95), 3),
        "max_ms": round(1e3 * ordered[-1], 3),
    }


def measure_search(names: Sequence[str], studies: int, queries: int, *, refill: bool) -> list[Row]:
    """Return one row per kind of search and server, in archives of ``studies`` studies."""
    filling = fill.Filling(f"{studies}-studies", studies, 8, datasets.Layout(1, 1))
    searchers: dict[str, _Searcher] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            server, state = stack.enter_context(fill.filled(name, filling, refill=refill, web=True))
            searchers[name] = _Searcher(stack.enter_context(connected(server)), state)
        for kind in KINDS:
            for searcher in searchers.values():
                searcher.ask(kind)
            for _ in range(-(-queries // BLOCK)):
                for searcher in searchers.values():
                    searcher.latencies_s[kind.label] += [searcher.ask(kind) for _ in range(BLOCK)]
    return [
        {"server": name, "query": kind.label, "studies": studies, **_latencies(searcher.latencies_s[kind.label])}
        for kind in KINDS
        for name, searcher in searchers.items()
    ]


def connected(server: servers.Server) -> webclient.Connection:
    """Return a connection to the server's DICOMweb service."""
    assert server.web is not None
    return webclient.Connection(server.web)


@contextlib.contextmanager
def _fresh(names: Sequence[str], what: str) -> Iterator[dict[str, servers.Server]]:
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(servers.running(name, servers.OUT_DIR / f"web-{what}-{name}", web=True))
            for name in names
        }


def _turns(names: Sequence[str], runs: int) -> Iterator[str]:
    """Yield every name ``runs`` times; nobody comes always first."""
    for number in range(runs):
        start = number % len(names)
        yield from (*names[start:], *names[:start])


def measure_series(names: Sequence[str], runs: int) -> dict[str, list[Row]]:
    """Return rows for the metadata of a CT series of 500, and for reading all of it by one and by four clients."""
    run = load.new_run()
    place = datasets.Place(run, 0, 0, 1, 1)
    path = f"/studies/{datasets.uid(place, 0, 0)}/series/{datasets.uid(place, 1, 0)}"
    metadata: dict[str, list[float]] = {name: [] for name in names}
    reads: dict[tuple[str, int], list[Row]] = {}
    with _fresh(names, "series") as running:
        for server in running.values():
            load.run(load.Load(server.endpoint, CT_SIZE, 1, SERIES_INSTANCES, 0, run=run, layout=SERIES))
            servers.wait_for_digests(server)
        servers.settle()
        for name in (*names, *_turns(names, runs)):
            metadata[name].append(_metadata_s(running[name], path))
        for clients in (1, 4):
            for name in (*names, *_turns(names, runs)):
                read = readers.read(running[name], path, DICOM, clients)
                reads.setdefault((name, clients), []).append(read)
    size = reads[names[0], 1][0]["bytes"]
    return {
        # The first of each is the warm-up.
        "metadata": [{"server": name, **_latencies(seconds[1:])} for name, seconds in metadata.items()],
        "retrieve": [_read_row(name, clients, each[1:]) for (name, clients), each in reads.items()],
        "ceiling": [readers.ceiling(int(str(size)), clients) for clients in (1, 4)],
    }


def _metadata_s(server: servers.Server, path: str) -> float:
    with connected(server) as connection:
        request = connection.encode("GET", f"{path}/metadata", {"Accept": webclient.JSON})
        started = time.perf_counter()
        answer = connection.exchange(request)
        elapsed_s = time.perf_counter() - started
    if len(json.loads(answer.content)) != SERIES_INSTANCES:
        raise wire.PeerError("metadata of another number of instances")
    return elapsed_s


def _read_row(name: str, clients: int, reads: Sequence[Row]) -> Row:
    keys = ("mb_per_s", "client_cores", "server_cores")
    middle = {key: round(statistics.median(float(str(read[key])) for read in reads), 3) for key in keys}
    return {"server": name, "clients": clients, "runs": [read["mb_per_s"] for read in reads], **middle}


def measure_stow(names: Sequence[str], runs: int) -> list[Row]:
    """Return one row per server: one request with 100 CT images of 512x512, each time new ones."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with _fresh(names, "stow") as running:
        for name in (*names, *_turns(names, runs)):
            body = _stow_body(load.new_run())
            servers.settle()
            with connected(running[name]) as connection:
                headers = {
                    "Accept": webclient.JSON,
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
                    "Content-Length": str(sum(map(len, body))),
                }
                request = connection.encode("POST", "/studies", headers)
                started = time.perf_counter()
                answer = connection.exchange(request, body)
                seconds[name].append(time.perf_counter() - started)
            stored = json.loads(answer.content)["00081199"]["Value"]
            if answer.status != 200 or len(stored) != STORED_INSTANCES:
                raise wire.PeerError(f"STOW answered {answer.status} for {len(stored)} of {STORED_INSTANCES}")
    return [
        {"server": name, "objects_per_s": round(STORED_INSTANCES / statistics.median(each[1:]), 1)}
        | _latencies(each[1:])
        for name, each in seconds.items()
    ]


BOUNDARY = "bench-5f1c2f7e9a"


def _stow_body(run: int) -> list[bytes]:
    """Return the request's content in pieces; the images are encoded before the clock starts."""
    pieces = []
    for place, _ in zip(SERIES.places(run, 0), range(STORED_INSTANCES), strict=False):
        sop_uid = datasets.values(place)[datasets.SOP_INSTANCE_UID]
        meta = b"".join(
            datasets.encode_element(*element)
            for element in (
                (0x00020001, "OB", b"\x00\x01"),
                (0x00020002, "UI", wire.CT_IMAGE_STORAGE),
                (0x00020003, "UI", sop_uid),
                (0x00020010, "UI", wire.EXPLICIT_VR_LITTLE_ENDIAN),
                (0x00020012, "UI", wire.IMPLEMENTATION_CLASS_UID),
            )
        )
        length = datasets.encode_element(0x00020000, "UL", len(meta))
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        pieces += [head + bytes(128) + b"DICM" + length + meta, datasets.encode_image(CT_SIZE, place), b"\r\n"]
    return [*pieces, f"--{BOUNDARY}--\r\n".encode()]


def measure_frames(names: Sequence[str], runs: int) -> list[Row]:
    """Return one row per server and request on an ultrasound of 1,000 frames: the first, one, a hundred."""
    rows = []
    with _fresh(names, "frames") as running:
        for jpeg, accept in ((False, OCTETS), (True, JPEG)):
            place = datasets.Place(load.new_run(), 0, 0, 1, 1)
            cine.store([server.endpoint for server in running.values()], place, jpeg=jpeg)
            servers.settle()
            uids = (datasets.uid(place, 0, 0), datasets.uid(place, 1, 0), datasets.uid(place, 1, 1))
            path = "/studies/{}/series/{}/instances/{}/frames/".format(*uids)
            label = "JPEG" if jpeg else "uncompressed"
            for name, seconds in _frames(running, path, accept, runs).items():
                rows += [{"server": name, "what": f"{what}, {label}", **_latencies(s)} for what, s in seconds.items()]
    return rows


def _frames(
    running: Mapping[str, servers.Server], path: str, accept: str, runs: int
) -> dict[str, dict[str, list[float]]]:
    """Return the seconds that requests took, by server and kind; every answer is compared with what was stored."""
    chosen = random.Random(SEED)
    jpeg = accept == JPEG
    found: dict[str, dict[str, list[float]]] = {name: {} for name in running}
    asked = [("first frame, the first request", [1])]
    asked += [("one frame", [chosen.randrange(1, cine.FRAMES + 1)]) for _ in range(runs)]
    starts = [chosen.randrange(1, cine.FRAMES - 99) for _ in range(runs)]
    asked += [("100 frames in one request", list(range(start, start + 100))) for start in starts]
    for what, numbers in asked:
        for name, server in running.items():
            with connected(server) as connection:
                request = connection.encode("GET", path + ",".join(map(str, numbers)), {"Accept": accept})
                started = time.perf_counter()
                answer = connection.exchange(request)
                found[name].setdefault(what, []).append(time.perf_counter() - started)
            if not all(cine.frame(number, jpeg=jpeg) in answer.content for number in (numbers[0], numbers[-1])):
                raise wire.PeerError(f"{name}: a frame is not what was stored")
    return found


def measure_busy(names: Sequence[str], studies: int, window_s: float, runs: int) -> list[Row]:
    """Return one row per server and size of image: p95 of searches alone, and while four associations store."""
    filling = fill.Filling("busy", studies, 8, datasets.Layout(1, 1))
    rows = []
    for name in names:
        with fill.filled(name, filling, refill=True, web=True) as (server, state), connected(server) as connection:
            searcher = _Searcher(connection, state)
            for size in (64, CT_SIZE):
                rows.append(_busy_row(server, searcher, size, (window_s, runs)))
    return rows


def _busy_row(server: servers.Server, searcher: _Searcher, size: int, plan: tuple[float, int]) -> Row:
    window_s, runs = plan
    quiet, busy, rates = [], [], []
    for _ in range(runs):
        servers.settle()
        quiet += _searches(searcher, window_s)
        # A program of its own: a process forked while this one is in the middle of TLS may wait for a lock for ever.
        with subprocess.Popen(_load_command(server, size, window_s + 1), stdout=subprocess.PIPE, text=True) as sending:
            busy += _searches(searcher, window_s)
            said, _ = sending.communicate()
        if sending.returncode:
            raise wire.PeerError("the load generator failed")
        rates.append(float(json.loads(said)["objects_per_s"]))
    row: Row = {"server": server.name, "size": size, "stored_per_s": round(statistics.median(rates), 1)}
    for label, seconds in (("quiet", quiet), ("busy", busy)):
        row |= {f"{label}_{key}": value for key, value in _latencies(seconds).items()}
    return row


def _load_command(server: servers.Server, size: int, seconds: float) -> list[str]:
    endpoint = server.endpoint
    command = [sys.executable, str(servers.BENCH_DIR / "load.py"), "--host", endpoint.host]
    command += ["--port", str(endpoint.port), "--called", endpoint.called, "--calling", endpoint.calling]
    return [*command, "--size", str(size), "--count", str(10**9), "--seconds", str(seconds)]


def _searches(searcher: _Searcher, seconds: float) -> list[float]:
    """Search for one study after the other, with a pause as a person makes, and return how long each took."""
    ended = time.perf_counter() + seconds
    found, pause = [], threading.Event()
    while time.perf_counter() < ended:
        found.append(searcher.ask(KINDS[len(found) % 3]))
        pause.wait(0.005)
    return found
