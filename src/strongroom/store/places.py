"""Where instances go: the rows of their series, study and patient, remembered from one transaction to the next."""

from __future__ import annotations

from collections import OrderedDict

MAX_CACHED_SERIES = 4096


class SeriesPlace:
    """Where the instances of one series go: row ids, and the sets its study has seen. Kept between transactions."""

    __slots__ = (
        "keys", "modalities", "patient", "patient_identity", "series", "sop_classes", "sources", "study", "study_uid",
    )  # fmt: skip

    def __init__(self, patient_identity: tuple[str, str], study_uid: str) -> None:
        self.patient_identity = patient_identity
        self.study_uid = study_uid
        self.patient = self.study = self.series = 0
        self.modalities: set[str] = set()
        self.sop_classes: set[str] = set()
        self.keys: set[bytes] = set()
        self.sources: set[str] = set()
        """Of this series."""


class PlaceCache:
    """Series places by UID, valid for one generation of the index: a deletion begins the next."""

    def __init__(self) -> None:
        self.generation = ""
        self.places: OrderedDict[str, SeriesPlace] = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self.places.clear()

    def use(self, generation: str) -> None:
        """Forget everything that is of another generation."""
        if generation != self.generation:
            self.clear()
            self.generation = generation

    def put(self, series_uid: str, place: SeriesPlace) -> None:
        """Remember a place, dropping the oldest beyond the cap."""
        self.places[series_uid] = place
        if len(self.places) > MAX_CACHED_SERIES:
            self.places.popitem(last=False)
