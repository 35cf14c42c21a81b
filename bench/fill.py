"""Archives filled once by C-STORE and kept in bench/out/filled, because filling one takes minutes."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import load
import servers

ASSOCIATIONS = 4
STEP = 10_000


@dataclass(frozen=True, slots=True)
class Filling:
    """What an archive is filled with: ``count`` images of ``size`` x ``size`` spread as ``layout`` says."""

    label: str
    count: int
    size: int
    layout: datasets.Layout


@dataclass(frozen=True, slots=True)
class Filled:
    """An archive that holds the objects 0 to ``sent[association]`` of ``run``; ``rates`` are objects/s by step."""

    filling: Filling
    run: int
    sent: list[int]
    rates: list[float]


@contextlib.contextmanager
def filled(name: str, filling: Filling, *, refill: bool, web: bool = False) -> Iterator[tuple[servers.Server, Filled]]:
    """Start the archive ``name`` with its filling, from an earlier run if there is one, else by filling it now."""
    directory = servers.OUT_DIR / "filled" / f"{name}-{filling.label}"
    record = directory / "fill.json"
    if refill or not _fits(record, filling):
        shutil.rmtree(directory, ignore_errors=True)
    with servers.running(name, directory, keep=True, web=web) as server:
        if not record.exists():
            record.write_text(json.dumps(asdict(_fill(server, filling))))
        servers.wait_for_digests(server)
        known = json.loads(record.read_text())
        yield server, Filled(filling, known["run"], known["sent"], known["rates"])


def _fits(record: Path, filling: Filling) -> bool:
    return record.exists() and json.loads(record.read_text())["filling"] == asdict(filling)


def _fill(server: servers.Server, filling: Filling) -> Filled:
    run, sent, rates = load.new_run(), [0] * ASSOCIATIONS, []
    while sum(sent) < filling.count:
        step = load.run(
            load.Load(
                server.endpoint,
                size=filling.size,
                associations=ASSOCIATIONS,
                count=min(STEP, filling.count - sum(sent)),
                warm_up=0,
                run=run,
                starts=tuple(sent),
                layout=filling.layout,
            )
        )
        sent = [before + now for before, now in zip(sent, step["sent_by_association"], strict=True)]
        rates.append(step["objects_per_s"])
        print(f"  {server.name}: {sum(sent)} of {filling.count} at {rates[-1]:.0f}/s", file=sys.stderr, flush=True)
    return Filled(filling, run, sent, rates)


def more(server: servers.Server, state: Filled, count: int) -> dict[str, object]:
    """Store ``count`` objects of new studies into a filled archive and return the measurement."""
    filling = state.filling
    return load.run(
        load.Load(
            server.endpoint,
            size=filling.size,
            associations=ASSOCIATIONS,
            count=count,
            run=load.new_run(),
            layout=filling.layout,
        )
    )
