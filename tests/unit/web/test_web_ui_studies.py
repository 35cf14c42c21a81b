"""The list of studies for a spreadsheet."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from strongroom.web.ui.pages import shown
from strongroom.web.ui.studies import to_csv

FORMULA = ("=", "+", "-", "@", "\t", "\r")


@given(st.lists(st.lists(st.text() | st.sampled_from(FORMULA).flatmap(lambda sign: st.text().map(sign.__add__)),
                         min_size=2, max_size=2)))  # fmt: skip
def test_no_cell_is_a_formula_or_hides_anything_and_all_are_there(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(to_csv(("a", "b"), rows), newline="")))
    assert len(read) == len(rows) + 1
    for cells, found in zip(rows, read[1:], strict=True):
        for cell, each in zip(cells, found, strict=True):
            assert not each.startswith(FORMULA)
            assert each.removeprefix("'") == shown(cell).removeprefix("'")
