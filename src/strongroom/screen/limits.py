"""Caps of one screening: what it may hold, walk and report, whatever the bytes say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ScreenLimits:
    """Sizes in bytes. Passing one of them is a finding, never an error."""

    max_depth: int = 64
    """Nested sequences that are no finding; deeper ones are walked all the same."""
    max_walked_depth: int = 200_000
    max_elements: int = 120_000
    """Elements and items that are walked; what follows is searched as plain bytes."""
    max_fragments: int = 300_000
    min_looks: int = 1_200
    """Values, texts and fragments that are looked at closely; one more for each ``bytes_per_look`` of the file."""
    bytes_per_look: int = 2_048
    max_value_bytes: int = 8 << 20
    """Of a value, pixel data excepted, that is judged whole; of a longer one its beginning is, and every byte of it is
    searched."""
    max_inflate_ratio: int = 200
    """Holds once ``inflate_free_bytes`` have come out."""
    inflate_free_bytes: int = 16 << 20
    max_inflated_bytes: int = 4 << 30
    max_findings: int = 1_000
    max_findings_per_rule: int = 50


DEFAULT_LIMITS: Final = ScreenLimits()
