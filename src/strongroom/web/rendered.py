"""Rendered images and thumbnails: /rendered and /thumbnail at every level (DICOM PS3.18 10.4.1.1.4, 10.4.1.1.5, 8.3.5).

A single part shows one instance: its one frame; of several the one that is representative, named by Content-Location;
or all of them as animated GIF or as video. In parts, every frame of every instance is an image. A thumbnail is the
representative frame of the instance in the middle. Nothing rendered is kept; the entity tag spares the client the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.responses import Response

from strongroom.archive.model import Outcome, StoredObject
from strongroom.archive.outgoing import open_whole
from strongroom.errors import NotRepresentable, StrongroomError
from strongroom.pixels.rendering import (
    ANIMATED_TYPES,
    GIF,
    IMAGE_TYPES,
    JPEG,
    MP4,
    PNG,
    RENDERER,
    Rendered,
    Rendering,
)
from strongroom.pixels.syntaxes import can_render
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.conditional import strong_tag
from strongroom.web.image_parameters import (
    RENDERING,
    THUMBNAIL_RENDERING,
    parse_frames,
    parse_rendering,
    parse_thumbnail,
)
from strongroom.web.multipart import MultipartWriter, boundary_of
from strongroom.web.negotiation import MULTIPART, Choice, Offer, negotiate
from strongroom.web.operation import PREFIX, Operation
from strongroom.web.retrieving import ACCEPT, CONDITIONS, VARY, accepted, is_head, not_sent, recorded, retrieve
from strongroom.web.streaming import Body, Delivered, Delivery

REPRESENTATIVE: Final = (0,)
ALL_FRAMES: Final = ()

_MAX_TRIES: Final = 8
"""Instances looked at for a thumbnail: reports and presentation states have no pixels."""

_IN_PARTS: Final = (Offer(JPEG, is_multipart=True), Offer(PNG, is_multipart=True))
_SINGLE: Final = tuple(map(Offer, (JPEG, PNG, GIF, MP4)))
_OF_INSTANCE: Final = (*_SINGLE, *_IN_PARTS)
_OF_THUMBNAIL: Final = tuple(map(Offer, IMAGE_TYPES))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be drawn for one request, whose beginning is in the trail."""

    objects: Sequence[StoredObject]
    delivery: Delivery
    rendering: Rendering
    tag: str
    choice: Choice


async def rendered_many(call: Call) -> Response:
    """Every frame of a study or a series, in parts."""
    return await _in_parts(call, await call.services.run_blocking(_plan, call, _IN_PARTS, ALL_FRAMES))


async def rendered_instance(call: Call) -> Response:
    """An instance: one image, an animation, a video, or its frames in parts."""
    return await _answer(call, await call.services.run_blocking(_plan, call, _OF_INSTANCE, ALL_FRAMES))


async def rendered_frames(call: Call) -> Response:
    """Frames of an instance: one as an image, several in parts, as animation or as video."""
    frames = parse_frames(call.path["frames"], call.services.limits.max_request_frames)
    offers = _OF_INSTANCE if len(frames) == 1 else (*_IN_PARTS, Offer(GIF), Offer(MP4))
    return await _answer(call, await call.services.run_blocking(_plan, call, offers, frames))


async def thumbnail(call: Call) -> Response:
    """The thumbnail of a study, a series, an instance or a frame."""
    frames = parse_frames(call.path["frames"], 1) if "frames" in call.path else REPRESENTATIVE
    plan = await call.services.run_blocking(_plan_thumbnail, call, frames)
    return plan if isinstance(plan, Delivered) else await send_drawn(call, plan, draw_first)


async def picture(call: Call) -> Response:
    """The thumbnail of what the path names for a page of ours: a JPEG, whatever else its browser would take."""
    plan = await call.services.run_blocking(_plan_thumbnail, call, REPRESENTATIVE, Choice(JPEG, False, "", 1000))
    return plan if isinstance(plan, Delivered) else await send_drawn(call, plan, draw_first)


def _plan(call: Call, offers: Sequence[Offer], frames: tuple[int, ...]) -> Plan | Delivered:
    accept, query = accepted(call)
    choice = negotiate(accept, offers, query)[0]
    is_animated = choice.media_type in ANIMATED_TYPES or choice.is_multipart
    rendering = parse_rendering(call.request.query_params, choice.media_type, frames)
    if not frames and not is_animated:
        rendering = msgspec.structs.replace(rendering, frames=REPRESENTATIVE)
    retrieved = retrieve(call, "rendered")
    with recorded(retrieved.delivery):
        return checked(call, Plan(retrieved.objects, retrieved.delivery, rendering, "", choice))


