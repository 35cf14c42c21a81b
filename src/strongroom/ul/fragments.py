"""Messages to P-DATA-TF PDUs: fragments no longer than the peer takes, payloads as views (PS3.8 9.3.5, annex E)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from strongroom.ul.pdu import P_DATA_WITH_ONE_PDV, PDV_HEADER_BYTES, PduType

Buffer = bytes | bytearray | memoryview

COALESCE_BYTES = 32_768
"""Up to here a payload is copied behind its header: cheaper than a second buffer, and over TLS than a second record."""

_HEADERS_BYTES = P_DATA_WITH_ONE_PDV.size
_P_DATA_TF = int(PduType.P_DATA_TF)
_PACK = P_DATA_WITH_ONE_PDV.pack


def max_fragment_bytes(max_pdu_body_bytes: int) -> int:
    """Return the largest even fragment in a P-DATA-TF body of that size; fragments are of even length (annex E.2)."""
    return (max_pdu_body_bytes - PDV_HEADER_BYTES) & ~1


def encode_header(context_id: int, control: int, fragment_bytes: int) -> bytes:
    """Return the 12 bytes before a fragment that is alone in its PDU. ``control``: 1 command, 2 last fragment."""
    return _PACK(_P_DATA_TF, fragment_bytes + 6, fragment_bytes + 2, context_id, control)


def append_fragments(out: list[Buffer], context_id: int, is_command: bool, data: Buffer, fragment_bytes: int) -> None:
    """Append the PDUs of a whole command or data set: one copy if it is small, else headers and views of ``data``."""
    size = len(data)
    kind = 1 if is_command else 0
    if size <= fragment_bytes and size <= COALESCE_BYTES:
        out.append(_PACK(_P_DATA_TF, size + 6, size + 2, context_id, kind | 2) + data)
        return
    view = memoryview(data)
    last = max(size - 1, 0) // fragment_bytes * fragment_bytes
    for at in range(0, last, fragment_bytes):
        out.append(_PACK(_P_DATA_TF, fragment_bytes + 6, fragment_bytes + 2, context_id, kind))
        out.append(view[at : at + fragment_bytes])
    rest = size - last
    out.append(_PACK(_P_DATA_TF, rest + 6, rest + 2, context_id, kind | 2))
    out.append(view[last:])


def stream_fragments(
    context_id: int, chunks: Iterable[Buffer], fragment_bytes: int, batch_bytes: int
) -> Iterator[list[Buffer]]:
    """Yield the PDUs of a data set of unknown size, about ``batch_bytes`` at a time, the last with its flag set.

    Chunks of any size are packed into full fragments. A chunk is held until the list after it was yielded and sent, so
    the source must not reuse its buffer. One fragment is held back, since only the end tells that it was the last.
    """
    out: list[Buffer] = []
    queued = 0
    pieces: list[Buffer] = []
    held = 0
    for chunk in chunks:
        view = memoryview(chunk)
        at, size = 0, len(view)
        while held + size - at > fragment_bytes:
            take = fragment_bytes - held
            out.append(encode_header(context_id, 0, fragment_bytes))
            out += pieces
            if take:
                out.append(view[at : at + take])
            at += take
            queued += fragment_bytes + _HEADERS_BYTES
            pieces, held = [], 0
            if queued >= batch_bytes:
                yield out
                out, queued = [], 0
        if at < size:
            pieces.append(view[at:])
            held += size - at
    out.append(encode_header(context_id, 2, held))
    out += pieces
    yield out


def coalesce(buffers: list[Buffer]) -> list[Buffer]:
    """Return the same bytes in fewer buffers: neighbours that are small become one of at most about 64 KiB."""
    if len(buffers) < 2:
        return buffers
    merged: list[Buffer] = []
    run: list[Buffer] = []
    run_bytes = 0
    for buffer in buffers:
        size = len(buffer)
        if run and run_bytes + size > 2 * COALESCE_BYTES:
            merged.append(run[0] if len(run) == 1 else b"".join(run))
            run, run_bytes = [], 0
        run.append(buffer)
        run_bytes += size
    merged.append(run[0] if len(run) == 1 else b"".join(run))
    return merged
