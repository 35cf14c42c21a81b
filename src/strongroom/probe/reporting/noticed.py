"""Were we seen: for each association and request of a run, whether it stands in the server's own log. Pure.

A sighting belongs to the contact that was begun last before it, to the same server, if it names the probe: by its
address, its title or its user agent, or if it names nobody and holds a path that was asked for. A log without times can
still hold a title, and then says that but not when.

A connection that touched nothing is looked for as the others are, and is not held against the server: on which no
request was answered, or only looks for pages that are not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from strongroom.probe.judging.findings import RunFacts
from strongroom.probe.model import REACHED, Answer, Identity
from strongroom.probe.permits.scope import CALLING_DEFAULT
from strongroom.probe.reporting.serverlogs import Sighting
from strongroom.probe.reporting.wording import visible

SLACK_US: Final = 2_000_000
"""How far the server's clock may lag behind the probe's, and a time that is cut to the second."""
LATEST_US: Final = 300_000_000
"""A line that comes later than this after the contact is about something else."""
LOOKS: Final = frozenset({"http.root", "http.cors", "http.methods", "http.paths", "http.listing"})
"""Steps that look for pages. One that is not there, or leads elsewhere for anybody, is no attempt at a service."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One connection on which something was asked: an association or a request. ``title`` is "" if it was random;
    ``paths`` are those that were asked for, as far as the run log has them, ``roots`` those of services below which
    more was asked for; ``ended_us`` is when its last answer was there. ``is_attempt``: something was asked of it that
    the server has to be able to show."""

    subject: str
    begun_us: int
    port: int
    step: str
    identity: str
    title: str
    is_http: bool
    paths: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    ended_us: int = 0
    is_attempt: bool = True


@dataclass(frozen=True, slots=True)
class Noticed:
    """What the log has of a contact: ``by`` is empty if nothing; ``delay_s`` is None if the log has no time."""

    contact: Contact
    by: tuple[str, ...]
    delay_s: float | None


def contacts_of(entries: Iterable[Mapping[str, Any]], facts: RunFacts) -> tuple[Contact, ...]:
    """Return the contacts of a run from the entries of its log, in order of time."""
    begun: dict[int, Mapping[str, Any]] = {}
    found: dict[int, Contact] = {}
    for entry in entries:
        if entry["kind"] == "connect":
            begun[entry["n"]] = entry
        elif entry["kind"] == "observation" and _asks(entry):
            for number in _connections(entry, begun):
                if number in found:  # several steps may share a connection: the first one names it
                    found[number] = _joined(found[number], entry)
                else:
                    found[number] = _contact(begun[number], entry, facts)
    return tuple(sorted(found.values(), key=lambda each: each.begun_us))


def _connections(entry: Mapping[str, Any], begun: Mapping[int, Mapping[str, Any]]) -> Sequence[int]:
    """Of which connections an observation tells. What sent nothing names those before it, of which another port is no
    one's. Requests may go over several as the server closes them, and which took which is not said: the first stands
    for them all."""
    numbers = [n for n in entry["entries"] if n in begun and begun[n]["port"] == entry["port"]]
    return numbers[:1] if entry["step"].startswith("http.") else numbers


def _asks(entry: Mapping[str, Any]) -> bool:
    speaks = entry["step"].startswith(("dicom.", "http."))
    return speaks and Answer(entry["answer"]) in REACHED - {Answer.OTHER}


def _joined(contact: Contact, entry: Mapping[str, Any]) -> Contact:
    return replace(
        contact,
        paths=contact.paths | _paths(entry),
        roots=contact.roots | _roots(entry),
        ended_us=max(contact.ended_us, entry.get("at_us", 0)),
        is_attempt=contact.is_attempt or _is_attempt(entry),
    )


def _is_attempt(entry: Mapping[str, Any]) -> bool:
    answer, status = Answer(entry["answer"]), entry.get("details", {}).get("status", 0)
    if entry["step"] in LOOKS:
        return answer is Answer.REFUSED or (answer is Answer.DONE and not 300 <= status < 400)
    # What is not HTTP to a server of HTTPS ends with its handshake: no request reached it.
    return not entry["step"].startswith("http.") or answer in (Answer.DONE, Answer.REFUSED, Answer.FAILED)


def _roots(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({str(entry.get("details", {}).get("root", "")).rstrip("/")} - {""})


def _paths(entry: Mapping[str, Any]) -> frozenset[str]:
    if entry["step"] == "http.root":
        return frozenset({"/"})
    path = str(entry.get("details", {}).get("path", "")).partition("?")[0]
    return frozenset({path, path.rstrip("/")} - {""})


def _contact(connect: Mapping[str, Any], entry: Mapping[str, Any], facts: RunFacts) -> Contact:
    target, address = entry["target"], entry["address"]
    subject = target if target == address else f"{target} ({address})"
    is_http = entry["step"].startswith("http.")
    title = CALLING_DEFAULT
    if is_http or entry["step"] == "dicom.calling_title":
        title = ""
    elif entry["identity"] in (Identity.NAMED, Identity.CERTIFICATE):
        title = facts.calling.get(target, CALLING_DEFAULT)
    port, step, identity = entry["port"], entry["step"], entry["identity"]
    made = Contact(subject, connect["at_us"], port, step, identity, title, is_http, is_attempt=False)
    return _joined(made, entry)


def near(contacts: Sequence[Contact], seen: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Return those of the time of the run, and those without a time."""
    if not contacts:
        return ()
    first, last = contacts[0].begun_us - SLACK_US, contacts[-1].begun_us + LATEST_US
    return tuple(each for each in seen if not each.at_us or first <= each.at_us <= last)


