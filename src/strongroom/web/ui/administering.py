"""What the pages of administrators have in common: whom they ask, on which thread, and how they ask back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from starlette.responses import Response

from strongroom.archive.access import parse_scope, scope_terms
from strongroom.archive.administration import Administration
from strongroom.errors import ConfigError, NotFound
from strongroom.types import Principal, Right, Scope
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Handler, Method, Operation
from strongroom.web.ui.forms import read_form
from strongroom.web.ui.pages import page

P = ParamSpec("P")
T = TypeVar("T")

MAX_FIELDS: Final = 48
TEXTS: Final = frozenset({"pem", "scope"})
"""Fields of several lines."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody is asked before something that cannot be taken back. ``fields`` are sent along with a yes."""

    title: str
    says: str
    yes: str
    action: str
    back: str
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """What is shown once: ``parts`` are words and values; ``download`` is a file's name and a data URL, "" if none."""

    title: str
    says: str
    parts: tuple[tuple[str, str], ...]
    back: str
    download: tuple[str, str] = ("", "")
    warnings: tuple[str, ...] = ()


def administration_of(call: Call) -> Administration:
    """What does it. Raises NotFound where nothing is administered."""
    if call.services.administration is None:
        raise NotFound("nothing is administered here")
    return call.services.administration


def looked_up(call: Call, work: Callable[[Principal], T]) -> Awaitable[T]:
    """What a function of the administration shows to who asks, looked up on a thread for reading."""
    return call.services.run_blocking(work, call.principal)


def done(
    call: Call, work: Callable[Concatenate[Principal, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> Awaitable[T]:
    """Have the administration change something for who asks, on a thread that may wait for the disk.

    Every change that a page of administrators makes comes through here.
    """
    run = call.services.run_storing or call.services.run_blocking
    return run(work, call.principal, *args, **kwargs)


async def read(call: Call) -> Mapping[str, str]:
    """The fields of a form of these pages."""
    return await read_form(call.request, MAX_FIELDS, TEXTS)


def ask(call: Call, question: Question) -> Response:
    """The page that asks."""
    return page("confirm.html", call, question=question)


def tell_once(call: Call, secret: Secret) -> Response:
    """The page that shows a secret. It is the answer itself: nothing keeps it to be asked for again."""
    return page("shown_once.html", call, secret=secret)


def origin_of(call: Call) -> str:
    """Scheme, name and port by which this browser calls the archive."""
    return call.base_url.rpartition("/")[0]


def named(form: Mapping[str, str], prefix: str, words: Iterable[str]) -> list[str]:
    """Which boxes of ``words`` are ticked; each is named after its word."""
    return [word for word in words if form.get(f"{prefix}-{word}")]


def read_scope(form: Mapping[str, str]) -> tuple[str, ...]:
    """The terms in a field with one on each line."""
    return tuple(line.strip() for line in form.get("scope", "").splitlines() if line.strip())


def parsed_scope(form: Mapping[str, str]) -> Scope | None:
    """The scope that they make. Raises ConfigError."""
    terms = read_scope(form)
    return parse_scope(terms) if terms else None


def scope_text(scope: Scope | None) -> str:
    """A scope as the field shows it."""
    return "\n".join(scope_terms(scope)) if scope else ""


def sentence(error: ConfigError) -> str:
    """What is wrong, as a sentence of a page."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def operation(name: str, method: Method, path: str, handler: Handler, summary: str, **more: Any) -> Operation:
    """A page for administrators, or a form of one: it answers 400 with the form again, for what cannot be.

    Every form takes a fresh proof of who sends it. So does the page that it is on if it is ``for_change`` and nothing
    else: whoever is asked for a proof has not filled anything in yet.
    """
    is_form = method == "POST"
    area = f"/{path.split('/')[1]}"
    return Operation(
        name,
        method,
        path,
        handler,
        summary,
        right=Right.ADMINISTER,
        consumes=(FORM,) if is_form else (),
        produces=("text/html",),
        statuses=more.get("statuses", (303,) if is_form else (200,)),
        is_page=True,
        proof_for=area if is_form else path if more.get("for_change") else "",
    )
