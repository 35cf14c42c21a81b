"""C-STORE rates: every server gets the same windows of load, in turns, in plain TCP and in TLS."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import floor
import load
import servers
import wire

CELLS = ((64, 4), (512, 4), (64, 1), (512, 1))
"""(rows and columns, associations)"""


@dataclass(frozen=True, slots=True)
class Plan:
    """``runs`` windows of ``window_s`` seconds for each server and cell."""

    servers: Sequence[str]
    runs: int
    window_s: float


@dataclass(slots=True)
class _Side:
    """One server in one cell: the measurements of its windows, and why windows failed."""

    server: servers.Server
    windows: list[dict[str, object]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def measure(self, size: int, associations: int, seconds: float) -> None:
        servers.settle()
        wanted = load.Load(self.server.endpoint, size, associations, 10**9, seconds=seconds, run=load.new_run())
        cpu_s = self.server.cpu_s()
        try:
            window = load.run(wanted)
        except (wire.PeerError, OSError) as error:
            self.errors.append(str(error))
            return
        # The warm-up costs the server too.
        window["server_cpu_us"] = 1e6 * (self.server.cpu_s() - cpu_s) / (window["count"] + wanted.warm_up)
        self.windows.append(window)


def measure(plan: Plan, *, tls: bool) -> list[dict[str, object]]:
    """Return one row per cell and server; a server without TLS has no row with ``tls``."""
    names = [name for name in plan.servers if servers.PEERS[name].has_tls or not tls]
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(servers.running(name, servers.OUT_DIR / f"store-{name}", tls=tls)) for name in names
        ]
        sides = {cell: [_Side(server) for server in running] for cell in CELLS}
        for number in range(plan.runs):
            for (size, associations), cell_sides in sides.items():
                # Nobody comes always first, or always after the same neighbour's disk writes.
                start = number % len(cell_sides)
                for side in cell_sides[start:] + cell_sides[:start]:
                    side.measure(size, associations, plan.window_s)
            print(f"  store, {'TLS' if tls else 'plain'}: run {number + 1} of {plan.runs}", file=sys.stderr, flush=True)
    return [_row(tls, cell, side) for cell, cell_sides in sides.items() for side in cell_sides]


def _row(tls: bool, cell: tuple[int, int], side: _Side) -> dict[str, object]:
    row: dict[str, object] = {
        "tls": tls,
        "size": cell[0],
        "associations": cell[1],
        "server": side.server.name,
        "failed_windows": len(side.errors),
        "error": side.errors[0] if side.errors else None,
        "runs": [window["objects_per_s"] for window in side.windows],
    }
    # One window that failed may be chance; a server that fails more often than not has no rate.
    if len(side.windows) > len(side.errors):
        for key in ("objects_per_s", "mb_per_s", "p50_ms", "p95_ms", "p99_ms", "generator_cores", "server_cpu_us"):
            row[key] = round(statistics.median(window[key] for window in side.windows), 3)
        for key in ("object_bytes", "max_pdu_bytes"):
            row[key] = side.windows[0][key]
        row["cipher"] = side.windows[0]["tls"]
    return row


FLOORS = (
    (64, "buffered", 1),
    (64, "store", 1),
    (64, "buffered", 4),
    (512, "buffered", 1),
    (512, "store", 1),
    (512, "buffered", 4),
)
"""(rows and columns, writer, processes)"""


def measure_floor(plan: Plan) -> list[dict[str, object]]:
    """Return one row per size, writer and number of processes."""
    rates: dict[tuple[int, str, int], list[float]] = {cell: [] for cell in FLOORS}
    for _ in range(plan.runs):
        for (size, name, processes), values in rates.items():
            servers.settle()
            directory = servers.OUT_DIR / "floor"
            row = floor.measure_together(name, size, plan.window_s, directory, processes)
            values.append(row["objects_per_s"])
    return [
        {"size": size, "writer": name, "processes": processes, "runs": values}
        | {"objects_per_s": statistics.median(values)}
        for (size, name, processes), values in rates.items()
    ]
