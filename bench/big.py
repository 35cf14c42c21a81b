"""One multi-frame object of 2 GB in and out again, and how much memory the server takes for it.

The object is made on the fly, frame by frame, and compared by its SHA-256 on the way back; it never is in memory here.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections.abc import Iterator

import datasets
import load
import servers
import wire

FRAME_SIDE = 1024
FRAME_BYTES = 2 * FRAME_SIDE * FRAME_SIDE
SAMPLE_S = 0.1
BATCH_BYTES = 1 << 20
TIMEOUT_S = 900.0

_HEADER: datasets.Header = (
    (0x00080016, "UI", wire.MULTIFRAME_GRAYSCALE_WORD_STORAGE),
    (0x00080018, "UI", datasets.VARIES),
    (0x00080020, "DA", datasets.VARIES),
    (0x00080030, "TM", "101200.000000"),
    (0x00080050, "SH", datasets.VARIES),
    (0x00080060, "CS", "OT"),
    (0x00080064, "CS", "SYN"),
    (0x00080090, "PN", ""),
    (0x00100010, "PN", datasets.VARIES),
    (0x00100020, "LO", datasets.VARIES),
    (0x00100030, "DA", "19600101"),
    (0x00100040, "CS", "O"),
    (0x0020000D, "UI", datasets.VARIES),
    (0x0020000E, "UI", datasets.VARIES),
    (0x00200010, "SH", "1"),
    (0x00200011, "IS", "1"),
    (0x00200013, "IS", datasets.VARIES),
    (0x00280002, "US", 1),
    (0x00280004, "CS", "MONOCHROME2"),
    (0x00280008, "IS", "<frames>"),
    (0x00280010, "US", datasets.VARIES),
    (0x00280011, "US", datasets.VARIES),
    (0x00280100, "US", 16),
    (0x00280101, "US", 12),
    (0x00280102, "US", 11),
    (0x00280103, "US", 0),
)


def pieces(place: datasets.Place, frames: int) -> Iterator[memoryview]:
    """Yield the data set piece by piece; a frame's buffer is reused for the next, with its number in front."""
    named = tuple((tag, vr, str(frames) if value == "<frames>" else value) for tag, vr, value in _HEADER)
    pixel_data = struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OW", frames * FRAME_BYTES)
    yield memoryview(datasets.encode_header(FRAME_SIDE, FRAME_SIDE, place, named) + pixel_data)
    frame = bytearray(datasets.noise(FRAME_SIDE * FRAME_SIDE))
    for number in range(frames):
        struct.pack_into("<I", frame, 0, number & 0x0FFF)
        struct.pack_into("<I", frame, 4, number >> 12)
        yield memoryview(frame)


def requests(place: datasets.Place, frames: int, context_id: int, max_pdu_bytes: int) -> Iterator[bytearray]:
    """Yield the C-STORE-RQ with its data set, in pieces of about a mebibyte to send."""
    sop_instance = datasets.values(place)[datasets.SOP_INSTANCE_UID]
    command = wire.store_command(1, wire.MULTIFRAME_GRAYSCALE_WORD_STORAGE, sop_instance)
    out = bytearray(wire.fragment(context_id, command, max_pdu_bytes, command=True))
    room, waiting = max_pdu_bytes - 6, bytearray()
    header = wire.fragment_header(context_id, room, command=False, last=False)
    for piece in pieces(place, frames):
        waiting += piece
        # What remains is never empty, because the last fragment has to be marked as the last.
        cut = (len(waiting) - 1) // room * room
        for start in range(0, cut, room):
            out += header
            out += memoryview(waiting)[start : start + room]
            if len(out) >= BATCH_BYTES:
                yield out
                out = bytearray()
        del waiting[:cut]
    out += wire.fragment_header(context_id, len(waiting), command=False, last=True) + waiting
    yield out


class _Memory(threading.Thread):
    """Samples the server's memory: the largest sum over its processes of their high-water marks."""

    def __init__(self, server: servers.Server) -> None:
        super().__init__(daemon=True)
        self._server, self._ended = server, threading.Event()
        self.idle_bytes = server.rss_bytes()
        self.peak_bytes = 0

    def sample(self) -> int:
        self.peak_bytes = max(self.peak_bytes, self._server.peak_rss_bytes())
        return self.peak_bytes

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.sample()

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.sample()


