"""The receive buffer of one association: small while idle, as large as the PDU in flight asks, never larger."""

from __future__ import annotations

from strongroom.errors import LocalProtocolError

_ROOM_FOR_PDUS = 4
"""A buffer grown for P-DATA holds this many PDUs of that size, so that one receive may bring several."""

_USEFUL_BYTES = 65_536
"""Growing for P-DATA at all goes at least to here: a system call for less costs more than its bytes."""


class Inbox:
    """Received bytes ``raw[start:end]``; the parser moves ``start``. Slices of ``view`` live until ``free_space``."""

    __slots__ = ("_idle_bytes", "_wanted_bytes", "end", "raw", "start", "view")

    def __init__(self, idle_bytes: int) -> None:
        self._idle_bytes = idle_bytes
        self._wanted_bytes = 0
        self.start = self.end = 0
        self.raw = bytearray(idle_bytes)
        self.view = memoryview(self.raw)

    def free_space(self) -> memoryview:
        """Return the writable rest of the buffer; never empty. Only here do bytes move or the buffer grow.

        Raises:
            LocalProtocolError: it is full of PDUs that nobody took with ``next_event``.
        """
        wanted, self._wanted_bytes = self._wanted_bytes, 0
        if wanted > len(self.raw):
            self._replace(wanted)
        elif self.start == self.end:
            self.start = self.end = 0
            return self.view
        elif self.start and max(self.start + wanted, self.end + self._idle_bytes) > len(self.raw):
            # Once per PDU at the most: afterwards start is 0 until that PDU is complete.
            held = self.end - self.start
            self.view[:held] = self.view[self.start : self.end]  # a memoryview copies overlapping regions correctly
            self.start, self.end = 0, held
        if self.end == len(self.raw):
            raise LocalProtocolError("next_event was not called until it returned None")
        return self.view[self.end :]

    def want(self, pdu_bytes: int) -> None:
        """Let the next ``free_space`` make room for the PDU at ``start``. Its size was checked against the limits."""
        self._wanted_bytes = pdu_bytes

    def want_p_data(self, pdu_bytes: int, max_pdu_bytes: int) -> None:
        """The same for a P-DATA-TF, where others like it will follow: never more than ``max_pdu_bytes`` in all."""
        if pdu_bytes > len(self.raw):
            self._wanted_bytes = max(pdu_bytes, min(max(pdu_bytes * _ROOM_FOR_PDUS, _USEFUL_BYTES), max_pdu_bytes))
        else:
            self._wanted_bytes = pdu_bytes

    def shrink(self) -> None:
        """Give back a grown buffer if what it holds fits into a small one."""
        if len(self.raw) > self._idle_bytes >= self.end - self.start:
            self._replace(self._idle_bytes)

    def discard(self) -> None:
        """Forget all that is held, and the room for it."""
        self.start = self.end = self._wanted_bytes = 0
        self.shrink()

    def _replace(self, size: int) -> None:
        # A new buffer, since a bytearray with views on it cannot be resized; old views keep the old one alive.
        raw = bytearray(size)
        held = self.end - self.start
        raw[:held] = self.view[self.start : self.end]
        self.raw, self.view = raw, memoryview(raw)
        self.start, self.end = 0, held
