"""``init`` and ``serve``."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from strongroom import app as strongroom
from strongroom import config as settings
from strongroom.admin import recovery, users
from strongroom.cli.options import HomeOption, home_of, minute_text
from strongroom.people.sealing import make_people_key
from strongroom.serving.logs import log_to_stderr, log_uncaught
from strongroom.serving.served import Served
from strongroom.serving.supervisor import Supervisor
from strongroom.types import AeTitle


class KeySourceName(StrEnum):
    """``keys.source``."""

    FILE = "file"
    PASSPHRASE = "passphrase"
    COMMAND = "command"


_TEMPLATE = """\
# Strongroom. Every key and its default: docs/configuration.md. Unknown keys are errors.

[archive]
id = "{id}"
aet = "{aet}"

[dicom]
bind = "127.0.0.1"
port = {dicom_port}

[https]
bind = "127.0.0.1"
port = {https_port}
"""


def init(
    home: HomeOption = None,
    aet: Annotated[str, typer.Option(help="AE title of the archive.")] = "STRONGROOM",
    dicom_port: Annotated[int, typer.Option(help="Port of the DICOM listener; 0 = any.")] = 2762,
    https_port: Annotated[int, typer.Option(help="Port of the HTTPS listener; 0 = any.")] = 8443,
    index: Annotated[str, typer.Option(help="postgresql:// URL of the index; default: an encrypted file.")] = "",
    checkpoint_dir: Annotated[
        list[str] | None, typer.Option(help="A second place for the trail's checkpoints; may be repeated.")
    ] = None,
    key_source: Annotated[
        KeySourceName, typer.Option(help="Where the master key comes from: file, passphrase or command.")
    ] = KeySourceName.FILE,
    key_dir: Annotated[
        Path | None, typer.Option(help="Directory of key files or salts, outside the archive; default HOME.keys.")
    ] = None,
    key_command: Annotated[
        str, typer.Option(help="With --key-source command: program that prints the key {key_id}, in hex or base64.")
    ] = "",
) -> None:
    """Make a new archive: its keys, its certificate authority, its index."""
    place = home_of(home)
    text = _TEMPLATE.format(
        id=strongroom.new_archive_id(), aet=AeTitle.parse(aet), dicom_port=dicom_port, https_port=https_port
    )
    if index:
        text += f"\n[index]\nurl = {_toml(index)}\n"
    if checkpoint_dir:
        text += f"\n[trail]\ncheckpoint_dirs = {_toml([str(Path(folder).resolve()) for folder in checkpoint_dir])}\n"
    if key_source is not KeySourceName.FILE or key_dir:
        text += f"\n[keys]\nsource = {_toml(key_source)}\n"
        text += f"path = {_toml(str(key_dir.resolve()))}\n" if key_dir else ""
        text += f"command = {_toml(shlex.split(key_command))}\n" if key_command else ""
    config = settings.parse(text)
    master_id = strongroom.initialise(place, text, config)
    print(f"archive     {place.root}")
    print(f"master key  {_where_the_key_is(config, key_dir or place.default_keys, master_id)}")
    print(f"next        strongroom serve --home {place.root}   (prints the first administrator's sign-in link)")
    print(f"            strongroom peer add --home {place.root} AET --allow echo,store,find")


def _toml(value: str | list[str]) -> str:
    """A TOML string or array of strings; JSON's are the same."""
    return json.dumps(value, ensure_ascii=False)


def _where_the_key_is(config: settings.Config, folder: Path, master_id: str) -> str:
    if config.keys.source == "file":
        return f"{folder}/{master_id}.key   (copy it to a safe place; without it nothing opens)"
    if config.keys.source == "passphrase":
        return f"from STRONGROOM_PASSPHRASE and {folder}/{master_id}.salt   (keep both; without them nothing opens)"
    return f"{master_id}, from {config.keys.command[0]}   (without it nothing opens)"


SIGNAL_LOOK_S = 1.0
"""A signal may come to any of many threads: the one that handles it is not woken, and has to look."""


def serve(
    home: HomeOption = None,
    accept_older_index: Annotated[
        bool, typer.Option("--accept-older-index", help="Start although the index lacks what came after it was copied.")
    ] = False,
) -> None:
    """Run the archive until SIGTERM or Ctrl-C."""
    place = home_of(home)
    with recovery.serving_alone(place):
        _serve(place, accept_older_index)


def _first_sign_in(config: settings.Config, at: str, link: users.NewLink) -> str:
    """The line with the first administrator's link; ``at`` is ``https=ADDRESS:PORT``."""
    port = config.https.public_port or at.rpartition(":")[2]
    host = config.https.names[0] if config.https.names else "localhost"
    return f"first sign-in as {link.name}, once, until {minute_text(link.expires_us)}: https://{host}:{port}{link.path}"


def _serve(place: settings.Home, accept_older_index: bool) -> None:
    archive = strongroom.Archive(place, strongroom.SERVE_LOG)
    log_to_stderr(archive.config.log.format)
    log_uncaught()
    make_people_key(archive.ring, archive.secrets)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    supervisor = Supervisor()
    try:
        recovery.require_current_index(archive, accept_older=accept_older_index)
        recovery.recover(archive)
        served = Served(archive)
        try:
            for line in served.start():
                print(line, flush=True)
            if served.https_at and (link := users.first_link(archive)):
                print(_first_sign_in(archive.config, served.https_at, link), flush=True)
            supervisor.ready(line)
            while not stopped.wait(SIGNAL_LOOK_S):
                pass
        finally:
            supervisor.stopping(served.longest_end_s)
            served.drain()
        served.stop()
        print("stopped", flush=True)
    finally:
        archive.close()
