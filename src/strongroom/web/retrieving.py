"""What all retrievals have in common: the objects that a path names, the record of it, conditions and ranges."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from strongroom.archive import keys as kept
from strongroom.archive.constraint import Key, Single
from strongroom.archive.model import Action, Detail, Level, Outcome, StoredObject
from strongroom.archive.query import Model, Retrieval
from strongroom.errors import NotFound, StrongroomError
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.conditional import (
    ByteRange,
    Precondition,
    Unsatisfiable,
    check_conditions,
    ranges_of,
    strong_tag,
)
from strongroom.web.operation import Parameter
from strongroom.web.streaming import Chunk, Delivered, Delivery

VARY: Final = "Accept, Authorization"
"""What an answer depends on beside its path."""

_LEVELS: Final = (("study", Level.STUDY), ("series", Level.SERIES), ("instance", Level.IMAGE))

CONDITIONS: Final = (
    Parameter("If-None-Match", "header", "Entity tags of what the client has: 304 if it is still the same."),
    Parameter("If-Match", "header", "Entity tags, one of which has to be that of the resource: else 412."),
)
RANGES: Final = (
    Parameter("Range", "header", "Bytes of an answer with a single part: 206, or 416 if there are none."),
    Parameter("If-Range", "header", "The entity tag that the ranges belong to."),
)
ACCEPT: Final = (
    Parameter("Accept", "header", "Media types and transfer syntaxes that are taken (PS3.18 8.7)."),
    Parameter("accept", "query", "The same, where headers cannot be set (PS3.18 8.3.3.1)."),
)


class Retrieved(NamedTuple):
    """The objects that a request names, and their delivery, whose beginning is in the trail."""

    objects: Sequence[StoredObject]
    delivery: Delivery


def retrieve(
    call: Call, resource: str, more: Mapping[str, Detail] | None = None, action: Action = Action.RETRIEVE
) -> Retrieved:
    """Find what the UIDs of the path name, and record as ``action`` that it is about to leave. Runs on a thread.

    Raises NotFound: nothing of that, or nothing that the caller may know of; Denied, LimitExceeded, StorageUnavailable.
    """
    keys, level = [], Level.STUDY
    for name, named in _LEVELS:
        if name in call.uids:
            keys.append(Key(kept.UNIQUE_KEYS[named], "UI", Single(str(call.uids[name]))))
            level = named
    reader = call.services.reader
    retrieval = Retrieval(level, Model.STUDY_ROOT, tuple(keys))
    details: dict[str, Detail] = {"service": "wado-rs", "resource": resource, **(more or {})}
    objects = reader.retrieve(call.principal, Right.GET, retrieval, details, action)
    if not objects:
        raise NotFound("nothing of that name is stored")
    return Retrieved(
        objects, Delivery(reader, call.principal, len(objects), more={"resource": resource}, action=action)
    )


@contextmanager
def recorded(delivery: Delivery) -> Iterator[None]:
    """Within this, a delivery that fails before its answer is made is in the trail as ended."""
    try:
        yield
    except Exception as error:
        reason = type(error).__name__ if isinstance(error, StrongroomError) else "internal-error"
        delivery.end(Outcome.FAILED, reason)
        raise


def accepted(call: Call) -> tuple[str | None, str | None]:
    """The Accept header field, all of its lines, and the Accept Query Parameter."""
    lines = call.request.headers.getlist("accept")
    return (", ".join(lines) if lines else None), call.request.query_params.get("accept")


def is_head(call: Call) -> bool:
    """Whether only the headers are asked for."""
    return bool(call.request.method == "HEAD")


async def begun(call: Call, delivered: Delivered) -> Delivered:
    """The answer with its first piece made: by who decodes, if it has to be decoded."""
    if not delivered.is_begun:
        await call.services.run_pixels(delivered.begin, is_head=is_head(call))
    return delivered


def not_sent(call: Call, delivery: Delivery, tag: str) -> Delivered | None:
    """The answer to a request whose conditions do not hold, None if it is to be answered in full."""
    headers = call.request.headers
    decision = check_conditions(headers.get("if-match"), headers.get("if-none-match"), tag)
    if decision is Precondition.GO_ON:
        return None
    delivery.more["status"] = decision.value
    said = {"ETag": tag} | ({} if decision is Precondition.NOT_MODIFIED else {"Content-Length": "0"})
    return Delivered(delivery, call.services.run_blocking, decision.value, said)


def deliver(
    call: Call, delivery: Delivery, said: Mapping[str, str], body: Iterable[Chunk], *, by_worker: bool = False
) -> Delivered:
    """Answer in full, with the headers ``said``, an ETag among them, unless the conditions do not hold. On a thread.

    ``by_worker``: to make it takes a pixel worker, so that it is begun where those are waited for, by `begun`.
    """
    unsent = not_sent(call, delivery, said["ETag"])
    if unsent is not None:
        return unsent.begin(is_head=True)
    if by_worker:
        return Delivered(delivery, call.services.go_on_pixels, 200, said, body)
    return Delivered(delivery, call.services.run_blocking, 200, said, body).begin(is_head=is_head(call))


class Sized(NamedTuple):
    """A representation of known length, any part of which can be made: one object, one value, one frame."""

    content_type: str
    size: int
    tag: str
    read: Callable[[int, int], Generator[bytes, None, None]]
    """From a first byte to one that is not included; the last byte of all says ``object_done``."""
    location: str = ""


def deliver_sized(call: Call, delivery: Delivery, sized: Sized) -> Delivered:
    """Answer with a representation or with the ranges of it that are asked for (RFC 9110 14). Runs on a thread."""
    unsent = not_sent(call, delivery, sized.tag)
    if unsent is not None:
        return unsent.begin(is_head=True)
    headers, run_blocking = call.request.headers, call.services.run_blocking
    said = {"ETag": sized.tag, "Accept-Ranges": "bytes", "Vary": VARY}
    if sized.location:
        said["Content-Location"] = sized.location
    limit = call.services.limits.max_request_ranges
    ranges = ranges_of(headers.get("range"), headers.get("if-range"), sized.tag, sized.size, limit)
    if is_head(call):
        ranges = ()  # Range is for GET only (RFC 9110 14.2)
    if isinstance(ranges, Unsatisfiable):
        delivery.more["status"] = 416
        said = {"Content-Range": f"bytes */{sized.size}", "Content-Length": "0"}
        return Delivered(delivery, run_blocking, 416, said).begin(is_head=True)
    if not ranges:
        said |= {"Content-Type": sized.content_type, "Content-Length": str(sized.size)}
        return Delivered(delivery, run_blocking, 200, said, sized.read(0, sized.size)).begin(is_head=is_head(call))
    if len(ranges) == 1:
        ((start, stop),) = ranges
        said |= {
            "Content-Type": sized.content_type,
            "Content-Length": str(stop - start),
            "Content-Range": f"bytes {start}-{stop - 1}/{sized.size}",
        }
        return Delivered(delivery, run_blocking, 206, said, sized.read(start, stop)).begin(is_head=False)
    boundary = f"strongroom-{strong_tag(sized.tag, repr(ranges))[1:-1]}"
    heads = [_part_head(boundary, sized, each, is_first=not number) for number, each in enumerate(ranges)]
    end = f"\r\n--{boundary}--\r\n".encode("ascii")
    length = sum(map(len, heads)) + sum(stop - start for start, stop in ranges) + len(end)
    said |= {"Content-Type": f"multipart/byteranges; boundary={boundary}", "Content-Length": str(length)}

    def body() -> Generator[bytes, None, None]:
        for head, (start, stop) in zip(heads, ranges, strict=True):
            yield head
            yield from sized.read(start, stop)
        yield end

    return Delivered(delivery, run_blocking, 206, said, body()).begin(is_head=False)


def _part_head(boundary: str, sized: Sized, part: ByteRange, *, is_first: bool) -> bytes:
    lead = "" if is_first else "\r\n"
    return (
        f"{lead}--{boundary}\r\nContent-Type: {sized.content_type}\r\n"
        f"Content-Range: bytes {part.start}-{part.stop - 1}/{sized.size}\r\n\r\n"
    ).encode("ascii")