def _plan_thumbnail(call: Call, frames: tuple[int, ...], choice: Choice | None = None) -> Plan | Delivered:
    if choice is None:
        accept, query = accepted(call)
        choice = negotiate(accept, _OF_THUMBNAIL, query)[0]
    rendering = parse_thumbnail(call.request.query_params, choice.media_type, frames)
    retrieved = retrieve(call, "thumbnail")
    with recorded(retrieved.delivery):
        objects = _from_the_middle(retrieved.objects)[:_MAX_TRIES]
        return checked(call, Plan(objects, retrieved.delivery, rendering, "", choice))


def checked(call: Call, plan: Plan) -> Plan | Delivered:
    """The plan with its entity tag, or the answer if the client has it already (RFC 9110 13). Runs on a thread.

    Raises NotRepresentable if nothing of it can be decoded.
    """
    if not any(can_render(each.transfer_syntax) for each in plan.objects):
        raise NotRepresentable("there is no decoder for what is stored", stored_types(plan.objects))
    form = (RENDERER, plan.choice.content_type(), msgspec.json.encode(plan.rendering))
    base = call.base_url if plan.choice.is_multipart else ""
    tag = strong_tag("rendered", base, *form, *(each.sha256 for each in plan.objects))
    unsent = not_sent(call, plan.delivery, tag)
    if unsent is not None:
        return unsent.begin(is_head=True)
    return Plan(plan.objects, plan.delivery, plan.rendering, tag, plan.choice)


def _from_the_middle(objects: Sequence[StoredObject]) -> list[StoredObject]:
    """What can be decoded, of the series with the most of it, the middle first."""
    series: dict[str, list[StoredObject]] = {}
    for stored in objects:
        if can_render(stored.transfer_syntax):
            series.setdefault(stored.series_uid, []).append(stored)
    ordered: list[StoredObject] = []
    for each in sorted(series.values(), key=len, reverse=True):
        middle = len(each) // 2
        for distance in range(min(_MAX_TRIES, len(each))):
            ordered += each[middle - distance : middle - distance + 1] if distance <= middle else []
            ordered += each[middle + distance : middle + distance + 1] if distance else []
    return ordered


def stored_types(objects: Sequence[StoredObject]) -> tuple[str, ...]:
    """What can be had of objects in any case."""
    return tuple(dict.fromkeys(f"application/dicom; transfer-syntax={each.transfer_syntax}" for each in objects))


async def _answer(call: Call, plan: Plan | Delivered) -> Response:
    if isinstance(plan, Plan) and plan.choice.is_multipart:
        return await _in_parts(call, plan)
    return plan if isinstance(plan, Delivered) else await send_drawn(call, plan, draw_first)


Draw = Callable[[Call, Plan], tuple[StoredObject, Rendered]]


async def send_drawn(call: Call, plan: Plan, draw: Draw) -> Response:
    """Answer with one rendered body."""
    run_blocking = call.services.run_blocking
    try:
        stored, rendered = await call.services.run_pixels(draw, call, plan)
    except Exception as error:
        await run_blocking(plan.delivery.end, Outcome.FAILED, _reason(error))
        raise
    said = {
        "Content-Type": rendered.media_type,
        "Content-Length": str(len(rendered.body)),
        "Content-Location": _location(call, stored, rendered, plan.rendering),
        "ETag": plan.tag,
        "Vary": VARY,
    }

    def body() -> Body:
        yield rendered.body
        plan.delivery.object_done()

    return Delivered(plan.delivery, run_blocking, 200, said, body()).begin(is_head=is_head(call))


def draw_first(call: Call, plan: Plan) -> tuple[StoredObject, Rendered]:
    """The first of the plan's objects that can be drawn, and the drawing. Runs on a thread for pixels.

    Raises what drawing the last of them raises.
    """
    trouble: StrongroomError | None = None
    for stored in plan.objects:
        try:
            return stored, draw(call, stored, plan.rendering)
        except NotRepresentable as error:
            trouble = error
    assert trouble is not None
    raise trouble


def draw(call: Call, stored: StoredObject, rendering: Rendering) -> Rendered:
    """One instance, drawn. Runs on a thread for pixels. Raises NotRepresentable, CodecFailed, Busy, LimitExceeded."""
    pixels = call.services.pixels
    if pixels is None or not can_render(stored.transfer_syntax):
        raise NotRepresentable("there is no decoder for what is stored", stored_types((stored,)))
    with closing(open_whole(call.services.reader, stored)) as blob:
        try:
            return pixels.render(blob, stored.transfer_syntax, rendering)
        except NotRepresentable as error:
            raise NotRepresentable(error.reason, error.available or stored_types((stored,))) from None


