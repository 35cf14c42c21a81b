"""The door of an archive, put together: who screens, what the policy says, who compares pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from strongroom.archive.door import NOTHING_FOUND, Policy, Screened, Screening, ScreeningMemory
from strongroom.archive.ingest import Door
from strongroom.archive.ports import Keys, Quarantine
from strongroom.config import Config, LimitsSection, ScreeningSection
from strongroom.dicom.dictionary import TransferSyntax
from strongroom.pixels.digest import PixelDigests
from strongroom.pixels.pool import Pixels
from strongroom.pixels.wire import PixelLimits
from strongroom.screen import screening
from strongroom.screen.findings import Report, Severity
from strongroom.screen.limits import DEFAULT_LIMITS
from strongroom.screen.report_json import finding_json

MAX_KEPT_FINDINGS: Final = 100
"""Of one object, the worst first: each some hundred bytes in the index."""


class Screener:
    """The adapter of ``archive.door.Screening``: room ``screen``, and the policy of the configuration."""

    def __init__(self, policies: dict[Severity, Policy], syntax: TransferSyntax) -> None:
        self._policies = policies
        self._screening = screening.Screening(DEFAULT_LIMITS, syntax)
        self.feed: Callable[[bytes | memoryview], None] = self._screening.feed

    def finish(self) -> Screened:
        """Declare the end, and return what was found and what is to become of the object."""
        report = self._screening.finish()
        worst = report.worst
        if worst is None or worst is Severity.INFO:
            return NOTHING_FOUND
        return Screened(self._policies[worst], str(worst), _rules(report), _as_json(report))


def _rules(report: Report) -> tuple[str, ...]:
    return tuple(sorted({finding.rule.id for finding in report.findings}))


def _as_json(report: Report) -> bytes:
    return json.dumps([finding_json(finding) for finding in report.findings[:MAX_KEPT_FINDINGS]]).encode()


def policies_of(section: ScreeningSection) -> dict[Severity, Policy]:
    """What becomes of an object, by its worst finding."""
    return {
        Severity.LOW: Policy(section.low),
        Severity.MEDIUM: Policy(section.medium),
        Severity.HIGH: Policy(section.high),
        Severity.CRITICAL: Policy(section.critical),
    }


def door_of(config: Config, keys: Keys, quarantine: Quarantine, pool: Pixels) -> Door:
    """The door as the configuration has it."""
    section = config.screening
    policies = policies_of(section)

    def screen(syntax: TransferSyntax, _memory: ScreeningMemory | None) -> Screening:
        return Screener(policies, syntax)

    holds_altered = section.altered == "quarantine"
    return Door(keys, quarantine, PixelDigests(pool), screen if section.enabled else None, holds_altered)


def pixel_limits(limits: LimitsSection) -> PixelLimits:
    """What the configuration says of pixel workers."""
    return PixelLimits(
        max_pixel_workers=limits.max_pixel_workers,
        max_pixel_jobs_waiting=limits.max_pixel_jobs_waiting,
        pixel_wait_s=limits.pixel_wait_s,
        pixel_worker_bytes=limits.pixel_worker_bytes,
        pixel_frame_cpu_s=limits.pixel_frame_cpu_s,
        pixel_step_timeout_s=limits.pixel_step_timeout_s,
        max_frame_bytes=limits.max_frame_bytes,
        max_pixel_fragments=limits.max_pixel_fragments,
        max_rendered_pixels=limits.max_rendered_pixels,
        max_rendered_frames=limits.max_rendered_frames,
        max_rendered_bytes=limits.max_rendered_bytes,
    )
