"""The one way out: searching and retrieving. Every act is in the trail before the first byte of its answer leaves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from strongroom.archive.access import require
from strongroom.archive.answers import AboutArchive, JsonDataset, compile_answer
from strongroom.archive.attributes import decode_attributes
from strongroom.archive.listing import MAX_LISTED, StudyList, StudyPage
from strongroom.archive.matching import compile_matcher
from strongroom.archive.model import Action, Condition, Detail, Event, Level, Outcome, SearchRow, StoredObject
from strongroom.archive.ports import BlobReader, BlobStore, Index, ListedIndex, Progress
from strongroom.archive.prefilter import Prefilter, sql_conditions
from strongroom.archive.query import Query, Retrieval
from strongroom.errors import IntegrityError
from strongroom.types import Principal, Right, Scope


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Caps on one answer."""

    max_query_results: int
    max_retrieve_objects: int
    max_query_bytes: int = 64 * 2**20
    """Of the encoded attributes of all records of one answer, which are held until they are sent."""


@dataclass(frozen=True, slots=True)
class Found:
    """The records that answer one search. ``truncated`` says that there would be more; ``remaining`` how many, None
    where nobody has counted them."""

    rows: Sequence[SearchRow]
    truncated: bool = False
    remaining: int | None = 0


class Answers:
    """The answers to one search, built one at a time as they are sent. ``truncated`` says that there would be more."""

    def __init__(self, rows: Sequence[SearchRow], build: Callable[[SearchRow], JsonDataset], truncated: bool) -> None:
        self._rows = rows
        self._build = build
        self.truncated = truncated

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[JsonDataset]:
        return map(self._build, self._rows)


