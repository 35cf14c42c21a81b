"""Writes RESULTS.md from the numbers of a run; no number in it is typed by hand.

python bench/report.py [bench/out/results.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import report_web
import servers
from markdown import RIVAL, SUBJECT, Row, Verdict, by_server, number, ratio_of, table, times

STORE_TARGETS = {(64, 4): 4.0, (512, 4): 2.5, (64, 1): 2.5, (512, 1): 2.0}
"""How many times faster than Orthanc, by (rows and columns, associations); the same in plain TCP and in TLS."""
FLOOR_TARGET = 2.0
UNSCREENED, SCREENED_TARGET = "strongroom-unscreened", 0.85
KEPT_TARGET = 0.9
ONE_ANSWER_TARGET, MANY_ANSWERS_TARGET, SLOWEST_MS = 10.0, 5.0, 50.0
PEAK_MIB = 200.0


def _cells(section: Row) -> Iterator[tuple[bool, tuple[int, int], dict[str, Row]]]:
    for tls in (False, True):
        for cell in STORE_TARGETS:
            rows = [row for row in section["rows"] if row["tls"] == tls and (row["size"], row["associations"]) == cell]
            if rows:
                yield tls, cell, by_server(rows)


def floor_rate(section: Row, size: int, processes: int = 1) -> float | None:
    """Return the rate of the faster of the floor's writers."""
    rows = [row for row in section["floor"] if (row["size"], row["processes"]) == (size, processes)]
    return max((row["objects_per_s"] for row in rows), default=None)


def _store_verdicts(section: Row) -> Iterator[Verdict]:
    for tls, (size, associations), rows in _cells(section):
        target = STORE_TARGETS[size, associations]
        rates = [rows.get(name, {}).get("objects_per_s") for name in (SUBJECT, RIVAL)]
        ratio = ratio_of(*rates)
        label = f"C-STORE {size}x{size}, {associations} assoc., {'TLS' if tls else 'plain'}: times Orthanc"
        yield label, f"at least {target:g} x", times(ratio), ratio and ratio >= target
        kept = ratio_of(rates[0], rows.get(UNSCREENED, {}).get("objects_per_s"))
        if kept:
            yield (
                f"{label.partition(':')[0]}: its rate without screening",
                f"at least {SCREENED_TARGET:.0%}",
                f"{kept:.0%}",
                (kept >= SCREENED_TARGET),
            )
        if not tls and (size, associations) == (512, 1):
            ratio = ratio_of(floor_rate(section, 512), rates[0])
            label = "C-STORE 512x512, 1 assoc., plain: the floor's rate over it"
            yield label, f"at most {FLOOR_TARGET:g} x", times(ratio), ratio and ratio <= FLOOR_TARGET


def _find_verdicts(section: Row) -> Iterator[Verdict]:
    for label in dict.fromkeys(row["query"] for row in section["rows"]):
        rows = by_server(row for row in section["rows"] if row["query"] == label)
        subject = rows.get(SUBJECT)
        if subject is None:
            continue
        target = ONE_ANSWER_TARGET if subject["answers"] == 1 else MANY_ANSWERS_TARGET
        ratio = ratio_of(rows.get(RIVAL, {}).get("p50_ms"), subject["p50_ms"])
        yield f"C-FIND {label}: times Orthanc", f"at least {target:g} x", times(ratio), ratio and ratio >= target
        slowest = subject["max_ms"]
        yield f"C-FIND {label}: slowest", f"at most {SLOWEST_MS:g} ms", f"{slowest:.1f} ms", slowest <= SLOWEST_MS


def _scale_verdicts(section: Row) -> Iterator[Verdict]:
    for row in section["rows"]:
        if row["server"] == SUBJECT:
            label = f"Store rate at {row['large_count']:,} over the rate at {row['small_count']:,}"
            yield label, f"at least {KEPT_TARGET:.0%}", f"{row['kept']:.1%}", row["kept"] >= KEPT_TARGET


def _big_verdicts(section: Row) -> Iterator[Verdict]:
    for row in section["rows"]:
        if row["server"] == SUBJECT:
            label = f"Peak memory, {row['object_bytes'] / 1e9:.1f} GB object"
            met = row["peak_mib"] < PEAK_MIB and row["same_bytes"]
            yield label, f"under {PEAK_MIB:g} MiB, same bytes", f"{row['peak_mib']:.0f} MiB", met


