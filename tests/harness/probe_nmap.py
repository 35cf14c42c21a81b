"""nmap with the DICOM scripts that Debian ships, for a comparison on the same servers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from harness.probe_processes import requires

TIMEOUT_S = 300


@dataclass(frozen=True)
class Seen:
    """What nmap prints about one port: its own words, and how many titles it tried."""

    state: str
    ping: str
    brute: str

    @property
    def guesses(self) -> int:
        """How many called titles dicom-brute tried; 0 unless it says so."""
        found = re.search(r"Performed (\d+) guesses", self.brute)
        return int(found[1]) if found else 0


def nmap(address: str, port: int, inside: Sequence[str] = ()) -> Seen:
    """Run dicom-ping and dicom-brute on a port, whatever its number."""
    requires("nmap")
    command = ["nmap", "-Pn", "-n", "-p", str(port), "--script", "+dicom-ping,+dicom-brute", address]
    done = subprocess.run([*inside, *command], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    state = re.search(rf"^{port}/tcp (\w+)", done.stdout, re.MULTILINE)
    said: dict[str, list[str]] = {}
    script = ""
    for line in done.stdout.splitlines():
        if not line.startswith("|"):
            continue
        if begins := re.match(r"\|[ _](dicom-\w+):(.*)", line):
            script, line = begins[1], begins[2]
        said.setdefault(script, []).append(line.lstrip("|_ "))
    words = {name: "; ".join(filter(None, lines)) for name, lines in said.items()}
    return Seen(state[1] if state else "", words.get("dicom-ping", ""), words.get("dicom-brute", ""))
