"""What a rendering is asked to look like, and what comes back: pure values, checked where they are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
GIF: Final = "image/gif"
MP4: Final = "video/mp4"

IMAGE_TYPES: Final = (JPEG, PNG, GIF)
"""Media types that one frame is rendered into, the default first (PS3.18 table 8.7.4-1)."""

ANIMATED_TYPES: Final = (GIF, MP4)
"""Media types that several frames are rendered into."""

RENDERER: Final = "1"
"""Part of every entity tag: to be raised when the same request gives other bytes."""

DEFAULT_QUALITY: Final = 90


class WindowFunction(StrEnum):
    """VOI LUT function (PS3.3 C.11.2.1.2, spelled as in PS3.18 8.3.5.1.4)."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


class Annotation(StrEnum):
    """What may be burned in (PS3.18 8.3.5.1.1)."""

    PATIENT = "patient"
    TECHNIQUE = "technique"


class IccProfile(StrEnum):
    """Which ICC profile the image carries (PS3.18 8.3.5.1.5)."""

    NO = "no"
    YES = "yes"
    SRGB = "srgb"


class Window(msgspec.Struct, frozen=True):
    """A window in units of the modality LUT's output."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR


class Region(msgspec.Struct, frozen=True):
    """A part of the source image. In pixels of it, or, if ``is_normalized``, in parts of its width and height.

    ``left`` and ``top`` may be 0, ``width`` and ``height`` None: to the edge. ``flip_x`` mirrors left and right.
    """

    left: float = 0.0
    top: float = 0.0
    width: float | None = None
    height: float | None = None
    flip_x: bool = False
    flip_y: bool = False
    is_normalized: bool = False


class Size(msgspec.Struct, frozen=True):
    """The box, in pixels, that the region is scaled to fit, its aspect ratio kept; 0 leaves one side free."""

    width: int
    height: int


class Rendering(msgspec.Struct, frozen=True):
    """One rendering. ``frames`` are frame numbers from 1; empty means all, and (0,) the representative one."""

    media_type: str
    frames: tuple[int, ...] = (0,)
    window: Window | None = None
    region: Region | None = None
    size: Size | None = None
    quality: int = DEFAULT_QUALITY
    annotations: tuple[Annotation, ...] = ()
    icc_profile: IccProfile = IccProfile.NO


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered image, animation or video. ``frame`` is the first that it shows, of ``frame_count`` in the object."""

    media_type: str
    body: bytes
    frame: int
    frame_count: int
