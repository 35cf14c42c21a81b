"""What those who watch over an archive have to look at: alerts, and objects in quarantine."""

from __future__ import annotations

from collections.abc import Mapping

from harness.archives import RunningArchive
from harness.ingesting import Sample
from harness.people import looked_into
from harness.quarantines import add_officers, hold
from strongroom.admin import quarantine
from strongroom.admin.alerts import newest
from strongroom.admin.telling import Telling, telling
from strongroom.admin.two_people import Order, now_us
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.oversight import Job
from strongroom.store.quarantine import What, parse_quarantine_id
from strongroom.types import Principal

HOSTILE = "<b>CT\u202e1</b>"
ASKER = "ann"


def watched(running: RunningArchive) -> Mapping[str, str]:
    """Put alerts and held objects of a sender with a hostile name there, one of them asked to be destroyed."""
    sender = Principal(HOSTILE, "ab" * 32, "", "192.0.2.7")
    with looked_into(running) as archive:
        held = [hold(archive, Sample(number), sender=sender) for number in range(3)]
        add_officers(archive, ASKER)
        order = Order(What.DESTROY, parse_quarantine_id(held[1]), ASKER, "<i>malware</i>", now_us())
        quarantine.destroy(archive, order)
        for number, (reason, severity) in enumerate(
            (("screening", "critical"), ("unverified", "medium"), ("sop-instance-altered", "high"), ("other", ""))
        ):
            details = {
                "reason": reason,
                "severity": severity,
                "sop_uid": f"2.25.{number}",
                "rules": ("SR-PE-001", HOSTILE),
            }
            details |= {"quarantine": held[0]} if number == 0 else {}
            archive.index.record(Event(Action.ALERT, Outcome.FAILED, sender, details))
        with telling(archive, "import", "files") as told:
            told.result = HOSTILE
        Telling(archive, Job("backup", "running", HOSTILE, now_us(), now_us(), done=0, total=10, unit="objects")).say(
            4, 10
        )
        alerts, _ = newest(archive, "")
    return {"held": held[0], "held_asked": held[1], "alert": f"{alerts[0][0].log}/{alerts[0][0].seq}"}
