"""The DICOMweb part of RESULTS.md: targets and tables."""

from __future__ import annotations

from collections.abc import Iterator

from markdown import RIVAL, SUBJECT, Row, Verdict, by_server, number, ratio_of, table, times

SEARCH_TARGET, METADATA_TARGET, STOW_TARGET = 10.0, 10.0, 2.5
READ_TARGETS = {1: 1.0, 4: 2.0}
"""How many times Orthanc's MB/s, by clients."""
FIRST_FRAME_MS = 50.0
BUSY_TARGET = 3.0
PAGE_MS, TYPED_MS = 300.0, 50.0


def _versus(label: str, rows: dict[str, Row], key: str, target: float) -> Verdict:
    """Both rows have a latency ``key``: how many times shorter ours is."""
    ratio = ratio_of(rows.get(RIVAL, {}).get(key), rows.get(SUBJECT, {}).get(key))
    return f"{label}: times Orthanc", f"at least {target:g} x", times(ratio), ratio and ratio >= target


def _qido_verdicts(section: Row) -> Iterator[Verdict]:
    for label in dict.fromkeys(row["query"] for row in section["rows"]):
        rows = by_server(row for row in section["rows"] if row["query"] == label)
        yield _versus(f"QIDO-RS {label}", rows, "p50_ms", SEARCH_TARGET)


def _wado_verdicts(section: Row) -> Iterator[Verdict]:
    yield _versus("/metadata of 500 CTs", by_server(section["metadata"]), "p50_ms", METADATA_TARGET)
    for clients, target in READ_TARGETS.items():
        rows = by_server(row for row in section["retrieve"] if row["clients"] == clients)
        ratio = ratio_of(*(rows.get(name, {}).get("mb_per_s") for name in (SUBJECT, RIVAL)))
        label = f"WADO-RS of 500 CTs, {clients} client{'s' * (clients > 1)}: times Orthanc's MB/s"
        yield label, f"at least {target:g} x", times(ratio), ratio and ratio >= target


def _stow_verdicts(section: Row) -> Iterator[Verdict]:
    yield _versus("STOW-RS of 100 CTs", by_server(section["rows"]), "p50_ms", STOW_TARGET)


def _frames_verdicts(section: Row) -> Iterator[Verdict]:
    for row in section["rows"]:
        if row["server"] == SUBJECT and row["what"].startswith("first frame"):
            measured = row["max_ms"]
            yield (
                f"Ultrasound, {row['what']}",
                f"under {FIRST_FRAME_MS:g} ms",
                f"{measured:.1f} ms",
                (measured < FIRST_FRAME_MS),
            )


def _busy_verdicts(section: Row) -> Iterator[Verdict]:
    for row in section["rows"]:
        if row["server"] == SUBJECT:
            ratio = ratio_of(row["busy_p95_ms"], row["quiet_p95_ms"])
            label = f"QIDO-RS p95 while {row['size']}x{row['size']} are stored, over p95 alone"
            yield label, f"at most {BUSY_TARGET:g} x", times(ratio), ratio and ratio <= BUSY_TARGET


def _pages_verdicts(section: Row) -> Iterator[Verdict]:
    for row in section["rows"]:
        target = TYPED_MS if row["is_typed"] else PAGE_MS
        measured = row["p95_ms"]
        yield f"List of studies, {row['what']}: p95", f"under {target:g} ms", f"{measured:.1f} ms", measured < target


VERDICTS = {
    "qido": _qido_verdicts,
    "wado": _wado_verdicts,
    "stow": _stow_verdicts,
    "frames": _frames_verdicts,
    "busy": _busy_verdicts,
    "pages": _pages_verdicts,
}


def _latencies(rows: list[Row], key: str, name: str) -> Iterator[str]:
    """Yield a table of latencies by what was asked and server, with the ratio of the medians."""
    base = {row.get(key): row["p50_ms"] for row in rows if row["server"] == RIVAL}
    yield from table(
        (name, "server", "requests", "p50 ms", "p95 ms", "slowest ms", "ratio"),
        (
            (
                row.get(key, name),
                row["server"],
                row["count"],
                *(number(row[value], 2) for value in ("p50_ms", "p95_ms", "max_ms")),
                times(ratio_of(base.get(row.get(key)), row["p50_ms"])),
            )
            for row in rows
        ),
    )


