"""STOW-RS: storing instances (PS3.18 10.5).

The body flows from the socket through at most three pieces: 256 KiB that arrive, a batch that waits, one that a thread
takes in. Whoever stores faster than the disk finds that nobody reads. Instances that have come whole are
committed beside, a few at a time. A body under a content coding is refused: images do not shrink, and nothing inflates
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from strongroom.archive.model import Action, Detail, Outcome
from strongroom.archive.refusals import reason_of
from strongroom.config import LimitsSection
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.metadata import MetadataLimits
from strongroom.dicom.xmlmodel import to_xml
from strongroom.errors import LimitExceeded, StrongroomError, UnsupportedMediaType
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.multipart import MultipartLimits, MultipartReader, parse_multipart
from strongroom.web.negotiation import MULTIPART, Offer, negotiate, parse_media_type
from strongroom.web.operation import PREFIX, Operation
from strongroom.web.problem import plain_problem, problem_of
from strongroom.web.room import Room
from strongroom.web.storing import DICOM, Complete, DicomParts, Door, Fate, Intake, SingleFile
from strongroom.web.stow_metadata import JSON, METADATA, XML, IntakeLimits, MetadataBody, MetadataParts
from strongroom.web.stow_report import response_dataset, response_status

BATCH_BYTES: Final = 393_216
"""A hand-over to a thread costs about 100 us: it is paid for this many bytes at least."""

MOST_BATCH_BYTES: Final = 1_048_576
"""What comes while a thread is still busy with the batch before is taken up to this."""

COMMITS_AT_ONCE: Final = 8
"""Of one request: enough that they share syncs, too few to keep others waiting."""

TAKEN: Final = (*(f'{MULTIPART}; type="{essence}"' for essence in (DICOM, JSON, XML)), DICOM, JSON, XML)
ANSWERS: Final = (Offer(JSON), Offer(XML), Offer("application/json"))


async def store_instances(call: Call) -> Response:
    """Store what the body holds; says of each instance what became of it.

    Raises StrongroomError if nothing was looked at; what was stored before a body broke off stays stored.
    """
    limits = call.services.limits
    headers = call.request.headers
    accept = ", ".join(headers.getlist("accept"))
    answer_type = negotiate(accept, ANSWERS, call.request.query_params.get("accept"))[0].media_type
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise UnsupportedMediaType("a body is stored as it is: no Content-Encoding is taken")
    if int(headers.get("content-length", 0)) > limits.max_request_bytes:
        raise LimitExceeded("max_request_bytes", limits.max_request_bytes)
    intake = _intake(call, headers.get("content-type", ""))
    transfer = _Transfer(call, intake)
    try:
        async with asyncio.timeout(limits.message_timeout_s):
            await transfer.run()
    except ClientDisconnect:
        return plain_problem(400, "The body broke off")  # which nobody will read
    except TimeoutError:
        return plain_problem(408, "The body did not come in time", extra={"limit": "message_timeout_s"})
    except StrongroomError as error:
        stored = sum(fate.is_stored for fate in intake.fates)
        if not intake.fates:  # whoever tried to store something is to be seen, though no instance ever began
            await call.services.run_storing(_record_refusal, call, error)
        if not stored:
            raise
        return _broken_off(error, stored)
    finally:
        intake.release()
    return await call.services.run_storing(_report, call, intake.fates, answer_type)


def _record_refusal(call: Call, error: StrongroomError) -> None:
    details: dict[str, Detail] = {"reasons": (reason_of(error),), "objects": 0}
    call.services.reader.ended(call.principal, Action.STORE, Outcome.REFUSED, details)


def _report(call: Call, fates: Sequence[Fate], answer_type: str) -> Response:
    """What became of each instance. Of many thousand it takes too long for the event loop."""
    dataset = response_dataset(fates, (call.study_url, call.instance_url))
    body = to_xml(dataset) if answer_type == XML else msgspec.json.encode(dataset)
    return Response(body, response_status(fates), media_type=answer_type)


def _broken_off(error: StrongroomError, stored: int) -> Response:
    """The answer to a body that went wrong after some instances were stored: it says that they are."""
    found = problem_of(error)
    extra: dict[str, object] = {"stored": stored}
    if isinstance(error, LimitExceeded):
        extra["limit"] = error.limit_name
    return plain_problem(found.status, found.title, str(error) if found.says_why else "", extra)


def _intake(call: Call, content_type: str) -> Intake:
    """Return what takes in a body of this media type. Raises UnsupportedMediaType, MalformedRequest."""
    if not content_type:
        raise UnsupportedMediaType("the body has no Content-Type", TAKEN)
    services, limits = call.services, call.services.limits
    door = Door(
        services.new_ingest,
        services.reader,
        call.principal,
        services.storage_classes,
        call.uids.get("study", ""),
        services.new_memory,
    )
    essence = parse_media_type(content_type).essence
    if essence == DICOM:
        return SingleFile(door)
    if essence in METADATA:
        return MetadataBody(door, essence, _intake_limits(limits, services.room))
    if essence != MULTIPART:
        raise UnsupportedMediaType("a body of a media type that is not taken", TAKEN)
    boundary, part_type = parse_multipart(content_type)
    caps = MultipartLimits(limits.max_request_parts, limits.max_part_header_bytes, limits.max_part_header_fields)
    reader = MultipartReader(boundary, caps)
    if part_type in (DICOM, ""):
        return DicomParts(door, reader)
    if part_type in METADATA:
        return MetadataParts(door, part_type, _intake_limits(limits, services.room), reader)
    raise UnsupportedMediaType("parts of a media type that is not taken", TAKEN)


def _intake_limits(limits: LimitsSection, room: Room) -> IntakeLimits:
    return IntakeLimits(
        MetadataLimits(limits.max_metadata_values, limits.max_element_depth),
        ScanLimits(max_element_depth=limits.max_element_depth, max_element_count=limits.max_metadata_values),
        limits.max_metadata_bytes,
        limits.max_held_bulk_bytes,
        limits.max_request_parts,
        room,
    )


class _Transfer:
    """One body on its way from the socket into the archive."""

    def __init__(self, call: Call, intake: Intake) -> None:
        self._call = call
        self._run = call.services.run_storing
        self._intake = intake
        self._feeding: asyncio.Future[None] | None = None
        self._committing: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Take the body in; returns when every instance is settled.

        Raises MalformedRequest or LimitExceeded if the body goes no further, ClientDisconnect, CancelledError; then too
        every instance that has come whole is settled, and nothing is left of any other.
        """
        try:
            async for batch in self._batches():
                await self._settle()
                self._feeding = asyncio.ensure_future(self._run(self._feed, batch))
            await self._settle()
            self._feeding = asyncio.ensure_future(self._run(self._intake.finish))
            await self._settle()
            await _all(self._committing)
        except BaseException:
            await self._abandon()
            raise
        for task in self._committing:
            task.result()

    def _feed(self, batch: Sequence[bytes]) -> None:
        for piece in batch:
            self._intake.feed(piece)

    async def _batches(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield the body in pieces, ``BATCH_BYTES`` or more at a time. Raises LimitExceeded, ClientDisconnect."""
        limit = self._call.services.limits.max_request_bytes
        total = held_bytes = 0
        held: list[bytes] = []
        gone: ClientDisconnect | None = None
        chunks = aiter(self._call.request.stream())
        while True:
            try:
                chunk = await anext(chunks, None)
            except ClientDisconnect as error:
                chunk, gone = None, error
            if chunk is None:
                break
            held.append(chunk)
            held_bytes += len(chunk)
            total += len(chunk)
            if total > limit:
                raise LimitExceeded("max_request_bytes", limit)
            if held_bytes >= (BATCH_BYTES if self._is_idle() else MOST_BATCH_BYTES):
                yield held
                held, held_bytes = [], 0
        if held_bytes:
            yield held
        if gone is not None:  # what had come before is taken in all the same
            raise gone

    def _is_idle(self) -> bool:
        return self._feeding is None or self._feeding.done()

    async def _settle(self) -> None:
        """Wait for the piece before, and let what it has completed be committed. Raises what feeding raised."""
        if self._feeding is None:
            return
        await _all({self._feeding})
        feeding, self._feeding = self._feeding, None
        feeding.result()
        await self._commit(self._take_complete())

    def _take_complete(self) -> Sequence[Complete]:
        complete, self._intake.complete = self._intake.complete, []
        return complete

    async def _commit(self, complete: Sequence[Complete]) -> None:
        """Begin to commit; returns once no more than ``COMMITS_AT_ONCE`` threads are at it."""
        for share in _shares(complete, COMMITS_AT_ONCE):
            self._committing.add(asyncio.ensure_future(self._run(_settle_all, share)))
        while len(self._committing) > COMMITS_AT_ONCE:
            done, self._committing = await asyncio.wait(self._committing, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _abandon(self) -> None:
        """Settle what has come whole, forget the rest: to its end, also if whoever waits for it is cancelled."""
        ending = asyncio.ensure_future(self._end())
        while not ending.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        ending.result()

    async def _end(self) -> None:
        if self._feeding is not None:
            await _all({self._feeding})
        await self._run(_settle_all, self._take_complete())
        await self._run(self._intake.abandon)
        await self._run(_settle_all, self._take_complete())
        await _all(self._committing)


def _settle_all(complete: Sequence[Complete]) -> None:
    for each in complete:
        each.settle()


def _shares(complete: Sequence[Complete], number: int) -> Iterator[Sequence[Complete]]:
    """Yield ``complete`` in at most ``number`` parts."""
    size = -(-len(complete) // number)
    for start in range(0, len(complete), size or 1):
        yield complete[start : start + size]


async def _all(tasks: set[asyncio.Future[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


_ANSWERED: Final = (200, 202, 400, 403, 408, 409, 413, 415, 503)

OPERATIONS: Final = (
    Operation(
        name="storeInstances",
        method="POST",
        path=f"{PREFIX}/studies",
        handler=store_instances,
        summary="Store instances of any study.",
        right=Right.STORE,
        consumes=TAKEN,
        produces=(JSON, XML),
        statuses=_ANSWERED,
    ),
    Operation(
        name="storeInstancesOfStudy",
        method="POST",
        path=f"{PREFIX}/studies/{{study}}",
        handler=store_instances,
        summary="Store instances of one study; those of any other are refused.",
        right=Right.STORE,
        consumes=TAKEN,
        produces=(JSON, XML),
        statuses=_ANSWERED,
    ),
)
