"""exposition: what another program's parser reads is what was counted, whatever stands in a label."""

from __future__ import annotations

import pytest

from strongroom.metrics.exposition import exposition
from strongroom.metrics.families import FAMILIES
from strongroom.metrics.tally import Tally, together

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_family_is_read_back() -> None:
    tally = Tally()
    for number, family in enumerate(FAMILIES.values()):
        tally.set(family.name, *(f"value of {label}" for label in family.labels), to=number + 0.5)
    text = exposition(together([tally.report("serve", 1.0)], 0.0))
    found = read(text)
    assert len(found) == len(FAMILIES)
    for number, family in enumerate(FAMILIES.values()):
        labels = tuple(sorted((label, f"value of {label}") for label in family.labels))
        assert found[f"strongroom_{family.name}", labels] == number + 0.5
    kinds = {family.name: family.type for family in parser.text_string_to_metric_families(text)}
    assert kinds == {
        f"strongroom_{each.name}".removesuffix("_total" if each.kind == "counter" else ""): each.kind
        for each in FAMILIES.values()
    }


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", 'x"} 1\nstrongroom_ready 0\n#', "Dépôt", ""])
def test_a_label_stays_a_label(name: str) -> None:
    text = exposition({("disk_free_bytes", (name,)): 7.0})
    assert read(text) == {("strongroom_disk_free_bytes", (("folder", name),)): 7.0}


def test_numbers_keep_all_their_digits() -> None:
    assert "strongroom_stored_bytes_total 123456789012345678\n" in exposition(
        {("stored_bytes_total", ()): 123456789012345678}
    )
    assert (
        read(exposition({("start_time_seconds", ()): 1795341612.25}))["strongroom_start_time_seconds", ()]
        == 1795341612.25
    )
