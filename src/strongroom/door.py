"""The door of an archive, put together: who screens, what the policy says, who compares pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from strongroom.archive.door import NOTHING_FOUND, Door, Policy, Screened, Screening, ScreeningMemory
from strongroom.archive.ingest import Memory
from strongroom.archive.ports import Keys, Quarantine
from strongroom.config import Config, LimitsSection, ScreeningSection
from strongroom.dicom.dictionary import TransferSyntax
from strongroom.errors import StorageUnavailable
from strongroom.pixels.digest import PixelDigests
from strongroom.pixels.pool import Pixels
from strongroom.pixels.wire import PixelLimits
from strongroom.screen.engine import Engines, EngineScreening
from strongroom.screen.findings import Report, Severity, in_order
from strongroom.screen.limits import DEFAULT_LIMITS
from strongroom.screen.report_json import finding_json
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.screening import screen_header

_STRICTNESS: Final = (Policy.ACCEPT, Policy.FLAG, Policy.QUARANTINE, Policy.REFUSE)

MAX_KEPT_FINDINGS: Final = 100
"""Of one object, the worst first: each some hundred bytes in the index."""


class House:
    """The policy of the house: what becomes of an object, by its worst finding and by engines that failed."""

    def __init__(self, section: ScreeningSection) -> None:
        self.engines = Engines.load(
            section.yara_rules, section.clamd, section.engine_timeout_s, section.clamd_max_mib << 20
        )
        self._unseen = Policy(section.engine_failure)
        self._by_severity = {
            Severity.INFO: Policy.ACCEPT,
            Severity.LOW: Policy(section.low),
            Severity.MEDIUM: Policy(section.medium),
            Severity.HIGH: Policy(section.high),
            Severity.CRITICAL: Policy(section.critical),
        }

    def judge(self, report: Report) -> Screened:
        """What becomes of an object. Raises StorageUnavailable if its sender is to try again later."""
        worst = report.worst
        if worst is None and not report.failures:
            return NOTHING_FOUND
        policy = Policy.ACCEPT if worst is None else self._by_severity[worst]
        if report.failures and _STRICTNESS.index(self._unseen) > _STRICTNESS.index(policy):
            if self._unseen is Policy.REFUSE:
                names = ", ".join(f"{each.engine} ({each.reason})" for each in report.failures)
                raise StorageUnavailable(f"an engine could not look at the object: {names}")
            policy = self._unseen
        if policy is Policy.ACCEPT:
            return NOTHING_FOUND
        return Screened(policy, str(worst or Severity.MEDIUM), _rules(report), _as_json(report))


class Screener:
    """The adapter of ``archive.door.Screening``: room ``screen``, the engines, and the policy of the house."""

    def __init__(self, house: House, syntax: TransferSyntax, memory: ScreenMemory | None, header: bytes) -> None:
        self._house, self._header = house, header
        self._screening = house.engines.screening(DEFAULT_LIMITS, syntax, memory)
        self.feed: Callable[[bytes | memoryview], None] = self._screening.feed

    def finish(self) -> Screened:
        """Declare the end, and return what was found and what is to become of the object."""
        report = self._screening.finish()
        if self._header:
            report = replace(report, findings=in_order((*screen_header(self._header), *report.findings)))
        return self._house.judge(report)

    def close(self) -> None:
        """Give up on the object."""
        if isinstance(self._screening, EngineScreening):
            self._screening.close()


def _rules(report: Report) -> tuple[str, ...]:
    """What was found, and which engines did not look, each once."""
    return tuple(sorted({finding.rule.id for finding in report.findings} | {each.engine for each in report.failures}))


def _as_json(report: Report) -> bytes:
    return json.dumps([finding_json(finding) for finding in report.findings[:MAX_KEPT_FINDINGS]]).encode()


def door_of(config: Config, keys: Keys, quarantine: Quarantine, pool: Pixels) -> Door:
    """The door as the configuration has it. Raises ConfigError if an engine cannot be had."""
    section = config.screening
    holds_altered = section.altered == "quarantine"
    screen = _screen_of(House(section)) if section.enabled else None
    return Door(keys, quarantine, PixelDigests(pool), screen, holds_altered)


def _screen_of(house: House) -> Callable[[TransferSyntax, ScreeningMemory | None, bytes], Screening]:
    def screen(syntax: TransferSyntax, memory: ScreeningMemory | None, header: bytes) -> Screening:
        return Screener(house, syntax, memory if isinstance(memory, ScreenMemory) else None, header)

    return screen


def new_memory() -> Memory:
    """What an association remembers of its objects, with whatever screening does."""
    return Memory(screening=ScreenMemory())


def pixel_limits(limits: LimitsSection) -> PixelLimits:
    """What the configuration says of pixel workers."""
    return PixelLimits(
        max_pixel_workers=limits.max_pixel_workers,
        max_pixel_jobs_waiting=limits.max_pixel_jobs_waiting,
        pixel_wait_s=limits.pixel_wait_s,
        max_pixel_pause_s=limits.max_pixel_pause_s,
        pixel_worker_bytes=limits.pixel_worker_bytes,
        pixel_frame_cpu_s=limits.pixel_frame_cpu_s,
        pixel_step_timeout_s=limits.pixel_step_timeout_s,
        max_frame_bytes=limits.max_frame_bytes,
        max_pixel_fragments=limits.max_pixel_fragments,
        max_rendered_pixels=limits.max_rendered_pixels,
        max_rendered_frames=limits.max_rendered_frames,
        max_rendered_bytes=limits.max_rendered_bytes,
    )
