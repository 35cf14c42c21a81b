"""Passcodes of local accounts: Argon2id, one verification at a time so that guessing cannot exhaust memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

# OWASP's choice for 19 MiB: two passes. More memory would let 64 parallel log-ins take a gigabyte.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Made of zeros and not of a passcode: one would have to be hashed at each start of each process.
_DUMMY = f"$argon2id$v=19$m={19 * 1024},t=2,p=1${'A' * 22}${'A' * 43}"


def hash_passcode(passcode: str) -> str:
    """The Argon2id hash of a passcode, with its parameters and salt in it."""
    return _HASHER.hash(passcode)


class Accounts:
    """Verifies passcodes against the accounts that ``find`` knows. Thread-safe."""

    def __init__(self, find: Callable[[str], tuple[str, bool] | None]) -> None:
        """``find(name)`` gives the hash and whether the account is enabled."""
        self._find = find
        self._one_at_a_time = threading.Lock()

    def verify(self, name: str, passcode: bytes) -> bool:
        """Whether this is the passcode of an enabled account; takes as long for a name that does not exist."""
        found = self._find(name)
        stored, enabled = found or (_DUMMY, False)
        stored = stored or _DUMMY  # nobody has a passcode of this account, and it takes as long to say so
        with self._one_at_a_time:
            try:
                _HASHER.verify(stored, passcode)
            except (Argon2Error, InvalidHashError):
                return False
        return enabled and stored is not _DUMMY
