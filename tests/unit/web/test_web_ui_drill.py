"""A series of any length is gone through page by page, each instance once."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, cast

import pytest
from starlette.requests import Request

from strongroom.archive.answers import JsonDataset
from strongroom.types import Principal
from strongroom.web.call import Call, Services
from strongroom.web.ui import drill
from strongroom.web.ui.drill import PAGE_INSTANCES, RUN_INSTANCES, InstanceRow, SeriesRow

SERIES = SeriesRow("2.25.1.1", "1", "CT", "", "", "", "", "", "")


def datasets(count: int) -> list[JsonDataset]:
    """Instances that came in no order."""
    numbers = list(range(1, count + 1))
    random.Random(7).shuffle(numbers)
    return [
        {
            "00080018": {"vr": "UI", "Value": [f"2.25.1.1.{number}"]},
            "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
            "00200013": {"vr": "IS", "Value": [number]},
        }
        for number in numbers
    ]


def shown(monkeypatch: pytest.MonkeyPatch, stored: list[JsonDataset], page: object) -> tuple[int, list[InstanceRow]]:
    def ask(_call: Call, _level: object, *parameters: tuple[str, str]) -> list[JsonDataset]:
        asked = dict(parameters)
        return stored[int(asked["offset"]) :][: int(asked["limit"])]

    monkeypatch.setattr(drill, "ask", ask)
    monkeypatch.setattr(drill, "study_of", lambda _call: None)
    monkeypatch.setattr(drill, "series_of", lambda _call: replace(SERIES, instances=str(len(stored))))
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}
    request = Request(scope | {"query_string": f"page={page}".encode()})
    _study, _series, number, found = drill._page_of_series(Call(request, Principal(""), cast(Services, None), ""))
    return number, found


@pytest.mark.parametrize("count", [0, 1, 96, 97, RUN_INSTANCES, RUN_INSTANCES + 1, 2 * RUN_INSTANCES + 100])
def test_every_instance_is_on_one_page(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    stored = datasets(count)
    pages = [shown(monkeypatch, stored, number + 1)[1] for number in range(-(-count // PAGE_INSTANCES))]
    assert all(len(each) == PAGE_INSTANCES for each in pages[:-1])
    found = [each.uid for page in pages for each in page]
    assert len(found) == len(set(found)) == count
    if count <= RUN_INSTANCES:
        assert [int(each.number) for page in pages for each in page] == list(range(1, count + 1))


@pytest.mark.parametrize("page", ["", "0", "-1", "x", "9999999", "²"])
def test_a_page_that_is_not_there_is_the_first_or_the_last(monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    number, found = shown(monkeypatch, datasets(100), page)
    assert number == (2 if page == "9999999" else 1)
    assert len(found) == (4 if page == "9999999" else 96)
