"""One association's DIMSE exchange, sans-IO: presentation data values in, events out (DICOM PS3.7 6.3 and 7.5).

The channel owns the order of things: which message a fragment belongs to, whether a request may come now, which
response answers what. It never holds a data set; those bytes pass through as views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from strongroom.dimse.command_set import encode_command, parse_command
from strongroom.dimse.messages import (
    RESPONSE_BIT,
    CCancelRq,
    CEchoRsp,
    CFindRq,
    CFindRsp,
    CGetRq,
    CGetRsp,
    CMoveRq,
    CMoveRsp,
    CStoreRsp,
    Message,
    NActionRsp,
    NEventReportRsp,
    NSetRsp,
    Request,
    Response,
    UnsupportedRq,
    UnsupportedRsp,
)
from strongroom.dimse.status import is_pending
from strongroom.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError

MAX_MESSAGE_ID: Final = 0xFFFF
DEFAULT_MAX_IDENTIFIER_BYTES: Final = 1024**2
"""A list of 10,000 UIDs fits, and it is small enough to be held once per association."""

CANCELLABLE: Final = (CFindRq, CGetRq, CMoveRq)
"""The operations that a C-CANCEL can end (PS3.7 9.3.2.3, 9.3.3.3, 9.3.4.3)."""

# As tuples, since isinstance takes several times as long for a union.
_RESPONSES: Final = (
    CStoreRsp,
    CFindRsp,
    CGetRsp,
    CMoveRsp,
    CEchoRsp,
    NEventReportRsp,
    NActionRsp,
    NSetRsp,
    UnsupportedRsp,
)
_UNSUPPORTED: Final = (UnsupportedRq, UnsupportedRsp)
_MAY_BE_PENDING: Final = (CFindRsp, CGetRsp, CMoveRsp)

# Stands for "on no presentation context": an identifier off the wire is an unsigned byte, so none can equal it.
_NOWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Caps on what a peer may send, whatever it says about itself.

    ``max_empty_fragments`` is how many fragments of one message may carry nothing: each costs us a turn of the receive
    loop, and a sender that never makes progress would otherwise never be noticed.
    """

    max_command_bytes: int = 16 * 1024
    max_message_bytes: int = 64 * 1024**3
    max_identifier_bytes: int = DEFAULT_MAX_IDENTIFIER_BYTES
    max_empty_fragments: int = 8


@dataclass(frozen=True, slots=True)
class MessageStart:
    """A whole command set has come in; ``message.has_dataset`` says whether DatasetChunks follow."""

    context_id: int
    message: Message


@dataclass(frozen=True, slots=True)
class DatasetChunk:
    """The next bytes of the current message's data set.

    ``data`` is the view that was fed, valid as long as its buffer is. With ``is_last`` the data set is complete;
    ``data`` may then be empty.
    """

    context_id: int
    data: memoryview
    is_last: bool


ChannelEvent = MessageStart | DatasetChunk


class DatasetBuffer:
    """Gathers one small data set: an identifier, the information of an N-ACTION."""

    __slots__ = ("_data", "_max_bytes")

    def __init__(self, max_bytes: int = DEFAULT_MAX_IDENTIFIER_BYTES) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()

    def add(self, chunk: DatasetChunk) -> bytes | None:
        """Copy ``chunk`` in; return the whole data set after its last chunk, None before.

        Raises:
            LimitExceeded: more than ``max_bytes``, counted before the copy.
        """
        size = len(self._data) + len(chunk.data)
        if size > self._max_bytes:
            raise LimitExceeded("max_identifier_bytes", self._max_bytes, size)
        self._data += chunk.data
        return bytes(self._data) if chunk.is_last else None


