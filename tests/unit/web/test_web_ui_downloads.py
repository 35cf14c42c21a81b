"""Files that are made while they leave: cells that are no formulas, and pieces that are not made too early."""

from __future__ import annotations

import asyncio
import csv
import io

import pytest

from strongroom.errors import StorageUnavailable
from strongroom.web.ui.downloads import Download, csv_row

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", 'a"b', "a,b", "a\r\nb", "", "Åsa", "\ud800"]


def test_no_cell_is_a_formula_and_each_is_one_cell():
    raw = csv_row(HOSTILE)
    (cells,) = csv.reader(io.StringIO(raw.decode(), newline=""))
    assert len(cells) == len(HOSTILE)
    assert not any(cell.lstrip(" ")[:1] in tuple("=+-@\t\r\n") for cell in cells if cell.strip(" "))
    assert cells[8:13] == HOSTILE[8:13]


async def now(work, *args, **kwargs):
    return work(*args, **kwargs)


async def sent_of(download):
    messages = []

    async def send(message):
        messages.append(message)

    await download({"type": "http"}, None, send)
    return messages


def test_a_download_leaves_in_pieces_and_says_what_it_is():
    async def run():
        return await sent_of(await Download(iter([b"a", b"", b"b"]), now, "trail.csv", "text/csv").begun())

    start, *bodies = asyncio.run(run())
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-disposition"] == b'attachment; filename="trail.csv"'
    assert b"content-length" not in headers
    assert b"".join(body["body"] for body in bodies) == b"ab"
    assert [body["more_body"] for body in bodies] == [True, True, True, False]


def test_what_fails_at_once_is_no_half_answer():
    def broken():
        raise StorageUnavailable("no")
        yield b""

    with pytest.raises(StorageUnavailable):
        asyncio.run(Download(broken(), now, "x", "text/csv").begun())
