"""Sharing and emergencies of an open archive: what pages and commands both use."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from strongroom.admin.emergencies import looked_at
from strongroom.app import Archive
from strongroom.archive.model import Event
from strongroom.people.breaking_glass import Emergencies, EmergencyPorts
from strongroom.people.sealing import people_key
from strongroom.people.sharing import SharePorts, Shares


def shares_of(archive: Archive, record_refusal: Callable[[Event], None] | None = None) -> Shares:
    """The shares of an archive. Raises NotFound for an archive from before there were people."""
    ports = SharePorts(
        archive.index.database,
        people_key(archive.ring, archive.secrets),
        time.time,
        record_refusal or archive.index.record,
        lambda event: archive.index.announce(event),
    )
    return Shares(ports, archive.config.people.share_max_s, archive.config.sessions.max_age_s)


def emergencies_of(archive: Archive) -> Emergencies:
    """The emergencies of an archive."""
    ports = EmergencyPorts(
        archive.index.database, time.time, lambda event: archive.index.announce(event), partial(looked_at, archive)
    )
    return Emergencies(ports, archive.config.people.break_glass_s)
