"""An archive to walk through with a browser: whoever may come in, and what is hard to show."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pydicom

from harness import archives, web
from harness.archives import RunningArchive
from harness.people import looked_into, signed_in
from harness.samples import sample
from harness.web import WebClient
from strongroom.admin import users
from strongroom.archive.people import SECRET_BYTES, State, digest_of, new_secret
from strongroom.archive.roles import Role
from strongroom.store.people import PeopleTable

NOBODY, SCOPED, AT_CODE, SETTING_UP = "nobody", "physician-scoped", "at-code", "setting-up"
"""Who is there beside one person of each role: a stranger, a physician whose scope holds next to nothing, and those who
are half way in."""

NAMES = (
    "Bergström^Åsa",
    "Mallory<script>alert(1)</script>^<img src=x onerror=alert(1)>",
    "\u202egnp.gnorts^\u2066Right\u200bLeft",
    '=HYPERLINK("https://evil.example")^@SUM(1+1)',
    "Wolfeschlegelsteinhausenbergerdorffundderganzerest^Hubert Blaine",
    "",
    "山田^太郎",
)
"""As strangers write them: markup, marks that turn text around, formulas, without a blank, none at all."""

STUDIES = 60
"""More than one page of a list."""

STUDY = "2.25.4700"
SLICES = 3


Prepare = Callable[[RunningArchive], Mapping[str, str]]
"""Puts something into a running archive, and says what paths call it."""


@dataclass(frozen=True)
class Walked:
    """The archive; ``values`` fill what paths name, ``visitors`` come with what they would show."""

    running: RunningArchive
    values: Mapping[str, str]
    visitors: Mapping[str, WebClient]

    @property
    def origin(self) -> str:
        """Where its pages are."""
        return f"https://localhost:{self.running.https_port}"


def instances() -> Iterator[bytes]:
    """A CT of a few slices, and many small ones of people with all kinds of names."""
    data = pydicom.dcmread(sample("CT_small.dcm"))
    data.SpecificCharacterSet = "ISO_IR 192"
    for number in range(SLICES):
        yield _instance(data, STUDY, number, PatientName=NAMES[0], PatientID="4700")
    data.PixelData, data.Rows, data.Columns = numpy.zeros((8, 8), "int16").tobytes(), 8, 8
    for study in range(1, STUDIES):
        name = NAMES[study % len(NAMES)]
        yield _instance(
            data, f"2.25.47{study:02}", 0, PatientName=name, PatientID=f"<b>{study}</b>", StudyDescription=name[:60]
        )


def _instance(data: pydicom.Dataset, study: str, number: int, **attributes: Any) -> bytes:
    data.StudyInstanceUID, data.SeriesInstanceUID = study, f"{study}.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    data.InstanceNumber = number + 1
    for name, value in attributes.items():
        setattr(data, name, value)
    whole = io.BytesIO()
    data.save_as(whole, enforce_file_format=True)
    return whole.getvalue()


@contextmanager
def walked(root: Path, prepare: Sequence[Prepare] = ()) -> Iterator[Walked]:
    """The archive, served. Each of ``prepare`` puts something into it, and says what paths call it."""
    # Names like these are held at the door: the pages have to bear them all the same.
    settings = {"https": {"workers": 1}, "screening": {"enabled": False}}
    home = archives.new_home(root / "home", settings)
    with archives.serving(home) as running:
        loader = web.client_of(running, running.add_token("loader", "store"))
        headers, body = web.multipart([("application/dicom", each) for each in instances()])
        stored = loader.request("POST", "/studies", headers, body)
        assert stored.status == 200, stored.content
        values = {"study": STUDY, "series": f"{STUDY}.1", "instance": f"{STUDY}.1.0", "link": _link(running)}
        for step in prepare:
            values |= step(running)
        visitors = {role.value: signed_in(running, role.value, role) for role in Role}
        visitors[NOBODY] = web.client_of(running)
        visitors[SCOPED] = signed_in(running, SCOPED, Role.PHYSICIAN, scope=("study=2.25.1",))
        for name, state in ((AT_CODE, State.FACTOR), (SETTING_UP, State.SETUP)):
            visitors[name] = _half_way(running, name, state)
        visitors = {name: replace(each, keeps_alive=True) for name, each in visitors.items()}
        try:
            yield Walked(running, values, visitors)
        finally:
            for each in visitors.values():
                each.close()


def _half_way(running: RunningArchive, name: str, state: State) -> WebClient:
    client = signed_in(running, name, Role.ADMINISTRATOR)
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    with looked_into(running) as archive:
        table = PeopleTable(archive.backend.dialect)

        def work(transaction: Any) -> None:
            session = table.session(transaction.cursor, digest_of(client.session))
            assert session is not None
            table.add_session(transaction.cursor, replace(session, digest=digest_of(secret), state=state))

        archive.index.database.write(work)
    return replace(client, session=secret)


def _link(running: RunningArchive) -> str:
    with looked_into(running) as archive:
        return users.invite(archive, "newcomer", Role.VIEWER).path.rpartition("/")[2]
