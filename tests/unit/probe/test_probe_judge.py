"""Every check says what it is there to say: bad news of what is open, good news of what is shut, and never good news of
what nobody asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.probe_observed import (
    DONE,
    FAILED,
    OPEN_SERVICES,
    REFUSED,
    TLS,
    facts,
    judged,
    seen,
    shape,
)  # fmt: skip
from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.findings import TargetJudgement, Verdict
from strongroom.probe.judging.judge import judge
from strongroom.probe.model import Answer, Identity, Level, Observation
from strongroom.probe.reporting.wording import summary, what_a_stranger_could_do

REFUSED_AT_THE_DOOR = (
    seen("dicom.associate", REFUSED, rejection="calling title"),
    seen("dicom.associate", REFUSED, over=TLS, port=2762, rejection="calling title"),
)
CERTIFICATE: dict[str, int | str | bool] = {
    "days_left": 200, "key_kind": "RSA", "key_bits": 3072, "signature": "rsa-sha256", "self_signed": False,
    "chain_complete": True, "name_matches": True, "serial_bits": 128, "too_long": False,
}  # fmt: skip
LET_IN = seen("dicom.associate")
MTLS = (
    seen("dicom.associate", REFUSED, over=TLS),
    seen("tls.client_certificate", REFUSED, over=TLS, requested=True, required=True),
    seen("tls.certificate_refused", REFUSED, over=TLS, expired=False, self_signed=False),
)
CLOSED_IN_THE_CLEAR = seen("dicom.associate", Answer.CLOSED)
HTTPS_WITH_A_LOGIN = seen("http.root", REFUSED, over=TLS, port=8443, status=401, hsts=True)
NOBODY_GUESSES = seen("dicom.guess", REFUSED, Identity.GUESSED, tried=20, guessed="")

CONTROLS: dict[str, tuple[Sequence[Observation], Sequence[Observation]]] = {
    "SP-001": ([seen("tcp.connect", ms=1)], [seen("tcp.connect", Answer.UNREACHABLE, reason="refused")]),
    "SP-002": ([LET_IN], [seen("dicom.associate", Answer.CLOSED), seen("dicom.associate", REFUSED, over=TLS)]),
    "SP-003": ([LET_IN], [seen("dicom.associate", over=TLS)]),
    "SP-004": ([LET_IN, seen("dicom.associate", over=TLS)], [seen("dicom.associate", REFUSED, over=TLS)]),
    "SP-005": ([seen("dicom.called_title")], [LET_IN, seen("dicom.called_title", REFUSED, rejection="called title")]),
    "SP-006": ([seen("dicom.calling_title", tried=2)], [REFUSED_AT_THE_DOOR[0]]),
    "SP-007": ([seen("dicom.guess", DONE, Identity.GUESSED, tried=3, guessed="ORTHANC")], [NOBODY_GUESSES]),
    "SP-008": (
        [seen("dicom.user_identity", DONE, Identity.JUNK_USER, response="positive")],
        [seen("dicom.user_identity", REFUSED, Identity.JUNK_USER)],
    ),
    "SP-009": ([seen("dicom.echo", status=0)], [seen("dicom.associate", REFUSED)]),
    "SP-010": ([seen("dicom.find_empty", status=0, pending=0)], [seen("dicom.find_empty", REFUSED, status=0x0124)]),
    "SP-011": ([seen("dicom.find_count", studies=7, capped=False)], [seen("dicom.find_count", REFUSED)]),
    "SP-012": (
        [seen("dicom.find_shape", **shape(looked_at=5, has_name=5))],
        [seen("dicom.find_shape", **shape(looked_at=5))],
    ),
    "SP-013": (
        [seen("http.qido_shape", **shape(looked_at=5, ssn_shaped=1))],
        [seen("http.qido_shape", **shape(looked_at=5))],
    ),
    "SP-014": ([seen("dicom.get_nothing", status=0)], [seen("dicom.get_nothing", REFUSED, status=0x0124)]),
    "SP-015": ([seen("dicom.read_canary", found=True)], [seen("dicom.read_canary", REFUSED)]),
    "SP-016": ([seen("dicom.move_nowhere", status=0)], [seen("dicom.move_nowhere", REFUSED, status=0xA801)]),
    "SP-017": ([seen("dicom.store_canary", status=0)], [seen("dicom.store_canary", REFUSED, status=0x0124)]),
    "SP-018": (
        [seen("dicom.overwrite_canary", overwritten=True)], [seen("dicom.overwrite_canary", overwritten=False)]
    ),
    "SP-019": ([seen("dicom.cross_study_canary")], [seen("dicom.cross_study_canary", FAILED, status=0xC000)]),
    "SP-020": ([seen("dicom.worklist", pending=1)], [seen("dicom.worklist", REFUSED, status=0x0124)]),
    "SP-021": ([seen("dicom.mpps_nothing", FAILED, status=0x0112)], [seen("dicom.mpps_nothing", REFUSED)]),
    "SP-022": (
        [seen("dicom.syntaxes", accepted=("1.2.840.10008.1.2.2",), retired=("1.2.840.10008.1.2.2",))],
        [seen("dicom.syntaxes", accepted=("1.2.840.10008.1.2.1",), retired=())],
    ),
    "SP-023": (
        [seen("dicom.associate", implementation_version="OFFIS_DCMTK_367")],
        [seen("dicom.associate", implementation_version="AAA")],
    ),
    "SP-024": ([seen("dicom.idle", Answer.TIMEOUT, seconds=60)], [seen("dicom.idle", Answer.ABORTED, seconds=30)]),
    "SP-025": ([seen("http.qido", port=8042, status=200)], [seen("http.qido", REFUSED, port=8042, status=401)]),
    "SP-026": ([seen("http.wado_rs", port=8042, status=404)], [seen("http.wado_rs", REFUSED, port=8042, status=401)]),
    "SP-027": ([seen("http.stow", port=8042, status=400)], [seen("http.stow", REFUSED, port=8042, status=401)]),
    "SP-028": ([seen("http.rest", port=8042, status=200)], [seen("http.rest", REFUSED, port=8042, status=401)]),
    "SP-029": (
        [seen("http.paths", status=200, path="/ohif/", open=True, kind="viewer")],
        [seen("http.paths", FAILED, status=404)],
    ),
    "SP-030": (
        [seen("http.root", status=200, to_https=False, body_kind="html")],
        [seen("http.root", REFUSED, over=TLS, status=401, hsts=True)],
    ),
    "SP-031": (
        [seen("http.cors", allow_origin="reflected", allow_credentials=True)],
        [seen("http.cors", allow_origin="none", allow_credentials=False)],
    ),
    "SP-032": (
        [seen("http.listing", path="/images/", listing=True, dicom_files=3)],
        [seen("http.listing", FAILED, status=404)],
    ),
    "SP-033": (
        [seen("neighbour.connect", port=5432, service="PostgreSQL")],
        [seen("neighbour.connect", Answer.UNREACHABLE, port=5432, service="PostgreSQL")],
    ),
    "SP-035": ([LET_IN], [LET_IN]),
    "SP-037": (
        [seen("dicom.find_shape", **shape(looked_at=9, has_name=9))],
        [seen("dicom.find_shape", **shape(looked_at=9, phantom=9))],
    ),
    "SP-038": (
        [seen("tls.versions", over=TLS, accepted=("TLS 1.0", "TLS 1.2"), preferred="TLS 1.2")],
        [seen("tls.versions", over=TLS, accepted=("TLS 1.2", "TLS 1.3"), preferred="TLS 1.3")],
    ),
    "SP-039": (
        [seen("tls.suites", over=TLS, forbidden=("TLS_RSA_WITH_RC4_128_SHA",), weak=(), ecdhe_bits=256)],
        [seen("tls.suites", REFUSED, over=TLS, forbidden=(), weak=(), ecdhe_bits=256)],
    ),
    "SP-040": (
        [seen("tls.certificate", over=TLS, **{**CERTIFICATE, "days_left": -1})],
        [seen("tls.certificate", over=TLS, **CERTIFICATE)],
    ),
    "SP-041": ([seen("dicom.associate", over=TLS)], MTLS),
    "SP-042": (
        [REFUSED_AT_THE_DOOR[0], seen("dicom.associate", DONE, Identity.NAMED)],
        [REFUSED_AT_THE_DOOR[0], seen("dicom.associate", REFUSED, Identity.NAMED)],
    ),
    "SP-049": (
        [seen("http.credentials", DONE, Identity.DEFAULT_CREDENTIALS, works=True)],
        [seen("http.credentials", REFUSED, Identity.DEFAULT_CREDENTIALS, works=False)],
    ),
    "SP-050": (
        [*MTLS, seen("dicom.find_empty", REFUSED), seen("http.qido", status=200)],
        [*MTLS, CLOSED_IN_THE_CLEAR, seen("http.qido", REFUSED, status=401), HTTPS_WITH_A_LOGIN],
    ),
    "SP-051": ([seen("dicom.associate", Answer.HOSTILE, reason="4 GiB PDU")], [seen("dicom.associate", REFUSED)]),
}  # fmt: skip
"""Of each check: what makes it bad news, and what makes it good news."""

NEVER_TESTED = {check.id for check in catalogue().checks if check.untested}
FACTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "SP-001": ({"vantage": "internet"}, {"vantage": "internet"}),
    "SP-035": ({"noticed": {"archive (192.0.2.10)": "none"}}, {"noticed": {"archive (192.0.2.10)": "all"}}),
}


def verdict_of(check_id: str, target: TargetJudgement) -> Verdict:
    (found,) = [each for each in target.findings if each.check_id == check_id]
    return found.verdict


def words_of(check_id: str, target: TargetJudgement) -> str:
    (found,) = [each for each in target.findings if each.check_id == check_id]
    return found.says


def test_every_check_has_its_controls() -> None:
    assert set(CONTROLS) | NEVER_TESTED == {check.id for check in catalogue().checks}


@pytest.mark.parametrize("check_id", sorted(CONTROLS))
def test_a_check_tells_open_from_shut(check_id: str) -> None:
    bad, good = CONTROLS[check_id]
    with_bad, with_good = FACTS.get(check_id, ({}, {}))
    assert verdict_of(check_id, judged(bad, **with_bad)) in (Verdict.FAIL, Verdict.WARN)
    assert verdict_of(check_id, judged(good, **with_good)) is Verdict.PASS


@pytest.mark.parametrize("check_id", sorted(CONTROLS))
def test_nothing_passes_that_nobody_asked(check_id: str) -> None:
    unasked = [seen("tcp.connect", Answer.NOT_ASKED, reason="budget")]
    unasked += [seen(step, Answer.NOT_ASKED, reason="budget") for step in catalogue().check(check_id).steps]
    assert verdict_of(check_id, judged(unasked)) in (Verdict.NOT_TESTED, Verdict.NOT_APPLICABLE)


@pytest.mark.parametrize("check_id", sorted(CONTROLS))
def test_an_answer_that_never_came_is_no_good_news(check_id: str) -> None:
    if check_id == "SP-024":
        pytest.skip("an association that is held open is what it looks for")
    silent = [seen("tcp.connect", ms=1)] if check_id != "SP-001" else []
    silent += [seen(step, Answer.TIMEOUT, reason="no answer") for step in catalogue().check(check_id).steps]
    if check_id == "SP-002":
        return  # a port that does not answer in the clear is what it wants to see
    assert verdict_of(check_id, judged(silent)) is not Verdict.PASS


@pytest.mark.parametrize("check_id", sorted(NEVER_TESTED))
def test_what_is_never_tested_says_why(check_id: str) -> None:
    target = judged([LET_IN, seen("http.root", status=200)])
    assert verdict_of(check_id, target) is Verdict.NOT_TESTED
    assert words_of(check_id, target) == catalogue().check(check_id).untested


def test_a_level_that_was_not_asked_for_is_not_tested_whatever_is_offered() -> None:
    target = judged([LET_IN, seen("dicom.services", **OPEN_SERVICES)], Level.ASSOCIATE)
    for check_id in ("SP-010", "SP-014", "SP-016", "SP-017", "SP-020"):
        assert verdict_of(check_id, target) is Verdict.NOT_TESTED, check_id
        assert "level L" in words_of(check_id, target)
    assert verdict_of("SP-018", target) is Verdict.NOT_TESTED


def test_who_gets_no_association_can_do_nothing_with_one() -> None:
    target = judged(REFUSED_AT_THE_DOOR, Level.ASSOCIATE)
    for check_id in ("SP-010", "SP-014", "SP-016", "SP-017", "SP-018", "SP-020"):
        assert verdict_of(check_id, target) is Verdict.PASS, check_id


def test_one_open_port_is_not_made_good_by_a_shut_one() -> None:
    shut = seen("dicom.find_empty", REFUSED, port=104, status=0x0124)
    target = judged([shut, seen("dicom.find_empty", port=11112, status=0)])
    assert verdict_of("SP-010", target) is Verdict.FAIL
    (finding,) = [each for each in target.findings if each.check_id == "SP-010"]
    assert [each.endpoint.port for each in finding.evidence] == [11112]


@pytest.mark.parametrize("answer", [Answer.TIMEOUT, Answer.HOSTILE, Answer.UNREACHABLE])
def test_a_port_that_says_nothing_is_not_made_good_by_a_shut_one(answer: Answer) -> None:
    shut = (LET_IN, seen("dicom.find_empty", REFUSED, port=104, status=0x0124))
    assert verdict_of("SP-010", judged(shut)) is Verdict.PASS
    target = judged([*shut, seen("dicom.find_empty", answer, port=11112)])
    assert verdict_of("SP-010", target) is Verdict.NOT_TESTED
    assert "port 11112" in words_of("SP-010", target)


def test_what_the_budget_left_out_is_no_good_news() -> None:
    shut = seen("dicom.find_empty", REFUSED, port=104, status=0x0124)
    left_out = seen("dicom.find_empty", Answer.NOT_ASKED, port=11112, reason="budget")
    assert verdict_of("SP-010", judged([LET_IN, shut, left_out])) is Verdict.NOT_TESTED


def test_a_port_that_speaks_tls_need_not_answer_in_the_clear() -> None:
    silent, secure = seen("dicom.associate", Answer.TIMEOUT), seen("dicom.associate", REFUSED, over=TLS)
    assert verdict_of("SP-002", judged([silent, secure])) is Verdict.PASS
    other = seen("dicom.associate", Answer.TIMEOUT, port=104)
    assert verdict_of("SP-002", judged([silent, secure, other])) is Verdict.NOT_TESTED


def test_a_port_that_leads_to_https_does_not_excuse_one_that_does_not() -> None:
    leads = seen("http.root", FAILED, port=80, status=301, to_https=True, body_kind="empty")
    plain = seen("http.root", port=8042, status=200, to_https=False, body_kind="html")
    secure = seen("http.root", over=TLS, port=443, status=200, hsts=True, body_kind="html")
    assert verdict_of("SP-030", judged([leads, secure])) is Verdict.PASS
    assert verdict_of("SP-030", judged([leads, secure, plain])) is Verdict.FAIL


def test_a_certificate_that_the_web_wants_is_not_one_that_dicom_wants() -> None:
    web = seen("tls.client_certificate", REFUSED, over=TLS, port=443, requested=True, required=True)
    dicom = seen("dicom.associate", REFUSED, over=TLS, port=2762, result="permanent", rejection="calling title")
    assert verdict_of("SP-041", judged([CLOSED_IN_THE_CLEAR, web, dicom])) is Verdict.FAIL


@pytest.mark.parametrize("answer", [Answer.ABORTED, Answer.CLOSED])
@pytest.mark.parametrize(
    ("check_id", "step"),
    [
        ("SP-010", "dicom.find_empty"),
        ("SP-014", "dicom.get_nothing"),
        ("SP-016", "dicom.move_nowhere"),
        ("SP-017", "dicom.store_canary"),
        ("SP-020", "dicom.worklist"),
    ],
)
def test_a_server_that_breaks_off_is_said_to_have_done_that(check_id: str, step: str, answer: Answer) -> None:
    offered = seen("dicom.services", **OPEN_SERVICES)
    target = judged([LET_IN, offered, seen(step, answer)])
    # Orthanc refuses so. It may as well have broken, and the reader has to be told.
    assert verdict_of(check_id, target) is Verdict.PASS
    assert "was cut off" in words_of(check_id, target)


def test_a_server_that_is_too_busy_has_refused_nobody() -> None:
    busy = seen("dicom.associate", FAILED, result="transient", source="presentation", rejection="local limit")
    target = judged([busy])
    for check_id in ("SP-006", "SP-008", "SP-010", "SP-014", "SP-017", "SP-020"):
        assert verdict_of(check_id, target) is Verdict.NOT_TESTED, check_id


def test_an_object_that_could_not_be_stored_was_not_refused() -> None:
    target = judged(
        [LET_IN, seen("dicom.services", **OPEN_SERVICES), seen("dicom.store_canary", FAILED, status=0xC000)]
    )
    assert verdict_of("SP-017", target) is Verdict.WARN


def test_what_is_open_to_those_who_are_named_is_not_open_to_strangers() -> None:
    named = seen("dicom.find_empty", DONE, Identity.NAMED, status=0)
    assert verdict_of("SP-010", judged([REFUSED_AT_THE_DOOR[0], named])) is Verdict.PASS


def test_no_key_exchange_is_not_a_small_one() -> None:
    """Each port has sizes of its own, and a port without Diffie-Hellman has none."""
    strong = seen("tls.suites", REFUSED, over=TLS, port=443, forbidden=(), weak=())
    sized = seen("tls.suites", REFUSED, over=TLS, port=2762, forbidden=(), weak=(), dh_bits=2048, ecdhe_bits=256)
    assert verdict_of("SP-039", judged([strong, sized])) is Verdict.PASS
    small = seen("tls.suites", REFUSED, over=TLS, port=104, forbidden=(), weak=(), dh_bits=1024)
    assert verdict_of("SP-039", judged([strong, sized, small])) is Verdict.FAIL


@pytest.mark.parametrize(
    "observations",
    [
        [seen("dicom.associate", Answer.TIMEOUT, reason="the answer does not end")],
        [seen("tls.handshake", Answer.TIMEOUT, over=TLS), seen("dicom.associate", Answer.OTHER, reason="TLS")],
        [LET_IN, seen("dicom.find_count", studies=1000, capped=True, cancelled="ignored")],
    ],
)
def test_what_goes_on_for_ever_is_told(observations: Sequence[Observation]) -> None:
    assert verdict_of("SP-051", judged(observations)) is Verdict.WARN


def test_who_hangs_up_without_a_word_has_refused_nobody() -> None:
    target = judged([seen("tcp.connect"), seen("dicom.associate", Answer.CLOSED)])
    of_dicom = [each.id for each in catalogue().checks if each.about == "dicom" and not each.untested]
    assert {verdict_of(each, target) for each in of_dicom} == {Verdict.NOT_APPLICABLE}
    assert "No DICOM was found" in words_of("SP-006", target)
    # Over TLS it is how a missing certificate is told.
    assert verdict_of("SP-006", judged([CLOSED_IN_THE_CLEAR, seen("dicom.associate", Answer.CLOSED, over=TLS)])) is (
        Verdict.PASS
    )


def test_what_else_a_dicom_port_speaks_is_told() -> None:
    target = judged([seen("tcp.connect"), seen("dicom.associate", Answer.OTHER, reason="HTTP")])
    assert words_of("SP-002", target) == "No DICOM was found on the ports that were tried: port 11112 speaks HTTP."


def test_an_answer_that_proves_nothing_says_what_is_missing() -> None:
    overwritten = seen("dicom.overwrite_canary", status=0)
    assert "nothing to look at, or to read back" in words_of("SP-018", judged([LET_IN, overwritten]))
    by_a_friend = seen("dicom.overwrite_canary", DONE, Identity.CERTIFICATE, overwritten=True)
    assert "Asked only as certificate" in words_of("SP-021", judged([
        LET_IN, seen("dicom.mpps_nothing", DONE, Identity.CERTIFICATE, status=0), by_a_friend,
    ]))  # fmt: skip


def test_all_that_is_wrong_with_a_certificate_is_said() -> None:
    wrong = {**CERTIFICATE, "days_left": 19, "self_signed": True, "name_matches": False}
    said = words_of("SP-040", judged([seen("tls.certificate", over=TLS, **wrong)]))
    assert all(words in said for words in ("ends in 19 days", "does not name the host", "signed by itself"))
    ended = words_of("SP-040", judged([seen("tls.certificate", over=TLS, **{**CERTIFICATE, "days_left": -3})]))
    assert ended == "The certificate has ended."


def test_what_is_offered_and_was_shown_is_said_once() -> None:
    shown = seen("dicom.store_canary", DONE, Identity.JUNK_USER, status=0)
    offered = seen("dicom.services", DONE, Identity.STRANGER, accepted=("store",), refused=(), storage_classes=9)
    words = what_a_stranger_could_do(judged([LET_IN, offered, shown]))
    assert len([each for each in words if "put images into it" in each]) == 1


def test_what_is_not_there_is_not_applicable() -> None:
    target = judged([seen("tcp.connect"), seen("dicom.associate", REFUSED)])
    assert verdict_of("SP-025", target) is Verdict.NOT_APPLICABLE
    assert "No HTTP was found" in words_of("SP-025", target)
    web = judged([seen("tcp.connect", port=443), seen("tls.handshake", over=TLS, port=443, version="TLS 1.3")])
    assert verdict_of("SP-002", web) is not Verdict.PASS


def test_a_step_without_consent_says_so() -> None:
    left_out = seen("dicom.idle", Answer.NOT_ASKED, reason="no consent idle")
    target = judged([LET_IN, left_out])
    assert words_of("SP-024", target) == "Not asked: no consent idle."


def test_a_status_is_told_as_the_standard_writes_it() -> None:
    target = judged([LET_IN, seen("dicom.find_empty", FAILED, status=0xA900)])
    assert "A900H" in words_of("SP-010", target)


def test_known_faults_are_named() -> None:
    target = judged([seen("http.paths", status=200, path="/system", product="Orthanc", version="1.10.1")])
    assert verdict_of("SP-023", target) is Verdict.FAIL
    assert "Orthanc below 1.12.11: CVE-2026-5437" in words_of("SP-023", target)


def test_each_address_is_judged_by_itself() -> None:
    other = seen("dicom.find_empty", REFUSED)
    moved = Observation(other.step, type(other.endpoint)("other", "192.0.2.11", 104), *_rest(other))
    judgement = judge([seen("dicom.find_empty", status=0), moved], facts())
    assert [str(each.subject) for each in judgement.targets] == ["archive (192.0.2.10)", "other (192.0.2.11)"]
    assert [each.grade.letter for each in judgement.targets] == ["F", judgement.targets[1].grade.letter]
    assert judgement.targets[1].grade.letter != "F"


def _rest(seen_: Observation) -> tuple[object, ...]:
    return seen_.channel, seen_.identity, seen_.answer, seen_.details


@pytest.mark.parametrize(
    ("observations", "status"),
    [
        ([seen("dicom.find_empty", status=0)], 1),
        ([*MTLS, seen("tcp.connect")], 0),
        ([seen("tcp.connect", Answer.UNREACHABLE)], 1),
        ([seen("tcp.connect"), seen("dicom.associate", Answer.TIMEOUT)], 1),
        ([], 1),
    ],
)
def test_the_exit_status_is_bad_news_or_good(observations: Sequence[Observation], status: int) -> None:
    assert judge(observations, facts()).exit_status == status


@pytest.mark.parametrize(
    ("postures", "status"), [({"archive": "closed"}, 1), ({"archive": "closed", "pacs": "closed"}, 0)]
)
def test_a_range_that_is_silent_is_good_only_where_all_of_the_scope_is_to_be_closed(
    postures: dict[str, str], status: int
) -> None:
    assert judge([], facts(postures=postures, calling={"archive": "", "pacs": ""})).exit_status == status


@pytest.mark.parametrize(
    ("observations", "level", "words"),
    [
        ([seen("tcp.connect", Answer.UNREACHABLE)], Level.COUNT, "1 x -: not tested"),
        ([*MTLS, CLOSED_IN_THE_CLEAR, seen("tcp.connect")], Level.COUNT, "1 x A: good"),
        ([seen("tcp.connect")], Level.CONNECT, "1 x -: nothing weak was seen"),
        ([seen("dicom.find_empty", status=0)], Level.COUNT, "1 x F: something is open or weak"),
    ],
)
def test_the_headline_calls_good_only_what_was_tested(
    observations: Sequence[Observation], level: Level, words: str
) -> None:
    assert summary(judge(observations, facts(level))).startswith(words)


def test_the_headline_of_a_run_that_was_stopped_says_so() -> None:
    assert "not complete" in summary(judge(MTLS, facts(stopped="the operator ended it")))
