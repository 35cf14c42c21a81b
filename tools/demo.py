"""``make run``: a working archive on loopback with sample studies, and how to talk to it.

The first run makes the archive and imports the public sample files that ship inside the pydicom wheel; later runs start
it again. The archive keeps running until Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pydicom.data

STRONGROOM = [sys.executable, "-m", "strongroom"]
PEER = "DEMO"
FATES = {
    "stored": "stored",
    "already_here": "already there",
    "refused": "refused",
    "unreadable": "unreadable",
    "not_dicom": "not DICOM",
}
RIGHTS = "echo,store,find,get,move,commit"


def samples() -> Path:
    """The folder of sample files in the pydicom wheel."""
    return Path(pydicom.data.__file__).parent


def make(home: Path) -> None:
    """Make the archive, a peer that may do everything, and import the samples."""
    subprocess.run([*STRONGROOM, "init", "--home", home], check=True)
    subprocess.run([*STRONGROOM, "peer", "add", "--home", home, PEER, "--allow", RIGHTS], check=True)
    # Some samples are broken on purpose: they are refused, and the exit status says so.
    print("importing the sample files of pydicom; some are broken on purpose and are refused ...", flush=True)
    command = [*STRONGROOM, "import", "--home", home, samples(), "--format", "json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"the import ended with status {done.returncode}:\n{done.stderr.strip()}")
    try:
        counts = json.loads(done.stdout)
        print("  " + ", ".join(f"{counts[key]} {words}" for key, words in FATES.items()), flush=True)
    except (ValueError, KeyError):
        sys.exit(f"the import ended with status {done.returncode} and without an answer:\n{done.stderr.strip()}")


def serve(home: Path) -> int:
    """Run the server; print what to type once it is ready."""
    server = subprocess.Popen([*STRONGROOM, "serve", "--home", home], stdout=subprocess.PIPE, text=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.terminate())
    assert server.stdout is not None
    for line in server.stdout:
        print(line, end="", flush=True)
        if line.startswith("ready "):
            print(how_to(home, line), flush=True)
    return server.wait()


def how_to(home: Path, ready: str) -> str:
    """Commands for a second terminal."""
    address = next(word.removeprefix("dicom=") for word in ready.split() if word.startswith("dicom="))
    host, _, port = address.rpartition(":")
    credentials = home / "peers" / PEER
    tls = f"+tls {credentials}/key.pem {credentials}/cert.pem +cf {credentials}/ca.pem"
    who = f"-aet {PEER} -aec STRONGROOM {host} {port}"
    image = samples() / "test_files" / "CT_small.dcm"
    return f"""
The archive runs until Ctrl-C. Nothing listens beyond this machine, and nobody gets in without a certificate.
Try it from a second terminal in this directory, with DCMTK (Debian: apt install dcmtk). The commands of the same names
that pynetdicom puts into .venv/bin take other options: leave that directory behind DCMTK's in PATH.

  send an image     storescu -v {tls} {who} \\
                      {image}
  list the studies  findscu -S {tls} {who} \\
                      -k QueryRetrieveLevel=STUDY -k PatientName -k StudyDate -k StudyDescription -k StudyInstanceUID
  be refused        echoscu -v {who.replace(PEER, "STRANGER")}

  verify everything {Path(sys.executable).parent}/strongroom check --home {home}
  add a modality    {Path(sys.executable).parent}/strongroom peer add --home {home} CT1 --allow echo,store
"""


def main() -> int:
    """Make the archive if there is none, then serve it."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    if not (home / "config.toml").exists():
        make(home)
    return serve(home)


if __name__ == "__main__":
    sys.exit(main())
