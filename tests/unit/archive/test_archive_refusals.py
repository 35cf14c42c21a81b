"""Why an object was not taken in, as every protocol says it."""

from __future__ import annotations

import pytest

from strongroom.archive.refusals import comment_of, reason_of, store_status
from strongroom.errors import (
    Denied,
    IntegrityError,
    LimitExceeded,
    MalformedDataset,
    Quarantined,
    Refused,
    StaleKey,
    StorageUnavailable,
)


@pytest.mark.parametrize(
    ("failure", "status", "word"),
    [
        (Refused("sop-instance-altered", "another object has this UID"), 0xC010, "sop-instance-altered"),
        (Refused("sop-class-not-supported"), 0x0122, "sop-class-not-supported"),
        (Refused("transfer-syntax-unknown"), 0xC122, "transfer-syntax-unknown"),
        (Refused("study-instance-uid-differs"), 0xC014, "study-instance-uid-differs"),
        (Refused("something-new"), 0xC001, "something-new"),
        (Refused("screening"), 0xC021, "screening"),
        (Quarantined("screening", "Q17"), 0xC020, "screening"),
        (Quarantined("something-new", "Q17"), 0xC020, "something-new"),
        (Quarantined("sop-instance-altered", "Q17"), 0xC010, "sop-instance-altered"),
        (LimitExceeded("max_quarantine_objects", 5), 0xA700, "over-max_quarantine_objects"),
        (LimitExceeded("max_quarantine_bytes", 5), 0xA700, "over-max_quarantine_bytes"),
        (Denied("no-right-store"), 0x0124, "no-right-store"),
        (LimitExceeded("max_message_bytes", 5, 6), 0xC003, "over-max_message_bytes"),
        (MalformedDataset("an unknown VR", tag=0x00080008, offset=0), 0xC002, "an unknown VR at (0008,0008) byte 0"),
        (MalformedDataset("x" * 100), 0xC002, "x" * 64),
        (StorageUnavailable("disk full"), 0xA700, "StorageUnavailable"),
        (StaleKey("gone"), 0xA700, "StaleKey"),
        (IntegrityError("damaged"), 0x0110, "IntegrityError"),
        (ValueError("Doe^Jane"), 0x0110, "ValueError"),
    ],
)
def test_each_failure_has_a_status_and_a_word_without_a_value(failure: Exception, status: int, word: str) -> None:
    assert (store_status(failure), reason_of(failure)) == (status, word)


@pytest.mark.parametrize(
    ("failure", "comment"),
    [
        (Quarantined("screening", "Q17"), "quarantined as Q17: screening"),
        (Quarantined("x" * 100, "Q17"), "quarantined as Q17: " + "x" * 44),
        (Refused("screening"), "screening"),
    ],
)
def test_the_error_comment_names_what_an_object_is_held_as(failure: Exception, comment: str) -> None:
    assert comment_of(failure) == comment
