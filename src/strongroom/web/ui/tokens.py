"""Access tokens of programs that call over HTTPS: made, shown once, revoked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from strongroom.archive.access import scope_terms
from strongroom.archive.administration import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS, NewToken
from strongroom.archive.tokens import RIGHTS, parse_token_rights, rights_in_words
from strongroom.errors import ConfigError, NotFound
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
    read,
    read_scope,
    sentence,
    tell_once,
)
from strongroom.web.ui.pages import page, see_other, utc

TOKENS: Final = "/tokens"

RIGHT_WORDS: Final = {
    "search": "search",
    "read": "fetch and render images",
    "store": "send images",
    "delete": "delete studies",
    "metrics": "read the metrics",
}


async def show_tokens(call: Call) -> Response:
    """The list."""
    now_us = int(time.time() * 1e6)
    rows = [
        {
            "name": each.name,
            "may": ", ".join(rights_in_words(each.rights)),
            "scope": scope_terms(each.scope) if each.scope else (),
            "expires_us": each.expires_us,
            "state": "revoked" if each.revoked_us else "good" if each.is_good(now_us) else "expired",
        }
        for each in await looked_up(call, administration_of(call).tokens)
    ]
    return page("tokens.html", call, rows=rows)


async def show_new(call: Call) -> Response:
    """The form for another one."""
    return _new_page(call, {"days": str(DEFAULT_TOKEN_DAYS)})


async def add(call: Call) -> Response:
    """Make a token; the answer has its secret."""
    form = await read(call)
    days = form.get("days", "")
    try:
        if not (days.isascii() and days.isdecimal() and len(days) < 6):
            raise ConfigError(f"a token is good for 1 to {MAX_TOKEN_DAYS} days")
        rights = parse_token_rights(",".join(named(form, "right", RIGHTS)))
        new = NewToken(form.get("name", "").strip(), rights, int(days), read_scope(form))
        token, secret = await done(call, administration_of(call).add_token, new)
    except ConfigError as error:
        return _new_page(call, form, sentence(error))
    return tell_once(
        call,
        Secret(
            f"Token {token.name}",
            "Copy it now: the archive keeps only its digest. Whoever has it may "
            f"{', '.join(rights_in_words(token.rights))} until {utc(token.expires_us)}.",
            (("Token", secret),),
            TOKENS,
        ),
    )


async def ask_revoke(call: Call) -> Response:
    """Whether it is meant."""
    name = call.request.query_params.get("name", "")
    if all(each.name != name for each in await looked_up(call, administration_of(call).tokens)):
        raise NotFound("no token has that name")
    return ask(
        call,
        Question(
            f"Revoke the token {name}?",
            "The program that has it is refused from its next request on.",
            "Revoke",
            f"{TOKENS}/revoke",
            TOKENS,
            (("name", name),),
        ),
    )


async def revoke(call: Call) -> Response:
    """Refuse a token from now on."""
    name = (await read(call)).get("name", "")
    await done(call, administration_of(call).revoke_token, name)
    return see_other(TOKENS)


def _new_page(call: Call, form: Mapping[str, str], wrong: str = "") -> Response:
    return page(
        "token_new.html",
        call,
        status=400 if wrong else 200,
        form=form,
        wrong=wrong,
        rights={word: RIGHT_WORDS.get(word, word) for word in RIGHTS},
        most_days=MAX_TOKEN_DAYS,
    )


OPERATIONS: Final = (
    operation("pageTokens", "GET", TOKENS, show_tokens, "Access tokens."),
    operation("pageNewToken", "GET", f"{TOKENS}/new", show_new, "The form for a new token.", for_change=True),
    operation("addToken", "POST", f"{TOKENS}/new", add, "Make a token.", statuses=(200, 400)),
    operation(
        "pageRevokeToken", "GET", f"{TOKENS}/revoke", ask_revoke, "Ask whether to revoke a token.", for_change=True
    ),
    operation("revokeToken", "POST", f"{TOKENS}/revoke", revoke, "Revoke a token."),
)