async def _in_parts(call: Call, plan: Plan | Delivered) -> Response:
    if isinstance(plan, Delivered):
        return plan
    boundary = boundary_of(bytes.fromhex(plan.tag[1:-1]))
    content_type = f'{MULTIPART}; type="{plan.choice.media_type}"; boundary={boundary}'
    said = {"Content-Type": content_type, "ETag": plan.tag, "Vary": VARY}
    body = _parts(call, plan, MultipartWriter(boundary))
    delivered = Delivered(plan.delivery, call.services.go_on_pixels, 200, said, body)
    begun: list[bool] = []

    def begin() -> Delivered:
        begun.append(True)
        return delivered.begin(is_head=is_head(call))

    try:
        return await call.services.run_pixels(begin)
    except Exception as error:
        if not begun:
            await call.services.run_blocking(plan.delivery.end, Outcome.FAILED, _reason(error))
        raise


def _parts(call: Call, plan: Plan, writer: MultipartWriter) -> Body:
    """Every frame asked for of every instance. What has no pixels has no part; at least one frame has to."""
    trouble: NotRepresentable | None = None
    count = 0
    for stored in plan.objects:
        try:
            for rendered in _frames(call, stored, plan.rendering):
                where = _location(call, stored, rendered, plan.rendering)
                yield writer.part(rendered.media_type, where)
                yield rendered.body
                count += 1
        except NotRepresentable as error:
            if count:
                continue
            trouble = error
        plan.delivery.object_done()
    if not count and trouble is not None:
        raise trouble
    yield writer.end()


def _frames(call: Call, stored: StoredObject, rendering: Rendering) -> Iterator[Rendered]:
    numbers: Sequence[int] = rendering.frames
    if not numbers:
        first = draw(call, stored, msgspec.structs.replace(rendering, frames=(1,)))
        yield first
        numbers = range(2, first.frame_count + 1)
    for number in numbers:
        yield draw(call, stored, msgspec.structs.replace(rendering, frames=(number,)))


def _location(call: Call, stored: StoredObject, rendered: Rendered, rendering: Rendering) -> str:
    base = call.instance_url(stored.study_uid, stored.series_uid, stored.sop_uid)
    if rendered.frame_count == 1 or len(rendering.frames) != 1:
        return f"{base}/rendered"
    return f"{base}/frames/{rendered.frame}/rendered"


def _reason(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, StrongroomError) else "internal-error"


_STUDY: Final = f"{PREFIX}/studies/{{study}}"
_SERIES: Final = f"{_STUDY}/series/{{series}}"
_INSTANCE: Final = f"{_SERIES}/instances/{{instance}}"
_FRAMES: Final = f"{_INSTANCE}/frames/{{frames}}"
_PARAMETERS: Final = (*ACCEPT, *RENDERING, *CONDITIONS)
_PART_TYPES: Final = tuple(f'{MULTIPART}; type="{media_type}"' for media_type in (JPEG, PNG))
_INSTANCE_TYPES: Final = (JPEG, PNG, GIF, MP4, *_PART_TYPES)
_STATUSES: Final = (200, 304, 412)
_LEVELS: Final[Mapping[str, str]] = {
    "Study": _STUDY, "Series": _SERIES, "Instance": _INSTANCE, "Frame": _FRAMES
}  # fmt: skip

OPERATIONS: Final = (
    Operation(
        "retrieveRenderedStudy", "GET", f"{_STUDY}/rendered", rendered_many, "Every frame of a study, rendered.",
        Right.GET, _PARAMETERS, produces=_PART_TYPES, statuses=_STATUSES,
    ),
    Operation(
        "retrieveRenderedSeries", "GET", f"{_SERIES}/rendered", rendered_many, "Every frame of a series, rendered.",
        Right.GET, _PARAMETERS, produces=_PART_TYPES, statuses=_STATUSES,
    ),
    Operation(
        "retrieveRenderedInstance", "GET", f"{_INSTANCE}/rendered", rendered_instance, "One instance, rendered.",
        Right.GET, _PARAMETERS, produces=_INSTANCE_TYPES, statuses=_STATUSES,
    ),
    Operation(
        "retrieveRenderedFrames", "GET", f"{_FRAMES}/rendered", rendered_frames, "Frames of an instance, rendered.",
        Right.GET, _PARAMETERS, produces=_INSTANCE_TYPES, statuses=_STATUSES,
    ),
    *(
        Operation(
            f"retrieve{level}Thumbnail", "GET", f"{path}/thumbnail", thumbnail,
            f"A small image that stands for one {level.lower()}.", Right.GET,
            (*ACCEPT, *THUMBNAIL_RENDERING, *CONDITIONS), produces=IMAGE_TYPES, statuses=_STATUSES,
        )
        for level, path in _LEVELS.items()
    ),
)  # fmt: skip
