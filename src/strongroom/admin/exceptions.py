"""Exceptions of the configuration, which hold only as two administrators have agreed to them, word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from strongroom.admin.agreeing import Agreement, Wish
from strongroom.app import Archive, now_utc
from strongroom.archive.facts import Standing
from strongroom.archive.proposals import Matter, Proposal, Stage, exception_digest
from strongroom.config import UnsafePlaintext
from strongroom.errors import NotFound
from strongroom.store.proposals import ProposalTable

PLAINTEXT = "unsafe_plaintext"


@dataclass(frozen=True, slots=True)
class Exceptional:
    """One exception of config.toml: what it says, its digest, and what was proposed and decided of it."""

    kind: str
    said: UnsafePlaintext
    digest: str
    is_agreed: bool
    proposals: tuple[Proposal, ...]

    def waiting(self, now_us: int) -> Proposal | None:
        """What waits for a second person."""
        return next((each for each in self.proposals if each.stage(now_us) is Stage.WAITS), None)


def digest_of_exception(said: UnsafePlaintext) -> str:
    """What names an exception with all that it says."""
    return exception_digest(PLAINTEXT, msgspec.structs.asdict(said))


def is_agreed(archive: Archive, said: UnsafePlaintext) -> bool:
    """Whether two people have agreed to an exception as it stands. Raises StorageUnavailable."""
    table = ProposalTable(archive.backend.dialect)
    with archive.index.database.reading() as cursor:
        return table.is_agreed(cursor, Matter.UNSAFE, digest_of_exception(said))


def in_words(said: UnsafePlaintext) -> str:
    """Who may come without TLS, from where and until when, as the ready lines say it."""
    return f"peer={said.peer} addresses={said.addresses} expires={said.expires.isoformat()}"


def standing(archive: Archive, said: UnsafePlaintext, listening: Sequence[str]) -> Standing:
    """Whether an exception is in effect, by the ready lines of the server that runs. Raises StorageUnavailable."""
    port = said.port or r"\d+"
    opened = re.compile(rf"{PLAINTEXT}=\S+:{port} {re.escape(in_words(said))}")
    if now_utc().date() > said.expires:
        return Standing.ENDED
    is_open, agreed = any(opened.fullmatch(line) for line in listening), is_agreed(archive, said)
    if is_open:
        return Standing.IN_EFFECT if agreed else Standing.WITHDRAWN
    return Standing.NEXT_START if agreed else Standing.NOT_AGREED


def exceptions(archive: Archive) -> list[Exceptional]:
    """Every exception of config.toml, in its order."""
    table = ProposalTable(archive.backend.dialect)
    found = []
    with archive.index.database.reading() as cursor:
        for said in archive.config.unsafe_plaintext:
            digest = digest_of_exception(said)
            proposed = tuple(table.of_subject(cursor, Matter.UNSAFE, digest))
            agreed = table.is_agreed(cursor, Matter.UNSAFE, digest)
            found.append(Exceptional(PLAINTEXT, said, digest, agreed, proposed))
    return found


def approve(archive: Archive, digest: str, name: str, now_us: int) -> Proposal:
    """Propose an exception that config.toml has, or agree to it if somebody else has proposed it.

    ``digest`` may be its beginning. Raises NotFound, Denied.
    """
    meant = [each for each in exceptions(archive) if len(digest) >= 8 and each.digest.startswith(digest)]
    if not meant:
        raise NotFound("config.toml has no such exception")
    wish = Wish(Matter.UNSAFE, meant[0].digest, name, meant[0].said.reason, archive.principal, now_us)
    agreement = Agreement(archive, wish)
    return agreement.propose() or agreement.agree_alone()
