"""``init`` and ``serve``."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from strongroom import app as strongroom
from strongroom import config as settings
from strongroom.admin import recovery
from strongroom.cli.options import HomeOption, home_of
from strongroom.types import AeTitle

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
) -> None:
    """Make a new archive: its keys, its certificate authority, its index."""
    place = home_of(home)
    text = _TEMPLATE.format(
        id=strongroom.new_archive_id(), aet=AeTitle.parse(aet), dicom_port=dicom_port, https_port=https_port
    )
    if index:
        text += f'\n[index]\nurl = "{index}"\n'
    if checkpoint_dir:
        text += f"\n[trail]\ncheckpoint_dirs = {[str(Path(folder).resolve()) for folder in checkpoint_dir]}\n"
    config = settings.parse(text)
    master_id = strongroom.initialise(place, text, config)
    print(f"archive     {place.root}")
    print(f"master key  {place.default_keys}/{master_id}.key   (copy it to a safe place; without it nothing opens)")
    print(f"next        strongroom peer add --home {place.root} AET --allow echo,store,find")


def serve(home: HomeOption = None) -> None:
    """Run the archive until SIGTERM or Ctrl-C."""
    place = home_of(home)
    with recovery.serving_alone(place):
        _serve(place)


def _serve(place: settings.Home) -> None:
    archive = strongroom.Archive(place, strongroom.SERVE_LOG)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        recovery.recover(archive)
        service = strongroom.DicomService(archive)
        first, *others = service.start()
        for line in others:
            print(line, flush=True)
        print(f"ready {first}", flush=True)
        stopped.wait()
        service.stop()
    finally:
        archive.close()
