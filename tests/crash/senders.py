"""Senders of instances over TLS, some at once, that keep account of what was acknowledged."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from harness.archives import AET, Credentials
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample
from strongroom.errors import StrongroomError
from strongroom.net.scu import Proposal, ScuConnection, Target
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
LOCAL = LocalParameters(Uid("2.25.1"), "SENDER")


@contextmanager
def association(port: int, credentials: Credentials) -> Iterator[ScuConnection]:
    """An association of a peer with the archive on ``port``, for storing. Raises StrongroomError if it ends badly."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(credentials.authority)
    tls.load_cert_chain(credentials.certificate, credentials.key)
    contexts = ((CT_IMAGE_STORAGE, (EXPLICIT_VR_LITTLE_ENDIAN,)),)
    proposal = Proposal(AeTitle.parse(AET), AeTitle.parse(credentials.aet), contexts, LOCAL)
    with ScuConnection.open(Target("127.0.0.1", port, tls), proposal) as connection:
        yield connection


def send(connection: ScuConnection, sample: Sample) -> int:
    """Store one instance; returns the status."""
    response = connection.store(CT_IMAGE_STORAGE, sample.sop_uid, EXPLICIT_VR_LITTLE_ENDIAN, [sample.dataset])
    return int(response.status)


def send_in_parallel(
    port: int, credentials: Credentials, shares: Iterable[Iterable[Sample]], acknowledged: Callable[[Sample], None]
) -> None:
    """Send each share on an association of its own until all are sent or the archive is gone."""

    def run(share: Iterable[Sample]) -> None:
        try:
            with association(port, credentials) as connection:
                for sample in share:
                    if send(connection, sample) == SUCCESS:
                        acknowledged(sample)
        except (StrongroomError, OSError):
            return  # the archive was killed: that is what is being tested

    threads = [threading.Thread(target=run, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
