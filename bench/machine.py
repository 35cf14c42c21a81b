"""What a measurement was made on and with; results without it cannot be compared."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import servers

FSYNC_PROBES = 50


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _value(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "unknown"


def fsync_ms(directory: Path) -> float:
    """Return the median of writing 4 KiB to a new file and fsyncing it, in milliseconds."""
    directory.mkdir(parents=True, exist_ok=True)
    path, times = directory / "fsync-probe", []
    for _ in range(FSYNC_PROBES):
        started = time.perf_counter()
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.write(fd, bytes(4096))
        os.fsync(fd)
        os.close(fd)
        times.append(time.perf_counter() - started)
        path.unlink()
    return round(1e3 * statistics.median(times), 3)


def commit() -> str:
    """Return the short commit of the source, with a + when the package was changed since."""
    root = str(servers.BENCH_DIR.parent)
    known = _output("git", "-C", root, "rev-parse", "--short", "HEAD")
    changed = _output("git", "-C", root, "status", "--porcelain", "--", "src")
    return (known + "+" if changed else known) or "unknown"


def versions() -> dict[str, str]:
    """Return the version of every peer that is installed."""
    found = {}
    for package in ("orthanc", "orthanc-dicomweb", "dcmtk"):
        found[package] = _output("dpkg-query", "-W", "-f", "${Version}", package)
    listed = _output(str(servers.PEERS_BIN / "python"), "-m", "pip", "list", "--format=json")
    for entry in json.loads(listed or "[]"):
        name = entry["name"].replace("_", "-").lower()
        if name in ("pynetdicom", "tiny-pacs"):
            found[name] = entry["version"]
    return {name: version for name, version in found.items() if version}


def describe() -> dict[str, object]:
    """Return the machine, the versions and the date as plain values."""
    servers.OUT_DIR.mkdir(exist_ok=True)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _value("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _value("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "file_system": _output("df", "--output=fstype", str(servers.OUT_DIR)).rpartition("\n")[2] or "unknown",
        "fsync_4k_ms": fsync_ms(servers.OUT_DIR),
        "python": platform.python_version(),
        "openssl": _output("openssl", "version"),
        "commit": commit(),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions(),
    }
