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
    "quarantined": "in quarantine (other content under the UID of another sample)",
    "unreadable": "unreadable",
    "not_dicom": "not DICOM",
}
VIEWER_TIMEOUT_S = 120
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


def add_viewer(home: Path) -> None:
    """Put OHIF into the archive, unless it is there; without npm, or a way out to its registry, it goes without."""
    shown = subprocess.run([*STRONGROOM, "viewer", "show", "--home", home], check=False, capture_output=True)
    if shown.returncode == 0:
        return
    print("adding the viewer OHIF ...", flush=True)
    try:
        added = subprocess.run(
            [*STRONGROOM, "viewer", "add", "--home", home], check=False, capture_output=True, text=True,
            timeout=VIEWER_TIMEOUT_S,
        )  # fmt: skip
        said = added.stdout if added.returncode == 0 else f"without it: {added.stderr.strip()}"
    except subprocess.TimeoutExpired:
        said = f"without it: npm took more than {VIEWER_TIMEOUT_S} s; `strongroom viewer add` tries again"
    print("  " + "\n  ".join(said.strip().splitlines()), flush=True)


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


def listener(ready: str, name: str) -> tuple[str, str]:
    """Host and port of one listener of the ready line."""
    address = next(word.removeprefix(f"{name}=") for word in ready.split() if word.startswith(f"{name}="))
    host, _, port = address.rpartition(":")
    return host, port


def how_to(home: Path, ready: str) -> str:
    """Commands for a second terminal."""
    host, port = listener(ready, "dicom")
    web_host, web_port = listener(ready, "https")
    credentials = home / "peers" / PEER
    tls = f"+tls {credentials}/key.pem {credentials}/cert.pem +cf {credentials}/ca.pem"
    who = f"-aet {PEER} -aec STRONGROOM {host} {port}"
    image = samples() / "test_files" / "CT_small.dcm"
    strongroom = f"{Path(sys.executable).parent}/strongroom"
    has_ohif = any((home / "viewer").glob("*/index.html.gz"))
    ohif = " and with OHIF" if has_ohif else f"; OHIF is added by {strongroom} viewer add --home {home}"
    studies = f"https://{web_host}:{web_port}/dicomweb/studies"
    return f"""
The archive runs until Ctrl-C. Nothing listens beyond this machine, and nobody gets in without a certificate, a token or
a link. Try it from a second terminal in this directory.

With a browser, which has to trust {home}/ca.pem or warns once:

  let somebody in   {strongroom} user add --home {home} ann --role physician --link
                      and open the link that it prints
  see images        https://{web_host}:{web_port}/studies, each with a small viewer{ohif}
  administrate      the link in the line "first sign-in as admin", as long as nobody has used it

With curl:

  make a token      TOKEN=$({strongroom} token add --home {home} me --allow search,read,store)
  list the studies  curl --cacert {home}/ca.pem -H "Authorization: Bearer $TOKEN" "{studies}?limit=3"
  be refused        curl --cacert {home}/ca.pem "{studies}"

With DCMTK (Debian: apt install dcmtk). The commands of the same names that pynetdicom puts into .venv/bin take other
options: leave that directory behind DCMTK's in PATH.

  send an image     storescu -v {tls} {who} \\
                      {image}
  list the studies  findscu -S {tls} {who} \\
                      -k QueryRetrieveLevel=STUDY -k PatientName -k StudyDate -k StudyDescription -k StudyInstanceUID
  be refused        echoscu -v {who.replace(PEER, "STRANGER")}

  verify everything {strongroom} check --home {home}
  add a modality    {strongroom} peer add --home {home} CT1 --allow echo,store
"""


def main() -> int:
    """Make the archive if there is none, then serve it."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    if not (home / "config.toml").exists():
        make(home)
    add_viewer(home)
    return serve(home)


if __name__ == "__main__":
    sys.exit(main())
