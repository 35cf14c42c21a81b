"""One request on its way through a handler: what it asks for, who asks, and what the handler may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request

from strongroom.archive.administration import Administration
from strongroom.archive.constraint import QueryLimits
from strongroom.archive.ingest import Arrival, Incoming, Memory
from strongroom.archive.metadata import Metadata, Outliner
from strongroom.archive.oversight import Oversight
from strongroom.archive.ports import (
    AddressSeal,
    BreakGlass,
    Decisions,
    OwnAccount,
    Passkeys,
    Providers,
    Sharing,
    SignIn,
)
from strongroom.archive.read import Reader
from strongroom.config import LimitsSection
from strongroom.types import Principal, Uid
from strongroom.viewer.installed import InstalledViewer
from strongroom.web.frametables import FrameTables
from strongroom.web.room import Room

if TYPE_CHECKING:  # the pool starts processes: a handler only needs to know what it can ask for
    from strongroom.pixels.pool import Pixels

P = ParamSpec("P")
T = TypeVar("T")


class Authenticator(Protocol):
    """Who calls. Blocks for a look into the index at most."""

    def authenticate(self, headers: Headers, certificate_der: bytes, address: str) -> Principal:
        """The caller, from its token or from the certificate of its connection (b"" if it has shown none).

        Raises Unauthenticated.
        """

    def denied(self, principal: Principal, reason: str) -> None:
        """Record that a known caller may not do what was asked for."""


class RunBlocking(Protocol):
    """Runs a function on a thread of the worker's bounded pool."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """What ``work`` returns or raises. A hand-over costs about 100 us: do much in one call."""


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers use of the archive and of their process. One per worker, shared by all calls.

    ``run_storing`` is ``run_blocking`` on threads of its own, so that a slow disk, or many who store, keep no reader
    waiting. ``run_pixels`` is it for whoever needs a pixel worker, and waits for one: it raises Busy when too many do.
    ``go_on_pixels`` is it for what is left of an answer that has begun, for which its queue is never too long.
    ``index_is_remote`` says that a look into the index is a round trip over a network, which no event loop waits for.
    ``run_sign_in`` is it for who signs in: a passcode takes its time to check, and Busy is raised when too many wait.
    ``proof_max_age_us`` is how long it counts that somebody has proved who he is.
    ``run_provider`` is it for who waits for an identity provider.
    ``storage_classes`` are the SOP classes that are taken in. ``room`` is for what uploads hold.
    ``count_request`` is told operation, status and seconds of each answer; ``metrics`` is what all processes count, as
    Prometheus reads it; ``is_ready`` whether this one can do its work. ``viewer`` is OHIF, if it is installed.
    """

    reader: Reader
    new_ingest: Callable[[Arrival], Incoming]
    authenticator: Authenticator
    run_blocking: RunBlocking
    limits: LimitsSection
    query_limits: QueryLimits
    aet: str
    run_storing: RunBlocking
    run_pixels: RunBlocking
    go_on_pixels: RunBlocking
    storage_classes: frozenset[str]
    decisions: Decisions
    outliner: Outliner
    metadata: Metadata
    frames: FrameTables
    room: Room
    pixels: Pixels | None = None
    new_memory: Callable[[], Memory] = Memory
    sign_in: SignIn | None = None
    oversight: Oversight | None = None
    passkeys: Passkeys | None = None
    own_account: OwnAccount | None = None
    seal: AddressSeal | None = None
    run_sign_in: RunBlocking | None = None
    proof_max_age_us: int = 600_000_000
    administration: Administration | None = None
    sharing: Sharing | None = None
    break_glass: BreakGlass | None = None
    providers: Providers | None = None
    run_provider: RunBlocking | None = None
    index_is_remote: bool = False
    is_ready: Callable[[], bool] = lambda: True
    count_request: Callable[[str, int, float], None] = lambda _operation, _status, _seconds: None
    metrics: Callable[[], str] = lambda: ""
    viewer: InstalledViewer | None = None


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
