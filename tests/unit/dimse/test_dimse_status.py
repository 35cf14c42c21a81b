"""Status codes: classes by number, names by service."""

from __future__ import annotations

import itertools

import pytest
from pynetdicom.status import code_to_category

from strongroom.dimse import Service, Status, StatusKind, classify, describe, is_pending
from strongroom.dimse.status import STATUS_TABLE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, StatusKind.SUCCESS),
        (0xFF00, StatusKind.PENDING),
        (0xFF01, StatusKind.PENDING),
        (0xFE00, StatusKind.CANCEL),
        (0x0001, StatusKind.WARNING),
        (0x0107, StatusKind.WARNING),
        (0x0116, StatusKind.WARNING),
        (0xB000, StatusKind.WARNING),
        (0xBFFF, StatusKind.WARNING),
        (0x0124, StatusKind.FAILURE),
        (0xA700, StatusKind.FAILURE),
        (0xC123, StatusKind.FAILURE),
        (0xFF02, StatusKind.FAILURE),
        (0x7777, StatusKind.FAILURE),
    ],
)
def test_classes_of_status(status: int, kind: StatusKind) -> None:
    assert classify(status) is kind
    assert is_pending(status) is (kind is StatusKind.PENDING)


def test_every_line_of_the_table_is_of_the_class_that_its_number_says() -> None:
    for entry in STATUS_TABLE:
        assert {classify(entry.first), classify(entry.last)} == {entry.kind}


def test_the_general_codes_have_the_class_that_another_implementation_gives_them() -> None:
    ours = {entry.first: str(entry.kind) for entry in STATUS_TABLE if entry.service is Service.GENERAL}
    theirs = {code: code_to_category(code).lower() for code in ours}
    # 0001H is in PS3.7 C.4 but not in their table.
    assert {code: kind for code, kind in ours.items() if code != 1} == {c: k for c, k in theirs.items() if c != 1}


def test_no_code_has_two_meanings_in_one_service() -> None:
    for service in Service:
        ranges = sorted((entry.first, entry.last) for entry in STATUS_TABLE if entry.service is service)
        assert all(last < first for (_, last), (first, _) in itertools.pairwise(ranges))


def test_every_named_code_is_in_the_table() -> None:
    for status in Status:
        assert any(entry.first <= status <= entry.last for entry in STATUS_TABLE), status


@pytest.mark.parametrize(
    ("status", "service", "meaning"),
    [
        (0xA900, Service.STORAGE, "data set does not match SOP class"),
        (0xA900, Service.FIND, "identifier does not match SOP class"),
        (0xC0DE, Service.STORAGE, "cannot understand"),
        (0xB000, Service.MOVE, "sub-operations complete, one or more failures or warnings"),
        (0x0124, Service.GET, "refused: not authorized"),
        (0xFE00, Service.STORAGE, "cancel"),
        (0xD00F, Service.GENERAL, "status D00F"),
    ],
)
def test_a_code_is_described_in_its_service(status: int, service: Service, meaning: str) -> None:
    assert describe(status, service).meaning == meaning
