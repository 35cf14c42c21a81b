"""Every public sample file of pydicom: stored and given back bit by bit, or refused for a reason that docs names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES

from harness import archives, wire
from harness.archives import Credentials, RunningArchive
from harness.postgres import free_port
from harness.sample_rounds import EXPECTED_FILES, Sample, documented, in_rounds, read
from harness.samples import sample_files
from strongroom.dimse import CStoreRq
from strongroom.errors import Refused
from strongroom.net.certificates import encrypted_key
from strongroom.net.scu import Proposal, ScuConnection, ScuTimeouts, Target
from strongroom.net.tls import Identity, client_context, server_context
from strongroom.types import AeTitle, Uid
from strongroom.ul import LocalParameters, RoleSelection

pytestmark = [
    # The samples break the standard in every way there is, and pydicom says so.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

STUDY_ROOT_GET, STUDY_ROOT_MOVE = Uid(wire.STUDY_ROOT_GET), Uid(wire.STUDY_ROOT_MOVE)
IMPLEMENTATION = LocalParameters(Uid("1.2.826.0.1.3680043.9.9999.2"), "SAMPLES")
TIMEOUTS = ScuTimeouts(connect_s=10, idle_s=20, operation_s=60, total_s=120)
MAX_CONTEXTS = 120


# --- one round: a fresh archive, and what became of each file


@dataclass
class Round:
    """What happened to the files of one round."""

    refused: dict[str, str] = field(default_factory=dict)
    fetched: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    moved: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def identity(archive: RunningArchive, aet: str) -> Any:
    """A client's TLS context with the credentials of a peer."""
    credentials = archive.credentials(aet)
    key = encrypted_key(credentials.key.read_bytes(), b"test")
    mine = Identity(credentials.certificate.read_bytes(), key, b"test")
    return client_context(mine, [credentials.authority.read_text()])


def connect(
    archive: RunningArchive, contexts: list[tuple[Uid, tuple[Uid, ...]]], roles: tuple[RoleSelection, ...] = ()
) -> ScuConnection:
    proposal = Proposal(AeTitle(archives.AET), AeTitle("SENDER"), tuple(contexts), IMPLEMENTATION, roles)
    target = Target("127.0.0.1", archive.port, identity(archive, "SENDER"))
    return ScuConnection.open(target, proposal, timeouts=TIMEOUTS)


def store(archive: RunningArchive, samples: list[Sample], outcome: Round) -> list[Sample]:
    """Store files, some on one association; returns those that were taken in."""
    pairs = list(dict.fromkeys((each.sop_class, each.transfer_syntax) for each in samples))
    assert len(pairs) <= MAX_CONTEXTS
    taken = []
    with connect(archive, [(sop_class, (syntax,)) for sop_class, syntax in pairs]) as connection:
        for each in samples:
            try:
                response = connection.store(each.sop_class, each.sop_instance, each.transfer_syntax, [each.data])
            except Refused as refused:
                outcome.refused[each.name] = refused.reason
                continue
            if response.status == 0:
                taken.append(each)
            else:
                outcome.refused[each.name] = f"{response.status:04X} {response.error_comment}"
    return taken


def fetch(archive: RunningArchive, taken: list[Sample], outcome: Round) -> None:
    """C-GET every study."""
    pairs = list(dict.fromkeys((each.sop_class, each.transfer_syntax) for each in taken))
    contexts = [(STUDY_ROOT_GET, (Uid(wire.EXPLICIT),)), *((sop_class, (syntax,)) for sop_class, syntax in pairs)]
    roles = tuple(RoleSelection(sop_class, False, True) for sop_class in dict.fromkeys(each for each, _ in pairs))

    def on_store(request: CStoreRq, syntax: Uid, chunks: Iterator[memoryview]) -> int:
        data = b"".join(bytes(chunk) for chunk in chunks)
        outcome.fetched[str(request.affected_sop_instance_uid)] = (str(syntax), data)
        return 0

    with connect(archive, contexts, roles) as connection:
        for study in dict.fromkeys(each.study for each in taken):
            response, _ = connection.get(STUDY_ROOT_GET, study_identifier(study), on_store)
            assert response.status == 0, study


