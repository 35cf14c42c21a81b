"""The canary over the web: the synthetic object of ``canary``, posted to a DICOMweb root and looked for again.

Only with the scope's consent ``write_canary``, and once for each port. ``canary.cleanup`` tells of it as of the others.
"""

from __future__ import annotations

import secrets

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.part10 import encode_file_meta
from strongroom.errors import Unanswered
from strongroom.probe.dimse.canary import CONSENT, SECONDARY_CAPTURE, Canary, new_canary
from strongroom.probe.model import Answer, Detail
from strongroom.probe.session import IMPLEMENTATION, Session
from strongroom.probe.web.httpclient import HttpClient, Request
from strongroom.probe.web.pages import answer_of, asks_for_login, body_kind
from strongroom.probe.web.site import Door, answering
from strongroom.probe.web.webcounts import is_search_result
from strongroom.types import Uid

_EXPLICIT_LITTLE_ENDIAN = TRANSFER_SYNTAXES[Uid("1.2.840.10008.1.2.1")]


def canary(session: Session) -> None:
    """Post a canary to the likeliest root of each port that did not refuse an empty post."""
    written: set[int] = set()
    for door in answering(session):
        empty = session.found("http.stow", door.port, door.channel, door.identity)
        if door.port in written:
            _skip(door, "somebody else may write there")
        elif CONSENT not in session.consents:
            _skip(door, f"no consent {CONSENT}")
        elif empty is None or empty.answer is not Answer.DONE:
            _skip(door, "an empty post was not taken")
        elif _write(door, str(empty.details["root"])):
            written.add(door.port)


def _skip(door: Door, reason: str) -> None:
    door.session.skip("http.stow_canary", door.port, reason, door.channel, door.identity)


def _write(door: Door, root: str) -> bool:
    """Post and look again. Return whether it was taken, or may have been."""
    made = new_canary(door.session)
    uids = {"root": root, "sop_instance_uid": str(made.instance), "study_instance_uid": str(made.study)}
    door.session.will_write(
        "http.stow_canary",
        door.port,
        door.channel,
        door.identity,
        made.instance,
        study_instance_uid=str(made.study),
    )
    with door.client(most=3) as client:
        try:
            response = client.ask(_posted(root, made))
        except Unanswered as error:
            door.keep("http.stow_canary", Answer(error.answer), reason=error.reason, **uids)
        else:
            # The answer names what was stored (PS3.18 10.5.3), or is empty; any other success is of another thing.
            named = str(made.instance).encode("ascii") in response.body
            stored = response.status in (200, 202) and (named or body_kind(response) == "empty")
            details: dict[str, Detail] = {**door.details(response), **uids, "stored": stored}
            if stored:
                details["read"] = _is_found(client, root, made)
            refused = answer_of(response) is Answer.REFUSED or asks_for_login(response)
            answer = Answer.REFUSED if refused else Answer.DONE if stored else Answer.FAILED
            door.keep("http.stow_canary", answer, **details)
    answer = door.facts[-1][1]
    door.observe()
    return answer not in (Answer.REFUSED, Answer.FAILED)


def _posted(root: str, made: Canary) -> Request:
    """The request that stores it (PS3.18 10.5.1)."""
    boundary = secrets.token_hex(12)
    meta = encode_file_meta(
        SECONDARY_CAPTURE,
        made.instance,
        _EXPLICIT_LITTLE_ENDIAN.uid,
        str(IMPLEMENTATION.implementation_class_uid),
        IMPLEMENTATION.implementation_version_name,
    )
    part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
    body = part + meta + made.encoded(_EXPLICIT_LITTLE_ENDIAN) + f"\r\n--{boundary}--\r\n".encode("ascii")
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return Request(f"{root}/studies", "POST", (("Content-Type", kind), ("Accept", "application/dicom+json")), body)


def _is_found(client: HttpClient, root: str, made: Canary) -> bool:
    """Whether a search for its study finds it."""
    target = f"{root}/studies?StudyInstanceUID={made.study}&limit=1"
    try:
        response = client.ask(Request(target, headers=(("Accept", "application/dicom+json"),)))
    except Unanswered:
        return False
    # A server that leaves out what it does not know answers with other studies.
    return is_search_result(response) and str(made.study).encode("ascii") in response.body
