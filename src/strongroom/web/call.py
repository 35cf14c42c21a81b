"""One request on its way through a handler: what it asks for, who asks, and what the handler may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request

from strongroom.archive.constraint import QueryLimits
from strongroom.archive.ingest import Arrival, Ingest
from strongroom.archive.read import Reader
from strongroom.config import LimitsSection
from strongroom.types import Principal, Uid

P = ParamSpec("P")
T = TypeVar("T")


class Authenticator(Protocol):
    """Who calls. Blocks for a look into the index at most."""

    def authenticate(self, headers: Headers, certificate_der: bytes, address: str) -> Principal:
        """The caller, from its token or from the certificate of its connection (b"" if it has shown none).

        Raises Unauthenticated.
        """


class RunBlocking(Protocol):
    """Runs a function on a thread of the worker's bounded pool."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """What ``work`` returns or raises. A hand-over costs about 100 us: do much in one call."""


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers use of the archive and of their process. One per worker, shared by all calls."""

    reader: Reader
    new_ingest: Callable[[Arrival], Ingest]
    authenticator: Authenticator
    run_blocking: RunBlocking
    limits: LimitsSection
    query_limits: QueryLimits
    aet: str


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request. ``principal`` holds the right of the operation; the archive checks it again.

    ``uids`` are the UIDs in the path by the names of the operation's path: ``call.uids["study"]``. ``path`` holds its
    other parts as they came, percent-decoded. ``base_url`` is the root of the service as this client called it,
    ``https://pacs.example:8443/dicomweb``: never ends with a slash.
    """

    request: Request
    principal: Principal
    services: Services
    base_url: str
    uids: Mapping[str, Uid] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)

    def study_url(self, study: str) -> str:
        """The retrieve URL of a study."""
        return f"{self.base_url}/studies/{study}"

    def instance_url(self, study: str, series: str, instance: str) -> str:
        """The retrieve URL of an instance."""
        return f"{self.base_url}/studies/{study}/series/{series}/instances/{instance}"


AnyJson = dict[str, Any]
