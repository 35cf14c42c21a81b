"""``token add|list|revoke``."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from strongroom.admin import tokens as administration
from strongroom.admin.tokens import DEFAULT_DAYS, NewToken
from strongroom.app import LOCAL_LOG, Archive
from strongroom.archive.access import scope_terms
from strongroom.archive.tokens import RIGHTS, Token, parse_token_rights, rights_in_words
from strongroom.cli import new_group
from strongroom.cli.options import Format, FormatOption, HomeOption, ScopeOption, home_of, minute_text, time_text
from strongroom.cli.progress import printable

group = new_group("Access tokens for HTTPS.")

NameArgument = Annotated[str, typer.Argument(help="Name of the token: it stands in the trail for whoever uses it.")]


@group.command()
def add(
    name: NameArgument,
    home: HomeOption = None,
    allow: Annotated[str, typer.Option(help=f"What it may do, of {','.join(RIGHTS)}.")] = "search,read",
    days: Annotated[int, typer.Option(help="How long it is good, at most 365.")] = DEFAULT_DAYS,
    scope: ScopeOption = None,
) -> None:
    """Make a token and print it, this once: only its hash is kept."""
    new = NewToken(name, parse_token_rights(allow), days, scope or ())
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        token, secret = administration.add(archive, new)
    finally:
        archive.close()
    # The secret alone is the output, so that a shell can keep it: TOKEN=$(strongroom token add ...).
    told = f"token {token.name} may {', '.join(rights_in_words(token.rights))} within {_scope(token)}"
    print(printable(told), file=sys.stderr)
    print(f"until {minute_text(token.expires_us)}; shown this once, only its hash is kept:", file=sys.stderr)
    print(secret)


@group.command("list")
def list_(home: HomeOption = None, output: FormatOption = Format.TEXT) -> None:
    """Show every token, what it may do, and until when."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        tokens = administration.tokens(archive)
    finally:
        archive.close()
    if output is Format.JSON:
        print(json.dumps([_as_json(token) for token in tokens], indent=2))
        return
    if not tokens:
        print("no tokens")
    for token in tokens:
        until = minute_text(token.expires_us)
        print(printable(f"{token.name:<24} {_state(token):<8} {until} {_rights(token):<24} {_scope(token)}"))


@group.command()
def revoke(name: NameArgument, home: HomeOption = None) -> None:
    """Refuse a token from now on."""
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        administration.revoke(archive, name)
    finally:
        archive.close()
    print(f"token {name} is revoked; requests with it are refused at once")


def _state(token: Token) -> str:
    if token.revoked_us:
        return "REVOKED"
    return "good" if token.is_good(int(time.time() * 1e6)) else "EXPIRED"


def _rights(token: Token) -> str:
    return ",".join(rights_in_words(token.rights))


def _scope(token: Token) -> str:
    return "; ".join(scope_terms(token.scope))


def _as_json(token: Token) -> dict[str, object]:
    return {
        "name": token.name,
        "state": _state(token).lower(),
        "sha256": token.digest,
        "rights": list(rights_in_words(token.rights)),
        "scope": list(scope_terms(token.scope)),
        "added": time_text(token.added_us),
        "expires": time_text(token.expires_us),
        "revoked": time_text(token.revoked_us),
    }
