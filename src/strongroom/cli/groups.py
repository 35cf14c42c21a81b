"""``group add|list|change|join|leave|remove``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated

import typer

from strongroom.admin import groups as administration
from strongroom.admin.groups import GroupShown
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.access import parse_scope, scope_terms
from strongroom.cli import new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, time_text
from strongroom.cli.progress import printable

group = new_group("Groups of people: named parts of the archive that several share.")

NameArgument = Annotated[str, typer.Argument(help="Name of the group.")]
PeopleArgument = Annotated[list[str], typer.Argument(help="User names.")]
GroupScopeOption = Annotated[
    list[str], typer.Option(help="What its members see beside their own scopes: terms as of `peer add --scope`.")
]


@group.command()
def add(name: NameArgument, scope: GroupScopeOption, home: HomeOption = None) -> None:
    """Make a group."""
    limited = parse_scope(scope)
    _with_archive(home, lambda archive: administration.add(archive, name, limited))
    print(printable(f"group {name} is added: {'; '.join(scope_terms(limited))}"))


@group.command()
def change(name: NameArgument, scope: GroupScopeOption, home: HomeOption = None) -> None:
    """Give a group another scope. It holds at once, for everybody who is in it."""
    limited = parse_scope(scope)
    _with_archive(home, lambda archive: administration.change(archive, name, limited))
    print(printable(f"group {name} is changed: {'; '.join(scope_terms(limited))}"))


@group.command()
def join(name: NameArgument, people: PeopleArgument, home: HomeOption = None) -> None:
    """Put people into a group. They have to have a scope of their own, if only `none`."""
    _with_archive(home, lambda archive: administration.join(archive, name, people))
    print(printable(f"in group {name}: {', '.join(people)}"))


@group.command()
def leave(name: NameArgument, people: PeopleArgument, home: HomeOption = None) -> None:
    """Take people out of a group. It holds at once."""
    _with_archive(home, lambda archive: administration.leave(archive, name, people))
    print(printable(f"no longer in group {name}: {', '.join(people)}"))


@group.command()
def remove(name: NameArgument, home: HomeOption = None) -> None:
    """Remove a group. Who was in it sees what is left to him."""
    _with_archive(home, lambda archive: administration.remove(archive, name))
    print(printable(f"group {name} is removed"))


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every group, what it sees, and who is in it."""
    found: list[GroupShown] = []
    _with_archive(home, lambda archive: found.extend(administration.groups(archive)))
    if output is Format.JSON:
        print(json.dumps([_as_json(each) for each in found], indent=2))
        return
    if not found:
        print("no groups")
    for each in found:
        terms = "; ".join(scope_terms(each.group.scope))
        print(printable(f"{each.group.name:<24} {', '.join(each.members) or 'nobody':<24} {terms}"))


def _as_json(shown: GroupShown) -> dict[str, object]:
    return {
        "name": shown.group.name,
        "scope": list(scope_terms(shown.group.scope)),
        "members": list(shown.members),
        "added": time_text(shown.group.added_us),
    }


def _with_archive(home: HomeOption, work: Callable[[Archive], object]) -> None:
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        work(archive)
    finally:
        archive.close()
