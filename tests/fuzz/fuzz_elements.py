"""Fuzz everything that reads a data set: it is read, or a StrongroomError says why not, and chunking changes nothing.

Run with atheris: ``python tests/fuzz/fuzz_elements.py [-max_total_time=SECONDS] [CORPUS]``. The first byte chooses the
transfer syntax, the second how the rest is chunked.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["strongroom"]):
    from strongroom.dicom.canonical import canonical_sha256
    from strongroom.dicom.convert import convert
    from strongroom.dicom.dicomdir import parse_dicomdir
    from strongroom.dicom.dictionary import (
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        IMPLICIT_VR_LITTLE_ENDIAN,
        TRANSFER_SYNTAXES,
        TransferSyntax,
    )
    from strongroom.dicom.elements import HeaderScan, ScanLimits
    from strongroom.dicom.jsonmodel import to_json, tree_to_json
    from strongroom.dicom.part10 import parse_file_header
    from strongroom.dicom.text import parse_charsets
    from strongroom.dicom.tree import parse_dataset
    from strongroom.errors import StrongroomError

SYNTAXES = [
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"],
]
WANTED = frozenset({0x00080005, 0x00081115, 0x00100010, 0x00100020, 0x00280103, 0x0020000D, 0x00089215})
LIMITS = ScanLimits(
    max_element_depth=8,
    max_element_count=2000,
    max_element_value_bytes=4096,
    max_kept_bytes=16384,
    max_inflated_bytes=1 << 20,
)


def scan(data: bytes, syntax: TransferSyntax, chunk: int) -> tuple[object, ...]:
    """Return all that a scan of ``data`` in chunks of that size says."""
    walk = HeaderScan(syntax, WANTED, LIMITS)
    error = ""
    try:
        for start in range(0, len(data), chunk):
            walk.feed(memoryview(data)[start : start + chunk])
        walk.finish()
        raw = walk.elements.get(0x00080005)
        to_json(walk.elements, parse_charsets(raw.value) if raw else (), syntax, limits=LIMITS)
    except StrongroomError as found:
        if syntax.deflated:
            return ("refused",)  # zlib says so earlier or later, depending on how much it is given at once
        error = repr(found)
    return error, walk.elements, walk.irregularities, walk.pixel_data_offset, walk.end_of_header


def test_one_input(data: bytes) -> None:
    """Read ``data`` in every way there is."""
    if len(data) < 2:
        return
    syntax, chunk, body = SYNTAXES[data[0] % len(SYNTAXES)], data[1] + 1, data[2:]
    whole = scan(body, syntax, max(1, len(body)))
    if scan(body, syntax, chunk) != whole:
        raise AssertionError("chunking changes the result")
    for act in (
        lambda: tree_to_json(parse_dataset(body, syntax, LIMITS), (), syntax, limits=LIMITS),
        lambda: list(convert([body], syntax, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)),
        lambda: canonical_sha256(lambda offset, length: body[offset : offset + length], len(body), syntax, LIMITS),
        lambda: parse_file_header(body),
        lambda: parse_dicomdir(body, LIMITS),
    ):
        try:
            act()
        except StrongroomError:
            continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
