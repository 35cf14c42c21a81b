"""Check digital signatures when somebody asks: of files as they lie there, and of what is stored."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from strongroom.admin.media import FoundFile, open_regular, walk_everything
from strongroom.app import Archive
from strongroom.archive.attributes import STUDY_INSTANCE_UID
from strongroom.archive.constraint import Key, Single
from strongroom.archive.model import Action, Level, Outcome, StoredObject
from strongroom.archive.query import Model, Retrieval
from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.dicom.elements import DEFAULT_LIMITS
from strongroom.dicom.part10 import MAX_HEADER_BYTES, parse_file_header
from strongroom.errors import IntegrityError, MalformedDataset, NotFound, Refused
from strongroom.signatures.model import Report
from strongroom.signatures.verify import Rules, verify
from strongroom.store.signatures import KeptReport
from strongroom.types import Uid
from strongroom.vouching import ASKED, read_anchors, read_lists

MAX_OBJECTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of one file or object: its report, or why there is none; neither for a file that is no DICOM."""

    name: str
    report: Report | None = None
    reason: str = ""


def check_paths(paths: Sequence[Path], trusted: Sequence[Path], lists: Sequence[Path] = ()) -> Iterator[Looked]:
    """Yield what there is to say of each file below ``paths``, by certificates in ``trusted`` that none of ``lists``,
    of revocation, takes back. Raises ConfigError for a path or one of these files."""
    anchors, revoked = read_anchors(tuple(map(str, trusted))), read_lists(tuple(map(str, lists)))
    rules = Rules(anchors, datetime.now(UTC), DEFAULT_LIMITS, lists=revoked)
    named = {os.path.realpath(path) for path in paths}
    for found in walk_everything(paths):
        if isinstance(found, FoundFile):
            yield _check_file(found, rules, is_named=found.path in named)
        elif not found.is_link:
            yield Looked(found.path, reason=found.reason)


def _check_file(found: FoundFile, rules: Rules, *, is_named: bool) -> Looked:
    try:
        fd = open_regular(found.path)
    except OSError as error:
        return Looked(found.path, reason=error.strerror or "not a file")
    try:
        header = parse_file_header(os.pread(fd, MAX_HEADER_BYTES, 0))
        syntax = TRANSFER_SYNTAXES.get(header.transfer_syntax)
        if syntax is None:
            return Looked(found.path, reason="an unknown transfer syntax")
        start = header.data_set_offset
        report = verify(
            lambda offset, length: os.pread(fd, length, start + offset), max(found.size - start, 0), syntax, rules
        )
        return Looked(found.path, report)
    except (Refused, MalformedDataset) as error:
        is_other = isinstance(error, Refused) and error.reason == "not-dicom" and not is_named
        return Looked(found.path, reason="" if is_other else str(error))
    except OSError as error:
        return Looked(found.path, reason=error.strerror or "cannot be read")
    finally:
        os.close(fd)


def check_stored(archive: Archive, sop_uid: str, study_uid: str) -> Iterator[Looked]:
    """Check one object or all of a study again, keep what was found, and record it.

    Raises NotFound, StorageUnavailable, ConfigError.
    """
    objects = _named(archive, sop_uid, study_uid)
    signed = 0
    try:
        for stored in objects:
            try:
                report = archive.signatures.check(stored, archive.principal, ASKED)
            except (IntegrityError, NotFound) as error:
                yield Looked(stored.sop_uid, reason=str(error))
                continue
            signed += bool(report.signatures)
            yield Looked(stored.sop_uid, report)
    finally:
        about = {"sop_uid": sop_uid} if sop_uid else {"study_uid": study_uid}
        archive.record(
            Action.SIGNATURE, {**about, "occasion": ASKED, "objects": len(objects), "signed": signed}, Outcome.SUCCESS
        )


def _named(archive: Archive, sop_uid: str, study_uid: str) -> Sequence[StoredObject]:
    if sop_uid:
        stored = archive.index.find_object(Uid.parse(sop_uid), None)
        objects: Sequence[StoredObject] = [stored] if stored else []
        if stored and study_uid not in ("", stored.study_uid):
            objects = []
    else:
        key = Key(STUDY_INSTANCE_UID, "UI", Single(Uid.parse(study_uid)))
        objects = archive.index.find_objects(Retrieval(Level.STUDY, Model.STUDY_ROOT, (key,)), MAX_OBJECTS, None)
    if not objects:
        raise NotFound(f"no object {sop_uid}" if sop_uid else f"no study {study_uid}")
    return objects


def kept_reports(archive: Archive) -> Iterator[tuple[str, KeptReport]]:
    """Every object that has signatures, by its SOP Instance UID, with what was found when they were last checked."""
    return archive.signatures.kept.all()
