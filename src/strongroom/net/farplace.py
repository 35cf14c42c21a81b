"""A place that another process counts (`net.places`): a question and an answer at a time, over a Unix socket.

The socket is the place: it is left when either end closes it, also by dying.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

import msgspec

from strongroom.archive.model import Detail
from strongroom.net.places import OwnPlace, Place

log = logging.getLogger(__name__)

MAX_QUESTION_BYTES = 16 * 1024
"""Details of a refusal hold AE titles and words, each of them capped."""


class _Enter(msgspec.Struct, frozen=True, tag="enter"):
    pass


class _Take(msgspec.Struct, frozen=True, tag="take"):
    aet: str


class _Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    why: str
    details: dict[str, Detail]
    fingerprint: str


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(_Enter | _Take | _Refuse).decode
_YES, _NO = b"y", b"n"


def new_link() -> tuple[socket.socket, socket.socket]:
    """The two ends of a place: one for `keep_place`, one for `FarPlace`. Raises OSError."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class FarPlace(Place):
    """A place, as the process sees it that serves the connection. Owned by one thread at a time."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def enter(self) -> bool:
        """See `Place`."""
        return self._ask(_Enter())

    def take(self, aet: str) -> bool:
        """See `Place`."""
        return self._ask(_Take(str(aet)))

    def refuse(self, why: str, details: Mapping[str, Detail], fingerprint: str = "") -> None:
        """See `Place`."""
        self._ask(_Refuse(why, dict(details), fingerprint))

    def leave(self) -> None:
        """See `Place`."""
        self._link.close()

    def _ask(self, question: msgspec.Struct) -> bool:
        try:
            self._link.send(_encode(question))
            return self._link.recv(1) == _YES
        except OSError:  # who has the count is gone, and this process goes too
            return False


def keep_place(link: socket.socket, place: OwnPlace) -> None:
    """Answer for ``place`` until the other end is closed; then it is left."""
    try:
        while question := link.recv(MAX_QUESTION_BYTES):
            link.send(_YES if _answered(_decode(question), place) else _NO)
    except OSError:
        pass  # the other process died
    except Exception:
        log.exception("a bug ended the count of a connection")
    finally:
        place.cut_off()
        place.leave()
        link.close()


def _answered(question: _Enter | _Take | _Refuse, place: OwnPlace) -> bool:
    if isinstance(question, _Enter):
        return place.enter()
    if isinstance(question, _Take):
        return place.take(question.aet)
    place.refuse(question.why, question.details, question.fingerprint)
    return True
