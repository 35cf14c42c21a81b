"""Where everything of one archive lies, and the only reader of the environment."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_NAME = "config.toml"


class Home:
    """The directories of one archive. ``data`` holds only sealed bytes; keys are never below it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.config = self.root / CONFIG_NAME
        self.data = self.root / "data"
        self.objects = self.data / "objects"
        self.index = self.data / "index.db"
        self.secrets = self.data / "secrets"
        self.metadata = self.data / "metadata"
        self.peers = self.root / "peers"
        self.checkpoints = self.root / "checkpoints"
        self.lock = self.root / "serve.lock"
        self.unfinished = self.root / "restore.unfinished"
        """There while a backup is put here: until it is gone, this is no archive."""

    @property
    def default_keys(self) -> Path:
        """A sibling of the home directory: whoever copies the home, or its disk, has no key."""
        return self.root.with_name(self.root.name + ".keys")

    def viewer_folder(self, configured: str) -> Path:
        """Where the viewer for people is installed: as the configuration says, or here."""
        return Path(configured) if configured else self.root / "viewer"

    def holds_archive(self) -> bool:
        """Whether an index, secrets or objects are here, with or without a configuration."""
        return os.path.lexists(self.index) or any(map(_has_entries, (self.secrets, self.objects)))


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True  # what cannot be looked into is not empty


def config_is_missing(home: Home) -> str:
    """What to do when everything is there but the configuration."""
    return (
        f"{home.config} is missing, but an archive is here: {home.data} holds it. Delete nothing. Put config.toml back "
        "from a backup. If there is none, write it anew: [archive] with id and aet, [index] url if the index was in "
        "PostgreSQL, [keys] if they were not in the default place. The id stands between the slashes of the line "
        f"strongroom/ID/serve in {home.checkpoints / 'latest.txt'}; a wrong one is refused"
    )


def restore_did_not_end(home: Home) -> str:
    """What to do with a home that a backup was being put into."""
    return (
        f"{home.root} is half restored: run `strongroom backup restore --home {home.root}` with the same backup again, "
        "or remove it"
    )


def environment(name: str) -> str | None:
    """The only reader of the environment: ``STRONGROOM_HOME``, ``_PASSPHRASE``, ``_PASSCODE``, ``_BACKUP_PASSPHRASE``;
    ``XDG_CONFIG_HOME``, ``NOTIFY_SOCKET``."""
    return os.environ.get(name)
