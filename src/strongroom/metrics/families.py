"""Every metric that there is, as data: its name, its kind, what it says and the labels that tell its series apart.

Names, units and kinds follow the conventions of Prometheus. What a label may hold is bounded by us: words of our own,
statuses, names of peers and folders that an operator has configured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. Its name gets ``strongroom_`` before it."""

    name: str
    kind: Kind
    says: str
    labels: tuple[str, ...] = ()


def _counter(name: str, says: str, *labels: str) -> Family:
    return Family(name, "counter", says, labels)


def _gauge(name: str, says: str, *labels: str) -> Family:
    return Family(name, "gauge", says, labels)


_EVENTS: Final = (
    _counter(
        "events_total",
        "Acts of `serve` and its workers, by what the trail calls them and how they ended.",
        "action",
        "outcome",
    ),
    _counter("refusals_total", "What was refused, by reason.", "action", "reason"),
    _counter("alerts_total", "Alerts.", "reason", "severity"),
    _counter("associations_total", "DICOM associations accepted."),
    _counter("peer_associations_total", "The same by peer.", "peer"),
    _counter("stored_objects_total", "Objects taken in, by verdict.", "verdict"),
    _counter("stored_bytes_total", "Bytes of data sets taken in."),
    _counter("quarantined_objects_total", "Objects put into the quarantine.", "reason"),
    _counter("queries_total", "Searches over DIMSE and HTTPS that were answered."),
    _counter("query_results_total", "Records that these gave."),
    _counter("sent_objects_total", "Objects sent whole, over DIMSE and HTTPS."),
    _counter("sent_bytes_total", "Bytes sent to who retrieved, over DIMSE and HTTPS."),
)

_HTTPS: Final = (
    _counter("https_requests_total", "HTTPS requests answered.", "operation", "status"),
    _counter("https_request_seconds_total", "Time from the head of a request to the head of its answer.", "operation"),
    _gauge("https_connections", "HTTPS connections open."),
    _gauge("https_pixel_jobs", "Requests that decode or render, or wait for it."),
)

_SERVER: Final = (
    _gauge("build_info", "1, with the version that runs.", "version"),
    _gauge("start_time_seconds", "When `serve` was started."),
    _gauge("ready", "Whether a process can do its work: 1, or 0.", "process"),
    _gauge("last_report_time_seconds", "When a process last said how it is.", "process"),
    _gauge("resident_memory_bytes", "Memory of a process.", "process"),
    _counter("cpu_seconds_total", "Processor time of a process since its start.", "process"),
    _counter("worker_restarts_total", "Worker processes that died and were started again.", "process"),
    _counter("worker_hangs_total", "Those of them that hung, and were killed.", "process"),
    _gauge("dicom_connections", "DICOM connections that have shown a trusted certificate, or are an exception."),
    _gauge("dicom_handshakes", "DICOM connections whose TLS handshake is under way."),
    _gauge("dicom_connections_limit", "limits.max_associations."),
)

_STORE: Final = (
    _gauge("index_sound", "0: the index could not be made durable, and nothing is written until a restart."),
    _gauge("journal_objects", "Objects that are durable in the journal and wait for their rows."),
    _gauge("journal_stuck", "1: rows cannot be written, see the log; whether the disk is full."),
    _gauge("records", "Records of the index.", "level"),
    _gauge("quarantine_objects", "Objects in quarantine."),
    _gauge("quarantine_bytes", "Bytes of their data sets."),
    _gauge("quarantine_objects_limit", "limits.max_quarantine_objects."),
    _gauge("quarantine_bytes_limit", "limits.max_quarantine_bytes."),
    _gauge("commitment_reports", "Storage commitment reports that are owed."),
    _gauge("disk_free_bytes", "Room for us in a file system.", "folder"),
    _gauge("disk_size_bytes", "Size of that file system.", "folder"),
)

_TRUST: Final = (
    _gauge("checkpoint_time_seconds", "When the latest checkpoint in a folder was written.", "folder"),
    _gauge("trail_records", "Records of the trail.", "log"),
    _gauge("certificate_end_time_seconds", "When a certificate ends.", "kind", "name"),
    _gauge("unsafe_plaintext_end_time_seconds", "When a plaintext exception that is in effect ends.", "peer"),
    _gauge("check_round_start_time_seconds", "When the round of the background check under way began; 0: none."),
    _gauge("check_round_objects", "Objects that this round has read so far."),
    _gauge("check_last_end_time_seconds", "When the last whole round ended; 0: none has."),
    _gauge("check_damaged_objects", "Damaged objects that the last round and the one under way have found."),
    _gauge("backup_time_seconds", "When the last complete backup was taken; 0: none was."),
    _gauge("drill_time_seconds", "When the last restore was tried; 0: none was."),
    _gauge("drill_findings", "What was wrong with it."),
)

FAMILIES: Final[dict[str, Family]] = {family.name: family for family in (*_EVENTS, *_HTTPS, *_SERVER, *_STORE, *_TRUST)}
"""By name."""
