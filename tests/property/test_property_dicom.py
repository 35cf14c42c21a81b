"""Properties of the dicom room: chunking, round trips, and what mutated bytes may do."""

import io
from pathlib import Path

import pydicom
import pydicom.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filereader import data_element_generator

from strongroom.dicom.canonical import canonical_sha256
from strongroom.dicom.convert import convert
from strongroom.dicom.dicomdir import parse_dicomdir
from strongroom.dicom.dictionary import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    vr_of,
)
from strongroom.dicom.elements import HeaderScan, ScanLimits
from strongroom.dicom.encode import encode_answer, encode_json, encode_values
from strongroom.dicom.jsonmodel import to_json, tree_to_json
from strongroom.dicom.part10 import parse_file_header
from strongroom.dicom.runs import RunMemory, RunScan
from strongroom.dicom.text import decode, encode, normalise_pn, parse_charsets
from strongroom.dicom.tree import parse_dataset
from strongroom.errors import StrongroomError

SMALL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
LIMITS = ScanLimits(
    max_element_count=5000, max_element_value_bytes=1 << 20, max_kept_bytes=4 << 20, max_inflated_bytes=8 << 20
)
SYNTAXES = [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN]


def _load(*names):
    for path in sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm")):
        if path.name in names:
            raw = path.read_bytes()
            header = parse_file_header(raw)
            syntax = TRANSFER_SYNTAXES[header.transfer_syntax]
            data = raw[header.data_set_offset :]
            if not syntax.deflated:
                # cut between two elements, so that what is not mutated is whole
                offsets = [element.offset for element in parse_dataset(data, syntax)]
                data = data[: max([offset for offset in offsets if offset <= 2500], default=0) or len(data)]
            yield data, syntax


SEEDS = list(
    _load(
        *("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm"),
        *("JPEG2000.dcm", "image_dfl.dcm", "rtplan.dcm", "test-SR.dcm", "reportsi.dcm", "chrH32.dcm", "priv_SQ.dcm"),
        *("SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm"),
    )
)
WANTED = frozenset(
    {
        0x00080005,
        0x00080018,
        0x00081115,
        0x00081140,
        0x00100010,
        0x0020000D,
        0x0040A730,
        0x300A0010,
        0x01F71001,
        0x4453100C,
    }
)


@st.composite
def mutated(draw):
    data, syntax = draw(st.sampled_from(SEEDS))
    data = bytearray(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(["flip", "insert", "delete", "length"]))
        if what == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "insert":
            data[at:at] = draw(st.binary(max_size=12))
        elif what == "delete":
            del data[at : at + draw(st.integers(1, 12))]
        else:
            data[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xfe\xff\xff\xff", b"\xfe\xff\x00\xe0"])
            )
    return bytes(data), draw(st.sampled_from([syntax, syntax, *SYNTAXES]))


def scan(data, syntax, chunks, memory=None):
    """Return everything that a scan says, or the error it ends in and what it had by then."""
    walk = RunScan(memory, syntax, WANTED, LIMITS) if memory else HeaderScan(syntax, WANTED, LIMITS)
    error = None
    try:
        start = 0
        for size in chunks:
            walk.feed(data[start : start + size])
            start += size
        walk.feed(data[start:])
        walk.finish()
    except StrongroomError as found:
        error = (type(found), str(found))
    return error, walk.elements, walk.irregularities, walk.pixel_data_offset, walk.pixel_data_length, walk.end_of_header


@SMALL
@given(mutated(), st.lists(st.integers(1, 300), max_size=30))
def test_any_chunking_of_any_bytes_gives_the_same_result(case, chunks):
    data, syntax = case
    whole = scan(data, syntax, [])
    for other in (scan(data, syntax, chunks), scan(data, syntax, [1] * len(data))):
        if syntax.deflated and whole[0] is not None:
            # zlib finds a broken stream sooner or later, as the chunks fall; that it is broken, it finds always.
            assert other[0] is not None
        else:
            assert other == whole


@SMALL
@given(st.lists(mutated(), min_size=1, max_size=6), st.lists(st.integers(1, 300), max_size=10))
def test_what_runs_were_learnt_from_other_bytes_changes_no_result(cases, chunks):
    memory = RunMemory()
    for data, syntax in [*cases, *cases]:
        for pieces in ([], chunks):
            assert scan(data, syntax, pieces, memory) == scan(data, syntax, pieces)