class Channel:
    """The state of the DIMSE exchange on one association. Not thread-safe.

    One operation at a time in each direction (the default asynchronous operations window 1,1; PS3.7 D.3.3.3), and
    C-STORE sub-operations of a C-GET run in the opposite one. ``encode_message`` keeps the books: a request it encodes
    is the one whose response is awaited, and a response with a final status ends the peer's operation.
    """

    __slots__ = (
        "_awaiting",
        "_command",
        "_command_context_id",
        "_dataset_bytes",
        "_dataset_context_id",
        "_empty_fragments",
        "_last_message_id",
        "_limits",
        "_max_message_bytes",
        "_serving",
    )

    def __init__(self, limits: ChannelLimits | None = None) -> None:
        self._limits = limits or ChannelLimits()
        self._max_message_bytes = self._limits.max_message_bytes
        self._command = bytearray()
        self._command_context_id = _NOWHERE  # where a command set has begun
        self._dataset_context_id = _NOWHERE  # where a data set is announced and not yet complete
        self._dataset_bytes = 0
        self._empty_fragments = 0
        self._serving: Request | None = None
        self._awaiting: Request | None = None
        self._last_message_id = 0

    @property
    def serving(self) -> Request | None:
        """The peer's request that has not had its final response."""
        return self._serving

    @property
    def awaiting(self) -> Request | None:
        """Our own request that has not had its final response."""
        return self._awaiting

    @property
    def between_messages(self) -> bool:
        """Whether no message is half received: the only time when a peer may ask to release."""
        return self._command_context_id == self._dataset_context_id == _NOWHERE

    def feed(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> ChannelEvent | None:
        """Take in one presentation data value; return what it completes, or None if there is nothing to do yet.

        ``data`` is the fragment without its message control header, as a view of bytes. A DatasetChunk holds that
        same view; a command fragment is copied. A C-CANCEL for an operation that is over crossed with its final
        response on the way: it is dropped (PS3.7 9.3.2.3).

        Raises:
            RemoteProtocolError: the peer broke the order of fragments or messages, or a limit.
        """
        if is_command:
            return self._feed_command(context_id, is_last, data)
        if context_id != self._dataset_context_id:
            raise RemoteProtocolError(f"data set fragment on presentation context {context_id}, where none is expected")
        size = len(data)
        if size:
            self._dataset_bytes += size
            if self._dataset_bytes > self._max_message_bytes:
                raise RemoteProtocolError(f"data set over the limit max_message_bytes = {self._max_message_bytes}")
        elif not is_last:
            self._count_empty_fragment()
            return None
        if is_last:
            self._dataset_context_id = _NOWHERE
        return DatasetChunk(context_id, data, is_last)

    def encode_message(self, message: Message) -> bytes:
        """Return the command set of ``message`` and note what its sending starts or ends.

        A data set goes out separately, after the command, on the same presentation context.

        Raises:
            LocalProtocolError: a value does not fit, a request while another is awaiting its response, or a response
                to nothing.
        """
        raw = encode_command(message)
        if isinstance(message, CCancelRq):
            awaiting = self._awaiting
            if not isinstance(awaiting, CANCELLABLE) or message.message_id_being_responded_to != awaiting.message_id:
                raise LocalProtocolError("C-CANCEL of an operation that is not under way")
        elif isinstance(message, _RESPONSES):
            serving = self._serving
            if serving is None or not _answers(message, serving):
                raise LocalProtocolError(f"{type(message).__name__} does not answer the peer's request")
            if not _continues(message):
                self._serving = None
        elif self._awaiting is not None:
            raise LocalProtocolError(f"{type(message).__name__} while {type(self._awaiting).__name__} is unanswered")
        else:
            self._awaiting = message
        return raw

    def next_message_id(self) -> int:
        """Return the message id for our next request: 1 to 65535, then from 1 again."""
        self._last_message_id = self._last_message_id % MAX_MESSAGE_ID + 1
        return self._last_message_id

    def _feed_command(self, context_id: int, is_last: bool, data: memoryview) -> MessageStart | None:
        if self._dataset_context_id != _NOWHERE:
            raise RemoteProtocolError("command fragment amid a data set")
        begun_on = self._command_context_id
        if begun_on not in (_NOWHERE, context_id):
            raise RemoteProtocolError(f"command fragment on presentation context {context_id} amid one on {begun_on}")
        size = len(self._command) + len(data)
        if size > self._limits.max_command_bytes:
            raise RemoteProtocolError(
                f"command set of at least {size} bytes, over the limit "
                f"max_command_bytes = {self._limits.max_command_bytes}"
            )
        if not is_last:
            if not data:
                self._count_empty_fragment()
            self._command_context_id = context_id
            self._command += data
            return None
        if begun_on == _NOWHERE:
            raw = bytes(data)
        else:
            raw = bytes(self._command + data)
            self._command.clear()
            self._command_context_id = _NOWHERE
        self._empty_fragments = 0
        return self._start_message(context_id, parse_command(raw))

    def _start_message(self, context_id: int, message: Message) -> MessageStart | None:
        if isinstance(message, CCancelRq):
            serving = self._serving
            if not isinstance(serving, CANCELLABLE) or message.message_id_being_responded_to != serving.message_id:
                return None
        elif isinstance(message, _RESPONSES):
            awaiting = self._awaiting
            if awaiting is None or not _answers(message, awaiting):
                raise RemoteProtocolError(f"{type(message).__name__} that answers no request of ours")
            if not _continues(message):
                self._awaiting = None
        elif self._serving is not None:
            raise RemoteProtocolError(f"{type(message).__name__} while {type(self._serving).__name__} is unanswered")
        else:
            self._serving = message
        if message.has_dataset:
            self._dataset_context_id = context_id
            self._dataset_bytes = 0
        return MessageStart(context_id, message)

    def _count_empty_fragment(self) -> None:
        self._empty_fragments += 1
        if self._empty_fragments > self._limits.max_empty_fragments:
            raise RemoteProtocolError(
                f"fragments without data, over the limit max_empty_fragments = {self._limits.max_empty_fragments}"
            )


def _answers(response: Response, request: Request) -> bool:
    """Return whether ``response`` is of the operation and has the message id of ``request``."""
    return (
        response.message_id_being_responded_to == request.message_id
        and _command_field(response) == _command_field(request) | RESPONSE_BIT
    )


def _command_field(message: Request | Response) -> int:
    return message.command_field if isinstance(message, _UNSUPPORTED) else message.COMMAND_FIELD


def _continues(response: Response) -> bool:
    """Return whether more responses to the same request follow: only these three operations have pending ones."""
    return isinstance(response, _MAY_BE_PENDING) and is_pending(response.status)
