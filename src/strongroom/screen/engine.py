"""Screening with the engines of the operator's beside it: YARA-X rules, and ClamAV through clamd.

``Engines.screening`` takes the place of ``Screening``: it is fed the same bytes, and its report has what the engines
found as well. Of a deflated data set they are shown what it inflates to besides, as far as our own rules are. What an
engine could not do is in ``Report.failures``, by its name and in a few words: whether an object may pass that an
engine has not seen is for its caller to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Protocol

from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from strongroom.errors import EngineFailed
from strongroom.screen.clamd import Clamd
from strongroom.screen.findings import EngineFailure, Finding, Report, in_order
from strongroom.screen.limits import DEFAULT_LIMITS, ScreenLimits
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.screening import Screening
from strongroom.screen.yara import YaraRules

DEFAULT_TIMEOUT_S: Final = 60.0
DEFAULT_CLAMD_BYTES: Final = 25 << 20
_INFLATED: Final = EXPLICIT_VR_LITTLE_ENDIAN
"""What a deflated data set is once it is inflated (PS3.5 A.5)."""


class _Scan(Protocol):
    def feed(self, data: memoryview) -> None: ...

    def finish(self) -> tuple[Finding, ...]: ...

    def close(self) -> None: ...


_Named = tuple[str, _Scan]
"""A scan, and the engine that does it."""


class Engines:
    """The engines that are configured, none of them to begin with. Thread-safe."""

    def __init__(self, yara: YaraRules | None = None, clamd: Clamd | None = None) -> None:
        self._yara = yara
        self._clamd = clamd

    @classmethod
    def load(
        cls,
        yara_rules: Sequence[str] = (),
        clamd: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clamd_max_bytes: int = DEFAULT_CLAMD_BYTES,
    ) -> Engines:
        """Return the engines of a configuration, rules compiled. Raises ConfigError if they cannot be had.

        clamd need not be there yet: ``check`` asks for it.
        """
        return cls(
            YaraRules.load(yara_rules, timeout_s) if yara_rules else None,
            Clamd.parse(clamd, timeout_s, clamd_max_bytes) if clamd else None,
        )

    def __bool__(self) -> bool:
        return self._yara is not None or self._clamd is not None

    def check(self) -> None:
        """Ask whether the engines are there. Raises EngineFailed."""
        if self._clamd is not None:
            self._clamd.ping()

    def screening(
        self,
        limits: ScreenLimits = DEFAULT_LIMITS,
        transfer_syntax: TransferSyntax | None = None,
        memory: ScreenMemory | None = None,
    ) -> Screening | EngineScreening:
        """Return a screening of one object: of a file, or with ``transfer_syntax`` of a bare data set."""
        screening = Screening(limits, transfer_syntax, memory)
        if not self:
            return screening
        return EngineScreening(screening, self._begin(transfer_syntax), lambda: self._begin(_INFLATED, inflated=True))

    def _begin(self, transfer_syntax: TransferSyntax | None, *, inflated: bool = False) -> list[_Named]:
        scans: list[_Named] = []
        if self._yara is not None:
            scans.append(("yara", self._yara.begin(transfer_syntax, inflated=inflated)))
        if self._clamd is not None:
            scans.append(("clamd", self._clamd.begin(inflated=inflated)))
        return scans


class EngineScreening:
    """One object on its way past our rules and the engines. Not thread-safe. Nothing that an engine does raises."""

    def __init__(self, screening: Screening, scans: list[_Named], begin_inflated: Callable[[], list[_Named]]) -> None:
        self._screening = screening
        self._scans = scans
        self._inflated: list[_Named] = []
        """Those of what the object inflates to, if it is deflated."""
        self._begin_inflated: Callable[[], list[_Named]] | None = begin_inflated
        self._failures: list[EngineFailure] = []
        screening.on_inflated = self._feed_inflated

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they may be reused when this returns."""
        view = memoryview(data).cast("B")
        self._screening.feed(view)
        self._show(view, self._scans)

    def _feed_inflated(self, view: memoryview) -> None:
        if self._begin_inflated is not None:
            self._inflated, self._begin_inflated = self._begin_inflated(), None
        self._show(view, self._inflated)

    def _show(self, view: memoryview, scans: list[_Named]) -> None:
        for name, scan in tuple(scans):
            try:
                scan.feed(view)
            except EngineFailed as error:
                self._failed(name, scan, error, scans)

    def finish(self) -> Report:
        """Declare the end, and return what was found by all."""
        report = self._screening.finish()
        found: list[Finding] = []
        for scans in (self._scans, self._inflated):
            for name, scan in tuple(scans):
                try:
                    found += scan.finish()
                except EngineFailed as error:
                    self._failed(name, scan, error, scans)
        counts = Counter(report.counts) + Counter(each.rule.id for each in found)
        return replace(
            report,
            findings=in_order((*report.findings, *found)),
            counts=MappingProxyType(dict(counts)),
            failures=tuple(self._failures),
        )

    def close(self) -> None:
        """Give up on an object that does not arrive whole."""
        for scans in (self._scans, self._inflated):
            for _, scan in scans:
                scan.close()
            scans.clear()

    def _failed(self, name: str, scan: _Scan, error: EngineFailed, scans: list[_Named]) -> None:
        scan.close()
        scans.remove((name, scan))
        self._failures.append(EngineFailure(name, error.reason))
