"""The table of web products: its rows hold together, and answers are told by their marks and by nothing else."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from strongroom.probe.web.httpclient import Response
from strongroom.probe.web.products import pages_for, parse_products, products, recognise, roots_for, shown_text

TEXT = (files("strongroom.probe.web") / "products.toml").read_text(encoding="utf-8")


def answered(body: str, status: int = 200, **headers: str) -> Response:
    return Response(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), body.encode())


def page(path: str, product: str = "") -> Any:
    """A page of the table."""
    return next(
        each for row in products().products for each in row.pages if each.path == path and product in ("", each.product)
    )


def test_no_path_changes_or_runs_anything_or_names_a_study() -> None:
    known = products()
    paths = [each.path for row in known.products for each in row.pages] + [each.path for each in known.counts]
    for path in paths:
        words = set(path.lower().replace("?", "/").replace("=", "/").split("/"))
        assert not words & {
            "tools",
            "execute-script",
            "shutdown",
            "reset",
            "quit",
            "delete",
            "instances",
            "search",
            "find",
        }
        assert not any(word.startswith(("1.", "2.")) for word in words)


def test_each_product_is_told_by_its_own_page_and_not_by_an_empty_one() -> None:
    for row in products().products:
        for each in row.pages:
            if each.marks[0].status:
                continue
            assert recognise(answered("<html><title>Welcome</title></html>"), each) is None, each.path
            assert recognise(answered(""), each) is None, each.path


def test_a_version_is_what_its_pattern_finds_and_nothing_longer() -> None:
    system = answered('{"ApiVersion": 25, "DicomAet": "X", "Version": "1.12.3"}')
    found = recognise(system, page("/system"))
    assert found is not None
    assert (found.name, found.version, found.open) == ("Orthanc", "1.12.3", True)
    for text in ("Doe^Jane 1970", "219.37.4581", "19700101", "01.02.70", "219374581"):
        strange = answered(f'{{"ApiVersion": 25, "DicomAet": "X", "Version": "{text}"}}')
        found = recognise(strange, page("/system"))
        assert found is not None
        assert found.version == ""


def test_a_realm_tells_the_product_behind_a_login() -> None:
    found = recognise(answered("", 401, www_authenticate='Basic realm="PacsOne Server QIDO-RS"'))
    assert found is not None
    assert (found.name, found.open, found.login) == ("PacsOne", False, True)
    assert recognise(answered("", 401, www_authenticate='Basic realm="images"')) is None


def test_a_hint_brings_a_products_pages_to_the_front() -> None:
    usual = [each.path for each in pages_for([answered("")])]
    assert usual[0] == "/system"
    assert "/version" not in usual, "asked only of who looks like it"
    hinted = [each.path for each in pages_for([answered("", server="WildFly/26")])]
    assert hinted[0] == "/dcm4chee-arc/aets"
    assert set(hinted) == set(usual)
    assert "/version" in [each.path for each in pages_for([answered("<title>Dicoogle</title>")])]


def test_the_roots_of_what_was_found_come_first() -> None:
    assert roots_for(["dcm4chee-arc"])[0] == "/dcm4chee-arc/aets/DCM4CHEE/rs"
    assert roots_for([])[0] == "/dicom-web"
    assert len(set(roots_for([]))) == len(roots_for([]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx/1.25.3", "nginx/1.25.3"),
        ("Apache/2.4.6 PHP/5.6.40", "Apache/2.4.6 PHP/5.6.40"),
        ("Orthanc Explorer", "Orthanc Explorer"),
        ("Doe^Jane 19700101", "Aaa^Aaaa 999"),
        ("Welcome Mr. Miller", "Welcome Aa. Aaaa"),
    ],
)
def test_only_words_of_the_table_are_shown(text: str, shown: str) -> None:
    assert shown_text(text) == shown


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["product"][0].update(kind="archive"),
        lambda raw: raw["product"][0].update(colour="red"),
        lambda raw: raw["product"][0]["pages"][0].update(path="system"),
        lambda raw: raw["product"][0]["pages"][0].update(marks=[]),
        lambda raw: raw["product"][0]["pages"][0].update(after="/nowhere"),
        lambda raw: raw["product"][0]["marks"].append({}),
        lambda raw: raw["root"][0].update(products=["Nobody"]),
        lambda raw: raw["credentials"][0].update(product="Nobody"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused(change: Any) -> None:
    raw = tomllib.loads(TEXT)
    change(raw)
    with pytest.raises(ValueError, match=r"."):
        parse_products(raw)
