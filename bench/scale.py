"""Does an archive slow down as it grows? The store rate at 1,000 and at 200,000 stored objects, in turns."""

from __future__ import annotations

import statistics
import sys

import datasets
import fill
import servers

SMALL = fill.Filling("small", 1_000, 64, datasets.Layout())
WINDOW = 2_000


def measure(name: str, large_count: int, runs: int, *, refill: bool) -> dict[str, object]:
    """Return the rates of windows of 2,000 objects, four associations, in a small and in a large archive.

    The small archive is new in every run; the large one is kept, and grows by each window.
    """
    large = fill.Filling(f"{large_count}-objects", large_count, 64, datasets.Layout())
    rates: dict[str, list[float]] = {"small": [], "large": []}
    with fill.filled(name, large, refill=refill) as (server, state):
        for number in range(runs):
            with fill.filled(name, SMALL, refill=True) as (small_server, small_state):
                servers.settle()
                rates["small"].append(fill.more(small_server, small_state, WINDOW)["objects_per_s"])
            servers.settle()
            rates["large"].append(fill.more(server, state, WINDOW)["objects_per_s"])
            last = ", ".join(f"{side} {values[-1]:.0f}/s" for side, values in rates.items())
            print(f"  {name} {number + 1}/{runs}: {last}", file=sys.stderr, flush=True)
        curve = state.rates
    small, grown = statistics.median(rates["small"]), statistics.median(rates["large"])
    return {
        "server": name,
        "small_count": SMALL.count,
        "large_count": large_count,
        "window": WINDOW,
        "runs": rates,
        "small_objects_per_s": small,
        "large_objects_per_s": grown,
        "kept": round(grown / small, 4),
        "filling_rates": curve,
    }
