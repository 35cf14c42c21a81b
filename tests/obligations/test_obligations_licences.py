"""Nothing under a licence that would reach over to ours is installed beside it, in the product or its tests."""

from __future__ import annotations

from importlib.metadata import distributions

GPL = ("GPL", "GNU GENERAL", "GNU AFFERO")
LIBRARIES_APART = {"psycopg", "psycopg-binary"}
"""LGPL, and optional: for those who choose PostgreSQL."""


def test_no_package_is_under_the_gpl() -> None:
    found = set()
    for each in distributions():
        said = each.metadata
        licences = [said.get("License-Expression") or "", (said.get("License") or "")[:80]]
        licences += [line for line in said.get_all("Classifier") or [] if line.startswith("License")]
        if any(word in " ".join(licences).upper() for word in GPL):
            found.add(said["Name"].lower())
    assert found <= LIBRARIES_APART