def store(endpoint: wire.Endpoint, place: datasets.Place, frames: int) -> float:
    """Store the object and return how many seconds it took; PeerError if the server did not take it."""
    contexts = [(wire.MULTIFRAME_GRAYSCALE_WORD_STORAGE, [wire.EXPLICIT_VR_LITTLE_ENDIAN])]
    with wire.Association(endpoint, contexts, timeout_s=TIMEOUT_S) as association:
        started = time.perf_counter()
        for batch in requests(place, frames, association.require_context(), association.max_pdu_bytes):
            association.socket.sendall(batch)
        message = association.read_message()
        if message.status != wire.SUCCESS:
            raise wire.PeerError(f"C-STORE answered 0x{message.status:04X}")
        return time.perf_counter() - started


def retrieve(endpoint: wire.Endpoint, place: datasets.Place) -> tuple[float, str]:
    """Get the object's study by C-GET; return the seconds it took and the SHA-256 of the data set that came."""
    contexts = [
        (wire.STUDY_ROOT_GET, [wire.EXPLICIT_VR_LITTLE_ENDIAN]),
        (wire.MULTIFRAME_GRAYSCALE_WORD_STORAGE, [wire.EXPLICIT_VR_LITTLE_ENDIAN]),
    ]
    study = datasets.values(place)[datasets.STUDY_INSTANCE_UID]
    identifier = datasets.encode_element(0x00080052, "CS", "STUDY")
    identifier += datasets.encode_element(datasets.STUDY_INSTANCE_UID, "UI", study)
    roles = [wire.MULTIFRAME_GRAYSCALE_WORD_STORAGE]
    with wire.Association(endpoint, contexts, scp_roles=roles, timeout_s=TIMEOUT_S) as association:
        context_id, room = association.require_context(0), association.max_pdu_bytes
        association.require_context(1)
        command = wire.query_command(wire.C_GET_RQ, 1, wire.STUDY_ROOT_GET)
        request = wire.fragment(context_id, command, room, command=True)
        started = time.perf_counter()
        association.socket.sendall(request + wire.fragment(context_id, identifier, room, command=False))
        digest = _receive(association)
        return time.perf_counter() - started, digest


def _receive(association: wire.Association) -> str:
    """Take what a C-GET sends, answer its one C-STORE, and return the SHA-256 of the data set."""
    digest, raw, command = hashlib.sha256(), bytearray(), {}
    for context_id, control, piece in association.fragments:
        if control & 1:
            raw += piece
            if control & 2:
                command = wire.decode_command(bytes(raw))
                raw.clear()
                status = int.from_bytes(command.get(0x0900, b"\x00\xff"), "little")
                if command[0x0100] != wire.us(wire.C_STORE_RQ) and status not in wire.PENDING:
                    if status != wire.SUCCESS:
                        raise wire.PeerError(f"C-GET answered 0x{status:04X}")
                    break
        elif command[0x0100] == wire.us(wire.C_STORE_RQ):
            digest.update(piece)
            if control & 2:
                message_id = int.from_bytes(command[0x0110], "little")
                response = wire.store_response(message_id, command[0x0002], command[0x1000])
                association.socket.sendall(wire.fragment(context_id, response, association.max_pdu_bytes, command=True))
    return digest.hexdigest()


def measure(name: str, total_bytes: int, *, tls: bool) -> dict[str, object]:
    """Store and retrieve one object of about ``total_bytes`` in a new archive and return times and memory."""
    frames = -(-total_bytes // FRAME_BYTES)
    place = datasets.Place(load.new_run(), 0, 1, 1, 1)
    sent = hashlib.sha256()
    for piece in pieces(place, frames):
        sent.update(piece)
    with servers.running(name, servers.OUT_DIR / f"big-{name}", tls=tls) as server:
        memory = _Memory(server)
        memory.start()
        stored_s = store(server.endpoint, place, frames)
        after_store = memory.sample()
        error = retrieved_s = digest = None
        try:
            retrieved_s, digest = retrieve(server.endpoint, place)
        except (wire.PeerError, OSError) as failure:
            error = str(failure)
        after_retrieve = memory.stop()
    return {
        "server": name,
        "tls": tls,
        "object_bytes": frames * FRAME_BYTES,
        "frames": frames,
        "store_s": round(stored_s, 2),
        "retrieve_s": retrieved_s and round(retrieved_s, 2),
        "error": error,
        "same_bytes": digest == sent.hexdigest(),
        "idle_mib": round(memory.idle_bytes / 2**20, 1),
        "peak_store_mib": round(after_store / 2**20, 1),
        "peak_mib": round(after_retrieve / 2**20, 1),
    }
