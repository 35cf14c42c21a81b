"""What is to be known of an archive's posture, gathered: from its index, its files and what `serve` says of itself.

Any process that has the archive open can gather it, so that a page and the command line say the same.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from strongroom import __version__
from strongroom.admin.alerts import newest
from strongroom.admin.backup import LAST_BACKUP, LAST_KEY_COPY
from strongroom.admin.drill import LAST_DRILL
from strongroom.admin.exceptions import standing
from strongroom.admin.keys import ROTATION
from strongroom.admin.peers import peers
from strongroom.admin.trail import LAST_VERIFIED, time_s
from strongroom.admin.users import users
from strongroom.app import AUTHORITY_SECRET, SERVER_SECRET, Archive
from strongroom.archive.administration import User
from strongroom.archive.facts import (
    Certificate,
    CheckpointFolder,
    Data,
    Disk,
    Doors,
    Facts,
    Keys,
    PlaintextException,
    Serving,
    Trail,
)
from strongroom.archive.model import Level
from strongroom.archive.peers import Binding
from strongroom.archive.posture import Line, judge
from strongroom.archive.roles import Role
from strongroom.checkpoints import LATEST_NAME, STAMP_SUFFIX
from strongroom.net.certificates import read_certificate
from strongroom.store.keys import CommandKeySource, secret_master_id
from strongroom.store.locks import HomeLock
from strongroom.store.rewrapping import Rewrapping
from strongroom.store.rounds import read_rounds
from strongroom.store.served import Served, read_served
from strongroom.store.transaction import ACTIVE_MASTER
from strongroom.trail.log import TrailReader

REPORTED_WITHIN_S: Final = 90.0
"""Of the server's last word, a process that had said nothing for longer does not answer."""
MAX_ALERTS: Final = 100
"""Open alerts that are counted; there are no more that anybody could look at."""
_KEY_SUFFIXES: Final = {"file": ".key", "passphrase": ".salt"}


def posture(archive: Archive) -> tuple[Line, ...]:
    """Whether the doors are shut, line by line. Raises StorageUnavailable."""
    return judge(gather(archive, time.time()))


def gather(archive: Archive, now_s: float) -> Facts:
    """All facts, as of now (seconds since 1970). Raises StorageUnavailable."""
    served, lines = read_served(archive.index), listening(archive)
    return Facts(now_s, _serving(archive, served), _doors(archive, lines), _trail(archive), _data(archive, served))


def listening(archive: Archive) -> tuple[str, ...]:
    """The ready lines of the server that runs; none if it does not. Raises StorageUnavailable."""
    served = read_served(archive.index)
    return served.listening if HomeLock(archive.home.lock).is_held() and not served.stopped_s else ()


def _serving(archive: Archive, served: Served) -> Serving:
    silent = [
        each.name for each in served.processes if not each.is_ready or served.said_s - each.said_s > REPORTED_WITHIN_S
    ]
    return Serving(
        version=served.version,
        started_s=served.started_s,
        said_s=served.said_s,
        stopped_s=served.stopped_s,
        is_held=HomeLock(archive.home.lock).is_held(),
        listening=served.listening,
        silent=tuple(silent),
        processes=len(served.processes),
        own_version=__version__,
    )


def _doors(archive: Archive, lines: tuple[str, ...]) -> Doors:
    config = archive.config
    known = [peer for peer in peers(archive).values() if not peer.revoked_us]
    exceptions = []
    for each in config.unsafe_plaintext:
        end = datetime.combine(each.expires + timedelta(days=1), datetime.min.time(), UTC).timestamp()
        stands = standing(archive, each, lines)
        exceptions.append(PlaintextException(each.peer, each.port, each.addresses, end, each.reason, stands))
    administrators = [user for user in users(archive) if _administers(user)]
    return Doors(
        tls_profile=config.dicom.tls_profile,
        exceptions=tuple(exceptions),
        server=_certificate("the archive", archive.issued(SERVER_SECRET).certificate_pem),
        authority=_certificate("the archive's CA", archive.issued(AUTHORITY_SECRET).certificate_pem),
        peers=tuple(
            _certificate(peer.aet if peer.binding is Binding.FINGERPRINT else f"CA of {peer.aet}", pem)
            for peer in known
            if (pem := peer.certificate.encode())
        ),
        peer_count=len(known),
        administrators=len(administrators),
        without_factor=sum(not user.factors and user.has_passcode for user in administrators),
    )


def _administers(user: User) -> bool:
    return Role.ADMINISTRATOR in user.roles and user.state == "enabled"


def _certificate(whose: str, pem: bytes) -> Certificate:
    facts = read_certificate(pem)
    return Certificate(whose, facts.subject, facts.fingerprint, facts.not_after.timestamp())


