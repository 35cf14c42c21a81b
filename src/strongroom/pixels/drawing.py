"""From frames to PNG, JPEG, GIF or MP4: region, size, annotation, profile, encoding (PS3.18 8.3.5). Workers only."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

from PIL import Image, ImageCms, ImageDraw, ImageFont

from strongroom.errors import LimitExceeded, MalformedDataset, MalformedRequest, NotFound, NotRepresentable
from strongroom.pixels import image as tags
from strongroom.pixels.codecs import decode_frame
from strongroom.pixels.grayscale import to_display
from strongroom.pixels.image import ANNOTATED, StoredImage
from strongroom.pixels.rendering import (
    ANIMATED_TYPES,
    GIF,
    IMAGE_TYPES,
    JPEG,
    MP4,
    Annotation,
    IccProfile,
    Region,
    Rendering,
    Size,
)
from strongroom.pixels.sandbox import allow_cpu
from strongroom.pixels.video import video_of
from strongroom.pixels.wire import PixelLimits

PNG_LEVEL: Final = 1
DEFAULT_FRAME_MS: Final = 100.0
_SHORTEST_FRAME_MS, _LONGEST_FRAME_MS = 10.0, 10_000.0
_VIDEO_SPEED: Final = 10
_FULL_CHROMA_FROM: Final = 90
"""Quality from which JPEG keeps colour at full resolution."""

_OUTLINE: Final = 1


def render(image: StoredImage, rendering: Rendering, limits: PixelLimits) -> bytes:
    """Return the encoded rendering. Raises as ``codecs.decode_frame``, NotRepresentable, LimitExceeded."""
    numbers = numbers_of(image, rendering)
    if rendering.frames and max(numbers) > image.frame_count:
        raise NotFound("the object has no such frame")
    if len(numbers) > limits.max_rendered_frames:
        raise LimitExceeded("max_rendered_frames", limits.max_rendered_frames, len(numbers))
    drawn = _all_drawn(image, numbers, rendering, limits)
    if image.frame_count == 1 and rendering.media_type == MP4:
        raise NotRepresentable("a single frame is no video", IMAGE_TYPES)
    if len(numbers) == 1 and rendering.media_type != MP4:
        return _encoded(next(drawn), image, rendering)
    if rendering.media_type not in ANIMATED_TYPES:
        raise NotRepresentable("several frames need an animation or a video", ANIMATED_TYPES)
    return _animated(drawn, _frame_ms(image), rendering)


def numbers_of(image: StoredImage, rendering: Rendering) -> Sequence[int]:
    """The frames that a rendering shows, in their order."""
    return [each or image.representative for each in rendering.frames] or range(1, image.frame_count + 1)


def _all_drawn(
    image: StoredImage, numbers: Sequence[int], rendering: Rendering, limits: PixelLimits
) -> Iterator[Image.Image]:
    for number in numbers:
        yield _drawn(image, number, rendering, limits)
    allow_cpu(limits.pixel_frame_cpu_s + len(numbers) * image.frame_cpu_s)  # an animation is encoded at the end


def _drawn(image: StoredImage, number: int, rendering: Rendering, limits: PixelLimits) -> Image.Image:
    allow_cpu(image.frame_cpu_s)
    array, form = decode_frame(image, number)
    picture = Image.fromarray(to_display(array, form, image, number, rendering.window))
    if rendering.icc_profile is IccProfile.SRGB and picture.mode == "RGB":
        picture = _in_srgb(picture, image)
    if rendering.region is not None:
        picture = _cut(picture, rendering.region)
    picture = _scaled(picture, rendering.size, limits)
    if rendering.annotations:
        _annotate(picture, image, number, rendering.annotations)
    return picture


def _cut(picture: Image.Image, region: Region) -> Image.Image:
    across, down = (picture.width, picture.height) if region.is_normalized else (1, 1)
    left, top = region.left * across, region.top * down
    right = picture.width if region.width is None else left + region.width * across
    bottom = picture.height if region.height is None else top + region.height * down
    box = (round(left), round(top), round(right), round(bottom))
    if not (0 <= box[0] < box[2] <= picture.width and 0 <= box[1] < box[3] <= picture.height):
        raise MalformedRequest("the region asked for is not within the image")
    picture = picture.crop(box)
    if region.flip_x:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if region.flip_y:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return picture


def _scaled(picture: Image.Image, size: Size | None, limits: PixelLimits) -> Image.Image:
    width, height = picture.size
    if size is not None:
        factors = [box / side for box, side in ((size.width, width), (size.height, height)) if box]
        width, height = (max(1, round(side * min(factors))) for side in (width, height))
    if width * height > limits.max_rendered_pixels:
        raise LimitExceeded("max_rendered_pixels", limits.max_rendered_pixels, width * height)
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _annotate(picture: Image.Image, image: StoredImage, number: int, wanted: tuple[Annotation, ...]) -> None:
    said = {name: image.words(tag) for name, tag in ANNOTATED.items()}
    height = max(9, min(picture.width, picture.height) // 32)
    font = ImageFont.load_default(height)
    draw = ImageDraw.Draw(picture)
    white: Any = 255 if picture.mode == "L" else (255, 255, 255)
    black: Any = 0 if picture.mode == "L" else (0, 0, 0)
    corner = height // 2
    if Annotation.PATIENT in wanted:
        name = " ".join(part for part in said["name"].split("=")[0].split("^") if part)
        lines = (name, said["id"], " ".join(filter(None, (said["birth"], said["sex"]))))
        text = "\n".join(filter(None, lines))
        draw.multiline_text((corner, corner), text, white, font, stroke_width=_OUTLINE, stroke_fill=black)
    if Annotation.TECHNIQUE in wanted:
        place = (picture.width - corner, corner)
        text = "\n".join(_technique(said, image, number))
        draw.multiline_text(
            place, text, white, font, anchor="ra", align="right", stroke_width=_OUTLINE, stroke_fill=black
        )


def _technique(said: dict[str, str], image: StoredImage, number: int) -> Iterator[str]:
    yield " ".join(filter(None, (said["modality"], said["series"])))
    yield " ".join(filter(None, (said["study_date"], said["study_time"][:6])))
    frame = f" ({number}/{image.frame_count})" if image.frame_count > 1 else ""
    yield f"{said['series_number'] or '-'}:{said['number'] or '-'}{frame}"
    measures = (("kvp", "kV"), ("current", "mA"), ("thickness", "mm"))
    if technique := " ".join(f"{said[key]} {unit}" for key, unit in measures if said[key]):
        yield technique
    if said["position"]:
        yield said["position"].replace("\\", " / ")


def _encoded(picture: Image.Image, image: StoredImage, rendering: Rendering) -> bytes:
    out = io.BytesIO()
    profile = _profile(picture, image, rendering.icc_profile)
    more: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if rendering.media_type == JPEG:
        sampling = 0 if rendering.quality >= _FULL_CHROMA_FROM else 2
        picture.save(out, "JPEG", quality=rendering.quality, subsampling=sampling, **more)
    elif rendering.media_type == GIF:
        _with_palette(picture).save(out, "GIF", optimize=False)
    else:
        picture.save(out, "PNG", compress_level=PNG_LEVEL, **more)
    return out.getvalue()


def _profile(picture: Image.Image, image: StoredImage, wanted: IccProfile) -> bytes:
    """The profile to put in: the object's own, or sRGB where it has none or sRGB is asked for. Grey has none."""
    if wanted is IccProfile.NO or picture.mode != "RGB":
        return b""
    own = image.elements.get(tags.ICC_PROFILE)
    if wanted is IccProfile.YES and own is not None and own.value:
        return own.value
    return _SRGB


