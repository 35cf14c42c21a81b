"""Runs the comparison and keeps every number in bench/out/results.json, from which report.py writes RESULTS.md.

python bench/run.py all             everything; the first time also fills archives, which takes minutes each
python bench/run.py store --quick   Strongroom and Orthanc only, short windows
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import big
import find
import machine
import pages
import report
import scale
import servers
import store
import web
import wire

RESULTS = servers.OUT_DIR / "results.json"
PAIR = ("strongroom", "orthanc")
STUDIES, LARGE, BIG_BYTES = 100_000, 200_000, 2_000_000_000

Section = dict[str, object]


def run_store(options: argparse.Namespace) -> Section:
    names = options.servers or (PAIR if options.quick else tuple(servers.PEERS))
    plan = store.Plan(names, options.runs or (3 if options.quick else 5), 1.5 if options.quick else 4.0)
    floor_rows = store.measure_floor(plan)
    rows = [row for tls in (False, True) for row in store.measure(plan, tls=tls)]
    return {"runs": plan.runs, "window_s": plan.window_s, "rows": rows, "floor": floor_rows}


def run_find(options: argparse.Namespace) -> Section:
    studies = 5_000 if options.quick else STUDIES
    return {"rows": find.measure(options.servers or PAIR, studies, 50 if options.quick else 200, refill=options.refill)}


def run_scale(options: argparse.Namespace) -> Section:
    large, runs = (10_000 if options.quick else LARGE), options.runs or (3 if options.quick else 5)
    return {"rows": [scale.measure(name, large, runs, refill=options.refill) for name in options.servers or PAIR]}


def run_big(options: argparse.Namespace) -> Section:
    total = BIG_BYTES // 10 if options.quick else BIG_BYTES
    return {"rows": [big.measure(name, total, tls=False) for name in options.servers or PAIR]}


def run_qido(options: argparse.Namespace) -> Section:
    studies, queries = (5_000, 40) if options.quick else (STUDIES, 200)
    return {"rows": web.measure_search(options.servers or PAIR, studies, queries, refill=options.refill)}


def run_wado(options: argparse.Namespace) -> Section:
    return {**web.measure_series(options.servers or PAIR, options.runs or (2 if options.quick else 5))}


def run_stow(options: argparse.Namespace) -> Section:
    return {"rows": web.measure_stow(options.servers or PAIR, options.runs or (3 if options.quick else 9))}


def run_frames(options: argparse.Namespace) -> Section:
    return {"rows": web.measure_frames(options.servers or PAIR, options.runs or (3 if options.quick else 10))}


def run_busy(options: argparse.Namespace) -> Section:
    studies, window_s, runs = (2_000, 1.5, 2) if options.quick else (10_000, 4.0, 3)
    return {"rows": web.measure_busy(options.servers or PAIR, studies, window_s, options.runs or runs)}


def run_pages(options: argparse.Namespace) -> Section:
    studies, queries = (5_000, 20) if options.quick else (STUDIES, 60)
    return {"rows": pages.measure(studies, queries, refill=options.refill)}


SECTIONS: dict[str, Callable[[argparse.Namespace], Section]] = {
    "store": run_store,
    "find": run_find,
    "scale": run_scale,
    "big": run_big,
    "qido": run_qido,
    "wado": run_wado,
    "stow": run_stow,
    "frames": run_frames,
    "busy": run_busy,
    "pages": run_pages,
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the archive with its peers; see the head of this file.")
    parser.add_argument("section", choices=[*SECTIONS, "all"])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short windows, small fillings, Orthanc as the only peer; for a look, not for results",
    )
    parser.add_argument("--runs", type=int, help="windows for each server and cell; the median counts")
    parser.add_argument("--servers", type=lambda text: tuple(text.split(",")), help=f"of: {', '.join(servers.PEERS)}")
    parser.add_argument("--refill", action="store_true", help="fill archives again instead of reusing bench/out/filled")
    parser.add_argument("--results", type=Path, help=f"default {RESULTS.name}, with --quick quick.json")
    options = parser.parse_args()
    unknown = set(options.servers or ()) - set(servers.PEERS)
    if unknown:
        parser.error(f"unknown servers: {', '.join(sorted(unknown))}")
    return options


def run_sections(options: argparse.Namespace, path: Path) -> tuple[Section, list[str]]:
    """Run what is asked for, keeping ``path`` up to date; return the new results and what could not be measured."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    new, failures = {}, []
    for name in SECTIONS if options.section == "all" else (options.section,):
        print(f"{name} ...", file=sys.stderr, flush=True)
        described = machine.describe()
        try:
            new[name] = {"machine": described, "quick": options.quick, **SECTIONS[name](options)}
        except (wire.PeerError, RuntimeError, OSError) as error:
            failures.append(f"{name}: {error}")
            continue
        path.write_text(json.dumps(kept | new, indent=1))
    return new, failures


def main() -> None:
    options = parse_arguments()
    # A terminated run stops its servers like an interrupted one, and so does one that a shell put in the background.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    path = options.results or (servers.OUT_DIR / "quick.json" if options.quick else RESULTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    new, failures = run_sections(options, path)
    if new:
        print(report.render(new))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
