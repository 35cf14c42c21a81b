"""The running server keeps to its OpenAPI description, whatever schemathesis thinks of to send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from harness.samples_archive import ServedSamples, served_samples
from strongroom.web.openapi import describe
from strongroom.web.operations import OPERATIONS as ALL

OPERATIONS = tuple(operation for operation in ALL if not operation.is_page)
EXAMPLES = 12
TIMEOUT_S = 60
REFUSALS = (400, 401, 414, 429, 431)
"""What somebody without credentials may be told: 429 when it has asked too often."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""An instance that cannot be rendered is answered with 406: 500 is always a fault."""

OPERATIONS = tuple(operation for operation in ALL if not operation.is_page)
schema = schemathesis.openapi.from_dict(describe(OPERATIONS))


def as_it_comes(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Any body is as good as another to a server that has to refuse it."""
    return value if isinstance(value, bytes) else repr(value).encode()


for media_type in {kind.partition(";")[0] for operation in OPERATIONS for kind in operation.consumes}:
    schemathesis.serializer(media_type)(as_it_comes)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSamples]:
    with served_samples(tmp_path_factory.mktemp("openapi")) as served:
        yield served


@pytest.fixture(scope="module")
def headers(served: ServedSamples) -> dict[str, str]:
    """No right to delete: what is asked for by its real name has to be there the next time."""
    return {"Authorization": f"Bearer {served.running.add_token('fuzzer', 'search,read,store')}"}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections that are kept alive. Knows of no credentials."""
    with requests.Session() as session:
        yield session


def test_what_is_served_is_what_the_table_says(served: ServedSamples) -> None:
    assert served.client.get("/openapi.json").json == describe(OPERATIONS)


@schema.given(number=st.none() | st.integers(0, 10**6))
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_described(
    case: schemathesis.Case,
    number: int | None,
    served: ServedSamples,
    session: requests.Session,
    headers: dict[str, str],
) -> None:
    if number is not None and case.path_parameters:  # something that is really there
        sample = served.samples[number % len(served.samples)]
        real = {"study": sample.study, "series": sample.series, "instance": sample.instance, "frames": "1"}
        case.path_parameters.update({name: real[name] for name in case.path_parameters.keys() & real})
    root = f"https://127.0.0.1:{served.running.https_port}"
    more = {"session": session, "verify": str(served.client.authority), "timeout": TIMEOUT_S}
    response = case.call(base_url=root, headers=headers, **more)
    case.validate_response(response, checks=CHECKS)
    nobody = case.call(base_url=root, **more)
    is_public = case.operation.definition.raw.get("security") == []
    assert is_public or nobody.status_code in REFUSALS, nobody.status_code
