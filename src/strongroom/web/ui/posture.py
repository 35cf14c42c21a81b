"""Posture: whether the doors are shut, at a glance, and what to do where one is not."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from starlette.responses import Response

from strongroom.archive.posture import Line, State, worst_of
from strongroom.web.call import Call
from strongroom.web.ui.administering import administration_of, looked_up, operation
from strongroom.web.ui.pages import page

POSTURE: Final = "/posture"
KINDS: Final = {State.OK: "ok", State.LOOK: "look", State.ACT: "act"}
"""What each state is called in style sheets."""


LINKS: Final = {
    "Peers": "/peers",
    "Exception": "/peers",
    "Administrators": "/people",
    "Alerts": "/alerts",
    "Quarantine": "/quarantine",
}
"""Where more of what a line is about stands."""


async def show_posture(call: Call) -> Response:
    """The page."""
    lines = await looked_up(call, administration_of(call).posture)
    parts: dict[str, list[Line]] = {}
    for line in lines:
        parts.setdefault(line.part, []).append(line)
    return page(
        "posture.html",
        call,
        parts=parts,
        counts=Counter(line.state for line in lines),
        worst=worst_of(lines),
        kinds=KINDS,
        links=LINKS,
        now_us=int(time.time() * 1e6),
    )


OPERATIONS: Final = (operation("pagePosture", "GET", POSTURE, show_posture, "Whether the doors are shut."),)
