"""What a scope allows, in words: for whoever signs it, and for a dry run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from strongroom.probe.model import Level
from strongroom.probe.permits.scope import Reach, Scope, ScopeTarget, reach_of
from strongroom.probe.steps import STEPS, Step


@dataclass(frozen=True, slots=True)
class Planned:
    """A step that a run takes on each address that answers, or leaves out because ``missing`` is not consented to."""

    step: Step
    missing: str = ""


def planned_steps(scope: Scope) -> tuple[Planned, ...]:
    """Return every step of the scope's level, in the order of the table."""
    return tuple(
        Planned(step, "" if not step.consent or step.consent in scope.consents else step.consent)
        for step in STEPS.values()
        if step.level <= scope.level
    )


def describe(scope: Scope) -> Iterator[str]:
    """Yield lines that say what the scope allows."""
    window, rates = scope.window, scope.rates
    yield f"{scope.name}: level {scope.level}, seen from {scope.vantage}"
    yield f"  authorised by {scope.authorised_by}, contact {scope.contact}" + (
        f", reference {scope.reference}" if scope.reference else ""
    )
    daily = f", daily {window.daily_from} to {window.daily_until}" if window.daily_from else ""
    yield f"  from {window.start.isoformat()} to {window.end.isoformat()}{daily}"
    yield (
        f"  one connection at a time to an address, {rates.interval_s:g} s apart, at most"
        f" {rates.connections_per_target}; {rates.targets_at_once} addresses at a time"
    )
    yield "  consented to: " + (", ".join(sorted(scope.consents)) or "nothing beyond the level")
    if scope.level is Level.CANARY:
        yield "  IT WRITES: synthetic objects are stored in the archives, and have to be removed afterwards"
    for target in scope.targets:
        yield from _describe_target(target, scope.tested_as(target))


def _describe_target(target: ScopeTarget, tested_as: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    number = sum(network.num_addresses for network in target.networks)
    addresses = ", ".join(
        str(network.network_address) if network.num_addresses == 1 else str(network) for network in target.networks
    )
    public = any(reach_of(network) is Reach.PUBLIC for network in target.networks)
    yield (
        f"  {target.name}: {target.host + ' at ' if target.host else ''}{addresses}"
        + (f" ({number} addresses)" if number > 1 else "")
        + (f", public, ownership by {target.ownership}" if public else "")
    )
    if target.excluded:
        yield "    never: " + ", ".join(map(str, target.excluded))
    yield (
        f"    DICOM {_ports(target.dicom_ports)}; HTTP {_ports(target.http_ports)};"
        f" connected to only {_ports(target.neighbour_ports)}"
    )
    if target.titles_named:
        yield f"    called {target.called}, calling {target.calling}"
    for earlier, ports in tested_as.items():
        yield f"    at addresses that {earlier} has too, {_ports(ports)} tested as {earlier} and not again"
    if tested_as and {port for ports in tested_as.values() for port in ports} == set(target.ports):
        yield "    NOTHING IS LEFT to test there: name other ports, or put this target before the others"


def _ports(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports)) or "none"


def plan_json(scope: Scope, targets: tuple[ScopeTarget, ...]) -> dict[str, object]:
    """Return what a run would do, as a dry run prints it in JSON."""
    return {
        "scope": scope.name,
        "level": str(scope.level),
        "targets": [
            {
                "name": target.name,
                "host": target.host,
                "addresses": [str(network) for network in target.networks],
                "excluded": [str(network) for network in target.excluded],
                "ports": list(target.ports),
                "neighbour_ports": list(target.neighbour_ports),
                "tested_as": {name: list(ports) for name, ports in scope.tested_as(target).items()},
            }
            for target in targets
        ],
        "steps": [
            {"step": each.step.name, "level": str(each.step.level), "sends": each.step.sends, "missing": each.missing}
            for each in planned_steps(scope)
        ],
    }
