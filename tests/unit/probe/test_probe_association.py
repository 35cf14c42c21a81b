"""Who gets an association: strangers, the titles of the scope, guesses, junk users, certificates."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
from pynetdicom import AE

from harness.probe_certificates import Issuer, Pair, Subject
from harness.probe_dicom import Conduct, Scp, scp
from harness.probe_listener import listening, listening_sockets
from harness.probe_observed import judged
from harness.probe_session import FAST, Probed, probed, target_with
from strongroom.probe.connecting import connect
from strongroom.probe.dimse import association, services
from strongroom.probe.dimse.callers import accepted_callers
from strongroom.probe.judging.findings import Verdict
from strongroom.probe.model import Answer, Channel, Identity, Level, Observation
from strongroom.probe.tls.transport import handshakes

STEPS = (
    connect,
    association.associate,
    association.guess,
    association.called_title,
    association.calling_title,
    association.user_identity,
    services.services,
    services.syntaxes,
)
CLOSED = Conduct(called=frozenset({"PACS"}), calling=frozenset({"CT1"}))


def run(server: Scp, *steps: object, **target: object) -> Probed:
    made = probed(target_with(dicom_ports=(server.port,), **target), level=Level.ASSOCIATE)
    for step in steps or STEPS:
        step(made.session)  # type: ignore[operator]
    return made


def seen(made: Probed, step: str, identity: Identity = Identity.STRANGER) -> Observation:
    (one,) = made.session.all_found(step, identity=identity)
    return one


def test_a_server_that_takes_everybody() -> None:
    with scp() as server:
        made = run(server)
    for step in ("dicom.associate", "dicom.echo", "dicom.called_title", "dicom.calling_title"):
        assert seen(made, step).answer is Answer.DONE
    assert seen(made, "dicom.echo").details["status"] == 0
    assert seen(made, "dicom.calling_title").details["tried"] == 2
    assert seen(made, "dicom.user_identity", Identity.JUNK_USER).details["response"] == "none"
    assert [each.identity for each in accepted_callers(made.session)] == [Identity.STRANGER, Identity.JUNK_USER]


def test_a_server_that_compares_both_titles() -> None:
    with scp(CLOSED) as server:
        made = run(server, called="PACS", calling="CT1")
    assert seen(made, "dicom.associate").details["rejection"] == "called title"
    assert seen(made, "dicom.associate", Identity.NAMED).answer is Answer.DONE
    assert seen(made, "dicom.called_title").details["rejection"] == "called title"
    calling = seen(made, "dicom.calling_title")
    assert (calling.answer, calling.details["rejection"]) == (Answer.REFUSED, "calling title")
    assert seen(made, "dicom.guess", Identity.GUESSED).answer is Answer.NOT_ASKED
    assert [each.identity for each in accepted_callers(made.session)] == [Identity.NAMED]
    # A junk user under titles that are needed is nobody who knows nothing.
    assert list(made.session.all_found("dicom.user_identity", identity=Identity.JUNK_USER)) == []


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ({"called": "PACS"}, [Identity.KNOWS_TITLE]),
        ({"called": "PACS", "calling": "CT1"}, [Identity.KNOWS_TITLE, Identity.NAMED]),
    ],
)
def test_who_knows_the_title_of_a_server_is_nobody_it_knows(named: dict[str, str], asked: list[Identity]) -> None:
    with scp(Conduct(called=frozenset({"PACS"}))) as server:
        made = run(server, **named)
        assert [each.identity for each in accepted_callers(made.session)] == asked
        assert {each.calling for each in server.requests("associate")} >= {"STRONGROOM-PRB"}
    found = judged(list(made.session.known))
    wrong = {each.check_id: each for each in found.findings if each.verdict is Verdict.FAIL}
    assert {"SP-002", "SP-006", "SP-042"} <= set(wrong)
    assert "knows the server's own title" in wrong["SP-042"].says


def test_what_is_closed_to_everybody_is_asked_only_once() -> None:
    with scp(CLOSED) as server:
        made = run(server, called="WRONG")
    assert [each.what for each in server.asked] == ["associate", "associate"]
    for step in ("dicom.called_title", "dicom.calling_title"):
        assert seen(made, step).answer is Answer.NOT_ASKED
    assert list(accepted_callers(made.session)) == []


def test_titles_that_vendors_print_are_tried_with_consent() -> None:
    with scp(Conduct(called=frozenset({"CONQUESTSRV1"}))) as server:
        made = run(server)
        guessed = seen(made, "dicom.guess", Identity.GUESSED)
        assert guessed.details["guessed"] == "CONQUESTSRV1"
        assert int(str(guessed.details["tried"])) <= 20
        assert [each.identity for each in accepted_callers(made.session)] == [Identity.GUESSED]
        before = len(server.requests("associate"))
        without = probed(target_with(dicom_ports=(server.port,)), consents=frozenset())
        association.associate(without.session)
        association.guess(without.session)
        assert seen(without, "dicom.guess", Identity.GUESSED).details["reason"] == "no consent guess_titles"
        assert len(server.requests("associate")) == before + 1


def test_no_more_titles_are_tried_than_the_list_has() -> None:
    with scp(Conduct(called=frozenset({"UNGUESSABLE"}))) as server:
        made = run(server, association.associate, association.guess)
    assert seen(made, "dicom.guess", Identity.GUESSED).details["guessed"] == ""
    assert len(server.requests("associate")) == 21
    assert len(set(association.GUESSES)) == len(association.GUESSES) == 20


@pytest.mark.parametrize("answers", [True, False])
def test_a_user_that_nobody_is(answers: bool) -> None:
    with scp(Conduct(user_required=answers)) as server:
        made = run(server)
    junk = seen(made, "dicom.user_identity", Identity.JUNK_USER)
    assert junk.answer is Answer.DONE
    assert junk.details["response"] == ("positive" if answers else "none")
    assert seen(made, "dicom.services", Identity.JUNK_USER).answer is Answer.DONE
    raw = b"".join(bytes(visit.raw) for visit in server.listener.visits)
    assert b"strongroom-probe-nobody" in raw
    assert "strongroom-probe-nobody" not in made.log


def test_titles_that_nobody_has_are_new_each_time() -> None:
    with scp() as server:
        run(server)
        run(server)
    strange = [each.calling for each in server.asked if each.what == "associate" and each.calling != "STRONGROOM-PRB"]
    assert len(strange) == len(set(strange)) == 4


def test_a_default_run_opens_few_associations() -> None:
    with scp() as server:
        run(server)
    assert len(server.requests("associate")) <= 8
    assert server.listener.most_at_once == 1


def test_a_port_of_another_protocol_is_left_alone() -> None:
    asked = []

    def answer(visit: object) -> None:
        asked.append(visit)
        visit.read_some()  # type: ignore[attr-defined]
        visit.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[attr-defined]

    with listening(answer) as server:
        made = probed(target_with(dicom_ports=(server.port,), called="PACS"))
        for step in STEPS[1:]:
            step(made.session)
    assert seen(made, "dicom.associate").details == {"reason": "HTTP", "called": "ANY-SCP"}
    assert len(asked) == 1


def test_a_port_that_is_closed_is_not_asked_again() -> None:
    (closed,) = listening_sockets()
    port = closed.getsockname()[1]
    closed.close()
    made = probed(target_with(dicom_ports=(port,)))
    for step in STEPS:
        step(made.session)
    assert [each.step for each in made.session.known] == ["tcp.connect"]
    assert made.session.connections == 1


def test_an_association_that_says_nothing() -> None:
    with scp() as server:
        rates = replace(FAST, answer_s=1.0, connection_s=1.0)
        made = probed(target_with(dicom_ports=(server.port,)), rates=rates)
        association.associate(made.session)
        association.idle(made.session)
        assert seen(made, "dicom.idle").answer is Answer.TIMEOUT
        without = probed(target_with(dicom_ports=(server.port,)), consents=frozenset())
        association.associate(without.session)
        association.idle(without.session)
        assert seen(without, "dicom.idle").answer is Answer.NOT_ASKED


@pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")
def test_who_ends_an_association_that_says_nothing_is_told() -> None:
    ae = AE("IMPATIENT")
    ae.network_timeout = 1
    ae.add_supported_context("1.2.840.10008.1.1")
    server: Any = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        made = probed(target_with(dicom_ports=(server.server_address[1],)))
        association.associate(made.session)
        association.idle(made.session)
    finally:
        server.shutdown()
        gc.collect()
    idle = seen(made, "dicom.idle")
    assert idle.answer in (Answer.CLOSED, Answer.ABORTED)
    assert 1 <= int(str(idle.details["seconds"])) < 30


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def client(issuer: Issuer) -> Pair:
    return issuer.issue("client", Subject("client", client=True))


@pytest.mark.parametrize("required", [True, False])
def test_over_tls_with_and_without_a_certificate(issuer: Issuer, client: Pair, required: bool) -> None:
    context = issuer.issue(f"server{required}", Subject("server")).server_context(client_required=required)
    with scp(tls=context) as server:
        target = {"certificate": str(client.certificate), "certificate_key": str(client.key)}
        made = run(server, connect, handshakes, *STEPS[1:], **target)
    plain = list(made.session.all_found("dicom.associate", channel=Channel.PLAIN))
    assert all(each.answer is not Answer.DONE for each in plain)
    assert {each.identity for each in accepted_callers(made.session)} == (
        {Identity.CERTIFICATE} if required else {Identity.STRANGER, Identity.JUNK_USER, Identity.CERTIFICATE}
    )
    certified = seen(made, "dicom.associate", Identity.CERTIFICATE)
    assert (certified.answer, certified.channel) == (Answer.DONE, Channel.TLS)
    # Titles are compared, or not, whoever asks: where only a certificate gets in, they are tried with it.
    tried = made.session.found("dicom.calling_title", channel=Channel.TLS)
    assert tried is not None
    assert tried.identity is (Identity.CERTIFICATE if required else Identity.STRANGER)
    assert tried.answer is Answer.DONE


def test_every_observation_names_the_entries_that_bear_it_out() -> None:
    with scp() as server:
        made = run(server)
    assert all(each.entries for each in made.session.known if each.answer is not Answer.NOT_ASKED)
