"""Study-level C-FIND in archives with many studies: latencies of single queries, the servers taking turns."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import datasets
import fill
import load
import wire

SEED = 47
BLOCK = 25

# What a worklist of a viewer shows of a study; all of it is in every archive's index.
RETURN_KEYS = {
    datasets.STUDY_DATE: "DA",
    0x00080030: "TM",
    datasets.ACCESSION_NUMBER: "SH",
    0x00080090: "PN",
    0x00081030: "LO",
    datasets.PATIENT_NAME: "PN",
    datasets.PATIENT_ID: "LO",
    0x00100030: "DA",
    0x00100040: "CS",
    datasets.STUDY_INSTANCE_UID: "UI",
    0x00200010: "SH",
}
# Modalities in Study, Number of Study Related Series, and of Instances: an archive counts or has counted.
COUNTED_KEYS = {0x00080061: "CS", 0x00201206: "IS", 0x00201208: "IS"}

Pick = Callable[[datasets.Place], dict[int, str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of query: the keys it matches on, how many studies it must find, and what else it asks for."""

    label: str
    pick: Pick
    answers: int
    extra_keys: bool = False


def _only(tag: int) -> Pick:
    return lambda place: {tag: datasets.values(place)[tag]}


def _name_pattern(place: datasets.Place) -> dict[int, str]:
    family, _, given = datasets.values(place)[datasets.PATIENT_NAME].partition("^")
    return {datasets.PATIENT_NAME: f"{family[:-2]}*^{given}"}


KINDS = (
    Kind("StudyInstanceUID", _only(datasets.STUDY_INSTANCE_UID), 1),
    Kind("PatientID", _only(datasets.PATIENT_ID), 1),
    Kind("AccessionNumber", _only(datasets.ACCESSION_NUMBER), 1),
    Kind("StudyDate, 100 answers", _only(datasets.STUDY_DATE), 100),
    Kind("StudyDate, 100 answers with counts", _only(datasets.STUDY_DATE), 100, extra_keys=True),
    Kind("PatientName with *, 100 answers", _name_pattern, 100),
)


def encode_query(kind: Kind, place: datasets.Place, context_id: int, max_pdu_bytes: int) -> bytes:
    """Return a C-FIND-RQ with its identifier, ready to send."""
    vrs = RETURN_KEYS | (COUNTED_KEYS if kind.extra_keys else {})
    wanted = kind.pick(place)
    elements = [(0x00080052, "CS", "STUDY"), *((tag, vr, wanted.get(tag, "")) for tag, vr in vrs.items())]
    identifier = b"".join(datasets.encode_element(*element) for element in sorted(elements))
    command = wire.query_command(wire.C_FIND_RQ, 1, wire.STUDY_ROOT_FIND)
    return wire.fragment(context_id, command, max_pdu_bytes, command=True) + wire.fragment(
        context_id, identifier, max_pdu_bytes, command=False
    )


class _Asker:
    """One association to one filled archive, and the latencies it has seen by kind."""

    def __init__(self, association: wire.Association, state: fill.Filled) -> None:
        self._association, self._state = association, state
        self._context_id = association.require_context()
        self._random = random.Random(SEED)
        self.latencies_s: dict[str, list[float]] = {kind.label: [] for kind in KINDS}

    def _place(self) -> datasets.Place:
        number = self._random.randrange(len(self._state.sent))
        # Only whole hundreds of studies: each of their dates and name patterns has exactly 100 answers.
        whole = self._state.sent[number] // datasets.STUDIES_PER_DATE * datasets.STUDIES_PER_DATE
        return datasets.Place(self._state.run, number, self._random.randrange(whole), 1, 1)

    def ask(self, kind: Kind, queries: int, *, counted: bool) -> None:
        """Send ``queries`` queries one after the other.

        Raises:
            wire.PeerError: the number of answers is not the one it must be.
        """
        association = self._association
        for _ in range(queries):
            request = encode_query(kind, self._place(), self._context_id, association.max_pdu_bytes)
            started = time.perf_counter()
            found = association.find(request)
            elapsed_s = time.perf_counter() - started
            if len(found) != kind.answers:
                raise wire.PeerError(f"{kind.label}: {len(found)} answers instead of {kind.answers}")
            if counted:
                self.latencies_s[kind.label].append(elapsed_s)


def measure(names: Sequence[str], studies: int, queries: int, *, refill: bool) -> list[dict[str, object]]:
    """Return one row per kind of query and server; ``queries`` latencies each, in blocks that alternate."""
    filling = fill.Filling(f"{studies}-studies", studies, 8, datasets.Layout(1, 1))
    contexts = [(wire.STUDY_ROOT_FIND, [wire.EXPLICIT_VR_LITTLE_ENDIAN])]
    askers: dict[str, _Asker] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            server, state = stack.enter_context(fill.filled(name, filling, refill=refill))
            askers[name] = _Asker(stack.enter_context(wire.Association(server.endpoint, contexts)), state)
        for kind in KINDS:
            for asker in askers.values():
                asker.ask(kind, 5, counted=False)
            for _ in range(-(-queries // BLOCK)):
                for asker in askers.values():
                    asker.ask(kind, BLOCK, counted=True)
    return [_row(kind, name, asker, studies) for kind in KINDS for name, asker in askers.items()]


def _row(kind: Kind, name: str, asker: _Asker, studies: int) -> dict[str, object]:
    latencies = sorted(asker.latencies_s[kind.label])
    return {
        "server": name,
        "query": kind.label,
        "answers": kind.answers,
        "studies": studies,
        "queries": len(latencies),
        "p50_ms": round(1e3 * load.percentile(latencies, 0.5), 3),
        "p95_ms": round(1e3 * load.percentile(latencies, 0.95), 3),
        "max_ms": round(1e3 * latencies[-1], 3),
    }
