"""The order of steps: what is done to an address, phase by phase.

A step function does one step (a few rows of ``steps``) on every port that it concerns, and finds out from
``session.found`` which those are. Cheap and harmless comes first; what depends on an answer comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from strongroom.probe import connecting
from strongroom.probe.dimse import association, canary, counting, services
from strongroom.probe.model import Level
from strongroom.probe.session import Session
from strongroom.probe.tls import transport
from strongroom.probe.web import site, webcanary, webcounts

StepFunction = Callable[[Session], None]

PHASES: Final[tuple[tuple[Level, tuple[StepFunction, ...]], ...]] = (
    (
        Level.CONNECT,
        (
            connecting.connect,
            connecting.connect_neighbours,
            transport.handshakes,
            transport.versions,
            transport.suites,
            transport.strange_certificates,
        ),
    ),
    (
        Level.ASSOCIATE,
        (
            association.associate,
            association.guess,
            association.called_title,
            association.calling_title,
            association.user_identity,
            services.services,
            services.syntaxes,
            association.idle,
            site.look,
            site.strange_certificates,
            site.default_credentials,
        ),
    ),
    (
        Level.COUNT,
        (
            services.ask_for_nothing,
            counting.count,
            counting.shape,
            webcounts.search,
            webcounts.count,
            webcounts.shape,
            webcounts.retrieve_nothing,
            webcounts.store_nothing,
            webcounts.rest,
        ),
    ),
    (Level.CANARY, (canary.canary, webcanary.canary)),
)


def steps_for(level: Level) -> tuple[StepFunction, ...]:
    """The step functions of all phases up to ``level``, in order."""
    return tuple(function for phase, functions in PHASES if phase <= level for function in functions)
