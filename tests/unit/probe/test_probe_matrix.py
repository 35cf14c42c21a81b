"""The matrix of services by identities."""

from __future__ import annotations

import pytest

from harness.probe_observed import DONE, FAILED, OPEN_SERVICES, REFUSED, TLS, seen
from strongroom.probe.judging.matrix import SERVICES, matrix_of
from strongroom.probe.model import Answer, Identity, Observation


def cell(service: str, identity: str, *observations: Observation) -> str:
    return str(matrix_of(observations)[service][identity].access)


def test_every_service_has_a_row_and_only_who_asked_a_column() -> None:
    found = matrix_of([seen("dicom.echo"), seen("dicom.find_empty", REFUSED, Identity.NAMED)])
    assert tuple(found) == SERVICES
    assert {tuple(cells) for cells in found.values()} == {("stranger", "named")}


@pytest.mark.parametrize(
    ("service", "observation", "access"),
    [
        ("C-FIND", seen("dicom.find_empty", status=0), "allowed"),
        ("C-FIND", seen("dicom.find_empty", FAILED, status=0xA900), "allowed"),
        ("C-FIND", seen("dicom.find_empty", REFUSED, status=0x0124), "refused"),
        ("C-FIND", seen("dicom.find_empty", Answer.TIMEOUT), "not tested"),
        ("C-FIND", seen("dicom.associate", REFUSED), "refused"),
        ("C-FIND", seen("dicom.associate"), "not tested"),
        ("C-FIND", seen("dicom.services", **OPEN_SERVICES), "negotiated"),
        ("C-FIND", seen("dicom.associate", Answer.CLOSED), "not tested"),
        ("C-FIND", seen("dicom.associate", Answer.CLOSED, over=TLS), "refused"),
        ("C-STORE", seen("dicom.store_canary", FAILED, status=0xC000), "refused"),
        ("C-GET", seen("dicom.read_canary", DONE, found=True), "allowed"),
        ("C-GET", seen("dicom.read_canary", DONE, found=False), "refused"),
        ("QIDO-RS", seen("http.qido", status=200), "allowed"),
        ("QIDO-RS", seen("http.qido", REFUSED, status=401), "refused"),
        ("QIDO-RS", seen("http.qido", FAILED, status=404), "not tested"),
        ("QIDO-RS", seen("dicom.associate", REFUSED), "not tested"),
    ],
)
def test_a_cell(service: str, observation: Observation, access: str) -> None:
    assert cell(service, "stranger", observation) == access


def test_what_was_asked_says_more_than_what_was_negotiated() -> None:
    offered = seen("dicom.services", **OPEN_SERVICES)
    assert cell("C-FIND", "stranger", offered, seen("dicom.find_empty", REFUSED)) == "refused"
    assert cell("C-FIND", "stranger", offered, seen("dicom.find_empty", Answer.TIMEOUT)) == "negotiated"


def test_the_worst_of_all_ports_counts() -> None:
    shut = seen("dicom.find_empty", REFUSED, port=104)
    assert cell("C-FIND", "stranger", shut, seen("dicom.find_empty", port=11112)) == "allowed"


def test_a_move_refused_for_where_it_leads_does_not_say_that_its_sender_may_not() -> None:
    nowhere = seen("dicom.move_nowhere", REFUSED, Identity.CERTIFICATE, status=0xA801)
    assert cell("C-MOVE", "certificate", nowhere) == "negotiated"
    forbidden = seen("dicom.move_nowhere", REFUSED, Identity.CERTIFICATE, status=0x0124)
    assert cell("C-MOVE", "certificate", forbidden) == "refused"
    assert cell("C-MOVE", "stranger", seen("dicom.move_nowhere", REFUSED, status=0xA801)) == "refused"


def test_a_server_that_is_too_busy_refuses_nobody() -> None:
    assert cell("C-FIND", "stranger", seen("dicom.services", FAILED, rejection="congestion")) == "not tested"


def test_identities_are_kept_apart() -> None:
    both = (seen("dicom.find_empty", REFUSED), seen("dicom.find_empty", DONE, Identity.CERTIFICATE))
    assert cell("C-FIND", "stranger", *both) == "refused"
    assert cell("C-FIND", "certificate", *both) == "allowed"