def move(archive: RunningArchive, taken: list[Sample]) -> None:
    """C-MOVE every study to RECEIVER."""
    with connect(archive, [(STUDY_ROOT_MOVE, (Uid(wire.EXPLICIT),))]) as connection:
        for study in dict.fromkeys(each.study for each in taken):
            response, _ = connection.move(STUDY_ROOT_MOVE, study_identifier(study), "RECEIVER")
            assert response.status == 0, study


def study_identifier(study: str) -> bytes:
    return wire.explicit(0x00080052, "CS", b"STUDY") + wire.explicit(0x0020000D, "UI", study.encode())


def server_side(credentials: Credentials) -> Any:
    """A server's TLS context with the credentials of a peer; whoever calls has to be from the archive's CA."""
    key = encrypted_key(credentials.key.read_bytes(), b"test")
    mine = Identity(credentials.certificate.read_bytes(), key, b"test")
    return server_context(mine, [credentials.authority.read_text()])


class Receiver:
    """pynetdicom's storage SCP, over TLS with the credentials of a peer: what it got, bit by bit."""

    def __init__(self) -> None:
        self.got: dict[str, tuple[str, bytes]] = {}
        self._ae = AE("RECEIVER")
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)

    def start(self, port: int, context: Any) -> None:
        handlers = [(evt.EVT_C_STORE, self._on_store)]
        self._ae.start_server(("127.0.0.1", port), block=False, ssl_context=context, evt_handlers=handlers)

    def _on_store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.got[uid] = (str(event.context.transfer_syntax), event.request.DataSet.getvalue())
        return 0

    def stop(self) -> None:
        self._ae.shutdown()


def run_round(root: Path, samples: list[Sample]) -> Round:
    """Store, fetch and move the files of one round."""
    outcome = Round()
    home = archives.new_home(root)
    port = free_port()
    with archives.opened(home) as opened:
        archives.add_peer(opened, "SENDER")
        destination = archives.add_peer(opened, "RECEIVER", "", host="127.0.0.1", port=port)
    receiver = Receiver()
    receiver.start(port, server_side(destination))
    try:
        with archives.serving_in_process(home) as archive:
            taken = store(archive, samples, outcome)
            fetch(archive, taken, outcome)
            move(archive, taken)
    finally:
        receiver.stop()
    outcome.moved = receiver.got
    return outcome


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [read(path) for path in sample_files()]


@pytest.fixture(scope="module")
def outcomes(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Round:
    """All rounds together; the fetched and moved objects under the name of their file."""
    whole = Round()
    for number, members in enumerate(in_rounds(samples)):
        outcome = run_round(tmp_path_factory.mktemp("samples") / f"round{number}", members)
        whole.refused |= outcome.refused
        for each in members:
            if each.name not in outcome.refused:
                whole.fetched[each.name] = outcome.fetched.get(each.sop_instance, ("", b""))
                whole.moved[each.name] = outcome.moved.get(each.sop_instance, ("", b""))
    return whole


def table(refused: dict[str, str]) -> str:
    """The rows that docs should have."""
    return "\n".join(f"| `{name}` | `{reason}` |" for name, reason in sorted(refused.items()))


def test_all_samples_are_here(samples: list[Sample]) -> None:
    assert len(samples) == EXPECTED_FILES
    assert len({each.name for each in samples}) == EXPECTED_FILES


def test_every_refusal_is_documented_with_its_reason(outcomes: Round) -> None:
    assert documented() == outcomes.refused, "docs should say\n" + table(outcomes.refused)


def test_every_other_file_comes_back_over_c_get(samples: list[Sample], outcomes: Round) -> None:
    stored = [each for each in samples if each.name not in outcomes.refused]
    assert len(stored) > EXPECTED_FILES * 0.8
    wrong = [each.name for each in stored if outcomes.fetched[each.name] != (each.transfer_syntax, each.data)]
    assert wrong == []


def test_every_other_file_arrives_over_c_move(samples: list[Sample], outcomes: Round) -> None:
    stored = [each for each in samples if each.name not in outcomes.refused]
    wrong = [each.name for each in stored if outcomes.moved[each.name] != (each.transfer_syntax, each.data)]
    assert wrong == []
