"""A client of TLS 1.3 that changes its keys as often as it likes, which Python's own never does.

OpenSSL is called as the ``ssl`` module has loaded it (SSL_key_update(3), BIO_s_mem(3)).
"""

from __future__ import annotations

import _ssl
import ctypes
import socket
from typing import Any

_SSL_KEY_UPDATE_NOT_REQUESTED = 0
_PIECE_BYTES = 65_536


def _library() -> Any:
    library = ctypes.CDLL(_ssl.__file__)  # a name is looked for in what it was linked with, too
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, *arguments in (
        ("TLS_client_method", pointer),
        ("SSL_CTX_new", pointer, pointer),
        ("SSL_new", pointer, pointer),
        ("BIO_s_mem", pointer),
        ("BIO_new", pointer, pointer),
        ("SSL_set_bio", None, pointer, pointer, pointer),
        ("SSL_set_connect_state", None, pointer),
        ("SSL_do_handshake", number, pointer),
        ("SSL_key_update", number, pointer, number),
        ("BIO_read", number, pointer, text, number),
        ("BIO_write", number, pointer, text, number),
    ):
        function = getattr(library, str(name))
        function.restype, function.argtypes = result, arguments
    return library


class KeyUpdater:
    """One connection; ``make`` encodes KeyUpdate records, which are then sent like any bytes."""

    def __init__(self, line: socket.socket) -> None:
        """Do the handshake; the server's certificate is not looked at. What is allocated lives as long as the test."""
        self._library = library = _library()
        self._tls = library.SSL_new(library.SSL_CTX_new(library.TLS_client_method()))
        incoming, self._outgoing = (library.BIO_new(library.BIO_s_mem()) for _ in range(2))
        library.SSL_set_bio(self._tls, incoming, self._outgoing)
        library.SSL_set_connect_state(self._tls)
        while library.SSL_do_handshake(self._tls) != 1:
            line.sendall(self._encoded())
            data = line.recv(_PIECE_BYTES)
            assert data, "the server ended the handshake"
            library.BIO_write(incoming, data, len(data))
        line.sendall(self._encoded())

    def _encoded(self) -> bytes:
        buffer, encoded = ctypes.create_string_buffer(_PIECE_BYTES), b""
        while (count := self._library.BIO_read(self._outgoing, buffer, _PIECE_BYTES)) > 0:
            encoded += buffer.raw[:count]
        return encoded

    def make(self, number: int) -> bytes:
        """So many records, each of which changes the keys."""
        for _ in range(number):
            assert self._library.SSL_key_update(self._tls, _SSL_KEY_UPDATE_NOT_REQUESTED) == 1
            assert self._library.SSL_do_handshake(self._tls) == 1
        return self._encoded()