VERDICTS = {
    "store": _store_verdicts,
    "find": _find_verdicts,
    "scale": _scale_verdicts,
    "big": _big_verdicts,
    **report_web.VERDICTS,
}


def _summary(results: Row) -> Iterator[str]:
    yield from ("## Targets", "")
    words = {True: "met", False: "**missed**", None: "not measured"}
    lines = [line for name, verdicts in VERDICTS.items() if name in results for line in verdicts(results[name])]
    yield from table(
        ("what", "target", "measured", ""),
        ((label, target, measured, words[verdict]) for label, target, measured, verdict in lines),
    )


def _store(section: Row) -> Iterator[str]:
    yield from ("## C-STORE", "")
    yield (
        f"Median of {section['runs']} windows of {section['window_s']:g} s for each server and line; the servers take "
        "turns inside one run. Ratio: times Orthanc as it comes. p50 and p99 are of one C-STORE, from the first byte "
        "sent to the response read. Server CPU is user and system time of all its processes for one object. "
        "Generator: cores that the load generator itself used of the machine's."
    )
    yield ""
    head = ("server", "objects/s", "MB/s", "ratio", "p50 ms", "p99 ms", "server CPU µs", "generator", "max PDU")
    for tls, (size, associations), rows in _cells(section):
        yield f"### {size}x{size}, {associations} association{'s' * (associations > 1)}, {'TLS' if tls else 'plain'}"
        yield ""
        base = rows.get(RIVAL, {}).get("objects_per_s")
        yield from table(head, (_store_line(row, base) for row in rows.values()))
    failed = [row for row in section["rows"] if row["failed_windows"]]
    if failed:
        yield from ("### Windows that failed", "")
        head = ("server", "size", "associations", "TLS", "failed", "of", "first answer")
        keys = ("server", "size", "associations", "tls", "failed_windows")
        yield from table(
            head,
            ((*(row[key] for key in keys), row["failed_windows"] + len(row["runs"]), row["error"]) for row in failed),
        )
    yield from _floor(section)


def _store_line(row: Row, base: float | None) -> Sequence[str]:
    rate = row.get("objects_per_s")
    if rate is None:
        return (row["server"], "failed", *("–",) * 7)
    figures = (number(rate), number(row["mb_per_s"], 1), times(ratio_of(rate, base)))
    latencies = (number(row["p50_ms"], 2), number(row["p99_ms"], 2), number(row["server_cpu_us"]))
    return (row["server"], *figures, *latencies, number(row["generator_cores"], 2), number(row["max_pdu_bytes"]))


def _floor(section: Row) -> Iterator[str]:
    yield from ("### The floor", "")
    yield (
        "The same objects hashed (SHA-256), sealed (AES-256-GCM), written to a new file each and fsynced, one after "
        "the other in one thread, or in four processes at a time: no protocol, no index, no trail. The faster of the "
        "two writers counts. No archive that syncs what it acknowledges is faster than this disk; times Orthanc is "
        "how far that is from a server that does not sync."
    )
    yield ""
    orthanc = {cell: rows.get(RIVAL, {}).get("objects_per_s") for tls, cell, rows in _cells(section) if not tls}
    yield from table(
        ("writer", "size", "processes", "objects/s", "times Orthanc"),
        (
            (
                row["writer"],
                f"{row['size']}x{row['size']}",
                str(row["processes"]),
                number(row["objects_per_s"]),
                times(ratio_of(row["objects_per_s"], orthanc.get((row["size"], row["processes"])))),
            )
            for row in section["floor"]
        ),
    )


def _find(section: Row) -> Iterator[str]:
    rows = section["rows"]
    yield from (f"## Study C-FIND, {rows[0]['studies']:,} studies", "")
    yield (
        f"{rows[0]['queries']} queries of each kind on one association, plain TCP, from the request's first byte to "
        "the last response read; every query for another study, the servers in turns, the number of answers checked. "
        "The answers hold eleven keys; with counts also Modalities in Study and the numbers of series and instances."
    )
    yield ""
    base = {row["query"]: row["p50_ms"] for row in rows if row["server"] == RIVAL}
    yield from table(
        ("query", "server", "p50 ms", "p95 ms", "slowest ms", "ratio"),
        (
            (row["query"], row["server"], *(number(row[key], 2) for key in ("p50_ms", "p95_ms", "max_ms")),
             times(ratio_of(base.get(row["query"]), row["p50_ms"])))
            for row in rows
        ),
    )  # fmt: skip


