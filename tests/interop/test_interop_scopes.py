"""One scope, every door: a peer over DIMSE, its certificate over HTTPS and a token see the same part of an archive.

What each of them gets is held against what somebody without a scope gets, filtered: at every level, by search and by
UIDs that it was never told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
)

from harness.archives import RunningArchive, new_home, opened, serving
from harness.people import PASSCODE, signed_in
from harness.postgres import free_port
from harness.pynetdicom_peers import (
    COMMITMENT_INSTANCE,
    PATIENT_GET,
    PATIENT_MOVE,
    WAIT_S,
    Peer,
    associated,
    counts,
    identifier,
    image,
    last,
    listening,
    store,
)
from harness.web import WebClient, client_of, multipart
from strongroom.admin import groups
from strongroom.admin.tokens import NewToken, add, revoke
from strongroom.archive.access import parse_scope
from strongroom.archive.model import Action, Outcome
from strongroom.archive.roles import Role
from strongroom.archive.tokens import RIGHTS
from strongroom.web.operations import OPERATIONS

pytestmark = [
    pytest.mark.interop,
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

PATIENT_FIND = PatientRootQueryRetrieveInformationModelFind
NOT_AUTHORIZED = 0x0124
UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


def population() -> list[Dataset]:
    made = []
    for study in range(1, 7):
        for series in (1, 2, 3):
            for number in (1, 2):
                values = {
                    "PatientID": f"P{study % 3}",
                    "IssuerOfPatientID": "A" if study % 2 else "B",
                    "StudyDate": f"202{study}0101" if study < 6 else "",
                    "Modality": ("CT", "MR", "SR")[series - 1],
                    "InstanceNumber": number,
                    "InstitutionName": f"Site {series % 2}",
                    "ReferringPhysicianName": "Smith^Anna^^Dr" if study < 3 else "Smithers^Al",
                }
                made.append(image(study, series, number, **values))
    return made


POPULATION = population()

CASES: dict[str, tuple[list[str], Callable[[Dataset], bool]]] = {
    "PATIENT": (["patient=P1"], lambda each: each.PatientID == "P1"),
    "ISSUER": (["patient=P1\\A", "patient=P2\\B"], lambda e: e.PatientID + e.IssuerOfPatientID in {"P1A", "P2B"}),
    "STUDIES": (["study=2.25.2,2.25.5,2.25.99"], lambda each: each.StudyInstanceUID in {"2.25.2", "2.25.5"}),
    "MODALITY": (["modality=CT,SR"], lambda each: each.Modality in {"CT", "SR"}),
    "DATES": (["date=20220101-20231231"], lambda each: "20220101" <= each.StudyDate <= "20231231"),
    "SINCE": (["date=20240101-", "modality=MR"], lambda e: e.StudyDate >= "20240101" and e.Modality == "MR"),
    "SITE": (["institution=Site 0"], lambda each: each.InstitutionName == "Site 0"),
    "SMITH": (["referring=SMITH^Anna"], lambda each: each.StudyInstanceUID in {"2.25.1", "2.25.2"}),
    "EITHER": (
        ["patient=P1", "modality=CT", "or", "referring=smithers", "institution=Site 0", "or", "study=2.25.3"],
        lambda e: (e.PatientID == "P1" and e.Modality == "CT")
        or (e.ReferringPhysicianName == "Smithers^Al" and e.InstitutionName == "Site 0")
        or e.StudyInstanceUID == "2.25.3",
    ),
    "NONE": (["none"], lambda each: False),
    "NOTHING": (["patient=NOBODY"], lambda each: False),
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningArchive, dict[str, str]]]:
    home = new_home(tmp_path_factory.mktemp("scopes") / "home", {"https": {"port": 0, "workers": 1}})
    secrets = {}
    with serving(home) as running:
        running.add_peer("SCU")
        store(running, *POPULATION)
        with opened(home) as archive:
            for name, (terms, _) in CASES.items():
                running.add_peer(name, scope=tuple(terms))
                _, secrets[name] = add(archive, NewToken(name, frozenset(RIGHTS.values()), scope=terms))
            _, secrets["SCU"] = add(archive, NewToken("everything", frozenset(RIGHTS.values())))
        yield running, secrets


Served = tuple[RunningArchive, dict[str, str]]


def inside(name: str) -> list[Dataset]:
    return [each for each in POPULATION if CASES[name][1](each)]


def names_of(level: str, datasets: list[Dataset]) -> set[str]:
    return {str(getattr(each, UNIQUE[level])) for each in datasets}


# --- DIMSE


def found(running: RunningArchive, aet: str, level: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """What a C-FIND for everything of a level gives, by its unique key."""
    counted = {
        "PATIENT": ["NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"],
        "STUDY": ["ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"],
        "SERIES": ["NumberOfSeriesRelatedInstances"],
        "IMAGE": [],
    }[level]
    keys = ["PatientID", "IssuerOfPatientID", UNIQUE[level], *counted]
    with associated(running, aet=aet, relational=[PATIENT_FIND], more=[PATIENT_FIND]) as association:
        asked = identifier(level, **dict.fromkeys(keys, ""))
        answers = [answer for status, answer in association.send_c_find(asked, PATIENT_FIND) if answer is not None]
    return {
        tuple(str(answer[key].value) for key in keys[1:3]): {key: answer[key].value for key in counted}
        for answer in answers
    }


def computed(level: str, datasets: list[Dataset]) -> dict[tuple[str, ...], dict[str, Any]]:
    """The same, from what lies in scope."""
    groups: dict[tuple[str, ...], list[Dataset]] = {}
    for each in datasets:
        groups.setdefault((str(each.IssuerOfPatientID), str(getattr(each, UNIQUE[level]))), []).append(each)
    made = {}
    for key, members in groups.items():
        studies, series = names_of("STUDY", members), names_of("SERIES", members)
        modalities = sorted({each.Modality for each in members})
        made[key] = {
            "PATIENT": {
                "NumberOfPatientRelatedStudies": len(studies),
                "NumberOfPatientRelatedSeries": len(series),
                "NumberOfPatientRelatedInstances": len(members),
            },
            "STUDY": {
                "ModalitiesInStudy": modalities if len(modalities) > 1 else modalities[0],
                "NumberOfStudyRelatedSeries": len(series),
                "NumberOfStudyRelatedInstances": len(members),
            },
            "SERIES": {"NumberOfSeriesRelatedInstances": len(members)},
            "IMAGE": {},
        }[level]
    return made


@pytest.mark.parametrize("level", UNIQUE)
@pytest.mark.parametrize("name", CASES)
def test_c_find_answers_the_filtered_set(served: Served, name: str, level: str) -> None:
    running, _ = served
    assert found(running, name, level) == computed(level, inside(name))
    assert found(running, "SCU", level) == computed(level, POPULATION)


@pytest.mark.parametrize("level", UNIQUE)
@pytest.mark.parametrize("name", CASES)
def test_c_get_of_guessed_uids_sends_the_filtered_set(served: Served, name: str, level: str) -> None:
    running, _ = served
    peer = Peer()
    with associated(running, peer, name, get=[CTImageStorage], relational=[PATIENT_GET], more=[PATIENT_GET]) as assoc:
        for unique in sorted(names_of(level, POPULATION)):
            asked = identifier(level, **{UNIQUE[level]: unique})
            status, _, _ = last(assoc.send_c_get(asked, PATIENT_GET))
            assert status.Status == 0
    assert sorted(peer.stored_uids) == sorted(names_of("IMAGE", inside(name)))


def test_c_move_sends_what_the_caller_may_see(served: Served) -> None:
    running, _ = served
    port = free_port()
    credentials = running.add_peer("SINK", "store", host="127.0.0.1", port=port)
    peer = Peer()
    with (
        listening(credentials, peer, port),
        associated(running, aet="MODALITY", relational=[PATIENT_MOVE], more=[PATIENT_MOVE]) as association,
    ):
        asked = identifier("STUDY", StudyInstanceUID="2.25.1")
        status, _, _ = last(association.send_c_move(asked, "SINK", PATIENT_MOVE))
    assert counts(status) == (4, 0, 0)
    wanted = [each for each in inside("MODALITY") if each.StudyInstanceUID == "2.25.1"]
    assert set(peer.stored_uids) == names_of("IMAGE", wanted)


def test_commitment_answers_for_what_is_in_scope_only(served: Served) -> None:
    running, _ = served
    peer = Peer()
    information = Dataset()
    information.TransactionUID = "9.1"
    references = []
    for each in POPULATION[:12]:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = each.SOPClassUID, each.SOPInstanceUID
        references.append(reference)
    information.ReferencedSOPSequence = references
    with associated(running, peer, "PATIENT", more=[StorageCommitmentPushModel]) as association:
        association.send_n_action(information, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        assert peer.reported.wait(WAIT_S)
    ((_, told, _),) = peer.reports
    committed = {item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence}
    assert committed == names_of("IMAGE", [each for each in POPULATION[:12] if each.PatientID == "P1"])
    assert {item.FailureReason for item in told.FailedSOPSequence} == {0x0112}  # no such object instance


def test_c_store_takes_what_is_in_scope_only(served: Served) -> None:
    running, _ = served
    there = next(each for each in POPULATION if each.PatientID == "P2")
    strange = image(50, 1, 1, PatientID="P9")
    disguised = image(2, 1, 1, PatientID="P1")
    disguised.SOPInstanceUID = there.SOPInstanceUID
    own = next(each for each in POPULATION if each.PatientID == "P1")
    with associated(running, aet="PATIENT", more=[CTImageStorage]) as association:
        statuses = [association.send_c_store(each).Status for each in (there, strange, disguised, own)]
    assert statuses == [NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED, 0]
    refused = [event for event in running.events() if event.action is Action.STORE and event.outcome is Outcome.REFUSED]
    assert [event.details["reason"] for event in refused[-3:]] == ["outside-scope"] * 3


# --- HTTPS


def doors(served: Served, name: str) -> list[WebClient]:
    """The two ways in over HTTPS: the token, and the certificate of the peer of the same scope."""
    running, secrets = served
    return [client_of(running, secrets[name]), client_of(running, certificate=running.credentials(name).folder)]


def value(answer: dict[str, Any], tag: str) -> str:
    return str(answer[tag]["Value"][0])


@pytest.mark.parametrize("name", CASES)
def test_qido_answers_the_filtered_set(served: Served, name: str) -> None:
    tags = {"STUDY": ("/studies", "0020000D"), "SERIES": ("/series", "0020000E"), "IMAGE": ("/instances", "00080018")}
    for client in doors(served, name):
        for level, (path, tag) in tags.items():
            answer = client.get(path, "application/dicom+json")
            listed = answer.json if answer.status == 200 else []
            assert answer.status in (200, 204)
            assert {value(each, tag) for each in listed} == names_of(level, inside(name))
            if level == "STUDY":
                for each in listed:
                    study = [one for one in inside(name) if one.StudyInstanceUID == value(each, tag)]
                    assert each["00080061"]["Value"] == sorted({one.Modality for one in study})
                    assert value(each, "00201206") == str(len(names_of("SERIES", study)))
                    assert value(each, "00201208") == str(len(study))
        for study in names_of("STUDY", POPULATION):
            answer = client.get(f"/studies/{study}/instances", "application/dicom+json")
            listed = answer.json if answer.status == 200 else []
            wanted = [each for each in inside(name) if each.StudyInstanceUID == study]
            assert {value(each, "00080018") for each in listed} == names_of("IMAGE", wanted)


@pytest.mark.parametrize("name", CASES)
def test_guessed_uids_lead_to_what_is_in_scope_only(served: Served, name: str) -> None:
    for client in doors(served, name):
        for level in ("STUDY", "SERIES", "IMAGE"):
            for unique in names_of(level, POPULATION):
                sample = next(each for each in POPULATION if getattr(each, UNIQUE[level]) == unique)
                path = f"/studies/{sample.StudyInstanceUID}"
                path += f"/series/{sample.SeriesInstanceUID}" if level != "STUDY" else ""
                path += f"/instances/{sample.SOPInstanceUID}" if level == "IMAGE" else ""
                wanted = [each for each in inside(name) if getattr(each, UNIQUE[level]) == unique]
                answer = client.get(path, 'multipart/related; type="application/dicom"')
                assert (path, answer.status) == (path, 200 if wanted else 404)
                if wanted:
                    assert len(answer.parts) == len(wanted)
                answer = client.get(path + "/metadata", "application/dicom+json")
                assert (path, answer.status) == (path, 200 if wanted else 404)
                if wanted:
                    assert {value(each, "00080018") for each in answer.json} == names_of("IMAGE", wanted)


def test_what_is_outside_looks_as_if_it_were_not_there(served: Served) -> None:
    running, secrets = served
    client = client_of(running, secrets["PATIENT"])
    outside = next(each for each in POPULATION if each.PatientID == "P2")
    there = client.get(f"/studies/{outside.StudyInstanceUID}")
    nowhere = client.get("/studies/2.25.404")
    assert (there.status, there.content) == (nowhere.status, nowhere.content) == (404, there.content)
    assert sorted(there.headers.keys()) == sorted(nowhere.headers.keys())


def test_stow_takes_what_is_in_scope_only(served: Served) -> None:
    running, secrets = served
    client = client_of(running, secrets["MODALITY"])
    headers, body = multipart([("application/dicom", part10(image(60, 1, 1, Modality="US")))])
    answer = client.request("POST", "/studies", headers, body)
    assert answer.status == 409
    assert client_of(running, secrets["SCU"]).get("/studies/2.25.60").status == 404


def part10(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# --- what changes while somebody is connected


def test_a_revoked_token_is_refused_at_once_in_the_running_server(served: Served) -> None:
    running, _ = served
    with opened(running.home) as archive:
        _, secret = add(archive, NewToken("short-lived", frozenset(RIGHTS.values())))
        client = client_of(running, secret)
        assert client.get("/studies").status == 200
        revoke(archive, "short-lived")
    answer = client.get("/studies")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def paths_under_a_study(sample: Dataset) -> list[str]:
    """Every path of the table that names something of a study, filled in for one object."""
    names = {
        "study": sample.StudyInstanceUID,
        "series": sample.SeriesInstanceUID,
        "instance": sample.SOPInstanceUID,
        "frames": "1",
    }
    made = []
    for operation in OPERATIONS:
        if operation.method == "GET" and "{study}" in operation.path:
            parts = [
                names.get(part[1:-1], "7FE00010") if part[:1] == "{" else part for part in operation.path.split("/")
            ]
            made.append("/".join(parts))
    query = f"requestType=WADO&studyUID={names['study']}&seriesUID={names['series']}&objectUID={names['instance']}"
    return [*made, f"/dicomweb/wado?{query}"]


def test_every_route_to_what_is_outside_answers_as_if_it_were_not_there(served: Served) -> None:
    running, secrets = served
    outside = next(each for each in POPULATION if each.PatientID == "P2")
    nowhere = image(404, 1, 1)
    limited, unlimited = client_of(running, secrets["PATIENT"]), client_of(running, secrets["SCU"])
    paths = list(zip(paths_under_a_study(outside), paths_under_a_study(nowhere), strict=True))
    assert len(paths) > 15
    reached = 0
    for there, not_there in paths:
        one, other = limited.get(there), limited.get(not_there)
        assert (there, one.status, one.content) == (there, other.status, other.content)
        assert one.status in (204, 404) or not one.json  # a search finds nothing
        reached += unlimited.get(there).status == 200
    assert reached > 10


def test_a_study_is_deleted_by_nobody_who_does_not_see_all_of_it(served: Served) -> None:
    running, secrets = served
    outside = next(each for each in POPULATION if each.PatientID == "P2")
    path = f"/studies/{outside.StudyInstanceUID}"
    there = client_of(running, secrets["PATIENT"]).request("DELETE", path)
    nowhere = client_of(running, secrets["PATIENT"]).request("DELETE", "/studies/2.25.404")
    assert (there.status, there.content) == (nowhere.status, nowhere.content) == (404, there.content)
    assert client_of(running, secrets["MODALITY"]).request("DELETE", path).status == 403
    assert client_of(running, secrets["MODALITY"]).request("DELETE", "/studies/2.25.404").status == 404
    assert client_of(running, secrets["SCU"]).get(path + "/instances").status == 200


# --- groups


def test_a_group_holds_at_once_in_an_open_session_and_an_open_association(served: Served) -> None:
    running, _ = served
    browser = signed_in(running, "jdoe", Role.PHYSICIAN, scope=["none"])

    def seen() -> set[str]:
        answer = browser.get("/studies", "application/dicom+json")
        return {value(each, "0020000D") for each in answer.json} if answer.status == 200 else set()

    assert seen() == set()
    with opened(running.home) as archive:
        groups.add(archive, "Nord", parse_scope(["study=2.25.2"]))
        groups.join(archive, "Nord", ["jdoe"])
        assert seen() == {"2.25.2"}
        with associated(running, aet="SCU", more=[PATIENT_FIND], user=("jdoe", PASSCODE)) as association:
            asked = identifier("PATIENT", PatientID="")
            answers = [each for _, each in association.send_c_find(asked, PATIENT_FIND) if each is not None]
            assert [each.PatientID for each in answers] == ["P2"]
            groups.change(archive, "Nord", parse_scope(["study=2.25.3"]))
            running.wait_for_event(
                lambda event: event.principal.user == "jdoe" and event.details.get("end") == "scope-changed"
            )
            association.join(WAIT_S)
            association.dul.socket.close()  # pynetdicom leaves that of an association that was ended for it
        assert seen() == {"2.25.3"}
        groups.leave(archive, "Nord", ["jdoe"])
        assert seen() == set()
