"""Groups of people: what each sees beside the own scopes of those who are in it, and who that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from strongroom.archive.access import scope_terms
from strongroom.archive.administration import GroupShown, User
from strongroom.archive.groups import MAX_GROUP_NAME_CHARS
from strongroom.errors import ConfigError, NotFound
from strongroom.types import Principal
from strongroom.web.call import Call
from strongroom.web.ui.administering import (
    Question,
    administration_of,
    ask,
    done,
    looked_up,
    operation,
    parsed_scope,
    read,
    scope_text,
    sentence,
)
from strongroom.web.ui.pages import page, see_other

GROUPS: Final = "/groups"
GROUP: Final = f"{GROUPS}/group"


async def show_groups(call: Call) -> Response:
    """The list."""
    rows = [
        {"name": each.group.name, "scope": scope_terms(each.group.scope), "members": each.members}
        for each in await looked_up(call, administration_of(call).groups)
    ]
    return page("groups.html", call, rows=rows)


async def show_group(call: Call) -> Response:
    """One group."""
    return await _group_page(call, call.request.query_params.get("name", ""))


async def show_new(call: Call) -> Response:
    """The form for another one."""
    return _new_page(call, {})


async def add(call: Call) -> Response:
    """Make a group."""
    form = await read(call)
    name = form.get("name", "").strip()
    try:
        await done(call, administration_of(call).add_group, name, parsed_scope(form))
    except ConfigError as error:
        return _new_page(call, form, sentence(error))
    return see_other(_path(name))


async def change(call: Call) -> Response:
    """Another scope."""
    form = await read(call)
    name = form.get("name", "")
    try:
        await done(call, administration_of(call).change_group, name, parsed_scope(form))
    except ConfigError as error:
        return await _group_page(call, name, form.get("scope", ""), sentence(error))
    return see_other(_path(name))


async def join(call: Call) -> Response:
    """Put somebody into a group."""
    form = await read(call)
    name = form.get("name", "")
    try:
        await done(call, administration_of(call).join_group, name, form.get("person", ""))
    except ConfigError as error:
        return await _group_page(call, name, wrong=sentence(error))
    return see_other(_path(name))


async def leave(call: Call) -> Response:
    """Take somebody out of a group."""
    form = await read(call)
    name = form.get("name", "")
    await done(call, administration_of(call).leave_group, name, form.get("person", ""))
    return see_other(_path(name))


async def ask_remove(call: Call) -> Response:
    """Whether it is meant."""
    shown, _ = await _find(call, call.request.query_params.get("name", ""))
    name = shown.group.name
    return ask(
        call,
        Question(
            f"Remove the group {name}?",
            "Whoever is in it sees only what is left to him, at once.",
            "Remove",
            f"{GROUPS}/remove",
            _path(name),
            (("name", name),),
        ),
    )


async def remove(call: Call) -> Response:
    """Remove a group."""
    await done(call, administration_of(call).remove_group, (await read(call)).get("name", ""))
    return see_other(GROUPS)


async def _find(call: Call, name: str) -> tuple[GroupShown, list[User]]:
    """A group, and everybody."""
    administration = administration_of(call)

    def look(by: Principal) -> tuple[GroupShown, list[User]]:
        found = [each for each in administration.groups(by) if each.group.name == name]
        if not found:
            raise NotFound("no group has that name")
        return found[0], administration.people(by)

    return await looked_up(call, look)


async def _group_page(call: Call, name: str, scope: str | None = None, wrong: str = "") -> Response:
    shown, people = await _find(call, name)
    own = call.principal.user.casefold()
    return page(
        "group.html",
        call,
        status=400 if wrong else 200,
        shown=shown,
        form={"scope": scope_text(shown.group.scope) if scope is None else scope},
        wrong=wrong,
        is_own=any(each.casefold() == own for each in shown.members),
        own=own,
        others=[
            each.name
            for each in people
            if each.name not in shown.members and each.scope is not None and each.name.casefold() != own
        ],
    )


def _new_page(call: Call, form: Mapping[str, str], wrong: str = "") -> Response:
    return page(
        "group_new.html", call, status=400 if wrong else 200, form=form, wrong=wrong, most_chars=MAX_GROUP_NAME_CHARS
    )


def _path(name: str) -> str:
    return f"{GROUP}?{urlencode({'name': name})}"


OPERATIONS: Final = (
    operation("pageGroups", "GET", GROUPS, show_groups, "Groups of people."),
    operation("pageGroup", "GET", GROUP, show_group, "One group."),
    operation("pageNewGroup", "GET", f"{GROUPS}/new", show_new, "The form for a new group.", for_change=True),
    operation("addGroup", "POST", f"{GROUPS}/new", add, "Make a group.", statuses=(303, 400)),
    operation("changeGroup", "POST", f"{GROUPS}/change", change, "Give a group another scope.", statuses=(303, 400)),
    operation("joinGroup", "POST", f"{GROUPS}/join", join, "Put somebody into a group.", statuses=(303, 400)),
    operation("leaveGroup", "POST", f"{GROUPS}/leave", leave, "Take somebody out of a group."),
    operation(
        "pageRemoveGroup", "GET", f"{GROUPS}/remove", ask_remove, "Ask whether to remove a group.", for_change=True
    ),
    operation("removeGroup", "POST", f"{GROUPS}/remove", remove, "Remove a group."),
)
