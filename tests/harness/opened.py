"""What people have opened to others, and to themselves in an emergency, in a running archive."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from harness.archives import RunningArchive
from harness.people import add_person, looked_into
from harness.walking import NAMES, SCOPED, STUDY
from strongroom.admin.access import shares_of
from strongroom.archive.emergencies import Opening
from strongroom.archive.people import VIA_SESSION
from strongroom.archive.proposals import Matter, Proposal
from strongroom.archive.roles import RIGHTS_OF, Role
from strongroom.archive.sharing import MadeShare, NewShare
from strongroom.store.emergencies import EmergencyTable
from strongroom.store.proposals import ProposalTable
from strongroom.types import Principal

DAY_S = 86_400


def principal(name: str, role: Role) -> Principal:
    """Somebody who has signed in."""
    return Principal(name, "ab" * 32, name, "127.0.0.1", RIGHTS_OF[role], via=VIA_SESSION)


def shared(running: RunningArchive, maker: str, new: NewShare) -> MadeShare:
    """A share by a physician who is there."""
    with looked_into(running) as archive:
        return shares_of(archive).make(principal(maker, Role.PHYSICIAN), new)


def shares(running: RunningArchive) -> Mapping[str, str]:
    """Two shares of a physician, one of them revoked, for people with strange names."""
    physician = Role.PHYSICIAN.value
    add_person(running, physician, Role.PHYSICIAN)
    gone = shared(running, physician, NewShare(STUDY, "somebody@elsewhere.example", "second opinion", DAY_S))
    with looked_into(running) as archive:
        shares_of(archive).end(principal("security-officer", Role.SECURITY_OFFICER), gone.share.number)
    made = shared(running, physician, NewShare(STUDY, NAMES[1], "=1+1", 7 * DAY_S))
    return {"share": made.link}


def emergencies(running: RunningArchive) -> Mapping[str, str]:
    """One that is over, one that stands, one that is reviewed."""
    now_us, hour_us = int(time.time() * 1e6), 3_600_000_000
    over = Opening(
        1, "physician", "4700", "", "unconscious in the emergency room", now_us - 5 * hour_us, now_us - hour_us
    )
    standing = replace(over, number=2, person=SCOPED, patient_id="<b>1</b>", ends_us=now_us + 3 * hour_us)
    looked = {"reviewed_by": "security-officer", "reviewed_us": now_us, "remark": "as it should be: " + NAMES[1]}
    reviewed = replace(over, number=3, **looked)
    with looked_into(running) as archive:
        table = EmergencyTable(archive.backend.dialect)
        for each in (over, standing, reviewed):
            archive.index.database.write(lambda transaction, each=each: table.add(transaction.cursor, each))
    return {}


def proposals(running: RunningArchive) -> Mapping[str, str]:
    """One that waits, for a study that no page of the walk shows, and one that was declined."""
    now_us = int(time.time() * 1e6)
    made = Proposal(
        1, Matter.DELETE_STUDY, "2.25.4703", "token loader", NAMES[3], now_us, now_us + 7 * DAY_S * 1_000_000
    )
    gone = replace(made, number=2, decided_us=now_us, decided_by="administrator", decision="declined", remark=NAMES[1])
    with looked_into(running) as archive:
        table = ProposalTable(archive.backend.dialect)
        for each in (made, gone):
            archive.index.database.write(lambda transaction, each=each: table.add(transaction.cursor, each))
    return {}
