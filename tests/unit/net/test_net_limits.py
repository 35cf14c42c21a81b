"""The limits of config.toml reach what they are named after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from harness import archives
from strongroom.archive.constraint import QueryLimits
from strongroom.config import parse
from strongroom.dicom.elements import ScanLimits
from strongroom.dimse import ChannelLimits
from strongroom.errors import ConfigError
from strongroom.serving.dicomservice import DicomService

LOWER = {
    "max_query_keys": 10,
    "max_query_depth": 2,
    "max_query_uids": 11,
    "max_query_values": 12,
    "max_query_value_chars": 13,
    "max_query_pattern_chars": 14,
    "max_kept_bytes": 15_000,
    "max_inflated_bytes": 16_000,
    "max_command_bytes": 1_700,
    "max_empty_fragments": 3,
}


def test_every_limit_of_a_query_a_scan_and_a_channel_is_wired(archive_home: Callable[..., Any]) -> None:
    with archives.opened(archive_home(limits=LOWER)) as archive:
        associations = DicomService(archive, archives.new_reporter(archive)).associations
        for limits in (associations._services.query_limits, archive._ingest_limits.scan, associations._limits.channel):
            found = asdict(limits)
            assert {name: found[name] for name in found if name in LOWER} == {
                name: LOWER[name] for name in found if name in LOWER
            }


def test_the_defaults_are_those_of_the_code() -> None:
    limits = parse('[archive]\nid = "a1"\n').limits
    for default in (QueryLimits(), ScanLimits(), ChannelLimits()):
        assert {name: getattr(limits, name) for name in asdict(default)} == asdict(default)


@pytest.mark.parametrize("line", ["max_query_pattern_chars = 512", "max_query_depth = 65"])
def test_a_query_is_not_let_deeper_than_the_code_can(line: str) -> None:
    with pytest.raises(ConfigError, match=line.split()[0]):
        parse(f'[archive]\nid = "a1"\n[limits]\n{line}\n')
