"""Strongroom itself as a target of the probe: with HTTPS, and a peer that its certificate is bound to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import archives
from harness.archives import Credentials, RunningArchive

PEER = "MODALITY1"


@dataclass(frozen=True)
class StrongroomTarget:
    """A running archive, and the credentials of its only peer."""

    archive: RunningArchive
    credentials: Credentials

    @property
    def dicom_port(self) -> int:
        """DICOM over TLS."""
        return self.archive.port

    @property
    def https_port(self) -> int:
        """DICOMweb."""
        return self.archive.https_port


@contextmanager
def strongroom(folder: Path) -> Iterator[StrongroomTarget]:
    """``strongroom serve`` as it is after init, with one HTTPS worker."""
    home = archives.new_home(folder / "home", {"https": {"port": 0, "workers": 1}})
    with archives.opened(home) as archive:
        credentials = archives.add_peer(archive, PEER, "echo,store,find,get")
    with archives.serving(home) as running:
        yield StrongroomTarget(running, credentials)
        assert running.stop() == 0
