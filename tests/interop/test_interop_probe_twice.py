"""Two archives of one address, probed twice at L3: both are told of, and what the first run left is nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.probe_dcmtk import ARCHIVE_AET, dcmqrscp, storescp
from harness.probe_runs import operator

pytestmark = pytest.mark.interop


def test_what_a_run_has_written_is_no_patient_of_the_next_one_and_both_servers_of_an_address_are_asked(
    tmp_path: Path,
) -> None:
    with dcmqrscp(tmp_path / "archive") as archive, storescp(tmp_path / "receiver") as receiver, operator() as tester:
        targets = (
            {"name": "receiver", "addresses": ["127.0.0.1"], "dicom_ports": [receiver.port]},
            {
                "name": "archive",
                "addresses": ["127.0.0.1"],
                "dicom_ports": [archive.port],
                "called_title": ARCHIVE_AET,
            },
        )
        runs = [tester.probe(*targets) for _ in range(2)]
        first, second = (ran.report for ran in runs)
        assert "to 1 address" in runs[1].err
        findings = {each["check"]: each["verdict"] for each in runs[1].target("archive")["findings"]}
    for report in (first, second):
        assert [target["target"] for target in report["targets"]] == ["receiver", "archive"]
    written = [seen for seen in first["observations"] if seen["step"] == "dicom.store_canary"]
    assert {seen["target"] for seen in written if seen["answer"] == "done"} == {"receiver", "archive"}
    (counted,) = [seen for seen in second["observations"] if seen["step"] == "dicom.find_count"]
    assert counted["details"]["keys"] == ["canaries left out"]
    assert (counted["details"]["studies"], counted["details"]["patients"]) == (0, 0)
    assert findings["SP-011"] != "fail"
    assert findings["SP-012"] != "fail"
