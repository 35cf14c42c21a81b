"""Storage Commitment with pynetdicom: reports on the same association, to its address, again, after a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    CTImageStorage,
    StorageCommitmentPushModel,
)

from harness import archives
from harness.archives import ALL_RIGHTS, Credentials, RunningArchive, serving_in_process
from harness.postgres import free_port
from harness.pynetdicom_peers import (
    COMMITMENT_INSTANCE,
    POPULATION,
    WAIT_S,
    Peer,
    associated,
    commitment_ends,
    image,
    listening,
    refusals,
    store,
    wait_for,
)
from strongroom.archive.model import Outcome

pytestmark = [
    pytest.mark.interop,
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

ArchiveFactory = Callable[..., RunningArchive]


@pytest.fixture
def filled(local_archive: ArchiveFactory) -> RunningArchive:
    archive = local_archive({"SCU": ALL_RIGHTS})
    store(archive, *POPULATION)
    return archive


def references(*datasets: Dataset) -> Items:
    items = []
    for dataset in datasets:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        items.append(item)
    return Items(items)


def request_commitment(association: Any, transaction_uid: str, *datasets: Dataset, action: int = 1) -> int:
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = references(*datasets)
    status, _ = association.send_n_action(information, action, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
    return int(status.Status)


def test_a_report_comes_on_the_same_association(filled: RunningArchive) -> None:
    peer = Peer()
    with associated(filled, peer, more=[StorageCommitmentPushModel]) as association:
        assert request_commitment(association, "9.1", *POPULATION) == 0
        assert peer.reported.wait(WAIT_S)
        wait_for(lambda: len(commitment_ends(filled)) == 1)
        peer.reported.clear()
        assert request_commitment(association, "9.1", POPULATION[0], image(9, 9, 9)) == 0  # not pending any more
        assert peer.reported.wait(WAIT_S)
    (first, told, same), (second, failed, _) = peer.reports
    assert (first, second, same) == (1, 2, True)
    assert told.TransactionUID == "9.1"
    assert [item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence] == [
        dataset.SOPInstanceUID for dataset in POPULATION
    ]
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in failed.FailedSOPSequence] == [
        ("2.25.9.9.9", 0x0112)
    ]


def committing(
    local_archive: ArchiveFactory, *, workers: int = 0, **limits: Any
) -> tuple[RunningArchive, Credentials, int]:
    port = free_port()
    archive = local_archive(dicom={"workers": workers}, limits=limits)
    credentials = archive.add_peer("SCU", host="127.0.0.1", port=port)
    store(archive, *POPULATION)
    return archive, credentials, port


@pytest.mark.parametrize("workers", [0, 1])
def test_a_report_comes_to_the_address_of_a_peer_that_has_left(local_archive: ArchiveFactory, workers: int) -> None:
    archive, credentials, port = committing(local_archive, workers=workers)
    peer = Peer()
    with listening(credentials, peer, port):
        with associated(archive, more=[StorageCommitmentPushModel]) as association:
            assert request_commitment(association, "9.1", *POPULATION) == 0
        assert peer.reported.wait(WAIT_S)
        (end,) = wait_for(lambda: commitment_ends(archive))
    assert [(event_type, requestor) for event_type, _, requestor in peer.reports] == [(1, False)]
    assert end.outcome is Outcome.SUCCESS
    assert (end.details["way"], end.details["committed"]) == ("called", 4)


def test_a_report_is_tried_again_until_the_peer_is_back(local_archive: ArchiveFactory) -> None:
    archive, credentials, port = committing(local_archive, commitment_retry_s=0.2)
    with associated(archive, more=[StorageCommitmentPushModel]) as association:
        assert request_commitment(association, "9.1", *POPULATION) == 0
        assert request_commitment(association, "9.1", *POPULATION) == 0x0131
        assert request_commitment(association, "9.2", *POPULATION) == 0
    peer = Peer()
    with listening(credentials, peer, port):
        wait_for(lambda: len(commitment_ends(archive)) == 2)
    assert sorted(told.TransactionUID for _, told, _ in peer.reports) == ["9.1", "9.2"]


def test_a_report_that_nobody_takes_is_given_up(local_archive: ArchiveFactory) -> None:
    archive, _, _ = committing(local_archive, commitment_retry_s=0.05, max_commitment_tries=2)
    with associated(archive, more=[StorageCommitmentPushModel]) as association:
        assert request_commitment(association, "9.1", *POPULATION) == 0
    (end,) = wait_for(lambda: commitment_ends(archive))
    assert (end.outcome, end.details["reason"]) == (Outcome.FAILED, "PeerUnavailable")


def test_reports_survive_a_restart(archive_home: Any) -> None:
    home, port = archive_home(), free_port()
    with serving_in_process(home) as archive:
        credentials = archive.add_peer("SCU", host="127.0.0.1", port=port)
        store(archive, *POPULATION)
        with associated(archive, more=[StorageCommitmentPushModel]) as association:
            assert request_commitment(association, "9.1", *POPULATION) == 0
    archives.change_config(home, {"limits": {"commitment_retry_s": 0.1}})
    with archives.opened(home) as stopped:  # due at once, whatever it was put off to
        stopped.index.database.write(
            lambda transaction: transaction.cursor.execute("UPDATE commitment SET next_try_us = 0")
        )
    peer = Peer()
    with listening(credentials, peer, port), serving_in_process(home):
        assert peer.reported.wait(WAIT_S)
    assert [told.TransactionUID for _, told, _ in peer.reports] == ["9.1"]


def test_what_is_no_commitment_request_is_refused(filled: RunningArchive) -> None:
    with associated(filled, more=[StorageCommitmentPushModel]) as association:
        assert request_commitment(association, "9.1", *POPULATION, action=2) == 0x0123
        assert request_commitment(association, "9.1") == 0x0115
        information = Dataset()
        information.TransactionUID, information.ReferencedSOPSequence = "9.1", references(*POPULATION)
        status, _ = association.send_n_action(information, 1, StorageCommitmentPushModel, "1.2.3")
        assert status.Status == 0x0112
    assert len(refusals(filled)) == 3


def test_a_peer_that_stores_while_it_is_told_is_served(filled: RunningArchive) -> None:
    """The report and the peer's next request cross: neither is lost."""
    peer = Peer()
    with associated(filled, peer, more=[StorageCommitmentPushModel, CTImageStorage]) as association:
        for number in range(5):
            assert request_commitment(association, f"9.{number}", *POPULATION) == 0
            assert association.send_c_store(image(3, 1, number)).Status == 0
        wait_for(lambda: len(peer.reports) == 5)
        wait_for(lambda: len(commitment_ends(filled)) == 5)
