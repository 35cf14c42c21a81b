"""pynetdicom guesses at the passcode of somebody who works at another workstation: user identity over processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from harness.archives import RunningArchive, add_peer, new_home, opened, serving
from harness.pynetdicom_peers import tls
from strongroom.admin.users import add
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.roles import Role

PASSCODE = "correct horse battery"
WRONG = "wrong horse battery"
TRANSIENT, PERMANENT, SERVICE_USER, NO_REASON = 2, 1, 1, 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = new_home(Path(tmp_path_factory.mktemp("identity")) / "home", {"dicom": {"workers": 2}})
    with opened(home) as archive:
        for aet in ("READING", "STOLEN"):
            add_peer(archive, aet, "echo", require_user=True)
        add(archive, "reader", PASSCODE, Role.VIEWER)
    with serving(home) as running:
        yield running


def called(archive: RunningArchive, aet: str, passcode: str) -> Any:
    """An association as a peer with a user, over or refused."""
    ae = AE(aet)
    ae.add_requested_context(Verification)
    who = UserIdentityNegotiation()
    who.user_identity_type, who.positive_response_requested = 2, True
    who.primary_field, who.secondary_field = b"reader", passcode.encode()
    security = (tls(archive.credentials(aet)), None)
    association = ae.associate("127.0.0.1", archive.port, ae_title="STRONGROOM", ext_neg=[who], tls_args=security)
    if association.is_established:
        assert association.send_c_echo().Status == 0
        association.release()
    return association


def rejection(association: Any) -> tuple[int, int, int]:
    assert association.is_rejected
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_a_peer_that_guesses_waits_and_whose_passcode_it_is_does_not(archive: RunningArchive) -> None:
    assert called(archive, "READING", PASSCODE).is_released
    answers = [rejection(called(archive, "STOLEN", WRONG)) for _ in range(7)]
    assert answers == [(PERMANENT, SERVICE_USER, NO_REASON)] * 5 + [(TRANSIENT, SERVICE_USER, NO_REASON)] * 2
    assert rejection(called(archive, "STOLEN", PASSCODE))[0] == TRANSIENT, "right, and one guess too many"
    assert called(archive, "READING", PASSCODE).is_released

    def is_throttled(event: Event) -> bool:
        return event.action is Action.ASSOCIATION and event.details.get("reason") == "too-many-failures"

    archive.wait_for_event(is_throttled)
    events = archive.events()
    guesses = [event for event in events if event.action is Action.SIGN_IN and event.outcome is Outcome.REFUSED]
    assert [(event.principal.aet, event.details.get("user")) for event in guesses] == [("STOLEN", "reader")] * 5
    assert "horse" not in repr(events)
    assert "horse" not in archive.output
