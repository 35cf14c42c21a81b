"""The original of a file that was disarmed, kept sealed in the quarantine: it is evidence, and may be wanted again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Final

from strongroom.admin.media import open_regular
from strongroom.app import Archive
from strongroom.archive.door import Policy, Screened, Screening
from strongroom.archive.ingest import Arrival
from strongroom.archive.model import Action
from strongroom.archive.refusals import reason_of
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.part10 import MAX_HEADER_BYTES, parse_file_header
from strongroom.errors import ConfigError, Quarantined, Refused, StrongroomError
from strongroom.screen.findings import Report
from strongroom.screen.report_json import finding_json
from strongroom.types import Uid

_PIECE_BYTES: Final = 1 << 20
_MAX_KEPT_FINDINGS: Final = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an original is: ``quarantine_id``, or "" if its data set is stored in the archive already."""

    quarantine_id: str


def keep_original(archive: Archive, source: Path, report: Report) -> Kept:
    """Put the data set of the file into the quarantine, whatever the policy of the house; preamble and File Meta
    Information are no part of it.

    Raises Refused, or what the data set cannot be held for; StorageUnavailable; ConfigError if it cannot be read.
    """
    try:
        with FileIO(open_regular(str(source))) as file:
            head = file.read(_PIECE_BYTES)
            header = parse_file_header(head[:MAX_HEADER_BYTES])
            syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
            if syntax is None:
                raise Refused("transfer-syntax-unknown")
            sop_class = Uid.parse(header.sop_class or report.sop_class_uid)
            sop_uid = Uid.parse(header.sop_uid or report.sop_instance_uid)
            arrival = Arrival(sop_class, sop_uid, syntax, archive.principal, Action.IMPORT)
            return _held(archive, arrival, report, _pieces(file, head[header.data_set_offset :]))
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror or 'not a file'}") from None


def _pieces(file: FileIO, piece: bytes) -> Iterator[bytes]:
    while piece:
        yield piece
        piece = file.read(_PIECE_BYTES)


def _held(archive: Archive, arrival: Arrival, report: Report, pieces: Iterator[bytes]) -> Kept:
    def screen(*_: object) -> Screening:
        return _Known(report)

    ingest = archive.new_ingest(arrival, door=replace(archive.door, screen=screen))
    try:
        for piece in pieces:
            ingest.write(piece)
        ingest.commit()
    except Quarantined as held:
        return Kept(held.quarantine_id)
    except StrongroomError as error:
        ingest.refuse(reason_of(error))
        raise
    finally:
        ingest.abort()
    return Kept("")


class _Known:
    """Says of an object what is known of it: it is to be held."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def feed(self, data: bytes | memoryview) -> None:
        """Pass over it."""

    def finish(self) -> Screened:
        """Return what was found."""
        report = self._report
        found = [finding_json(finding) for finding in report.findings[:_MAX_KEPT_FINDINGS]]
        rules = tuple(sorted({finding.rule.id for finding in report.findings}))
        return Screened(Policy.QUARANTINE, str(report.worst or ""), rules, json.dumps(found).encode())

    def close(self) -> None:
        """There is nothing to give up."""
