"""The letters: what each rests on, and that a letter never says more than was seen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.probe_observed import DONE, FAILED, OPEN_SERVICES, REFUSED, TLS, judged, seen, shape
from strongroom.probe.judging.findings import Grade
from strongroom.probe.model import Answer, Identity, Level, Observation

PORT = seen("tcp.connect", ms=1)
NOT_IN_THE_CLEAR = seen("dicom.associate", Answer.CLOSED)
NO_CERTIFICATE_NO_ASSOCIATION = (
    PORT,
    NOT_IN_THE_CLEAR,
    seen("dicom.associate", REFUSED, over=TLS),
    seen("tls.client_certificate", REFUSED, over=TLS, requested=True, required=True),
    seen("tls.certificate_refused", REFUSED, over=TLS, expired=False, self_signed=False),
    seen("tls.versions", over=TLS, accepted=("TLS 1.2", "TLS 1.3"), preferred="TLS 1.3"),
)
ONE_WAY = (
    PORT,
    NOT_IN_THE_CLEAR,
    seen("dicom.associate", REFUSED, over=TLS, rejection="calling title"),
    seen("dicom.user_identity", Answer.NOT_ASKED, Identity.JUNK_USER, over=TLS, reason="no title was accepted"),
    seen("tls.client_certificate", over=TLS, requested=False, required=False),
)
LOGIN_OVER_TLS = (
    PORT,
    seen("http.root", REFUSED, over=TLS, port=443, status=401, hsts=True),
    seen("http.qido", REFUSED, over=TLS, port=443, status=401),
)
LOGIN_IN_THE_CLEAR = (
    PORT,
    seen("http.root", REFUSED, port=80, status=401, body_kind="html", to_https=False, csp=True, frame_options=True),
    seen("http.qido", REFUSED, port=80, status=401),
)


def grade_of(*observations: Observation, level: Level = Level.COUNT) -> Grade:
    return judged(observations, level).grade


@pytest.mark.parametrize(
    ("letter", "observations"),
    [
        ("F", [seen("dicom.find_empty", status=0)]),
        ("F", [seen("dicom.get_nothing", status=0)]),
        ("F", [seen("dicom.associate", REFUSED), seen("dicom.find_empty", DONE, Identity.KNOWS_TITLE, status=0)]),
        ("D", [seen("dicom.associate", REFUSED), seen("dicom.associate", DONE, Identity.KNOWS_TITLE)]),
        ("F", [seen("dicom.worklist", pending=1)]),
        ("F", [seen("dicom.store_canary", status=0)]),
        ("F", [seen("http.qido", status=200)]),
        ("F", [seen("http.wado_uri", status=404)]),
        ("F", [seen("http.stow", status=400)]),
        ("F", [seen("http.rest", status=200)]),
        ("F", [seen("http.listing", path="/", listing=True, dicom_files=1)]),
        ("F", [seen("http.credentials", DONE, Identity.DEFAULT_CREDENTIALS, works=True)]),
        ("F", [*NO_CERTIFICATE_NO_ASSOCIATION, seen("http.qido", status=200, over=TLS)]),
        ("D", [seen("dicom.associate"), seen("dicom.services", **OPEN_SERVICES)]),
        ("D", [seen("dicom.associate", REFUSED), seen("dicom.associate", DONE, Identity.NAMED)]),
        ("D", [seen("dicom.guess", DONE, Identity.GUESSED, tried=2, guessed="PACS"), seen("dicom.associate", REFUSED)]),
        ("C", [seen("dicom.associate", REFUSED)]),
        ("C", LOGIN_IN_THE_CLEAR),
        ("C", [*NO_CERTIFICATE_NO_ASSOCIATION, seen("tls.versions", over=TLS, accepted=("SSL 3.0",), preferred="")]),
        ("B", ONE_WAY),
        ("B", [*NO_CERTIFICATE_NO_ASSOCIATION, seen("neighbour.connect", port=5432, service="PostgreSQL")]),
        ("A", NO_CERTIFICATE_NO_ASSOCIATION),
        ("A", LOGIN_OVER_TLS),
        ("A", [*NO_CERTIFICATE_NO_ASSOCIATION, *LOGIN_OVER_TLS]),
        ("-", [seen("tcp.connect", Answer.UNREACHABLE, reason="refused")]),
        ("-", [PORT]),
    ],
)
def test_the_letter(letter: str, observations: Sequence[Observation]) -> None:
    found = grade_of(*observations)
    assert found.letter == letter, found.reasons
    assert found.reasons


def test_the_worst_door_gives_the_letter() -> None:
    assert grade_of(*LOGIN_OVER_TLS, seen("dicom.find_empty", status=0)).letter == "F"


def test_a_status_that_is_no_refusal_is_not_proven_open() -> None:
    found = grade_of(seen("dicom.associate"), seen("dicom.find_empty", FAILED, status=0xA900))
    assert found.letter == "C"


def test_a_log_that_does_not_show_the_probe_costs_the_a() -> None:
    noticed = {"archive (192.0.2.10)": "none"}
    assert judged(NO_CERTIFICATE_NO_ASSOCIATION, noticed=noticed).grade.letter == "B"


@pytest.mark.parametrize(("noticed", "rests"), [({}, True), ({"archive (192.0.2.10)": "all"}, False)])
def test_an_a_says_what_it_rests_on(noticed: dict[str, str], rests: bool) -> None:
    found = judged(NO_CERTIFICATE_NO_ASSOCIATION, Level.ASSOCIATE, noticed=noticed).grade
    assert found.letter == "A"
    assert any("L1" in words for words in found.rests_on)
    assert any("probe noticed" in words for words in found.rests_on) is rests


def test_a_client_certificate_of_the_probes_own_making_that_is_accepted_is_no_gate() -> None:
    fooled = seen("tls.certificate_refused", over=TLS, expired=False, self_signed=True)
    assert grade_of(*NO_CERTIFICATE_NO_ASSOCIATION[:-2], fooled).letter == "B"


def test_a_web_interface_that_was_not_searched_earns_no_a() -> None:
    assert grade_of(*LOGIN_OVER_TLS).letter == "A"
    assert grade_of(*LOGIN_OVER_TLS[:2], level=Level.ASSOCIATE).letter == "B"


@pytest.mark.parametrize(
    "unknown",
    [
        seen("dicom.associate", Answer.TIMEOUT, port=104),
        seen("dicom.services", Answer.NOT_ASKED, over=TLS, reason="budget"),
    ],
)
def test_a_port_of_which_nothing_is_known_costs_the_a(unknown: Observation) -> None:
    assert grade_of(*NO_CERTIFICATE_NO_ASSOCIATION).letter == "A"
    assert grade_of(*NO_CERTIFICATE_NO_ASSOCIATION, unknown).letter == "B"


def test_data_of_nobody_is_open_all_the_same() -> None:
    looked = seen("dicom.find_shape", **shape(looked_at=25, has_name=25, phantom=25))
    assert grade_of(seen("dicom.find_empty", status=0), looked).letter == "F"


def test_connections_alone_earn_no_letter() -> None:
    found = grade_of(PORT, level=Level.CONNECT)
    assert found.letter == "-"
    assert "L0" in found.reasons[0]


SILENT = seen("tcp.connect", Answer.UNREACHABLE, reason="timeout")
HUNG = (PORT, seen("dicom.associate", Answer.TIMEOUT), seen("http.root", Answer.TIMEOUT))


@pytest.mark.parametrize("posture", ["", "open", "titles", "tls", "mutual-tls"])
@pytest.mark.parametrize("observations", [[SILENT], HUNG], ids=["absent", "hung"])
def test_silence_where_an_answer_is_expected_is_not_tested_and_not_good(
    observations: Sequence[Observation], posture: str
) -> None:
    found = judged(observations, postures={"archive": posture} if posture else {}).grade
    assert found.letter == "-"
    assert found.reasons[0].startswith("Not tested")
    assert not found.is_good


def test_silence_is_good_where_the_scope_expects_it() -> None:
    assert judged([SILENT], postures={"archive": "closed"}).grade.is_good
    assert not judged(HUNG, postures={"archive": "closed"}).grade.is_good
    unasked = seen("tcp.connect", Answer.NOT_ASKED, reason="window")
    assert not judged([unasked], postures={"archive": "closed"}).grade.is_good


def test_who_hangs_is_not_said_to_speak_something_else() -> None:
    assert "no answer in time" in judged(HUNG).grade.reasons[0]
    assert "speaks DICOM or HTTP" in judged([PORT, seen("dicom.associate", Answer.OTHER)]).grade.reasons[0]
