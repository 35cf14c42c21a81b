"""Objects in quarantine, put there as the door does it, and the people who may decide on them."""

from __future__ import annotations

import hashlib
import itertools

from harness import payloads
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample, element
from strongroom.admin import users
from strongroom.app import Archive, next_object_id
from strongroom.archive.model import Action, Event, Held, Outcome
from strongroom.archive.roles import Role
from strongroom.types import Principal

PASSCODE = "correct horse battery"
FINDINGS = (
    b'[{"rule":"SR-PE-001","severity":"critical","confidence":"high","path":"(0042,0011)","offset":1234,'
    b'"length":4096,"what":"PE32+ for x86-64, 3 sections"}]'
)
HELD_SENDER = Principal("CT1", "ab" * 32, "", "192.0.2.7")

_times = itertools.count(1_800_000_000_000_000)


def hold(archive: Archive, sample: Sample, raw: bytes = b"", sender: Principal = HELD_SENDER) -> str:
    """Hold an instance, or other bytes in its name; returns its id."""
    data = raw or sample.dataset
    key, object_id = archive.ring.new_data_key(), next_object_id()
    writer = archive.blobs.create(object_id, key.key)
    writer.write(data)
    held = Held(
        object_id=object_id,
        sop_class=CT_IMAGE_STORAGE,
        sop_uid=sample.sop_uid,
        series_uid=sample.series_uid,
        study_uid=sample.study_uid,
        transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN,
        data_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        key=key,
        received_us=next(_times),
        reason="screening",
        severity="critical",
        findings=FINDINGS,
        sealed=writer.commit(),
    )
    details = {"sop_uid": held.sop_uid, "sha256": held.sha256.hex(), "reason": held.reason}
    return archive.quarantine.hold(held, Event(Action.QUARANTINE, Outcome.SUCCESS, sender, details))


def add_officers(archive: Archive, *names: str, role: Role = Role.SECURITY_OFFICER) -> None:
    """Make accounts whose role may decide, all with one passcode."""
    for name in names:
        users.add(archive, name, PASSCODE, role)


def infected(sample: Sample) -> bytes:
    """The data set of an instance with a program in a private element, which the door holds back."""
    raw = sample.dataset
    pixels = raw.index(b"\xe0\x7f\x10\x00OW")
    program = element(0x00290010, "LO", "TEST VENDOR") + element(0x00291010, "OB", payloads.pe())
    return raw[:pixels] + program + raw[pixels:]
