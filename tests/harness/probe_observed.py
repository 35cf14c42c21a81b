"""Observations of a probe as tests of its judgement make them up: one of each step, with details that it keeps."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.probe.judging.findings import RunFacts, TargetJudgement
from strongroom.probe.judging.judge import judge
from strongroom.probe.model import Answer, Channel, Detail, Endpoint, Identity, Level, Observation
from strongroom.probe.steps import require_kept

TARGET, ADDRESS = "archive", "192.0.2.10"
PLAIN, TLS = Channel.PLAIN, Channel.TLS
DONE, REFUSED, FAILED = Answer.DONE, Answer.REFUSED, Answer.FAILED
STARTED_US = 1_774_000_000_000_000


def seen(
    step: str,
    answer: Answer = DONE,
    identity: Identity = Identity.STRANGER,
    over: Channel = PLAIN,
    port: int = 11112,
    **details: Detail,
) -> Observation:
    """One observation; a detail that the step does not keep is an error."""
    require_kept(step, details)
    return Observation(step, Endpoint(TARGET, ADDRESS, port), over, identity, answer, details, STARTED_US, (1, 2))


def facts(level: Level = Level.CANARY, **changes: object) -> RunFacts:
    """The head of a report."""
    told: dict[str, object] = {
        "version": "0.0",
        "level": level,
        "vantage": "lan",
        "authoriser": "A. Operator",
        "contact": "security@example.org",
        "started_us": STARTED_US,
        "ended_us": STARTED_US + 60_000_000,
        "log_head": "ab" * 32,
        "log_entries": 7,
    }
    return RunFacts(**{**told, **changes})  # type: ignore[arg-type]


def judged(observations: Sequence[Observation], level: Level = Level.CANARY, **changes: object) -> TargetJudgement:
    """What is said of the one target that these observations are about."""
    (target,) = judge(observations, facts(level, **changes)).targets
    return target


def shape(**counts: int | bool) -> dict[str, Detail]:
    """The details of a look at answers, all zero but those given."""
    names = (
        "looked_at has_name has_birth_date has_patient_id has_physician ssn_shaped ssn_bare itin_shaped email_shaped "
        "phone_shaped synthetic phantom teaching demo_uids"
    )
    return {**dict.fromkeys(names.split(), 0), "identical": False, "shapes": (), **counts}


OPEN_SERVICES: dict[str, Detail] = {
    "accepted": ("echo", "find", "get", "move", "store", "worklist", "commitment", "mpps"),
    "refused": (),
    "storage_classes": 120,
    "get_with_storage": True,
}
"""dicom.services of a server that offers everything."""
