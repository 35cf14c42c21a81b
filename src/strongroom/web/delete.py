"""Deleting a study over HTTPS. PS3.18 has no transaction for it; path and method are what servers agree on.

A study is deleted by destroying its keys: every copy of it, wherever it is, is noise afterwards, and a receipt proves
that. A series or an instance has no key of its own, so that deleting one would be no more than a promise: it is
answered with 405.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.responses import Response

from strongroom.archive.model import Action
from strongroom.errors import ConfigError, Denied, MalformedRequest, NotFound
from strongroom.types import Right
from strongroom.web.call import Call, Deleted
from strongroom.web.operation import PREFIX, Operation, Parameter
from strongroom.web.parameters import parse_query

DEFAULT_REASON: Final = "deleted over DICOMweb"
MEDIA_TYPE: Final = "application/json"


async def delete_study(call: Call) -> Response:
    """Delete a study for good; says what was destroyed, with the receipt.

    Raises Denied, NotFound, MalformedRequest or StorageUnavailable with nothing changed.
    """
    services, study = call.services, call.uids["study"]
    pairs = parse_query(call.request.scope["query_string"], services.limits.max_query_keys)
    reason = dict(pairs).get("reason", DEFAULT_REASON)
    work = asyncio.ensure_future(services.run_storing(services.delete_study, call.principal, study, reason))
    try:
        # Once begun it is done to its end, whether or not somebody waits to hear of it.
        deleted = await asyncio.shield(work)
    except ConfigError as error:
        raise MalformedRequest(str(error)) from None
    except (Denied, NotFound) as error:
        await services.run_storing(services.reader.refused, call.principal, Action.DELETE, error)
        raise
    return Response(_report(study, deleted), media_type=MEDIA_TYPE)


def _report(study: str, deleted: Deleted) -> bytes:
    return msgspec.json.encode(
        {
            "study": str(study),
            "objects": deleted.objects,
            "bytes": deleted.data_bytes,
            "manifest_sha256": deleted.manifest_sha256,
            "receipt": None if deleted.receipt is None else msgspec.Raw(deleted.receipt),
            "problems": deleted.problems,
        }
    )


OPERATIONS: Final = (
    Operation(
        name="deleteStudy",
        method="DELETE",
        path=f"{PREFIX}/studies/{{study}}",
        handler=delete_study,
        summary="Delete a study for good, by destroying its keys; answers with a receipt.",
        right=Right.DELETE,
        parameters=(
            Parameter(
                "reason",
                "query",
                "Why: one line, without names of patients, which stays in the audit trail.",
                {"type": "string", "maxLength": 200},
            ),
        ),
        produces=(MEDIA_TYPE,),
        statuses=(200,),
    ),
)
