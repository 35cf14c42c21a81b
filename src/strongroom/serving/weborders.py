"""What ``webservice`` tells a worker: in a module of its own, for it needs nothing of what a worker imports."""

from __future__ import annotations

import msgspec

from strongroom.config import Config

TAKER = b"taker"
"""Said on the control socket with a descriptor: somebody is to take objects in there."""

LAST_MOMENT_S = 5.0
"""After the time for draining: a worker that has not ended by then ends at once."""


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parent writes to a worker's standard input: descriptors are numbers of inherited ones.

    ``config`` is what `serve` was started with, ``place`` its place on the board of that many; without a board (-1) it
    counts for nobody. ``control_fd`` is where it asks for who takes objects in; -1: it does so itself."""

    home: str
    config: Config
    log: str
    listener_fd: int
    ready_fd: int
    board_fd: int = -1
    places: int = 0
    place: int = 0
    control_fd: int = -1
