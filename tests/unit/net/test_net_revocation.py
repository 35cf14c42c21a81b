"""What is open when a peer loses its place: the association ends, and the trail says why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from harness.archives import RunningArchive
from harness.pynetdicom_peers import tls
from harness.wire import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, Asks, RawPeer
from strongroom.app import now_utc
from strongroom.archive.model import Action
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID
from strongroom.errors import PeerUnavailable
from strongroom.net.scu import Proposal, ScuConnection, Target
from strongroom.net.services import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from strongroom.types import AeTitle
from strongroom.ul import LocalParameters

LOCAL = LocalParameters(IMPLEMENTATION_CLASS_UID, "TEST")
ArchiveFactory = Callable[..., RunningArchive]


def connect(archive: RunningArchive, aet: str) -> ScuConnection:
    target = Target("127.0.0.1", archive.port, tls(archive.credentials(aet)))
    contexts = [(VERIFICATION, [EXPLICIT_VR_LITTLE_ENDIAN])]
    return ScuConnection.open(target, Proposal(AeTitle("STRONGROOM"), AeTitle(aet), contexts, LOCAL))


def ended(archive: RunningArchive, why: str) -> None:
    archive.wait_for_event(lambda event: event.action is Action.ASSOCIATION and event.details.get("end") == why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda archive: archive.revoke_peer("CT1"), "peer-revoked"),
        (lambda archive: archive.add_peer("CT1", "store"), "rights-changed"),
        (lambda archive: archive.add_peer("CT1", "echo,store", scope=("modality=CT",)), "scope-changed"),
    ],
)
def test_an_open_association_ends(
    local_archive: ArchiveFactory, change: Callable[[RunningArchive], None], why: str
) -> None:
    archive = local_archive(peers={"CT1": "echo,store", "CT2": "echo"})
    other = connect(archive, "CT2")
    connection = connect(archive, "CT1")
    connection.echo()
    change(archive)
    ended(archive, why)
    with pytest.raises(PeerUnavailable):
        connection.echo()
    assert other.echo().status == 0
    other.release()


def test_a_revoked_peer_is_not_let_in_without_tls_either(local_archive: ArchiveFactory) -> None:
    exception = {
        "peer": "OLD",
        "addresses": "127.0.0.0/24",
        "expires": now_utc().date() + timedelta(days=30),
        "port": 0,
        "reason": "its vendor is gone",
    }
    archive = local_archive(peers={"OLD": "echo"}, unsafe_plaintext=[exception])
    with RawPeer(archive.plaintext_ports[0]) as peer:
        assert peer.associate(Asks("OLD"))[0] == A_ASSOCIATE_AC
        peer.release()
    archive.revoke_peer("OLD")
    with RawPeer(archive.plaintext_ports[0]) as peer:
        assert peer.associate(Asks("OLD"))[0] == A_ASSOCIATE_RJ
    archive.wait_for_refusal("not-the-plaintext-peer")