def _trail(archive: Archive) -> Trail:
    reader, settings = archive.trail_reader, archive.config.trail
    with archive.index.database.reading() as cursor:
        logs = reader.logs(cursor)
        heads = [reader.head(cursor, name) for name in logs]
        unsigned = [made_s for name in logs if (made_s := _unsigned_s(reader, cursor, name))]
        verified = archive.index.registry.get_meta(cursor, LAST_VERIFIED).split()
    open_alerts = [alert for alert, _ in newest(archive, "", count=MAX_ALERTS)[0]]
    return Trail(
        records=sum(head.size for head in heads if head is not None),
        logs=len(heads),
        verified_s=float(verified[0]) if verified else 0.0,
        findings=int(verified[1]) if verified else None,
        folders=tuple(
            CheckpointFolder(
                str(folder),
                _changed_s(folder / LATEST_NAME),
                _newest_stamp_s(folder),
                folder != archive.home.checkpoints,
            )
            for folder in archive.checkpoint_folders
        ),
        interval_s=settings.checkpoint_interval_s,
        stamp_interval_s=settings.timestamp_interval_s if settings.timestamp_url else 0.0,
        alerts=len(open_alerts),
        alert_kinds=tuple(alert.kind for alert in open_alerts),
        unsigned_s=min(unsigned, default=0.0),
    )


def _unsigned_s(reader: TrailReader, cursor: Any, log: str) -> float:
    """When the first record of a log behind its last checkpoint was made, seconds since 1970; 0 if there is none."""
    last = reader.last_checkpoint(cursor, log)
    rows = reader.read(cursor, log, last.size if last else 0, 1)
    return time_s(rows[0].raw) if rows else 0.0


def _data(archive: Archive, served: Served) -> Data:
    rounds, registry = read_rounds(archive.index), archive.index.registry
    with archive.index.database.reading() as cursor:
        backup = registry.get_meta(cursor, LAST_BACKUP).split()
        drill = registry.get_meta(cursor, LAST_DRILL).split()
    now, last = rounds.under_way, rounds.last
    return Data(
        objects=archive.index.totals()[Level.IMAGE],
        keys=_keys(archive),
        disks=tuple(_disk(folder, served) for folder in (archive.home.data, *archive.checkpoint_folders[1:])),
        held=archive.quarantine.size()[0],
        check_days=archive.config.check.every_days,
        check_began_s=now.started_s if now else 0.0,
        check_ended_s=last.ended_s if last else 0.0,
        damaged=sum(each.damaged for each in (now, last) if each),
        backup_s=float(backup[1]) if backup else 0.0,
        drill_s=float(drill[0]) if drill else 0.0,
        drill_findings=int(float(drill[1])) if drill else 0,
    )


def _keys(archive: Archive) -> Keys:
    registry, settings = archive.index.registry, archive.config.keys
    with archive.index.database.reading() as cursor:
        active = registry.get_meta(cursor, ACTIVE_MASTER)
        rotation = registry.get_meta(cursor, ROTATION)
        copied = registry.get_meta(cursor, LAST_KEY_COPY)
        needed = set(Rewrapping(archive.backend.dialect).counts(cursor))
    needed |= {active, *(secret_master_id(archive.secrets.get(name)) for name in archive.secrets.names())}
    source, folder = archive.source, Path(settings.path) if settings.path else archive.home.default_keys
    missing = (
        () if isinstance(source, CommandKeySource) else sorted(each for each in needed if not source.is_there(each))
    )
    suffix = _KEY_SUFFIXES.get(settings.source)
    return Keys(
        source={"file": f"files in {folder}", "command": settings.command[0] if settings.command else ""}.get(
            settings.source, f"a passphrase and salts in {folder}"
        ),
        active=active,
        since_s=_changed_s(folder / f"{active}{suffix}") if suffix else 0.0,
        others=len(needed) - 1,
        missing=tuple(missing),
        rotation_unfinished=bool(rotation),
        copied_s=float(copied) if copied else 0.0,
    )


def _disk(folder: Path, served: Served) -> Disk:
    with suppress(OSError):
        disk = os.statvfs(folder)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        return Disk(str(folder), free, size, served.disks.get(str(folder), {}))
    return Disk(str(folder), 0, 0)


def _changed_s(path: Path) -> float:
    """When a file was last written, seconds since 1970; 0 if it is not there."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _newest_stamp_s(folder: Path) -> float:
    """When the newest time stamp in a folder was kept, seconds since 1970; 0 if there is none."""
    newest = 0.0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(STAMP_SUFFIX):
                newest = max(newest, entry.stat().st_mtime)
    return newest
