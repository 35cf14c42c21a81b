"""How often somebody may be wrong, without anybody being able to lock out somebody else.

Failures are counted where they come from. A browser that the person has signed in with before is counted by itself: the
guesses of others, from wherever they come and however many, do not touch it (OWASP's device cookies). All other
browsers together have few guesses at one account, fewer from one address, and an address has few guesses at all.

Who calls over DICOM comes from a peer instead of an address; one that he has called from lately is what a browser is,
but for those who share it: they have one count of guesses at his name.

Each count is the time when all of it is forgiven (a generic cell rate algorithm), in the index, so that every process
knows it and a restart forgives nothing.
"""

from __future__ import annotations

from hashlib import sha256
from math import ceil
from typing import Any, Final, NamedTuple

from strongroom.archive.people import Where
from strongroom.people.sealing import PeopleKey
from strongroom.store.people import PeopleTable


class Allowance(NamedTuple):
    """So many failures at once, and one more each ``refill_s``."""

    burst: int
    refill_s: int


class Bucket(NamedTuple):
    """What counts together."""

    name: str
    allowance: Allowance


KNOWN_DEVICE: Final = Allowance(10, 60)
ACCOUNT_FROM_ADDRESS: Final = Allowance(5, 60)
ACCOUNT: Final = Allowance(50, 60)
ADDRESS: Final = Allowance(30, 10)
CODE_OF_KNOWN_DEVICE: Final = Allowance(5, 300)
CODE: Final = Allowance(5, 300)
"""One-time codes: a million of them, three good at a time. 288 guesses a day take two years to be half sure."""

DAY_US: Final = 86_400_000_000
KNOWN_US: Final = 90 * DAY_US
"""For so long after somebody has called from a peer, guesses from other peers do not touch him there. Those at his name
from that peer do, whoever makes them: nothing tells who sits at a workstation."""

RESPONSE: Final = Allowance(30, 10)
"""Responses of an identity provider that are none: each has us ask the provider, and it would count them as ours."""


def response_buckets(group: str) -> tuple[Bucket, ...]:
    """What a response that is none counts against."""
    return (_bucket("response", RESPONSE, group),)


def state_bucket(state: str, lasts_s: int) -> Bucket:
    """What the use of a state counts against: a second one is too many as long as the state is good."""
    return _bucket("state", Allowance(1, lasts_s), state)


def passcode_buckets(key: PeopleKey, name: str, where: Where, group: str) -> tuple[Bucket, ...]:
    """What a wrong passcode counts against. ``group`` is what counts as one address."""
    if key.is_device_of(name, where.device):
        return (_bucket("device", KNOWN_DEVICE, name, where.device),)
    return (
        _bucket("address", ADDRESS, group),
        _bucket("account-address", ACCOUNT_FROM_ADDRESS, name, group),
        _bucket("account", ACCOUNT, name),
    )


def caller_buckets(name: str, peer: str, *, is_known: bool) -> tuple[Bucket, ...]:
    """What a wrong passcode counts against that came with an association of a peer; ``is_known`` says that the person
    has called from there lately."""
    if is_known:
        return (_bucket("device", KNOWN_DEVICE, name, _peer(peer)),)
    return (
        _bucket("address", ADDRESS, _peer(peer)),
        _bucket("account-address", ACCOUNT_FROM_ADDRESS, name, _peer(peer)),
        _bucket("account", ACCOUNT, name),
    )


def is_known_caller(
    table: PeopleTable, cursor: Any, name: str, peer: str, now_us: int, *, is_fresh: bool = False
) -> bool:
    """Whether somebody has called from a peer with the right passcode lately; ``is_fresh``: within the last day."""
    left_us = table.forgiven_us(cursor, _known(name, peer)) - now_us
    return left_us > (KNOWN_US - DAY_US if is_fresh else 0)


def remember_caller(table: PeopleTable, cursor: Any, name: str, peer: str, now_us: int) -> None:
    """Know somebody who has called from a peer, for KNOWN_US: a mark beside the counts, that lapses as they do."""
    table.put_attempt(cursor, _known(name, peer), now_us + KNOWN_US, now_us)


def code_buckets(key: PeopleKey, name: str, where: Where) -> tuple[Bucket, ...]:
    """What a wrong one-time code counts against."""
    if key.is_device_of(name, where.device):
        return (_bucket("code-device", CODE_OF_KNOWN_DEVICE, name, where.device),)
    return (_bucket("code", CODE, name),)


def share_buckets(number: int) -> tuple[Bucket, ...]:
    """What a wrong code of a share counts against; besides, there is an end to all of them."""
    return (_bucket("share", CODE, str(number)),)


def passkey_buckets(key: PeopleKey, owner: str, where: Where, group: str) -> tuple[Bucket, ...]:
    """What a wrong answer of a passkey counts against that says it is one of ``owner``, "" if it is nobody's.

    Nobody guesses a signature. What is counted keeps strangers from having many of them verified, and never counts
    against an account: ids of credentials are no secret.
    """
    if owner and key.is_device_of(owner, where.device):
        return (_bucket("code-device", CODE_OF_KNOWN_DEVICE, owner, where.device),)
    return (_bucket("address", ADDRESS, group),)


def _known(name: str, peer: str) -> str:
    return _bucket("known", KNOWN_DEVICE, name, _peer(peer)).name


def _peer(aet: str) -> str:
    """A peer, where others have an address or a browser: no text that is either."""
    return f"peer {aet}"


def _bucket(kind: str, allowance: Allowance, *words: str) -> Bucket:
    return Bucket(sha256("\0".join((kind, *words)).encode()).hexdigest(), allowance)


def wait_s(table: PeopleTable, cursor: Any, buckets: tuple[Bucket, ...], now_us: int) -> int:
    """Seconds until the next attempt; 0 if it may be made now."""
    longest = 0.0
    for bucket in buckets:
        burst, refill_s = bucket.allowance
        owed_s = (table.forgiven_us(cursor, bucket.name) - now_us) / 1e6
        longest = max(longest, owed_s - (burst - 1) * refill_s)
    return ceil(longest)


def count_failure(table: PeopleTable, cursor: Any, buckets: tuple[Bucket, ...], now_us: int) -> None:
    """Count a failure in every bucket."""
    for bucket in buckets:
        owed_from_us = max(now_us, table.forgiven_us(cursor, bucket.name))
        table.put_attempt(cursor, bucket.name, owed_from_us + bucket.allowance.refill_s * 1_000_000, now_us)
