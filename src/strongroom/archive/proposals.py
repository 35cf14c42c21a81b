"""What one person proposes and another one agrees to: the deletion of a study, an exception in the configuration. Pure.

Who proposes is named by his account, or, of a machine, by "token NAME" or "peer AET", which no account is called. The
same account, in whatever case it is written, never agrees to what it has proposed itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

import msgspec

from strongroom.errors import Denied
from strongroom.types import Right


class Matter(StrEnum):
    """What is proposed. The subject is a Study Instance UID, or the digest of an exception."""

    DELETE_STUDY = "delete-study"
    UNSAFE = "unsafe"


class Stage(StrEnum):
    """How far a proposal has come."""

    WAITS = "waits"
    LAPSED = "lapsed"
    AGREED = "agreed"
    DECLINED = "declined"


MAY_PROPOSE: Final[Mapping[Matter, Right]] = MappingProxyType(
    {Matter.DELETE_STUDY: Right.PROPOSE, Matter.UNSAFE: Right.ADMINISTER}
)
MAY_AGREE: Final[Mapping[Matter, Right]] = MappingProxyType(
    {Matter.DELETE_STUDY: Right.REVIEW, Matter.UNSAFE: Right.ADMINISTER}
)
"""What it takes, beside being somebody else."""


MACHINES_ADMINISTRATOR: Final = "administrator-of-machines"
"""Why an administrator does not agree to what a machine has proposed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal. Times are microseconds; ``decided_us`` 0 = nobody has decided; ``stage`` is then as stored, ""."""

    number: int
    matter: Matter
    subject: str
    proposer: str
    reason: str
    made_us: int
    lapses_us: int
    decided_us: int = 0
    decided_by: str = ""
    decision: str = ""
    remark: str = ""

    def stage(self, now_us: int) -> Stage:
        """How far it has come. One from the time to come is none: a clock was wrong."""
        if self.decision:
            return Stage(self.decision)
        return Stage.WAITS if self.made_us <= now_us < self.lapses_us else Stage.LAPSED


def is_machine(proposer: str) -> bool:
    """Whether a proposer is a machine, whose right was looked at before: no account's name has a space."""
    return " " in proposer


def require_may_agree(proposal: Proposal, name: str, rights: frozenset[Right]) -> None:
    """Return if an account with these rights may agree to a proposal. Raises Denied.

    Who administers makes tokens and certificates of machines, and shows one himself if he likes: what a machine has
    proposed he does not agree to, or one person would be both.
    """
    if proposal.proposer.casefold() == name.casefold():
        raise Denied("same-person")
    if MAY_AGREE[proposal.matter] not in rights:
        raise Denied("role-may-not")
    if is_machine(proposal.proposer) and Right.ADMINISTER in rights:
        raise Denied(MACHINES_ADMINISTRATOR)


def exception_digest(kind: str, values: Mapping[str, object]) -> str:
    """What two people agree to of an exception: the SHA-256 of all that it says, so that any other word is another one.

    ``values`` are its keys as the configuration has them; dates are written as ISO 8601.
    """
    texts = {name: str(value) for name, value in values.items()}
    return sha256(msgspec.json.encode({"kind": kind, "values": texts}, order="sorted")).hexdigest()
