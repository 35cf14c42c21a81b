"""Who comes from an identity provider, and what that makes of him here. Pure.

Somebody is known by issuer and subject, which a provider gives to nobody else (OpenID Connect Core 1.0, 5.7). His name
is for reading: it has the provider's before it, with a colon, which is in no name of an account of our own. What he may
do is told by one claim and the grants that the operator has written down for its values; nothing else grants anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

from strongroom.archive.access import common_scope
from strongroom.archive.people import MAX_NAME_CHARS, Entered
from strongroom.archive.roles import Role
from strongroom.errors import ConfigError, Denied, Unauthenticated
from strongroom.types import Scope

OF_PROVIDER: Final = ":"
PROVIDER: Final = "provider"
"""What somebody has shown who was sent by an identity provider."""

PROVIDER_NEEDED: Final = "provider-needed"
"""Why nothing of the archive's own is a first step for somebody of a provider."""

NO_ROLE: Final = "no-role"
PROOF_OF_ANOTHER: Final = "proof-of-another"
NO_COMMON_SCOPE: Final = "no-common-scope"
NO_ACCOUNT: Final = "no-account"
USER_DISABLED: Final = "user-disabled"
MAX_CLAIM_VALUES: Final = 1000
_HASH_CHARS: Final = 8
_OTHERS: Final = re.compile(r"[^A-Za-z0-9._@-]+")


@dataclass(frozen=True, slots=True)
class Grant:
    """What one value of the claim makes of somebody. ``scope`` None: no limit by it."""

    value: str
    roles: tuple[Role, ...]
    scope: Scope | None


class Granted(NamedTuple):
    """What all grants together make of somebody. Without a role it is nothing, and ``why`` says why."""

    roles: tuple[Role, ...]
    scope: Scope | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom a provider vouches for. ``granted`` None: his claims say nothing of it, what he is was given here.

    ``is_multifactor``: he has shown two factors there. ``proved_s`` is when he last did so, in seconds since 1970, 0 if
    nobody says; ``before`` the digest of the session in which he was to do so once more, "" if he was to sign in.
    """

    provider: str
    issuer: str
    subject: str
    name: str
    granted: Granted | None
    is_multifactor: bool
    may_be_new: bool
    proved_s: float = 0.0
    before: str = ""


class ProviderShown(NamedTuple):
    """A provider as the page to sign in names it."""

    name: str
    label: str


class Departure(NamedTuple):
    """Where the browser goes, and what it brings back as a cookie."""

    url: str
    sealed: str


class Arrival(NamedTuple):
    """Somebody who has come back, and the path that he wanted to go to."""

    entered: Entered
    wanted: str


def granted(grants: Iterable[Grant], values: Collection[str]) -> Granted:
    """What the values of somebody's claim make of him: roles add up, and every scope among them limits all of it.

    Nothing if no grant is for any of them (no-role), or if their scopes have nothing in common (no-common-scope).
    """
    found = [grant for grant in grants if grant.value in values]
    scope = None
    try:
        for grant in found:
            scope = common_scope(scope, grant.scope)
    except Denied:
        return Granted((), why=NO_COMMON_SCOPE)
    held = {role for grant in found for role in grant.roles}
    return Granted(tuple(role for role in Role if role in held), scope, "" if held else NO_ROLE)


def claim_values(value: Any) -> frozenset[str]:
    """The words of a claim: a list of them, or one. Raises Unauthenticated for what is neither."""
    if value is None:
        return frozenset()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > MAX_CLAIM_VALUES:
        raise Unauthenticated("roles-claim")
    if not all(isinstance(word, str) for word in words):
        raise Unauthenticated("roles-claim")
    return frozenset(words)


def is_of_provider(name: str) -> bool:
    """Whether an account was made for somebody of a provider: it has no passcode, ever."""
    return OF_PROVIDER in name


def account_name(identity: Identity, is_taken: Callable[[str], bool]) -> str:
    """The name of a new account: what the claim says, in the letters of account names, and another if it is taken.

    Raises ConfigError if that is taken too.
    """
    digest = sha256(f"{identity.issuer}\0{identity.subject}".encode()).hexdigest()
    claimed = _OTHERS.sub("-", identity.name).strip("-._@")[:MAX_NAME_CHARS]
    known_as = f"{identity.provider}{OF_PROVIDER}{claimed or digest[:_HASH_CHARS]}"
    for name in (known_as, f"{known_as}~{digest[:_HASH_CHARS]}", f"{known_as}~{digest}"):
        if not is_taken(name):
            return name
    raise ConfigError("every name for this person is taken")
