"""People: accounts, what each is to the archive and may see, and the sessions of everybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from strongroom.archive.administration import NewLink, OpenSession, User
from strongroom.archive.roles import NEED_SECOND_FACTOR, Role, parse_roles
from strongroom.errors import ConfigError, NotFound
from strongroom.types import Principal
from strongroom.web.call import Call
from strongroom.web.ui.administering import (
    Question,
    Secret,
    administration_of,
    ask,
    done,
    looked_up,
    named,
    operation,
    origin_of,
    parsed_scope,
    read,
    scope_text,
    sentence,
    tell_once,
)
from strongroom.web.ui.pages import page, see_other, utc

PEOPLE: Final = "/people"
PERSON: Final = f"{PEOPLE}/person"
SESSIONS: Final = "/sessions"

ROLE_WORDS: Final = {
    Role.VIEWER: "looks at images",
    Role.TECHNOLOGIST: "takes and sends images",
    Role.PHYSICIAN: "reads, stores and sends images",
    Role.RESEARCHER: "no images until there is a de-identified view",
    Role.SECURITY_OFFICER: "reads the trail, decides on what is held; no images",
    Role.AUDITOR: "reads the trail; no images",
    Role.ADMINISTRATOR: "people, peers, tokens; no images",
}
"""What somebody with the role does."""


async def show_people(call: Call) -> Response:
    """The list."""
    return page("people.html", call, people=await looked_up(call, administration_of(call).people))


async def show_person(call: Call) -> Response:
    """One account."""
    return await _person_page(call, call.request.query_params.get("name", ""))


async def show_new(call: Call) -> Response:
    """The form for another one."""
    return _new_page(call, {})


async def add(call: Call) -> Response:
    """Add an account; the answer has its sign-in link."""
    form = await read(call)
    try:
        name, roles = form.get("name", "").strip(), _roles(form)
        link = await done(call, administration_of(call).invite, name, roles, parsed_scope(form))
    except ConfigError as error:
        return _new_page(call, form, sentence(error))
    return _linked(call, link)


async def change(call: Call) -> Response:
    """Other roles, another scope."""
    form = await read(call)
    name = form.get("name", "")
    try:
        await done(call, administration_of(call).change_person, name, _roles(form), parsed_scope(form))
    except ConfigError as error:
        return await _person_page(call, name, form, sentence(error))
    return see_other(_path(name))


async def ask_disable(call: Call) -> Response:
    """Whether it is meant."""
    person, _ = await _find(call, call.request.query_params.get("name", ""))
    return ask(
        call,
        Question(
            f"Disable {person.name}?",
            "All sessions of this account end at once, and nobody signs in with it until it is enabled again.",
            "Disable",
            f"{PEOPLE}/disable",
            _path(person.name),
            (("name", person.name),),
        ),
    )


async def disable(call: Call) -> Response:
    """Refuse an account."""
    name = (await read(call)).get("name", "")
    await done(call, administration_of(call).disable, name)
    return see_other(_path(name))


async def enable(call: Call) -> Response:
    """Take that back."""
    name = (await read(call)).get("name", "")
    await done(call, administration_of(call).enable, name)
    return see_other(_path(name))


async def ask_reset(call: Call) -> Response:
    """Whether it is meant."""
    person, _ = await _find(call, call.request.query_params.get("name", ""))
    return ask(
        call,
        Question(
            f"A new start for {person.name}?",
            "Passcode, second factors and all sessions of this account go. You get a link, shown once, with which its "
            "owner chooses another passcode. Make sure that it is the owner who asks for it.",
            "Reset",
            f"{PEOPLE}/reset",
            _path(person.name),
            (("name", person.name),),
        ),
    )


async def reset(call: Call) -> Response:
    """Take everything from an account that lets anybody in; the answer has its sign-in link."""
    name = (await read(call)).get("name", "")
    return _linked(call, await done(call, administration_of(call).reset, name))


async def show_sessions(call: Call) -> Response:
    """Who is signed in."""
    sessions = await looked_up(call, administration_of(call).sessions)
    return page("sessions.html", call, sessions=sessions, own=_own(call.principal))


async def end_session(call: Call) -> Response:
    """End one session."""
    form = await read(call)
    await done(call, administration_of(call).end_session, form.get("session", ""))
    return see_other(_path(form["name"]) if form.get("name") else SESSIONS)


async def ask_end_sessions(call: Call) -> Response:
    """Whether it is meant."""
    name = call.request.query_params.get("name", "")
    if name:
        await _find(call, name)
    return ask(
        call,
        Question(
            f"End all sessions of {name}?" if name else "End everybody's sessions?",
            "Whoever works with one of them has to sign in again, and loses what he has not sent yet. Yours goes on.",
            "End them",
            f"{SESSIONS}/end-all",
            _path(name) if name else SESSIONS,
            (("name", name),),
        ),
    )


async def end_sessions(call: Call) -> Response:
    """End all sessions of somebody, or of everybody."""
    name = (await read(call)).get("name", "")
    await done(call, administration_of(call).end_sessions, name)
    return see_other(_path(name) if name else SESSIONS)


async def _find(call: Call, name: str) -> tuple[User, list[OpenSession]]:
    administration = administration_of(call)

    def look(by: Principal) -> tuple[User, list[OpenSession]]:
        found = [each for each in administration.people(by) if each.name == name]
        if not found:
            raise NotFound("no user has that name")
        return found[0], [each for each in administration.sessions(by) if each.person == name]

    return await looked_up(call, look)


async def _person_page(call: Call, name: str, form: Mapping[str, str] | None = None, wrong: str = "") -> Response:
    person, sessions = await _find(call, name)
    if form is None:
        form = {f"role-{role}": "on" for role in person.roles} | {"scope": scope_text(person.scope)}
    return page(
        "person.html",
        call,
        status=400 if wrong else 200,
        shown_person=person,
        sessions=sessions,
        own=_own(call.principal),
        is_self=person.name.casefold() == call.principal.user.casefold(),
        form=form,
        wrong=wrong,
        roles=ROLE_WORDS,
        need_factor=NEED_SECOND_FACTOR,
    )


def _new_page(call: Call, form: Mapping[str, str], wrong: str = "") -> Response:
    return page(
        "person_new.html",
        call,
        status=400 if wrong else 200,
        form=form,
        wrong=wrong,
        roles=ROLE_WORDS,
        need_factor=NEED_SECOND_FACTOR,
    )


def _roles(form: Mapping[str, str]) -> tuple[Role, ...]:
    ticked = named(form, "role", Role)
    if not ticked:
        raise ConfigError("choose one role at least")
    return parse_roles(",".join(ticked))


def _linked(call: Call, link: NewLink) -> Response:
    if not link.expires_us:  # who comes from an identity provider signs in there
        return see_other(_path(link.name))
    return tell_once(
        call,
        Secret(
            f"Sign-in link for {link.name}",
            "Whoever opens this link first has the account: give it to its owner by a way that only the owner reads. "
            f"It works once, until {utc(link.expires_us)}.",
            (("Link", f"{origin_of(call)}{link.path}"),),
            _path(link.name),
        ),
    )


def _own(principal: Principal) -> str:
    """The number of the session that somebody is here with."""
    return principal.fingerprint[:16]


def _path(name: str) -> str:
    return f"{PERSON}?{urlencode({'name': name})}"


OPERATIONS: Final = (
    operation("pagePeople", "GET", PEOPLE, show_people, "Accounts."),
    operation("pagePerson", "GET", PERSON, show_person, "One account."),
    operation("pageNewPerson", "GET", f"{PEOPLE}/new", show_new, "The form for a new account.", for_change=True),
    operation("addPerson", "POST", f"{PEOPLE}/new", add, "Add an account.", statuses=(200, 400)),
    operation("changePerson", "POST", f"{PEOPLE}/change", change, "Change an account.", statuses=(303, 400)),
    operation(
        "pageDisablePerson",
        "GET",
        f"{PEOPLE}/disable",
        ask_disable,
        "Ask whether to disable an account.",
        for_change=True,
    ),
    operation("disablePerson", "POST", f"{PEOPLE}/disable", disable, "Disable an account."),
    operation("enablePerson", "POST", f"{PEOPLE}/enable", enable, "Enable an account."),
    operation(
        "pageResetPerson", "GET", f"{PEOPLE}/reset", ask_reset, "Ask whether to reset an account.", for_change=True
    ),
    operation("resetPerson", "POST", f"{PEOPLE}/reset", reset, "Reset an account.", statuses=(200, 303)),
    operation("pageSessions", "GET", SESSIONS, show_sessions, "Open sessions."),
    operation("endAnySession", "POST", f"{SESSIONS}/end", end_session, "End a session of anybody."),
    operation(
        "pageEndSessions",
        "GET",
        f"{SESSIONS}/end-all",
        ask_end_sessions,
        "Ask whether to end sessions.",
        for_change=True,
    ),
    operation("endSessions", "POST", f"{SESSIONS}/end-all", end_sessions, "End all sessions of somebody."),
)
