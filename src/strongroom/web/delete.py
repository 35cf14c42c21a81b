"""Deleting a study over HTTPS. PS3.18 has no transaction for it; path and method are what servers agree on.

No machine deletes by itself: DELETE proposes it, answered with 202, and somebody who reviews agrees on a page or with
``strongroom delete``. A series or an instance has no key of its own, so that deleting one would be no more than a
promise: it is answered with 405.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.responses import Response

from strongroom.archive.model import Action
from strongroom.archive.proposals import Proposal
from strongroom.errors import ConfigError, Denied, MalformedRequest, NotFound
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import PREFIX, Operation, Parameter
from strongroom.web.parameters import parse_query

DEFAULT_REASON: Final = "deleted over DICOMweb"
MEDIA_TYPE: Final = "application/json"
REVIEW_PROPOSALS: Final = "/review/proposals"


async def propose_deletion(call: Call) -> Response:
    """Propose that a study be deleted; says under which number it waits, and until when.

    Raises Denied, NotFound, MalformedRequest or StorageUnavailable with nothing changed.
    """
    services, study = call.services, call.uids["study"]
    pairs = parse_query(call.request.scope["query_string"], services.limits.max_query_keys)
    reason = dict(pairs).get("reason", DEFAULT_REASON)
    propose = services.decisions.propose_deletion
    work = asyncio.ensure_future(services.run_storing(propose, call.principal, study, reason))
    try:
        # Once begun it is done to its end, whether or not somebody waits to hear of it.
        proposal = await asyncio.shield(work)
    except ConfigError as error:
        raise MalformedRequest(str(error)) from None
    except (Denied, NotFound) as error:
        await services.run_storing(services.reader.refused, call.principal, Action.DELETE, error)
        raise
    return Response(_report(proposal), 202, media_type=MEDIA_TYPE)


def _report(proposal: Proposal) -> bytes:
    return msgspec.json.encode(
        {
            "study": proposal.subject,
            "proposal": proposal.number,
            "proposed_by": proposal.proposer,
            "lapses_us": proposal.lapses_us,
            "decided_at": f"{REVIEW_PROPOSALS}/{proposal.number}",
        }
    )


OPERATIONS: Final = (
    Operation(
        name="deleteStudy",
        method="DELETE",
        path=f"{PREFIX}/studies/{{study}}",
        handler=propose_deletion,
        summary="Propose that a study be deleted for good; a second person agrees.",
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
        statuses=(202,),
    ),
)