def sources(seen: Iterable[Sighting]) -> frozenset[str]:
    """Return the addresses that a log names together with a title or the user agent of the probe."""
    return frozenset(address for each in seen if each.titles or each.is_agent for address in each.addresses)


def suggested(contacts: Sequence[Contact], seen: Iterable[Sighting]) -> tuple[str, ...]:
    """Return the addresses that called while contacts went on, of which the probe's may be one: the likeliest first,
    three at most."""
    hits: Counter[str] = Counter()
    for each in seen:
        if any(one.is_http == each.is_http and _is_during(one, each) for one in contacts if one.is_attempt):
            hits.update(each.addresses)
    return tuple(address for address, _ in hits.most_common(3))


def match(contacts: Sequence[Contact], seen: Iterable[Sighting], addresses: frozenset[str]) -> tuple[Noticed, ...]:
    """Return for each contact whether it was seen. ``addresses`` are those that the probe came from, as the server
    sees them; empty: those that the log names together with a title or the user agent of the probe."""
    sighted = near(contacts, seen)
    known = addresses or sources(sighted)
    by: dict[int, set[str]] = {}
    delays: dict[int, float] = {}
    for each in sighted:
        candidates = [number for number, contact in enumerate(contacts) if _names(contact, each, known)]
        number = _one_of(contacts, candidates, each, by.keys())
        if number is None:
            continue
        by.setdefault(number, set()).update(_names(contacts[number], each, known), {"time"} if each.at_us else ())
        if each.at_us:
            delay = max(0.0, (each.at_us - contacts[number].begun_us) / 1_000_000)
            delays[number] = min(delay, delays.get(number, delay))
    return tuple(
        Noticed(contact, tuple(sorted(by.get(number, ()))), delays.get(number))
        for number, contact in enumerate(contacts)
    )


def _is_during(contact: Contact, seen: Sighting) -> bool:
    ended_us = max(contact.begun_us, contact.ended_us)
    return contact.begun_us - SLACK_US <= seen.at_us <= ended_us + SLACK_US


