"""The operator's engines at the door: a real clamd with a signature of ours, and YARA-X, as senders over DIMSE meet
them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]  # made at import

from harness import clamd
from harness.archives import ALL_RIGHTS, RunningArchive
from harness.ingesting import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, Sample, visible_sop_uids
from harness.pynetdicom_peers import associated
from strongroom.dicom.part10 import encode_file_meta

pytestmark = [
    pytest.mark.interop,
    # pynetdicom leaves the sockets of aborted associations to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

ArchiveFactory = Callable[..., RunningArchive]
MARKED, CLEAN, LATER = Sample(1, study=1, pixel_bytes=400_000), Sample(2, study=1), Sample(3, study=1)


def data_set(sample: Sample, mark: bytes = b"") -> Dataset:
    meta = encode_file_meta(
        sop_class=CT_IMAGE_STORAGE,
        sop_uid=sample.sop_uid,
        transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN,
        implementation_uid="1.2.3",
        implementation_version="TEST",
    )
    found = dcmread(BytesIO(meta + sample.dataset))
    if mark:
        found.PixelData = found.PixelData[: -len(mark)] + mark
    return found


@pytest.mark.skipif(not clamd.PROGRAM, reason="clamd is not installed")
def test_what_clamav_knows_is_held_and_nothing_comes_in_while_it_is_away(
    local_archive: ArchiveFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "clamav"
    folder.mkdir()
    with clamd.clamd(folder) as address:
        running = local_archive({"SCU": ALL_RIGHTS}, screening={"clamd": address, "engine_timeout_s": 20})
        with associated(running, more=[CTImageStorage]) as association:
            held = association.send_c_store(data_set(MARKED, clamd.MARK))
            stored = association.send_c_store(data_set(CLEAN))
    with associated(running, more=[CTImageStorage]) as association:
        away = association.send_c_store(data_set(LATER))
    assert (held.Status, held.ErrorComment) == (0xC020, "quarantined as Q1: screening")
    assert (stored.Status, away.Status) == (0, 0xA700)
    assert running.archive is not None
    assert b"SR-CLAM-001" in running.archive.quarantine.find(1).findings
    assert visible_sop_uids(running.archive) == {CLEAN.sop_uid}


def test_a_rule_of_the_operator_decides_by_its_severity(local_archive: ArchiveFactory, tmp_path: Path) -> None:
    rules = tmp_path / "ours.yar"
    rules.write_text(
        'rule grave { meta: severity = "critical" strings: $a = "grave-test-mark" condition: $a }\n'
        'rule slight { meta: severity = "low" strings: $a = "slight-test-mark" condition: $a }\n'
    )
    running = local_archive({"SCU": ALL_RIGHTS}, screening={"yara_rules": [str(rules)]})
    with associated(running, more=[CTImageStorage]) as association:
        held = association.send_c_store(data_set(MARKED, b"grave-test-mark!"))
        stored = association.send_c_store(data_set(CLEAN, b"slight-test-mark"))
    assert (held.Status, stored.Status) == (0xC020, 0)
    assert running.archive is not None
    findings = running.archive.quarantine.find(1).findings
    assert b"rule ours:grave, $a matches" in findings
    assert b'"path": "(7FE0,0010)"' in findings
