"""What a memory holds of earlier objects never changes a report: sequences of objects, each altered in some ways."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import payloads
from harness.hidden import DataSet, Fragments, Value, encode, image
from strongroom.dicom.dictionary import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    TransferSyntax,
)
from strongroom.screen.findings import Report
from strongroom.screen.limits import DEFAULT_LIMITS, ScreenLimits
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.screening import Screening

JPEG = TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]
SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, JPEG)
TIGHT = ScreenLimits(min_looks=4, bytes_per_look=512, max_elements=40, max_findings_per_rule=2, max_findings=12)

TEXTS = (
    b"", b"AXIAL", b"Thorax (native) [B30f]", b"12.5\\-3\\0", b"no words at all in this text, but a long one",
    b"=cmd|' /C calc'!A0", b"<script>alert(1)</script>", b"../../etc/passwd", b"a\0b", b"a\0 ", b"\x1b[2J",
    b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"#!/bin/sh\necho 1\n", b"rm -rf /x",
)  # fmt: skip
UIDS = (b"", b"2.25.1.4", b"2.25.1.12345", b"2.25..4", b"1.2/../3", b"9" * 70)
PIECES = (
    b"", b"\1\2", bytes(16), b"\1" * 16, b"\xfe\xff\x00\xe0\4\0\0\0abcd", b"\xfe\xff\x00\xe0" + bytes(12),
    b"\xff\xfe\xe0\0" + bytes(12), payloads.elf()[:200], payloads.pe_headers(), b"%PDF-1.7\n1 0 obj\n",
    b"PK\5\6" + bytes(18),
)  # fmt: skip
LONG = b"x" * 1_500
FIXED: dict[str, tuple[bytes, ...]] = {
    "US": (b"\x40\0", b"\0\2", b"\x40"),
    "FD": (bytes(8), bytes(range(24)), b"\1" * 8),
    "IS": (b"1 ", b"12", b"123 ", b"-1", b"2147483647"),
    "UI": UIDS,
}
TAGS: dict[int, str] = {
    0x00080060: "CS", 0x00081030: "LO", 0x00081140: "SQ", 0x00081155: "UI", 0x00090010: "LO", 0x00091001: "OB",
    0x00091002: "UN", 0x00100010: "PN", 0x00181030: "LO", 0x00200013: "IS", 0x00200052: "UI", 0x00280008: "IS",
    0x00280010: "US", 0x00282000: "OB", 0x00400275: "SQ", 0x0040A160: "UT", 0x00420011: "OB", 0x00420012: "LO",
    0x00880200: "SQ", 0x7FE00001: "OV", 0x7FE00010: "OW", 0xFFFCFFFC: "OB",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One alteration of a data set: of one of its elements, or of its bytes."""

    kind: str
    tag: int
    pick: int
    inner: tuple[Change, ...] = field(default=())


def leaf_changes() -> st.SearchStrategy[Change]:
    kinds = st.sampled_from(["value", "value", "value", "value", "remove", "vr"])
    return st.builds(Change, kinds, st.sampled_from(sorted(TAGS)), st.integers(0, 0xFFFF))


def changes() -> st.SearchStrategy[Change]:
    inner = st.lists(leaf_changes(), max_size=3).map(tuple)
    sequence = st.builds(
        Change,
        st.just("value"),
        st.sampled_from([tag for tag, vr in TAGS.items() if vr == "SQ"]),
        st.integers(0, 9),
        inner,
    )
    raw = st.builds(Change, st.sampled_from(["bytes", "cut", "span"]), st.just(0), st.integers(0, 0xFFFF))
    return st.one_of(leaf_changes(), leaf_changes(), sequence, raw)


def value_of(vr: str, pick: int, inner: tuple[Change, ...]) -> Value:
    if vr == "SQ":
        return [altered({0x00080100: ("SH", TEXTS[pick % len(TEXTS)])}, inner) for _ in range(pick % 3)]
    values = FIXED.get(vr) or (PIECES if vr in ("OB", "OW", "OV", "UN") else TEXTS)
    return LONG if pick % 29 == 28 else values[pick % len(values)]


def altered(data_set: DataSet, what: tuple[Change, ...]) -> DataSet:
    data_set = dict(data_set)
    for change in what:
        tag, vr = change.tag, TAGS.get(change.tag, "")
        if change.kind == "value":
            data_set[tag] = (vr, value_of(vr, change.pick, change.inner))
        elif change.kind == "remove":
            data_set.pop(tag, None)
        elif change.kind == "vr" and vr not in ("SQ", ""):
            data_set[tag] = ("OB" if vr == "UN" else "UN", PIECES[change.pick % len(PIECES)])
    return data_set


def encoded(data_set: DataSet, what: tuple[Change, ...], syntax: TransferSyntax, *, undefined: bool) -> bytes:
    if syntax is JPEG:
        data_set = data_set | {0x7FE00010: ("OB", Fragments((b"", b"\xff\xd8\xff\xe0\0\4ab\xff\xd9")))}
    raw = bytearray(encode(data_set, explicit=syntax.explicit, big=not syntax.little_endian, undefined=undefined))
    for change in what:
        at = change.pick % max(1, len(raw))
        if change.kind == "bytes":
            raw[at : at + 2] = struct.pack("<H", change.pick)
        elif change.kind == "cut":
            del raw[at:]
        elif change.kind == "span":
            elf = payloads.elf()[:64]
            raw[at : at + len(elf)] = elf
    return bytes(raw)


def report(raw: bytes, limits: ScreenLimits, syntax: TransferSyntax, cut: int, memory: ScreenMemory | None) -> Report:
    screening = Screening(limits, syntax, memory)
    for piece in (raw[: cut % (len(raw) + 1)], raw[cut % (len(raw) + 1) :]):
        screening.feed(bytearray(piece))
    return screening.finish()


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(SYNTAXES),
    st.sampled_from([DEFAULT_LIMITS, TIGHT]),
    st.booleans(),
    st.lists(changes(), max_size=12).map(tuple),
    st.lists(st.tuples(st.lists(changes(), max_size=3).map(tuple), st.integers(0, 3_000)), min_size=2, max_size=8),
)
def test_the_report_is_the_same_with_a_memory_as_without(
    syntax: TransferSyntax,
    limits: ScreenLimits,
    undefined: bool,
    series: tuple[Change, ...],
    objects: list[tuple[tuple[Change, ...], int]],
) -> None:
    memory = ScreenMemory()
    first = altered(image(), series)
    for what, cut in [((), 0), *objects, *objects]:
        raw = encoded(altered(first, what), what, syntax, undefined=undefined)
        assert report(raw, limits, syntax, cut, memory) == report(raw, limits, syntax, 0, None)