def _scale(section: Row) -> Iterator[str]:
    yield from ("## Store rate as the archive grows", "")
    row = section["rows"][0]
    yield (
        f"64x64, four associations, plain TCP, median of windows of {row['window']:,} objects: in new archives with "
        f"{row['small_count']:,} objects and, in turns with them, in one with {row['large_count']:,} and more."
    )
    yield ""
    yield from table(
        ("server", f"at {row['small_count']:,}", f"at {row['large_count']:,}", "kept"),
        (
            (
                row["server"],
                number(row["small_objects_per_s"]),
                number(row["large_objects_per_s"]),
                f"{row['kept']:.1%}",
            )
            for row in section["rows"]
        ),
    )


def _big(section: Row) -> Iterator[str]:
    yield from (f"## One object of {section['rows'][0]['object_bytes'] / 1e9:.1f} GB", "")
    yield (
        "Multi-frame, stored by C-STORE and fetched by C-GET in plain TCP; memory is the sum over the server's "
        "processes of their largest resident sets. Same bytes: the SHA-256 of the data set that came back."
    )
    yield ""
    head = ("server", "store s", "retrieve s", "idle MiB", "peak MiB, storing", "peak MiB", "same bytes")
    yield from table(head, (_big_line(row) for row in section["rows"]))


def _big_line(row: Row) -> Sequence[str]:
    seconds = (number(row["store_s"], 1), number(row["retrieve_s"], 1))
    memory = (number(row[key]) for key in ("idle_mib", "peak_store_mib", "peak_mib"))
    same = "yes" if row["same_bytes"] else f"**no** {row['error'] or ''}"
    return (row["server"], *seconds, *memory, same)


SECTIONS = {"store": _store, "find": _find, "scale": _scale, "big": _big, **report_web.SECTIONS}


def _machine(results: Row) -> Iterator[str]:
    measured = [results[name]["machine"] for name in SECTIONS if name in results]
    known = measured[0]
    yield from ("## Machine and versions", "")
    yield f"- {known['cores']} cores, {known['cpu']}; memory {known['memory']}; Linux {known['kernel']}"
    probes = ", ".join(number(one["fsync_4k_ms"], 2) for one in measured)
    yield f"- file system {known['file_system']}; a 4 KiB file written and fsynced in {probes} ms (before each section)"
    yield f"- Python {known['python']}, {known['openssl']}"
    for name, version in known["versions"].items():
        yield f"- {name} {version}"
    for name in SECTIONS:
        if name in results:
            one = results[name]["machine"]
            yield f"- section {name}: {one['date']}, commit {one['commit']}, load average {one['load']} at its start"
    ciphers = sorted({row["cipher"] for row in results.get("store", {}).get("rows", ()) if row.get("cipher")})
    if ciphers:
        yield f"- TLS: {', '.join(ciphers)} with every server, client certificates shown and checked"
    yield ""
    yield from ("| server | configuration |", "|---|---|")
    yield from (f"| {name} | {peer.note} |" for name, peer in servers.PEERS.items())
    yield ""


REPRODUCE = """## How to reproduce

    make bench-peers    # DCMTK and Orthanc from Debian, pynetdicom and tiny-pacs from PyPI, in a venv of their own
    make bench          # all sections, then this page

One section: `python bench/run.py store|find|scale|big|qido|wado|stow|frames|busy|pages`, in short with `--quick`. The
objects are synthetic CT images of 16-bit noise with 99 elements. The load generator sends pre-encoded requests, one
process an association, with Nagle's algorithm off and acknowledgements not delayed, and fragments to the maximum PDU
length that the server announces. All servers, and the generator, share the one machine. Before each window the page
cache is written back.
"""


def render(results: Row) -> str:
    """Return the whole page for what of ``results`` is there."""
    lines = ["# Speed, measured", ""]
    if quick := [name for name, section in results.items() if section.get("quick")]:
        lines += [f"**Quick runs, with short windows and small archives: {', '.join(quick)}.**", ""]
    lines += [*_summary(results), *_machine(results)]
    for name, section in SECTIONS.items():
        if name in results:
            lines += section(results[name])
    return "\n".join([*lines, REPRODUCE])


def main() -> None:
    source = sys.argv[1] if len(sys.argv) > 1 else servers.OUT_DIR / "results.json"
    with open(source, encoding="utf-8") as file:
        page = render(json.load(file))
    (servers.BENCH_DIR / "RESULTS.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
