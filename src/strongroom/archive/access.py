"""Who may do what. Every path, DIMSE or other, asks here; what is not granted is denied."""

from __future__ import annotations

from strongroom.errors import Denied
from strongroom.types import Principal, Right


def require(principal: Principal, right: Right) -> None:
    """Return if the principal holds the right. Raises Denied."""
    if right not in principal.rights:
        raise Denied(f"no-right-{right.value}")
