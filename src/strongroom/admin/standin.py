"""The archive's index with some of its acts done otherwise: what an ingest is given to do more in one transaction."""

from __future__ import annotations

from strongroom.store.index import Index


class IndexStandIn:
    """Reads as ``index`` does. Who inherits it says what adding, restoring and recording are."""

    def __init__(self, index: Index) -> None:
        self.study_key = index.study_key
        self.find_object = index.find_object
        self.find_objects = index.find_objects
        self.small_object = index.small_object
        self.search = index.search
        self.count = index.count
