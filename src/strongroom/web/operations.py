"""The table of operations. The router, ``OPTIONS``, the OpenAPI description and the conformance statement are made of
it, and an obligation test walks it: each service contributes the operations of its module, and nothing has a route that
is not here."""

from __future__ import annotations

from strongroom.web import bulkdata, delete, frames, health, metadata, metrics, qido, rendered, stow, wado, wado_uri
from strongroom.web.capabilities import with_descriptions
from strongroom.web.operation import Operation
from strongroom.web.ui import (
    account,
    breaking_glass,
    changing,
    drill,
    entering,
    groups,
    instance,
    jobs,
    ohif,
    pages,
    passkeys,
    peers,
    people,
    pictures,
    posture,
    providers,
    proving,
    requests,
    reviewing,
    sharing,
    studies,
    tokens,
    trail,
    upload,
    viewer,
)

OPERATIONS: tuple[Operation, ...] = with_descriptions(
    (
        *health.OPERATIONS,
        *metrics.OPERATIONS,
        *qido.OPERATIONS,
        *wado.OPERATIONS,
        *metadata.OPERATIONS,
        *frames.OPERATIONS,
        *bulkdata.OPERATIONS,
        *rendered.OPERATIONS,
        *wado_uri.OPERATIONS,
        *stow.OPERATIONS,
        *delete.OPERATIONS,
        *entering.OPERATIONS,
        *providers.OPERATIONS,
        *account.OPERATIONS,
        *proving.OPERATIONS,
        *changing.OPERATIONS,
        *passkeys.OPERATIONS,
        *studies.OPERATIONS,
        *upload.OPERATIONS,
        *drill.OPERATIONS,
        *instance.OPERATIONS,
        *pictures.OPERATIONS,
        *viewer.OPERATIONS,
        *trail.OPERATIONS,
        *posture.OPERATIONS,
        *peers.OPERATIONS,
        *people.OPERATIONS,
        *groups.OPERATIONS,
        *tokens.OPERATIONS,
        *sharing.OPERATIONS,
        *breaking_glass.OPERATIONS,
        *ohif.OPERATIONS,
        *reviewing.OPERATIONS,
        *jobs.OPERATIONS,
        *requests.OPERATIONS,
        *pages.OPERATIONS,
    )
)
