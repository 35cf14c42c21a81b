"""``make run``: a working archive on loopback with sample studies, and how to talk to it.

The first run makes the archive and imports the public sample files that ship inside the pydicom wheel; later runs start
it again. The archive keeps running until Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pydicom.data

STRONGROOM = [sys.executable, "-m", "strongroom"]
PEER = "DEMO"
PHYSICIAN = "physician"
COMMAND = f"{Path(sys.executable).parent}/strongroom"
FIRST_LINK = "first sign-in as "
NEXT = "\n    "
ADMINISTRATOR = (
    "    adds people and peers, and looks after the archive; sets up an authenticator app, and sees no images\n"
    "    its page Posture is red at first: samples that contradict each other raise alerts, and there is no backup\n"
)
FATES = {
    "stored": "stored",
    "already_here": "already there",
    "refused": "refused",
    "quarantined": "in quarantine (other content under the UID of another sample)",
    "unreadable": "unreadable",
    "not_dicom": "not DICOM",
}
VIEWER_TIMEOUT_S = 120
PORTS = (2762, 8443)
"""Of a new archive."""
RIGHTS = "echo,store,find,get,move,commit"


def samples() -> Path:
    """The folder of sample files in the pydicom wheel."""
    return Path(pydicom.data.__file__).parent


def shown_samples() -> list[Path]:
    """Samples for the archive: each once, which is why no DICOMDIR is among them, and none of a study of fifty objects
    without pixels, which would be listed first."""
    tests = samples() / "test_files"
    media = tests / "dicomdirtests"
    found = [samples() / "charset_files", *(each for each in tests.iterdir() if each != media)]
    on_media = [each for each in media.iterdir() if each.name != "TINY_ALPHA" and not each.name.startswith("DICOMDIR")]
    return sorted([*found, *on_media])


def make(home: Path) -> None:
    """Make the archive, a peer that may do everything, and import the samples."""
    for port in PORTS:
        require_free(port)
    # What these would have somebody do next is done here.
    print(told("init", "--home", home).partition("\nnext ")[0])
    peer = told("peer", "add", "--home", home, PEER, "--allow", RIGHTS)
    print(peer.strip().replace(": move them to the peer", ""), flush=True)
    invite(home)
    # Some samples are broken on purpose: they are refused, and the exit status says so.
    print("importing the sample files of pydicom; some are broken on purpose and are refused ...", flush=True)
    command = [*STRONGROOM, "import", "--home", home, *shown_samples(), "--format", "json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"the import ended with status {done.returncode}:\n{done.stderr.strip()}")
    try:
        counts = json.loads(done.stdout)
        print("  " + ", ".join(f"{counts[key]} {words}" for key, words in FATES.items()), flush=True)
    except (ValueError, KeyError):
        sys.exit(f"the import ended with status {done.returncode} and without an answer:\n{done.stderr.strip()}")


def require_free(port: int) -> None:
    """End here, and not after an import, if a new archive could not listen."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        sys.exit(
            f"127.0.0.1:{port} cannot be listened on: {error.strerror}. Does another archive run? For one beside it:\n"
            f"{COMMAND} init --home DIR, then `port` of [dicom] and [https] in DIR/config.toml,\n"
            f"{COMMAND} serve --home DIR"
        )


def told(*words: str | Path) -> str:
    """What a command that has to succeed prints."""
    return subprocess.run([*STRONGROOM, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def invite(home: Path) -> str:
    """Add the demonstration's physician, or give him another link; returns the lines that have it."""
    return told("user", "add", "--home", home, PHYSICIAN, "--role", "physician", "--link").strip()


def physician(home: Path) -> str:
    """How to come in as the physician; "" if there is no such account. Only who never came in gets another link."""
    people = json.loads(told("user", "list", "--home", home, "--format", "json"))
    found = [each for each in people if each["name"] == PHYSICIAN and not each["disabled"]]
    if not found:
        return ""
    if found[0]["has_passcode"]:
        return f"sign in as {PHYSICIAN}, with the passcode that was chosen:"
    return invite(home)


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
    """Run the server; print what to type once it is ready, and last what to open in a browser."""
    log = home.with_name(f"{home.name}.log")
    with log.open("ab") as kept:  # its lines would push the links out of sight
        start_of_this = kept.tell()
        server = subprocess.Popen(
            [*STRONGROOM, "serve", "--home", home], stdout=subprocess.PIPE, stderr=kept, text=True
        )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.terminate())
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("ready "):
            print(line + how_to(home, line), flush=True)
            # Not before: another link ends the one that somebody has, and the archive may be served already.
            print(browse(home, line, physician(home)), flush=True)
        elif line.startswith(FIRST_LINK):
            print("  " + line.replace(": https", f":{NEXT}https") + ADMINISTRATOR, flush=True)
        else:
            print(line, end="", flush=True)
    status = server.wait()
    if status:
        print(log.read_bytes()[start_of_this:].decode("utf-8", "replace"), file=sys.stderr)
    return status


def browse(home: Path, ready: str, comes_in: str) -> str:
    """What to open in a browser. The administrator's link, while there is one, is the server's next line."""
    _, port = listener(ready, "https")
    site = f"https://localhost:{port}/"
    has_ohif = any((home / "viewer").glob("*/index.html.gz"))
    lines = comes_in.splitlines() or ["sign in:"]
    address = lines[1] if len(lines) > 1 else site
    return f"""\
With a browser on this machine, which warns of the certificate until it trusts {home}/ca.pem:

  {lines[0]}{NEXT}{address}
    sees the images, with a small viewer{" and OHIF" if has_ohif else f"; OHIF: {COMMAND} viewer add --home {home}"}
"""


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
    token = f"me-{datetime.now(UTC):%m%d-%H%M%S}"  # one of a name
    studies = f"https://{web_host}:{web_port}/dicomweb/studies"
    return f"""
The archive runs until Ctrl-C; its log is {home}.log. Nothing listens beyond this machine, and nobody gets in without a
certificate, a token or a link. Try it from a second terminal in this directory.

With curl:

  make a token      TOKEN=$({COMMAND} token add --home {home} {token} --allow search,read,store)
  list the studies  curl --cacert {home}/ca.pem -H "Authorization: Bearer $TOKEN" "{studies}?limit=3"
  be refused        curl --cacert {home}/ca.pem "{studies}"

With DCMTK (Debian: apt install dcmtk). After `make test`, .venv/bin has pynetdicom's commands of the same names, which
take other options: leave that directory behind DCMTK's in PATH.

  send an image     storescu -v {tls} {who} \\
                      {image}
  list the studies  findscu -S {tls} {who} \\
                      -k QueryRetrieveLevel=STUDY -k PatientName -k StudyDate -k StudyDescription -k StudyInstanceUID
  be refused        echoscu -v {who.replace(PEER, "STRANGER")}

  verify everything {COMMAND} check --home {home}
  add a modality    {COMMAND} peer add --home {home} CT1 --allow echo,store
  add a person      {COMMAND} user add --home {home} ann --role viewer --link
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
