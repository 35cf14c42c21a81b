"""Who acts for the archive: the operator of its machine, or an administrator who has signed in.

Asked in the transaction that changes something: whoever has lost the role meanwhile, in another window or by another
administrator, changes nothing any more. Two who disable each other at the same moment leave one of them.
"""

from __future__ import annotations

from strongroom.app import Archive
from strongroom.archive.access import NO_RIGHT, require
from strongroom.archive.roles import rights_of
from strongroom.errors import Denied
from strongroom.store.people import PeopleTable
from strongroom.store.transaction import Transaction
from strongroom.types import Principal, Right

OWN_ACCOUNT = "own-account"
"""Why nobody changes his own account in this way: who could would be the only one to know. It also keeps the last
administrator."""


def acting(archive: Archive, transaction: Transaction, by: Principal | None, *, on: str = "") -> Principal:
    """Who acts: this machine's operator without ``by``, else ``by``, if that is an administrator now.

    ``on`` is the account that it is done to, "" if none. Raises Denied.
    """
    if by is None:
        return archive.principal
    require(by, Right.ADMINISTER)
    person = PeopleTable(archive.backend.dialect).person(transaction.cursor, by.user)
    if person is None or person.disabled_us or Right.ADMINISTER not in rights_of(person.roles):
        raise Denied(f"{NO_RIGHT}{Right.ADMINISTER.value}")
    if on and on.casefold() == by.user.casefold():
        raise Denied(OWN_ACCOUNT)
    return by