def read_by_pydicom(data, syntax):
    found = {}
    stream = io.BytesIO(data)
    for element in data_element_generator(stream, not syntax.explicit, syntax.little_endian):
        found.setdefault(int(element.tag), element)
    return found


CHARSETS = {
    element.value
    for data, syntax in SEEDS
    if not syntax.deflated
    for element in parse_dataset(data, syntax)
    if element.tag == 0x00080005
}


def is_read_otherwise(elements, syntax):
    """Whether pydicom is known to read these differently, each time further from the standard than we do."""
    for element in elements:
        if element.tag >> 16 < 4:
            return True  # it takes (0000,0000) for padding
        if element.tag == 0x00080005 and element.value not in CHARSETS:
            return True  # it warns of, or fails at, an unknown character set
        if element.vr == b"UN" and element.items is not None and syntax is EXPLICIT_VR_BIG_ENDIAN:
            return True  # it reads a sequence written as UN in big endian (PS3.5 6.2.2 note 2: always little)
        if any(is_read_otherwise(item, syntax) for item in element.items or ()):
            return True
    return False


@settings(SMALL, max_examples=150)
@given(mutated())
def test_what_we_accept_pydicom_reads_in_the_same_way(case):
    data, syntax = case
    if syntax.deflated:
        return
    everything = frozenset()
    walk = HeaderScan(syntax, everything, LIMITS)
    try:
        walk.feed(data)
        walk.finish()
        elements = parse_dataset(data, syntax, LIMITS)
    except StrongroomError:
        return
    if is_read_otherwise(elements, syntax):
        return
    theirs = read_by_pydicom(data, syntax)
    ours = {}
    for element in elements:
        ours.setdefault(element.tag, element)
    assert ours.keys() == theirs.keys()
    for tag, element in ours.items():
        value = theirs[tag].value
        if element.items is None and isinstance(value, bytes) and tag != 0x7FE00010:
            assert element.value == value


@SMALL
@given(mutated())
def test_mutated_bytes_only_ever_raise_named_errors(case):
    data, syntax = case
    size = len(data)
    for act in (
        lambda: [tree_to_json(parse_dataset(data, syntax, LIMITS), ("ISO_IR 100",), syntax)],
        lambda: list(convert([data], syntax, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)),
        lambda: list(convert([data], syntax, IMPLICIT_VR_LITTLE_ENDIAN, LIMITS)),
        lambda: canonical_sha256(lambda offset, length: data[offset : offset + length], size, syntax, LIMITS),
        lambda: parse_file_header(data),
        lambda: parse_dicomdir(data),
    ):
        try:
            act()
        except StrongroomError:
            continue


@SMALL
@given(mutated())
def test_whatever_the_scan_keeps_becomes_json(case):
    data, syntax = case
    walk = HeaderScan(syntax, WANTED, LIMITS)
    try:
        walk.feed(data)
        raw = walk.elements.get(0x00080005)
        to_json(walk.elements, parse_charsets(raw.value) if raw else (), syntax)
    except StrongroomError:
        return


TEXT_TAGS = [0x00080050, 0x00100010, 0x00100020, 0x00081030, 0x00204000, 0x00400275]
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters="\\^=\0", exclude_categories=["Cc", "Cs", "Z"]), max_size=20
)
ATTRIBUTE = st.one_of(
    st.builds(lambda value: ("00100020", {"vr": "LO", "Value": [value]} if value else {"vr": "LO"}), PLAIN),
    st.builds(
        lambda groups: (
            "00100010",
            {"vr": "PN", "Value": [{key: text for key, text in groups.items() if text}]}
            if any(groups.values())
            else {"vr": "PN"},
        ),
        st.fixed_dictionaries({"Alphabetic": PLAIN, "Ideographic": PLAIN, "Phonetic": PLAIN}),
    ),
    st.builds(lambda values: ("00280009", {"vr": "AT", "Value": [f"{value:08X}" for value in values]}),
              st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3)),
    st.builds(lambda values: ("00280010", {"vr": "US", "Value": values}), st.lists(st.integers(0, 65535), min_size=1)),
    st.builds(lambda values: ("00189073", {"vr": "FD", "Value": values}),
              st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1)),
    st.builds(lambda values: ("00201208", {"vr": "IS", "Value": values}),
              st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1)),
)  # fmt: skip
DATASET = st.recursive(
    st.lists(ATTRIBUTE, max_size=5).map(dict),
    lambda inner: st.tuples(st.lists(ATTRIBUTE, max_size=4).map(dict), st.lists(inner, min_size=1, max_size=3)).map(
        lambda pair: {**pair[0], "00089215": {"vr": "SQ", "Value": pair[1]}}
    ),
    max_leaves=8,
)


