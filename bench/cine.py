"""A synthetic ultrasound of 1,000 frames, uncompressed and compressed, stored by C-STORE."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import datasets
import wire

ULTRASOUND_MULTIFRAME_STORAGE = "1.2.840.10008.5.1.4.1.1.3.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
FRAMES = 1_000
ROWS, COLUMNS = 480, 640
JPEG_BYTES = 40_000
"""What a frame of this size compresses to, about."""

_HEADER: datasets.Header = (
    (0x00080016, "UI", ULTRASOUND_MULTIFRAME_STORAGE),
    (0x00080018, "UI", datasets.VARIES),
    (0x00080020, "DA", datasets.VARIES),
    (0x00080030, "TM", "101200.000000"),
    (0x00080050, "SH", datasets.VARIES),
    (0x00080060, "CS", "US"),
    (0x00080090, "PN", ""),
    (0x00100010, "PN", datasets.VARIES),
    (0x00100020, "LO", datasets.VARIES),
    (0x00100030, "DA", "19600101"),
    (0x00100040, "CS", "O"),
    (0x00181063, "DS", "33.3"),
    (0x0020000D, "UI", datasets.VARIES),
    (0x0020000E, "UI", datasets.VARIES),
    (0x00200010, "SH", "1"),
    (0x00200011, "IS", "1"),
    (0x00200013, "IS", datasets.VARIES),
    (0x00280002, "US", 1),
    (0x00280004, "CS", "MONOCHROME2"),
    (0x00280008, "IS", str(FRAMES)),
    (0x00280009, "AT", b"\x18\x00\x63\x10"),
    (0x00280010, "US", datasets.VARIES),
    (0x00280011, "US", datasets.VARIES),
    (0x00280100, "US", 8),
    (0x00280101, "US", 8),
    (0x00280102, "US", 7),
    (0x00280103, "US", 0),
)


def frame(number: int, *, jpeg: bool) -> bytes:
    """Return frame ``number`` (1 to FRAMES): noise with its number in front, in a JPEG's comment and marks if asked."""
    noise = random.Random(number).randbytes(JPEG_BYTES - 12 if jpeg else ROWS * COLUMNS - 4)
    counted = struct.pack("<I", number) + noise.replace(b"\xff", b"\xfe")
    return b"\xff\xd8\xff\xfe\x00\x06" + counted + b"\xff\xd9" if jpeg else counted


def data_set(place: datasets.Place, *, jpeg: bool) -> bytes:
    """Return the whole data set; compressed frames are one fragment each, with no offset table (PS3.5 A.4)."""
    parts = [datasets.encode_header(ROWS, COLUMNS, place, _HEADER)]
    head = struct.Struct("<HH2sxxI")
    if jpeg:
        parts += [head.pack(0x7FE0, 0x0010, b"OB", 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE000, 0)]
        for number in range(1, FRAMES + 1):
            parts += [struct.pack("<HHI", 0xFFFE, 0xE000, JPEG_BYTES), frame(number, jpeg=True)]
        parts.append(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    else:
        parts.append(head.pack(0x7FE0, 0x0010, b"OB", FRAMES * ROWS * COLUMNS))
        parts += [frame(number, jpeg=False) for number in range(1, FRAMES + 1)]
    return b"".join(parts)


def store(endpoints: Sequence[wire.Endpoint], place: datasets.Place, *, jpeg: bool) -> None:
    """Store the object in every archive; PeerError if one does not take it."""
    raw = memoryview(data_set(place, jpeg=jpeg))
    contexts = [(ULTRASOUND_MULTIFRAME_STORAGE, [JPEG_BASELINE if jpeg else wire.EXPLICIT_VR_LITTLE_ENDIAN])]
    command = wire.store_command(1, ULTRASOUND_MULTIFRAME_STORAGE, datasets.values(place)[datasets.SOP_INSTANCE_UID])
    for endpoint in endpoints:
        with wire.Association(endpoint, contexts) as association:
            context_id, room = association.require_context(), association.max_pdu_bytes - 6
            send = association.socket.sendall
            send(wire.fragment(context_id, command, association.max_pdu_bytes, command=True))
            for start in range(0, len(raw), room):
                piece = raw[start : start + room]
                last = start + room >= len(raw)
                send(wire.fragment_header(context_id, len(piece), command=False, last=last))
                send(piece)
            status = association.read_message().status
            if status != wire.SUCCESS:
                raise wire.PeerError(f"C-STORE of the ultrasound answered 0x{status:04X}")
