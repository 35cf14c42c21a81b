"""Screen one file or data set as its bytes arrive: the way in for the command, the import and the door."""

from __future__ import annotations

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.screen.findings import Report
from strongroom.screen.limits import DEFAULT_LIMITS, ScreenLimits


class Screening:
    """One pass over one object. Not thread-safe. Any chunking of the same bytes gives the same report.

    Without ``transfer_syntax`` what comes is a file (PS3.10 7), with or without preamble and File Meta Information;
    with it, a bare data set as C-STORE brings it. Nothing that the bytes say raises.
    """

    def __init__(self, limits: ScreenLimits = DEFAULT_LIMITS, transfer_syntax: TransferSyntax | None = None) -> None:
        self._limits = limits
        self._transfer_syntax = transfer_syntax

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they may be reused when this returns."""

    def finish(self) -> Report:
        """Declare the end, and return what was found."""
        return Report(())


def screen_bytes(
    data: bytes | memoryview, limits: ScreenLimits = DEFAULT_LIMITS, transfer_syntax: TransferSyntax | None = None
) -> Report:
    """Return what a file, or with ``transfer_syntax`` a bare data set, that is in memory holds."""
    screening = Screening(limits, transfer_syntax)
    screening.feed(data)
    return screening.finish()
