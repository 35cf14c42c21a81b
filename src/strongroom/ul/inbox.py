"""The receive buffer of one association: small while idle, as large as the PDU in flight, never larger."""

from __future__ import annotations

from strongroom.errors import LocalProtocolError

_ROOM_FOR_PDUS = 4
"""A grown buffer holds this many PDUs of the size that made it grow, so that one receive may bring several."""

_USEFUL_BYTES = 65_536
"""Growing for a PDU at all goes at least to here: a system call for less costs more than its bytes."""


class Inbox:
    """Received bytes ``raw[start:end]``; the parser moves ``start``. Slices of ``view`` live until ``free_space``."""

    __slots__ = ("_idle_bytes", "end", "raw", "start", "view")

    def __init__(self, idle_bytes: int) -> None:
        self._idle_bytes = idle_bytes
        self.start = self.end = 0
        self.raw = bytearray(idle_bytes)
        self.view = memoryview(self.raw)

    def free_space(self) -> memoryview:
        """Return the writable rest of the buffer; never empty.

        Raises:
            LocalProtocolError: it is full of PDUs that nobody asked for with ``next_event``.
        """
        if self.start == self.end:
            self.start = self.end = 0
            return self.view
        if self.end == len(self.raw):
            if self.start == 0:
                raise LocalProtocolError("next_event was not called until it returned None")
            self._compact()
        return self.view[self.end :]

    def require(self, pdu_bytes: int, most_bytes: int) -> None:
        """Make room for a PDU of ``pdu_bytes`` at ``start``. The caller has checked the size against its limits.

        ``most_bytes`` caps what is taken beyond the PDU itself.
        """
        if self.start + pdu_bytes <= len(self.raw):
            return
        if pdu_bytes <= len(self.raw):
            self._compact()
            return
        roomy = min(max(pdu_bytes * _ROOM_FOR_PDUS, _USEFUL_BYTES), most_bytes)
        self._replace(max(pdu_bytes, roomy))

    def shrink(self) -> None:
        """Give back a grown buffer if it holds no more than fits into a small one."""
        if len(self.raw) > self._idle_bytes >= self.end - self.start:
            self._replace(self._idle_bytes)

    def discard(self) -> None:
        """Forget all that is held, and the room for it."""
        self.start = self.end = 0
        self.shrink()

    def _compact(self) -> None:
        held = self.end - self.start
        self.view[:held] = self.view[self.start : self.end]  # the regions may overlap: memoryview moves them right
        self.start, self.end = 0, held

    def _replace(self, size: int) -> None:
        # A new buffer, since a bytearray with views on it cannot be resized; old views keep the old one alive.
        raw = bytearray(size)
        held = self.end - self.start
        raw[:held] = self.view[self.start : self.end]
        self.raw, self.view = raw, memoryview(raw)
        self.start, self.end = 0, held