def _names(contact: Contact, seen: Sighting, known: frozenset[str]) -> frozenset[str]:
    """By what a line names a contact; empty if it does not, or is about something else."""
    if contact.is_http != seen.is_http or (seen.titles and contact.title and contact.title not in seen.titles):
        return frozenset()
    named = {
        "title": bool(seen.titles),
        "address": bool(seen.addresses & known),
        "user agent": seen.is_agent,
        # A log that never says who called can at least hold what was asked for.
        "path": not seen.addresses and _has_path(contact, seen) and (not seen.at_us or _is_during(contact, seen)),
    }
    return frozenset(name for name, is_so in named.items() if is_so)


def _has_path(contact: Contact, seen: Sighting) -> bool:
    return seen.path in contact.paths or any(f"{seen.path}/".startswith(f"{root}/") for root in contact.roots)


def _one_of(
    contacts: Sequence[Contact], candidates: Sequence[int], seen: Sighting, noticed: Collection[int]
) -> int | None:
    """Return the contact that a line is about: the last one begun before it.

    Of those that a time which is cut to the second, or a clock that lags, does not tell apart, the first that is not
    noticed yet. A line without a time is about the first that is not.
    """
    if not seen.at_us:
        return next((number for number in candidates if number not in noticed), None)
    last_us = seen.at_us + (0 if seen.at_us % 1_000_000 else 999_999)
    close = [n for n in candidates if seen.at_us - LATEST_US <= contacts[n].begun_us <= last_us + SLACK_US]
    before = [n for n in close if contacts[n].begun_us < seen.at_us]
    alike = [n for n in close if seen.at_us <= contacts[n].begun_us <= last_us]
    if before and not any(n not in noticed for n in alike):
        return max((*before, *alike))
    return next((n for n in (*alike, *close) if n not in noticed), None)


def verdicts(noticed: Sequence[Noticed]) -> Mapping[str, str]:
    """Return "all", "some" or "none" by subject, of those of which anything was asked."""
    seen: dict[str, list[bool]] = {}
    for each in noticed:
        if not each.contact.is_attempt:
            continue
        seen.setdefault(each.contact.subject, []).append(bool(each.by))
    return {subject: "all" if all(was) else "some" if any(was) else "none" for subject, was in seen.items()}


def noticed_json(noticed: Sequence[Noticed]) -> dict[str, Any]:
    """Return what was noticed, as JSON has it."""
    delays = [each.delay_s for each in noticed if each.delay_s is not None]
    return {
        "format": "strongroom-probe-noticed/1",
        "contacts": sum(each.contact.is_attempt for each in noticed),
        "noticed": sum(each.contact.is_attempt and bool(each.by) for each in noticed),
        "delay_s": {"median": median(delays), "max": max(delays)} if delays else None,
        "targets": dict(verdicts(noticed)),
        "each": [
            {
                "target": each.contact.subject,
                "port": each.contact.port,
                "step": each.contact.step,
                "identity": each.contact.identity,
                "begun_us": each.contact.begun_us,
                "attempt": each.contact.is_attempt,
                "noticed": bool(each.by),
                "by": list(each.by),
                "delay_s": each.delay_s,
            }
            for each in noticed
        ],
    }


def noticed_text(noticed: Sequence[Noticed]) -> str:
    """Return what was noticed, as lines, with a line end."""
    lines = []
    for each in noticed:
        contact = each.contact
        missed = "MISSED" if contact.is_attempt else "not counted: it asked for nothing that is there"
        how = f"noticed by {' and '.join(each.by)}" if each.by else missed
        delay = f", {each.delay_s:.1f} s after it began" if each.delay_s is not None else ""
        lines.append(
            f"{contact.subject} port {contact.port}  {contact.step:<24} as {contact.identity:<12} {how}{delay}"
        )
    told = noticed_json(noticed)
    lines.append(f"{told['noticed']} of {told['contacts']} associations and requests stand in the log")
    if told["delay_s"]:
        lines.append(f"delay: {told['delay_s']['median']:.1f} s in the middle, {told['delay_s']['max']:.1f} s at most")
    return visible("\n".join(lines) + "\n")