def _in_srgb(picture: Image.Image, image: StoredImage) -> Image.Image:
    own = image.elements.get(tags.ICC_PROFILE)
    if own is None or not own.value:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(own.value))
        changed = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        raise MalformedDataset("the ICC profile of the object cannot be used") from None
    assert changed is not None
    return changed


def _with_palette(picture: Image.Image) -> Image.Image:
    """Colour in 256 of them, chosen for this frame: left to the GIF writer it takes a hundred times as long."""
    if picture.mode == "L":
        return picture
    return picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _frame_ms(image: StoredImage) -> float:
    """How long a frame is shown (PS3.3 C.7.6.5)."""
    for tag, is_rate in ((tags.FRAME_TIME_MS, False), (tags.DISPLAY_RATE, True), (tags.CINE_RATE, True)):
        try:
            value = float(image.text(tag) or 0)
        except ValueError:
            continue
        if value > 0:
            shown_ms = 1000.0 / value if is_rate else value
            return min(max(shown_ms, _SHORTEST_FRAME_MS), _LONGEST_FRAME_MS)
    return DEFAULT_FRAME_MS


def _animated(drawn: Iterator[Image.Image], frame_ms: float, rendering: Rendering) -> bytes:
    out = io.BytesIO()
    first = next(drawn)
    if rendering.media_type == GIF:
        more = map(_with_palette, drawn)
        _with_palette(first).save(
            out, "GIF", save_all=True, append_images=more, duration=frame_ms, loop=0, optimize=False
        )
        return out.getvalue()
    first.save(
        out, "AVIF", save_all=True, append_images=drawn, duration=round(frame_ms), quality=rendering.quality,
        speed=_VIDEO_SPEED, codec="aom", max_threads=1, subsampling="4:2:0", range="full",
    )  # fmt: skip
    return video_of(out.getvalue())


_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def warm_up() -> None:
    """Use every plugin and the font once: they are loaded from files that a worker soon cannot open."""
    for mode in ("L", "RGB"):
        picture = Image.new(mode, (32, 32))
        ImageDraw.Draw(picture).text((1, 1), "0", font=ImageFont.load_default(9), stroke_width=_OUTLINE)
        picture.resize((16, 16), Image.Resampling.BILINEAR)
        for kind in ("PNG", "JPEG", "GIF"):
            picture.save(io.BytesIO(), kind)
        for media_type in ANIMATED_TYPES:
            _animated(iter((picture, picture)), DEFAULT_FRAME_MS, Rendering(media_type))
