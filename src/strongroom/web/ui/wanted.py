"""What somebody looks for in the list of studies: as the form sends it, and as it stands in the address of a page.

What is typed is mostly a patient's name, and a browser keeps addresses: in its history, for whoever takes the
workstation next. So it is sealed there, and opens for nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from strongroom.archive.listing import (
    MAX_TEXT_CHARS,
    StudyList,
    parse_date,
    parse_physician,
    parse_words,
)
from strongroom.errors import MalformedDataset, NotFound
from strongroom.types import Uid
from strongroom.web.call import Call

PAGE_STUDIES: Final = 50
MODALITIES: Final = ("CR", "CT", "DX", "MG", "MR", "NM", "OT", "PT", "RF", "SR", "US", "XA")
PERIODS: Final = {"1": "today", "7": "last 7 days", "30": "last 30 days", "365": "last year"}
SEALED: Final = "typed"
"""The name of what is sealed in an address."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One search, and from where on. ``sealed`` is what was typed as addresses have it; dates are those of browsers."""

    q: str = field(default="", repr=False)
    institution: str = field(default="", repr=False)
    referring: str = field(default="", repr=False)
    sealed: str = ""
    modality: str = ""
    days: str = ""
    first: str = ""
    last: str = ""
    older: str = ""
    newer: str = ""

    @property
    def has_more(self) -> bool:
        """Whether one of the fields is used that are not always seen."""
        return bool(self.institution or self.referring or self.first or self.last)

    @property
    def is_narrowed(self) -> bool:
        """Whether not all studies are meant."""
        return bool(self.q or self.modality or self.days or self.has_more)

    def query(self, **more: str) -> Mapping[str, str]:
        """The parameters of the same search, on another page."""
        kept = {SEALED: self.sealed, "modality": self.modality, "days": self.days, "from": self.first, "to": self.last}
        return {name: value for name, value in (kept | more).items() if value}

    def address(self, path: str) -> str:
        """Where its first page is."""
        return f"{path}?{query}" if (query := urlencode(self.query())) else path

    def as_list(self, limit: int = PAGE_STUDIES) -> StudyList:
        """What the archive is asked."""
        words, uid = parse_words(self.q)
        first, last = parse_date(self.first), parse_date(self.last)
        if self.days:
            first = max(first, f"{datetime.now(UTC).date() - timedelta(days=int(self.days) - 1):%Y%m%d}")
        return StudyList(
            words, uid, self.modality, first, last, "", self.older, self.newer, limit,
            self.institution, parse_physician(self.referring),
        )  # fmt: skip


def wanted_of_form(call: Call, form: Mapping[str, str]) -> Wanted:
    """What a form asks for."""
    typed = [form.get(name, "").strip()[:MAX_TEXT_CHARS] for name in ("q", "institution", "referring")]
    sealed = _seal(call, "\n".join(typed)) if any(typed) else ""
    return Wanted(typed[0], typed[1], typed[2], sealed, **_chosen(form))


def wanted_of_address(call: Call) -> Wanted:
    """What the address of a page asks for; without what was typed if somebody else has typed it."""
    query = call.request.query_params
    sealed = query.get(SEALED, "")
    typed = _open(call, sealed) if sealed else None
    older = _uid(query.get("older", ""))
    place = {"older": older, "newer": "" if older else _uid(query.get("newer", ""))}
    if typed is None:
        return Wanted(**_chosen(query), **place)
    words, institution, referring = typed.split("\n")
    return Wanted(words, institution, referring, sealed, **_chosen(query), **place)


def _chosen(given: Mapping[str, str]) -> dict[str, str]:
    """What was chosen, and not typed; nothing for what cannot be."""
    chosen = {"modality": given.get("modality", ""), "days": given.get("days", "")}
    dates = {"first": given.get("from", ""), "last": given.get("to", "")}
    return {
        name: value
        for name, value in (chosen | dates).items()
        if (value in MODALITIES if name == "modality" else value in PERIODS if name == "days" else parse_date(value))
    }


def _seal(call: Call, text: str) -> str:
    if call.services.seal is None:
        raise NotFound("nothing is searched here")
    return call.services.seal.seal_typed(_person(call), text)


def _open(call: Call, sealed: str) -> str | None:
    return call.services.seal.open_typed(_person(call), sealed) if call.services.seal else None


def _person(call: Call) -> str:
    return f"{call.principal.via}\0{call.principal.aet}"


def _uid(text: str) -> str:
    try:
        return str(Uid.parse(text)) if text else ""
    except MalformedDataset:
        return ""
