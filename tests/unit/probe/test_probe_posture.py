"""What the scope expects is met, is not, or cannot be told; and silence meets nothing but that nothing answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.probe_observed import DONE, REFUSED, TLS, facts, judged, seen
from strongroom.probe.judging.judge import judge
from strongroom.probe.judging.posture import DEMANDS, held_against
from strongroom.probe.model import Answer, Observation
from strongroom.probe.permits.scope import Posture
from strongroom.probe.reporting.report_text import report_text

PORT = seen("tcp.connect")
GONE = (seen("tcp.connect", Answer.UNREACHABLE, reason="refused"),)
HUNG = (PORT, seen("dicom.associate", Answer.TIMEOUT))
OPEN = (PORT, seen("dicom.associate"), seen("dicom.calling_title", tried=2), seen("dicom.find_empty", status=0))
TITLES = (PORT, seen("dicom.associate", REFUSED), seen("dicom.calling_title", REFUSED, tried=2))
ONE_WAY = (
    PORT,
    seen("dicom.associate", Answer.CLOSED),
    seen("dicom.associate", REFUSED, over=TLS, rejection="calling title"),
    seen("dicom.calling_title", REFUSED, over=TLS, tried=2),
)
MUTUAL = (
    PORT,
    seen("dicom.associate", Answer.CLOSED),
    seen("dicom.associate", REFUSED, over=TLS),
    seen("tls.client_certificate", REFUSED, over=TLS, requested=True, required=True),
)
WEB_IN_THE_CLEAR = (*MUTUAL, seen("http.root", DONE, port=80, status=200, body_kind="html", to_https=False))


@pytest.mark.parametrize(
    ("posture", "observations", "words"),
    [
        ("closed", GONE, "met"),
        ("closed", TITLES, "not met (SP-001"),
        ("closed", HUNG, "not met (SP-001"),
        ("closed", [seen("tcp.connect", Answer.NOT_ASKED, reason="window")], "cannot be told"),
        ("mutual-tls", MUTUAL, "met"),
        ("mutual-tls", ONE_WAY, "not met (SP-041"),
        ("mutual-tls", WEB_IN_THE_CLEAR, "not met (SP-030"),
        ("mutual-tls", GONE, "cannot be told"),
        ("tls", ONE_WAY, "met"),
        ("tls", TITLES, "not met (SP-002"),
        ("tls", HUNG, "cannot be told"),
        ("titles", TITLES, "met"),
        ("titles", OPEN, "not met (SP-006, grade F"),
        ("titles", HUNG, "cannot be told"),
        ("open", OPEN, "met"),
        ("open", GONE, "cannot be told"),
        ("", OPEN, ""),
    ],
)
def test_what_is_expected_is_held_against_what_was_found(
    posture: str, observations: Sequence[Observation], words: str
) -> None:
    found = held_against(posture, judged(observations, postures={"archive": posture} if posture else {}))
    assert found.startswith(words)
    assert found == words or words.startswith(("not", "cannot"))


def test_every_posture_of_a_scope_can_be_held_against() -> None:
    assert {*DEMANDS, Posture.UNKNOWN} == set(Posture)


def test_the_report_says_whether_it_is_met() -> None:
    text = report_text(judge(OPEN, facts(postures={"archive": "tls"})))
    assert "expected: tls: not met (SP-002, SP-006, grade F)" in text
