"""``user add|list|disable|reset|link``."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Annotated

import typer

from strongroom.admin import groups as membership
from strongroom.admin import identities
from strongroom.admin import users as administration
from strongroom.admin.users import NewLink
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.access import scope_terms
from strongroom.archive.passcodes import check_passcode
from strongroom.archive.roles import Role, parse_roles
from strongroom.cli import new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, minute_text, time_text
from strongroom.cli.progress import printable
from strongroom.config import environment
from strongroom.errors import ConfigError

group = new_group("People with an account.")

NameArgument = Annotated[str, typer.Argument(help="User name.")]


@group.command()
def add(
    name: NameArgument,
    home: HomeOption = None,
    role: Annotated[
        str, typer.Option(help=f"What this person is to the archive: {', '.join(Role)}; several with commas.")
    ] = Role.TECHNOLOGIST.value,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What this person may see: terms as of `peer add --scope`; none for nothing; may be repeated."
        ),
    ] = None,
    group_: Annotated[
        list[str] | None,
        typer.Option("--group", help="A group to be in; without --scope, its part is all. May be repeated."),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Print a sign-in link, good once, with which this person chooses a passcode.")
    ] = False,
) -> None:
    """Add an account, or give it a new passcode: from STRONGROOM_PASSCODE, from the terminal, or a random one.

    Its sessions end.
    """
    roles, joins = parse_roles(role), group_ or []
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        limited = membership.own_scope(archive, name, scope or (), joins)
        if link:
            invited = administration.invite(archive, name, *roles, scope=limited)
            _join(archive, name, joins)
            _print_link(invited, archive)
            return
        passcode, is_random = _passcode(name)
        is_new = administration.add(archive, name, passcode, *roles, scope=limited)
        _join(archive, name, joins)
    finally:
        archive.close()
    print(f"user {name} {'is added' if is_new else 'has a new passcode'}, role {', '.join(roles)}")
    if is_random:
        print(f"passcode {passcode}   (shown this once; only its hash is kept)")


def _join(archive: Archive, name: str, joins: list[str]) -> None:
    for each in joins:
        membership.join(archive, each, [name])


@group.command()
def reset(name: NameArgument, home: HomeOption = None) -> None:
    """Take passcode, second factor and sessions from an account, and print a sign-in link for a new start."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        _print_link(administration.reset(archive, name), archive)
    finally:
        archive.close()


@group.command()
def link(
    name: NameArgument,
    home: HomeOption = None,
    provider: Annotated[str, typer.Option(help="The provider, by its `name` in an [[oidc]] section.")] = "",
    subject: Annotated[str, typer.Option(help="What its claim `sub` is for this person.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Nobody of any provider any more; sessions end.")] = False,
) -> None:
    """Have somebody of an identity provider sign in as this account, which keeps its own roles and scope."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        if remove:
            identities.unlink(archive, name)
        else:
            identities.link(archive, name, provider, subject)
    finally:
        archive.close()
    print(f"user {name} is {'linked to nobody' if remove else f'linked to somebody of {provider}'}")


def _print_link(link: NewLink, archive: Archive) -> None:
    if not link.expires_us:
        print(f"user {link.name} signs in with the provider again, and sets up a second factor if one is needed")
        return
    https = archive.config.https
    host = https.names[0] if https.names else "localhost"
    print(f"user {link.name} signs in with this, once, until {minute_text(link.expires_us)}:")
    print(f"https://{host}:{https.public_port or https.port}{link.path}")


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every account, its roles, its scope and its second factors."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        users = administration.users(archive)
    finally:
        archive.close()
    if output is Format.JSON:
        report = [
            {
                "name": user.name,
                "role": user.role,
                "scope": scope_terms(user.scope),
                "groups": user.groups,
                "has_passcode": user.has_passcode,
                "factors": user.factors,
                "added": time_text(user.added_us),
                "disabled": time_text(user.disabled_us),
            }
            for user in users
        ]
        print(json.dumps(report, indent=2))
        return
    if not users:
        print("no users")
    for user in users:
        state = "DISABLED" if user.disabled_us else "enabled" if user.has_passcode else "invited"
        factors = ", ".join(user.factors) or "no second factor"
        limits = "" if user.scope is None else f"  only {' '.join(scope_terms(user.scope))}"
        shared = f"  with {', '.join(user.groups)}" if user.groups else ""
        print(printable(f"{user.name:<24} {user.role:<17} {state:<9} {factors}{limits}{shared}"))


@group.command()
def disable(name: NameArgument, home: HomeOption = None) -> None:
    """Refuse an account from now on, and end its sessions."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        administration.disable(archive, name)
    finally:
        archive.close()
    print(f"user {name} is disabled")


def _passcode(name: str) -> tuple[str, bool]:
    """The passcode, and whether nobody but this process knows it."""
    given = environment("STRONGROOM_PASSCODE")
    if given is not None:
        return given, False
    if not sys.stdin.isatty():
        return administration.new_passcode(), True
    passcode = getpass.getpass("passcode: ")
    if wrong := check_passcode(passcode, name):
        raise ConfigError(wrong)
    if getpass.getpass("once more: ") != passcode:
        raise ConfigError("the two passcodes differ")
    return passcode, False