def _qido(section: Row) -> Iterator[str]:
    yield from (f"## QIDO-RS, {section['rows'][0]['studies']:,} studies", "")
    yield (
        "Search for studies over HTTPS on one connection that is kept alive, each server asked in blocks of 20 in "
        "turns, every query for another study, the number of answers checked. From the request's first byte to the "
        "answer's last."
    )
    yield ""
    yield from _latencies(section["rows"], "query", "query")


def _wado(section: Row) -> Iterator[str]:
    yield from ("## A CT series of 500 over WADO-RS", "")
    yield (
        "500 images of 512x512, stored by C-STORE, and what Strongroom does with them afterwards at the least priority "
        "(digests) done; then its metadata (DICOM JSON), and all of it as multipart/related "
        "application/dicom in the stored transfer syntax, by one client and by four at once, each a process with a "
        "connection of its own; the servers in turns, medians."
    )
    yield ""
    yield from _latencies(section["metadata"], "what", "metadata of the series")
    base = {row["clients"]: row["mb_per_s"] for row in section["retrieve"] if row["server"] == RIVAL}
    ceiling = {row["clients"]: row["mb_per_s"] for row in section["ceiling"]}
    yield from table(
        ("clients", "server", "MB/s", "ratio", "server cores", "client cores", "client's ceiling MB/s"),
        (
            (
                row["clients"],
                row["server"],
                number(row["mb_per_s"], 1),
                times(ratio_of(row["mb_per_s"], base.get(row["clients"]))),
                number(row["server_cores"], 2),
                number(row["client_cores"], 2),
                number(ceiling.get(row["clients"])),
            )
            for row in section["retrieve"]
        ),
    )
    yield (
        "The client's ceiling: the same readers, when a process sends them as many bytes from memory over the same "
        "TLS. Cores are processor time over wall time: a client far below one core for each reader waits for the "
        "server, and not the server for it."
    )
    yield ""


def _stow(section: Row) -> Iterator[str]:
    yield from ("## STOW-RS of 100 CTs", "")
    yield "One request with 100 Part-10 files of 512x512, new ones each time, until its response is read."
    yield ""
    yield from _latencies(section["rows"], "what", "100 CTs")


def _frames(section: Row) -> Iterator[str]:
    yield from ("## An ultrasound of 1,000 frames", "")
    yield (
        "640x480 with 8 bits, once uncompressed (307 MB) and once with fragments of 40,000 bytes for JPEG frames and "
        "no offset table (40 MB), stored by C-STORE. Each request on a new connection, the TLS handshake not counted, "
        "frames at random places; the frames that come back are compared with those that were stored."
    )
    yield ""
    yield from _latencies(section["rows"], "what", "request")


def _busy(section: Row) -> Iterator[str]:
    yield from ("## Searching while modalities store", "")
    yield (
        "QIDO-RS with one exact key, one search after the other with 5 ms between them: alone, and while four "
        "associations store as fast as they are answered."
    )
    yield ""
    head = ("server", "stored", "stored/s", "p50 ms alone", "p95 ms alone", "p50 ms busy", "p95 ms busy", "p95 ratio")
    keys = ("quiet_p50_ms", "quiet_p95_ms", "busy_p50_ms", "busy_p95_ms")
    yield from table(
        head,
        (
            (
                row["server"],
                f"{row['size']}x{row['size']}",
                number(row["stored_per_s"]),
                *(number(row[key], 2) for key in keys),
                times(ratio_of(row["busy_p95_ms"], row["quiet_p95_ms"])),
            )
            for row in section["rows"]
        ),
    )


def _pages(section: Row) -> Iterator[str]:
    yield from (f"## The list of studies in the browser, {section['rows'][0]['studies']:,} studies", "")
    yield (
        "Pages of 50 studies and what is asked while somebody types, over HTTPS on one connection that is kept alive, "
        "with the record in the trail that each has: from the request's first byte to the answer's last, the number "
        "of studies shown checked. Words are looked for anywhere in names, Patient IDs, accession numbers and "
        "descriptions. Processor ms: of all of the server's processes, for each request. The first search comes ten "
        "seconds after the first page that the worker has shown, with which it begins to read the texts that it "
        "searches: in those seconds a search took up to 90 ms."
    )
    yield ""
    keys = ("p50_ms", "p95_ms", "max_ms", "server_cpu_ms")
    yield from table(
        ("what", "requests", "p50 ms", "p95 ms", "slowest ms", "processor ms"),
        ((row["what"], row["count"], *(number(row[key], 1) for key in keys)) for row in section["rows"]),
    )


SECTIONS = {"qido": _qido, "wado": _wado, "stow": _stow, "frames": _frames, "busy": _busy, "pages": _pages}
