"""``user add|list|disable``."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Annotated

import typer

from strongroom.admin import users as administration
from strongroom.admin.users import Role
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, time_text
from strongroom.config import environment
from strongroom.errors import ConfigError

group = new_group("People with an account.")

NameArgument = Annotated[str, typer.Argument(help="User name.")]


@group.command()
def add(
    name: NameArgument,
    home: HomeOption = None,
    role: Annotated[Role, typer.Option(help="What this person is to the archive.")] = Role.TECHNOLOGIST,
) -> None:
    """Add an account, or give it a new passcode: from STRONGROOM_PASSCODE, from the terminal, or a random one."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        passcode, is_random = _passcode()
        is_new = administration.add(archive, name, passcode, role)
    finally:
        archive.close()
    print(f"user {name} {'is added' if is_new else 'has a new passcode'}, role {role.value}")
    if is_random:
        print(f"passcode {passcode}   (shown this once; only its hash is kept)")


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every account and its role."""
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
        print(f"{user.name:<24} {user.role:<17} {'DISABLED' if user.disabled_us else 'enabled'}")


@group.command()
def disable(name: NameArgument, home: HomeOption = None) -> None:
    """Refuse an account from now on."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        administration.disable(archive, name)
    finally:
        archive.close()
    print(f"user {name} is disabled")


def _passcode() -> tuple[str, bool]:
    """The passcode, and whether nobody but this process knows it."""
    given = environment("STRONGROOM_PASSCODE")
    if given is not None:
        return given, False
    if not sys.stdin.isatty():
        return administration.new_passcode(), True
    passcode = getpass.getpass("passcode: ")
    if wrong := administration.check_passcode(passcode):
        raise ConfigError(wrong)
    if getpass.getpass("once more: ") != passcode:
        raise ConfigError("the two passcodes differ")
    return passcode, False