@SMALL
@given(DATASET, st.sampled_from([IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN]))
def test_json_encoded_and_parsed_is_the_same(dataset, syntax):
    data = encode_json(dataset, syntax)
    assert len(data) % 2 == 0
    assert tree_to_json(parse_dataset(data, syntax), ("ISO_IR 192",), syntax) == dataset


@SMALL
@given(DATASET, st.sampled_from([(), ("ISO_IR 100",), ("GB18030",), ("", "ISO 2022 IR 87", "ISO 2022 IR 149")]))
def test_an_answer_says_the_same_in_whatever_set_it_goes_out(dataset, requested):
    data = encode_answer(dataset, EXPLICIT_VR_LITTLE_ENDIAN, requested)
    elements = parse_dataset(data, EXPLICIT_VR_LITTLE_ENDIAN)
    charsets = next((parse_charsets(element.value) for element in elements if element.tag == 0x00080005), ())
    result = tree_to_json(elements, charsets, EXPLICIT_VR_LITTLE_ENDIAN)
    result.pop("00080005", None)
    assert result == dataset


@SMALL
@given(DATASET, st.lists(st.integers(1, 40), max_size=20))
def test_conversion_there_and_back_is_the_same_data_set(dataset, cuts):
    data = encode_json(dataset, EXPLICIT_VR_LITTLE_ENDIAN)
    chunks, start = [], 0
    for size in cuts:
        chunks.append(data[start : start + size])
        start += size
    chunks.append(data[start:])
    there = b"".join(convert(chunks, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))
    back = b"".join(convert([there], IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))
    assert (
        tree_to_json(parse_dataset(back, EXPLICIT_VR_LITTLE_ENDIAN), ("ISO_IR 192",), EXPLICIT_VR_LITTLE_ENDIAN)
        == dataset
    )
    digests = {
        canonical_sha256(lambda offset, length, copy=copy: copy[offset : offset + length], len(copy), syntax)
        for copy, syntax in (
            (data, EXPLICIT_VR_LITTLE_ENDIAN),
            (there, IMPLICIT_VR_LITTLE_ENDIAN),
            (back, EXPLICIT_VR_LITTLE_ENDIAN),
        )
    }
    assert len(digests) == 1


@SMALL
@given(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 87", "ISO 2022 IR 149", "GBK", "ISO_IR 13", "?"]),
        max_size=3,
    ),
    st.sampled_from([b"PN", b"LO", b"LT", b"CS"]),
)
def test_decoding_never_fails_and_names_normalise_once(raw, charsets, vr):
    text = decode(raw, tuple(charsets), vr)
    normal = normalise_pn(text)
    assert normalise_pn(normal) == normal
    encode(text, tuple(charsets))


@SMALL
@given(
    PLAIN,
    st.sampled_from(["ISO_IR 100", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "ISO_IR 13"]),
)
def test_what_a_set_can_encode_it_decodes(text, term):
    charsets = parse_charsets(term.encode())
    encoded = encode(text, charsets)
    if encoded is not None:
        assert decode(encoded, charsets, b"LO") == text


@SMALL
@given(st.dictionaries(st.sampled_from(TEXT_TAGS[:4]), st.text("abcXYZ 019", max_size=9), max_size=4))
def test_plain_values_are_found_by_the_scan(values):
    for syntax in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN):
        walk = HeaderScan(syntax, frozenset(TEXT_TAGS))
        walk.feed(encode_values(values, syntax))
        walk.finish()
        assert {tag: element.value.decode().rstrip(" ") for tag, element in walk.elements.items()} == {
            tag: value.rstrip(" ") for tag, value in values.items()
        }
        assert all(element.vr == vr_of(tag) for tag, element in walk.elements.items())
