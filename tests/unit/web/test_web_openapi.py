"""The OpenAPI description says of every operation what the table says, in a form that tools accept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from strongroom.web.openapi import describe
from strongroom.web.operation import COMMON_STATUSES, Operation
from strongroom.web.operations import OPERATIONS as ALL

OPERATIONS = tuple(operation for operation in ALL if not operation.is_page)
DOCUMENT = describe(OPERATIONS)


def described(operation: Operation) -> dict[str, Any]:
    path = re.sub(r"\{(\w+):path\}", r"{\1}", operation.path)
    return DOCUMENT["paths"][path][operation.method.lower()]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_is_described_as_it_stands_in_the_table(operation: Operation) -> None:
    found = described(operation)
    assert found["operationId"] == operation.name
    assert {int(status) for status in found["responses"]} == {*operation.statuses, *COMMON_STATUSES}
    contents = {status: set(answer.get("content", {})) for status, answer in found["responses"].items()}
    assert contents.get("200", set(operation.produces)) == set(operation.produces)
    if "206" in contents:
        assert contents["206"] == {*operation.produces, "multipart/byteranges"}
    assert set(found.get("requestBody", {}).get("content", {})) == set(operation.consumes)
    variables = set(re.findall(r"\{(\w+)", operation.path))
    assert {each["name"] for each in found.get("parameters", ()) if each["in"] == "path"} == variables


def test_only_what_is_public_needs_no_credentials() -> None:
    free = {operation.name for operation in OPERATIONS if described(operation).get("security") == []}
    assert free == {operation.name for operation in OPERATIONS if operation.public} == {"health", "ready"}
    assert DOCUMENT["security"], "everything else takes a token or a certificate"


def test_operation_ids_are_there_once() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))


def schemas(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "schema" in node:
            yield node["schema"]
        for child in node.values():
            yield from schemas(child)
    elif isinstance(node, list):
        for child in node:
            yield from schemas(child)


def test_every_schema_is_a_json_schema_and_every_reference_leads_somewhere() -> None:
    for schema in [*schemas(DOCUMENT["paths"]), *DOCUMENT["components"]["schemas"].values()]:
        assert jsonschema_rs.meta.is_valid(schema), schema
    for name in re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)):
        assert name in DOCUMENT["components"]["schemas"]
