"""Instances without pixels, straight for the index, and an index on any of its databases."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from strongroom.archive import keys as kept
from strongroom.archive.model import Action, DataKey, Event, Level, LevelAttributes, NewInstance, Outcome, StoredObject
from strongroom.store.database import Backend, open_sqlcipher
from strongroom.store.index import Index
from strongroom.store.journal import Journal
from strongroom.store.keys import KeyRing
from strongroom.store.postgresql import open_postgresql
from strongroom.store.schema.migrate import upgrade
from strongroom.store.transaction import ACTIVE_MASTER
from strongroom.store.turns import Turns
from strongroom.trail.log import TrailLog
from strongroom.types import Principal

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
MASTER_ID = "mk-test"

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
ISSUER_OF_PATIENT_ID = 0x00100021
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E

_SQLCIPHER_KEY = bytes(range(48))
_numbers = itertools.count(1)
_encode = msgspec.json.Encoder().encode

Values = Mapping[int, Sequence[Any]]
"""Tag to values, person names as text with ``=`` between groups."""


class MasterKeys:
    """A key source that has every master key: a function of its id."""

    def load(self, key_id: str) -> bytes:
        """The key of that id."""
        return (key_id.encode() * 32)[:32]

    def create(self) -> str:
        """The id of a key that was not there before."""
        return f"{MASTER_ID}-{secrets.token_hex(4)}"


def new_ring() -> KeyRing:
    """A key ring as every process of one archive has it."""
    return KeyRing(MasterKeys(), MASTER_ID)  # type: ignore[arg-type]  # a key source by its methods


@dataclass
class Shelf:
    """A place for one index: ``index()`` opens it again and again, each time as another process would."""

    open_backend: Callable[[], Backend]
    journal_folder: Path | None = None
    opened: list[Index] = field(default_factory=list)
    log_names: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def sqlcipher(cls, path: Path) -> Shelf:
        """An encrypted file."""
        return cls(lambda: cls.open_file(path))._prepared()

    @classmethod
    def journalled(cls, path: Path) -> Shelf:
        """An encrypted file as an archive has it: with a journal, which the index of the log "first" writes."""
        return cls(lambda: cls.open_file(path), path.parent)._prepared()

    @staticmethod
    def open_file(path: Path) -> Backend:
        """The encrypted file itself."""
        return open_sqlcipher(path, _SQLCIPHER_KEY, cache_mib=2)

    @classmethod
    def at(cls, place: str) -> Shelf:
        """What a word names: the URL of a database, or a path, "journal:" before it for one with a journal."""
        if place.startswith("postgresql:"):
            return cls.postgresql(place)
        if place.startswith("journal:"):
            return cls.journalled(Path(place.removeprefix("journal:")))
        return cls.sqlcipher(Path(place))

    @classmethod
    def postgresql(cls, url: str) -> Shelf:
        """A database of a server."""
        return cls(lambda: open_postgresql(url))._prepared()

    def _prepared(self) -> Shelf:
        upgrade(self.open_backend().engine)
        self.index().set_meta(ACTIVE_MASTER, MASTER_ID)
        return self

    def index(self, log: str = "") -> Index:
        """The index, opened anew with its own connections, caches and trail log."""
        backend = self.open_backend()
        name = log or f"log{next(self.log_names)}"
        index = Index(backend, TrailLog(name, backend.dialect), new_ring(), lambda: 1.8e9, secrets.token_bytes)
        if self.journal_folder is not None:
            turns = Turns(self.journal_folder / "queue.lock", self.journal_folder / "turn.lock")
            index.use_journal(Journal(self.journal_folder / "journal", _SQLCIPHER_KEY[:32]), turns)
            if log == "first" and index.backlog is not None:
                index.backlog.start()
        self.opened.append(index)
        return index

    def close(self) -> None:
        """Close every index that was opened."""
        for index in self.opened:
            index.database.close()


def attributes_of(values: Values, level: Level) -> dict[str, Any]:
    """The DICOM JSON of one level."""
    attributes = {}
    for attribute in kept.ATTRIBUTES[level]:
        if attribute.tag in values:
            entries = list(values[attribute.tag])
            if attribute.vr == "PN":
                entries = [_name(entry) for entry in entries]
            attributes[f"{attribute.tag:08X}"] = {"vr": attribute.vr} | ({"Value": entries} if entries else {})
    return attributes


def _name(text: str) -> dict[str, str]:
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False))
    return {name: group for name, group in groups.items() if group}


def instance(values: Values, key: DataKey, *, object_id: bytes = b"") -> NewInstance:
    """An instance with these attributes; UIDs that are not given are fresh."""
    number = next(_numbers)
    default: Values = {
        SOP_CLASS_UID: [CT_IMAGE_STORAGE],
        SOP_INSTANCE_UID: [f"2.25.{number}.4"],
        MODALITY: ["CT"],
        PATIENT_ID: ["P"],
        STUDY_INSTANCE_UID: [f"2.25.{number}.2"],
        SERIES_INSTANCE_UID: [f"2.25.{number}.3"],
    }
    full = {**default, **values}
    levels = []
    for level in Level:
        attributes = attributes_of(full, level)
        levels.append(LevelAttributes(kept.column_values(level, attributes), _encode(attributes)))
    patient, study, series, image = levels
    stored = StoredObject(
        object_id=object_id or number.to_bytes(16),
        sop_class=image.columns[1],
        sop_uid=image.columns[0],
        series_uid=series.columns[0],
        study_uid=study.columns[0],
        transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN,
        data_bytes=number,
        sha256=number.to_bytes(32),
        key=key,
        received_us=number,
    )
    return NewInstance(stored=stored, sealed=b"", modality=series.columns[1], levels=(patient, study, series, image))


def stored_event(new: NewInstance) -> Event:
    """What the trail says of an instance that was stored."""
    return Event(Action.STORE, Outcome.SUCCESS, Principal("TESTER"), {"sop_uid": new.stored.sop_uid})
