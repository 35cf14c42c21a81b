"""Digital signatures of stored objects: checked when they come and when somebody asks, kept in the index, recorded.

A signature that does not hold refuses nothing: what was sent is stored as it is, and what was found is kept beside it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from strongroom.archive.model import Action, Detail, Event, Outcome, StoredObject
from strongroom.archive.ports import BlobReader, BlobStore, Clock, Index
from strongroom.archive.read import open_object
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import HeaderScan, ScanLimits
from strongroom.dicom.signed import SignatureSpotter
from strongroom.errors import ConfigError, StorageUnavailable, StrongroomError
from strongroom.signatures.certificates import Anchors, parse_anchors
from strongroom.signatures.model import Report, Validity
from strongroom.signatures.report_json import report_json
from strongroom.signatures.revocation import RevocationLists, parse_lists
from strongroom.signatures.verify import Rules, verify
from strongroom.store.signatures import KeptReport, SignatureReports
from strongroom.types import Principal, Uid

log = logging.getLogger(__name__)

RECEIVED: Final = "received"
ASKED: Final = "asked"
AFTERWARDS: Final = "afterwards"
SIGNATURE_INVALID: Final = "signature-invalid"
MAX_ANCHOR_FILE_BYTES: Final = 2**20
MAX_LIST_FILE_BYTES: Final = 16 * 2**20
MAX_LIST_FILES: Final = 64
"""Of one folder."""
_MOST_NAMED: Final = 16
_SEVERITY: Final = "high"


@dataclass(frozen=True, slots=True)
class SignaturePorts:
    """What checking needs of an archive."""

    blobs: BlobStore
    index: Index
    kept: SignatureReports
    clock: Clock
    announce: Callable[[Event], None] = lambda _: None
    """Told of alerts once they are durable."""


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """The operator's files of certificates to trust, and of lists that take certificates back. Read at each check."""

    trusted: tuple[str, ...] = ()
    revocation_lists: tuple[str, ...] = ()


class SignatureChecks:
    """Checks signatures of stored objects. Thread-safe."""

    def __init__(self, ports: SignaturePorts, trust: TrustFiles, scan: ScanLimits, max_signatures: int) -> None:
        self._ports = ports
        self.kept = ports.kept
        self._trust = trust
        self._scan = scan
        self._max_signatures = max_signatures

    def received(self, sop_uid: Uid, principal: Principal) -> None:
        """Check an object that has just been stored and may have signatures; whatever fails is logged, and no more."""
        try:
            stored = self._ports.index.find_object(sop_uid, None)
            if stored is not None:
                self.check(stored, principal, RECEIVED)
        except StrongroomError as error:
            log.error("the signatures of object %s are not checked: %s", sop_uid, error)

    def catch_up(self, stored: StoredObject, reader: BlobReader, principal: Principal) -> None:
        """Check a stored object, open in ``reader``, if it may have signatures and nothing is known of them: its
        process died, or failed, between storing and checking. Raises StorageUnavailable; what else fails is logged.
        """
        try:
            is_due = _may_have_signatures(reader, stored, self._scan) and self.kept.of(stored.sop_uid) is None
            if is_due:
                self.check(stored, principal, AFTERWARDS)
        except StorageUnavailable:
            raise
        except StrongroomError as error:
            log.error("the signatures of object %s are not checked: %s", stored.sop_uid, error)

    def check(self, stored: StoredObject, principal: Principal, occasion: str) -> Report:
        """Check a stored object as of the time it was received, keep the report, and record it.

        Nothing is kept of an object without signatures. Raises ConfigError (the trusted certificates), NotFound,
        IntegrityError, StorageUnavailable.
        """
        ports = self._ports
        received = datetime.fromtimestamp(stored.received_us / 1e6, UTC)
        anchors, lists = read_anchors(self._trust.trusted), read_lists(self._trust.revocation_lists)
        rules = Rules(anchors, received, self._scan, self._max_signatures, lists)
        with closing(open_object(ports.blobs, ports.index, stored)) as reader:
            report = verify(reader.read, reader.size, TRANSFER_SYNTAXES[stored.transfer_syntax], rules)
        if report.validity is None:
            return report
        as_json = report_json(report)
        kept = KeptReport(
            report.validity.value, report.trust.value, int(ports.clock() * 1e6), json.dumps(as_json).encode()
        )
        outcome = Outcome.SUCCESS if report.validity is Validity.VALID else Outcome.WARNING
        about: dict[str, Detail] = {"sop_uid": stored.sop_uid, "study_uid": stored.study_uid}
        details = about | {"occasion": occasion} | _details(report)
        events = [Event(Action.SIGNATURE, outcome, principal, details)]
        if report.validity is Validity.INVALID:
            alert = about | {"reason": SIGNATURE_INVALID, "severity": _SEVERITY}
            events.append(Event(Action.ALERT, Outcome.WARNING, principal, alert))
        ports.kept.keep(stored.object_id, kept, *events)
        for alert_event in events[1:]:
            ports.announce(alert_event)
        return report


def _may_have_signatures(reader: BlobReader, stored: StoredObject, limits: ScanLimits) -> bool:
    syntax = TRANSFER_SYNTAXES[stored.transfer_syntax]
    spotter, scan = SignatureSpotter(syntax), HeaderScan(syntax, frozenset(), limits)
    for chunk in reader.chunks():
        if spotter.found or scan.pixel_data_offset is not None:
            break
        scan.feed(chunk)
        spotter.feed(chunk, scan.pixel_data_offset)
    return spotter.found


def _details(report: Report) -> dict[str, Detail]:
    """What the trail says: words, counts and fingerprints, for names of signers are not ours to choose."""
    found = report.signatures
    signers = sorted({each.signer.fingerprint for each in found if each.signer})
    details: dict[str, Detail] = {
        "validity": str(report.validity),
        "trust": str(report.trust),
        "signatures": len(found),
        "signers": tuple(signers[:_MOST_NAMED]),
        "reasons": tuple(sorted({each.reason for each in found if each.reason})),
        "weak": tuple(sorted({word for each in found for word in each.weak if each.mac_algorithm})),
    }
    return details | ({"problem": report.problem} if report.problem else {})


def read_anchors(paths: tuple[str, ...]) -> Anchors:
    """The certificates in these PEM files. Raises ConfigError."""
    anchors: Anchors = ()
    for path in paths:
        anchors += parse_anchors(_read(Path(path), MAX_ANCHOR_FILE_BYTES))
    return anchors


def read_lists(paths: tuple[str, ...]) -> RevocationLists:
    """The revocation lists in these files, and in those of these folders. Raises ConfigError."""
    lists: RevocationLists = ()
    for path in map(Path, paths):
        try:
            files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        if len(files) > MAX_LIST_FILES:
            raise ConfigError(f"{path} has more than {MAX_LIST_FILES} files")
        for file in files:
            try:
                lists += parse_lists(_read(file, MAX_LIST_FILE_BYTES))
            except ConfigError as error:
                raise ConfigError(f"{file}: {error}") from None
    return lists


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > max_bytes:
        raise ConfigError(f"{path} has more than {max_bytes} bytes")
    return raw