class Reader:
    """Searches and opens what is stored, for those who may. Thread-safe."""

    def __init__(self, index: ListedIndex, blobs: BlobStore, limits: ReadLimits, about: AboutArchive) -> None:
        self._index = index
        self._blobs = blobs
        self._limits = limits
        self.about = about

    def search(self, principal: Principal, query: Query) -> Answers:
        """The records that answer a query, in order of arrival.

        Raises Denied, StorageUnavailable; nothing is answered that is not in the trail.
        """
        found = self.find(principal, query)
        build = compile_answer(query, self.about)
        return Answers(found.rows, lambda row: build(merged(row)), found.truncated)

    def find(self, principal: Principal, query: Query) -> Found:
        """The same records as the index has them, from ``query.offset`` on and at most ``query.limit``.

        Raises Denied, StorageUnavailable; nothing is answered that is not in the trail.
        """
        require(principal, Right.FIND)
        limit = self._limits.max_query_results if query.limit is None else query.limit
        limit = min(limit, self._limits.max_query_results)
        narrowed = sql_conditions(query)
        # Closed before anything else is asked of the index: as long as it is open, it holds a connection.
        with closing(self._candidates(query, narrowed, limit, principal.scope)) as rows:
            found: list[SearchRow] = []
            held_bytes, truncated = 0, False
            for row in rows:
                held_bytes += sum(map(len, row.attributes))
                # One record is always answered: its size is bounded by that of a header.
                if len(found) == limit or (found and held_bytes > self._limits.max_query_bytes):
                    truncated = True
                    break
                found.append(row)
        remaining: int | None = 0
        if truncated:
            remaining = self._index.count(query, narrowed, principal.scope) if narrowed.exact else None
            remaining = None if remaining is None else remaining - query.offset - len(found)
        details = _asked(query) | {"results": len(found), "truncated": truncated}
        self._index.record(Event(Action.QUERY, Outcome.SUCCESS, principal, details))
        return Found(found, truncated, remaining)

    def list_studies(self, principal: Principal, wanted: StudyList) -> StudyPage:
        """One page of the list of studies, at most MAX_LISTED of them.

        Raises Denied, StorageUnavailable; nothing is answered that is not in the trail.
        """
        require(principal, Right.FIND)
        wanted = replace(wanted, limit=min(wanted.limit, MAX_LISTED, self._limits.max_query_results))
        found = self._index.list_studies(wanted, principal.scope)
        details: dict[str, Detail] = {"level": Level.STUDY.name, "model": "LIST", "matched": wanted.matched}
        details |= {"results": len(found.rows), "truncated": found.has_older}
        self._index.record(Event(Action.QUERY, Outcome.SUCCESS, principal, details))
        return found

    def _candidates(
        self, query: Query, narrowed: Prefilter, limit: int, scope: Scope | None
    ) -> Generator[SearchRow, None, None]:
        """The records that match, from the query's offset on; more than ``limit`` of them if there are."""
        if narrowed.exact:
            yield from self._index.search(query, narrowed, limit + 1, scope)
            return
        matcher = compile_matcher(query)
        rows = self._index.search(query, narrowed, None, scope)
        yield from islice((row for row in rows if matcher(merged(row))), query.offset, None)

    def retrieve(
        self,
        principal: Principal,
        right: Right,
        retrieval: Retrieval,
        more: Mapping[str, Detail],
        action: Action = Action.RETRIEVE,
    ) -> Sequence[StoredObject]:
        """The objects that a C-GET or C-MOVE names; that they are about to leave is in the trail on return, as
        ``action`` unless they are moved.

        Raises Denied, LimitExceeded, StorageUnavailable.
        """
        require(principal, right)
        objects = self._index.find_objects(retrieval, self._limits.max_retrieve_objects, principal.scope)
        action = Action.MOVE if right is Right.MOVE else action
        studies = tuple(sorted({stored.study_uid for stored in objects})[:64])
        details: dict[str, Detail] = {
            "phase": "begin",
            "level": retrieval.level.name,
            "objects": len(objects),
            "studies": studies,
        }
        self._index.record(Event(action, Outcome.SUCCESS, principal, details | dict(more)))
        return objects

    def condition(self, stored: StoredObject) -> Condition:
        """What is known of an object that was retrieved, beside what it says. Raises StorageUnavailable."""
        return self._index.condition(stored.sop_uid)

    def refused(self, principal: Principal, action: Action, error: Exception) -> None:
        """Record that a search or retrieval was refused, by the kind of reason only."""
        reason = getattr(error, "reason", None) or getattr(error, "limit_name", None) or type(error).__name__
        self._index.record(Event(action, Outcome.REFUSED, principal, {"reason": str(reason)}))

    def under_way(self, principal: Principal, kind: str, total: int) -> Progress:
        """What others are to see among the jobs of a retrieval of ``total`` objects, if it takes its time."""
        return self._index.under_way(kind, principal.user or principal.aet, total)

    def ended(self, principal: Principal, action: Action, outcome: Outcome, details: Mapping[str, Detail]) -> None:
        """Record how a retrieval ended."""
        self._index.record(Event(action, outcome, principal, {"phase": "end", **details}))

    def open(self, stored: StoredObject) -> BlobReader:
        """Open a stored object. Raises NotFound, IntegrityError, StorageUnavailable."""
        return open_object(self._blobs, self._index, stored)


def open_object(blobs: BlobStore, index: Index, stored: StoredObject) -> BlobReader:
    """Open a stored object, wherever it lies. Raises NotFound, IntegrityError, StorageUnavailable."""
    if not stored.key.key:
        raise IntegrityError("the data key of the object does not open")
    if stored.small_row:
        return blobs.open_small(stored.object_id, stored.key.key, index.small_object(stored.small_row))
    return blobs.open(stored.object_id, stored.key.key)


def merged(row: SearchRow) -> dict[str, Any]:
    """One mapping of the attributes of a row's level, of those above it, and of what the index computed."""
    attributes: dict[str, Any] = {}
    for encoded in row.attributes:
        attributes.update(decode_attributes(encoded))
    attributes.update(row.computed)
    return attributes


def _asked(query: Query) -> dict[str, Detail]:
    """What the trail says of a query: its level and which attributes it matched, never their values."""
    matched = tuple(f"{key.tag:08X}" for key in query.keys)
    return {"level": query.level.name, "model": query.model.name, "matched": matched, "relational": query.relational}
