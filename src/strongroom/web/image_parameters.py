"""Query parameters of rendered images: DICOM PS3.18 8.3.5, and those of WADO-URI, 9.1.2. Pure: text in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final

from strongroom.errors import MalformedRequest
from strongroom.pixels.rendering import (
    DEFAULT_QUALITY,
    Annotation,
    IccProfile,
    Region,
    Rendering,
    Size,
    Window,
    WindowFunction,
)
from strongroom.web.operation import Parameter

MAX_SIDE: Final = 65_535
THUMBNAIL: Final = Size(128, 128)
"""Of a thumbnail whose size is not asked for."""

_MAX_VALUE_CHARS: Final = 256


def parse_rendering(query: Mapping[str, str], media_type: str, frames: tuple[int, ...]) -> Rendering:
    """Return the rendering that the parameters of PS3.18 8.3.5.1 ask for; others are passed over.

    Raises MalformedRequest for a value that is none of its parameter, or one that is not supported.
    """
    size, region = _viewport(query.get("viewport"), with_region=True)
    return Rendering(
        media_type=media_type,
        frames=frames,
        window=_window(query.get("window")),
        region=region,
        size=size,
        quality=_quality(query.get("quality"), "quality"),
        annotations=_annotations(query.get("annotation")),
        icc_profile=_icc_profile(query.get("iccprofile")),
    )


def parse_thumbnail(query: Mapping[str, str], media_type: str, frames: tuple[int, ...]) -> Rendering:
    """Return the rendering of a thumbnail, which has a size and nothing else (PS3.18 8.3.5.2)."""
    size, _ = _viewport(query.get("viewport"), with_region=False)
    return Rendering(media_type=media_type, frames=frames, size=size or THUMBNAIL)


def parse_uri_rendering(query: Mapping[str, str], media_type: str, frames: tuple[int, ...]) -> Rendering:
    """Return the rendering that the parameters of WADO-URI ask for. Raises MalformedRequest."""
    window = None
    if "windowCenter" in query or "windowWidth" in query:
        if not ("windowCenter" in query and "windowWidth" in query):
            raise MalformedRequest("windowCenter and windowWidth come together")
        window = _checked_window(_number(query["windowCenter"], "windowCenter"), query["windowWidth"], "linear")
    width, height = (_side(query[name], name) if name in query else 0 for name in ("columns", "rows"))
    return Rendering(
        media_type=media_type,
        frames=frames,
        window=window,
        region=_normalized_region(query.get("region")),
        size=Size(width, height) if width or height else None,
        quality=_quality(query.get("imageQuality"), "imageQuality"),
        annotations=_annotations(query.get("annotation")),
        icc_profile=_icc_profile(query.get("iccprofile")),
    )


def parse_frames(text: str, most: int) -> tuple[int, ...]:
    """Return the frame numbers of a list such as ``1,3,7``. Raises MalformedRequest."""
    parts = text.split(",", most)
    if len(parts) > most:
        raise MalformedRequest(f"more than {most} frames")
    numbers = tuple(_whole(part, "a frame number") for part in parts)
    if not all(numbers):
        raise MalformedRequest("frames are counted from 1")
    return numbers


def _viewport(text: str | None, *, with_region: bool) -> tuple[Size | None, Region | None]:
    """``vw,vh`` and, of the source image, ``sx,sy,sw,sh``, each of which may be left out; a negative extent mirrors."""
    if text is None:
        return None, None
    parts = [part.strip() for part in _short(text, "viewport").split(",")]
    if len(parts) not in ((2, 6) if with_region else (2,)):
        raise MalformedRequest("viewport is vw,vh" + (" or vw,vh,sx,sy,sw,sh" if with_region else ""))
    size = Size(_side(parts[0], "viewport"), _side(parts[1], "viewport"))
    if len(parts) == 2:
        return size, None
    left, top, width, height = (_number(part, "viewport") if part else None for part in parts[2:])
    if (left or 0) < 0 or (top or 0) < 0 or width == 0 or height == 0:
        raise MalformedRequest("viewport names a region outside of the image")
    region = Region(
        left=left or 0.0,
        top=top or 0.0,
        width=None if width is None else abs(width),
        height=None if height is None else abs(height),
        flip_x=(width or 0) < 0,
        flip_y=(height or 0) < 0,
    )
    return size, region


def _normalized_region(text: str | None) -> Region | None:
    if text is None:
        return None
    parts = _short(text, "region").split(",")
    if len(parts) != 4:
        raise MalformedRequest("region is left,top,right,bottom, each from 0 to 1")
    left, top, right, bottom = (_number(part, "region") for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise MalformedRequest("region is left,top,right,bottom, each from 0 to 1")
    return Region(left, top, right - left, bottom - top, is_normalized=True)


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    parts = _short(text, "window").split(",")
    if len(parts) != 3:
        raise MalformedRequest("window is center,width,function")
    return _checked_window(_number(parts[0], "window"), parts[1], parts[2].strip())


def _checked_window(center: float, width_text: str, function: str) -> Window:
    width = _number(width_text, "window")
    if function not in set(WindowFunction):
        raise MalformedRequest("the function of a window is linear, linear-exact or sigmoid")
    # PS3.3 C.11.2.1.2: at least 1 for the linear function, more than 0 for the others.
    if width <= 0 or (function == WindowFunction.LINEAR and width < 1):
        raise MalformedRequest("the width of a window is too small")
    return Window(center, width, WindowFunction(function))


def _quality(text: str | None, name: str) -> int:
    if text is None:
        return DEFAULT_QUALITY
    quality = _whole(text, name)
    if not 1 <= quality <= 100:
        raise MalformedRequest(f"{name} is 1 to 100")
    return quality


def _annotations(text: str | None) -> tuple[Annotation, ...]:
    if text is None:
        return ()
    words = [word.strip() for word in _short(text, "annotation").split(",")]
    if not set(words) <= set(Annotation):
        raise MalformedRequest("annotation is patient, technique, or both")
    return tuple(each for each in Annotation if each in words)


def _icc_profile(text: str | None) -> IccProfile:
    if text is None:
        return IccProfile.NO
    if text not in set(IccProfile):
        raise MalformedRequest("iccprofile is no, yes or srgb here")
    return IccProfile(text)


def _side(text: str, name: str) -> int:
    side = _whole(text, name)
    if not 1 <= side <= MAX_SIDE:
        raise MalformedRequest(f"{name} is 1 to {MAX_SIDE} pixels a side")
    return side


def _whole(text: str, name: str) -> int:
    bare = text.strip()
    if not (bare.isascii() and bare.isdigit() and len(bare) <= 9):
        raise MalformedRequest(f"{name} is a whole number")
    return int(bare)


def _number(text: str, name: str) -> float:
    try:
        number = float(_short(text, name))
    except ValueError:
        raise MalformedRequest(f"{name} holds a number that is none") from None
    if not isfinite(number) or abs(number) > 1e12:
        raise MalformedRequest(f"{name} holds a number out of range")
    return number


def _short(text: str, name: str) -> str:
    if len(text) > _MAX_VALUE_CHARS or "_" in text:
        raise MalformedRequest(f"{name} is too long, or no list of numbers or words")
    return text


RENDERING: Final = (
    Parameter("window", "query", "center,width,function: linear, linear-exact or sigmoid. No effect on colour."),
    Parameter("viewport", "query", "vw,vh or vw,vh,sx,sy,sw,sh: a region of the image, scaled to fit; minus mirrors."),
    Parameter("quality", "query", "Of JPEG and video, 1 to 100.", {"type": "integer", "minimum": 1, "maximum": 100}),
    Parameter("annotation", "query", "Burned in: patient, technique, or both."),
    Parameter("iccprofile", "query", "In the image: no, yes (the object's, else sRGB) or srgb.",
              {"type": "string", "enum": [each.value for each in IccProfile]}),
)  # fmt: skip
"""Parameters of PS3.18 table 8.3.5-1."""

THUMBNAIL_RENDERING: Final = (Parameter("viewport", "query", "vw,vh: the size to fit; 128,128 without it."),)
