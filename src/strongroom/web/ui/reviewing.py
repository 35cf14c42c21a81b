"""What waits for somebody's decision: alerts, and what is held in quarantine, which takes two people to decide on.

No page shows a byte or a value of what is held: what was found and where, and names of what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from strongroom.errors import ConfigError, Denied, IntegrityError, NotFound, Refused
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import FORM, Operation, Parameter
from strongroom.web.ui.forms import read_form
from strongroom.web.ui.pages import page, see_other
from strongroom.web.ui.trail import number_of, oversight_of

ALERTS: Final = "/alerts"
QUARANTINE: Final = "/quarantine"
DECISIONS: Final = ("release", "destroy")
MAX_HELD_SHOWN: Final = 500
"""Held objects in one page. Whoever sends decides how many there are, and pages are made on the event loop."""
WORDS: Final[Mapping[str, str]] = {
    "asked": "Noted. Another person has to agree before anything happens.",
    "released": "It was released: it is in the archive now.",
    "destroyed": "It was destroyed: its key is gone, and nothing opens it any more.",
    "seen": "Noted.",
}
"""What is said after something was done."""

REFUSALS: Final[Mapping[str, str]] = {
    "same-person": "You have asked for this yourself: it takes another person to do it.",
    "request-lapsed": "The request has lapsed, or was withdrawn with its account, meanwhile. Ask again.",
    "user-disabled": "Your account is disabled.",
    "role-may-not": "This takes a security officer or an administrator.",
}


async def show_alerts(call: Call) -> Response:
    """Those that nobody has seen to, or all of them."""
    query = call.request.query_params
    everything, older = query.get("all", "") == "yes", query.get("older", "")
    found = await call.services.run_blocking(oversight_of(call).alerts, call.principal, older, everything=everything)
    return page("alerts.html", call, found=found, everything=everything, said=_said(call))


async def show_alert_form(call: Call) -> Response:
    """What somebody says who has seen to an alert."""
    return await _alert_form(call, "", 200)


async def see_to_alert(call: Call) -> Response:
    """Note it."""
    form = await read_form(call.request)
    log, seq, remark = call.path["log"], number_of(call), form.get("remark", "")
    try:
        await call.services.run_blocking(oversight_of(call).see_to, call.principal, log, seq, remark)
    except ConfigError as error:
        return await _alert_form(call, _sentence(error), 400)
    except Refused as error:
        return await _alert_form(call, _sentence(error), 409)
    return see_other(f"{ALERTS}?done=seen")


async def _alert_form(call: Call, wrong: str, status: int) -> Response:
    place = f"{ALERTS}/{call.path['log']}/{number_of(call)}"
    return page("alert_seen.html", call, status, place=place, wrong=wrong)


async def show_quarantine(call: Call) -> Response:
    """Everything that is held."""
    held = await call.services.run_blocking(oversight_of(call).held, call.principal)
    return page("quarantine.html", call, held=held[:MAX_HELD_SHOWN], total=len(held), said=_said(call))


async def show_held(call: Call) -> Response:
    """One held object."""
    found = await call.services.run_blocking(oversight_of(call).held_object, call.principal, call.path["held"])
    return page("held.html", call, found=found, held=found.shown, said=_said(call))


async def show_decision(call: Call) -> Response:
    """What is about to be decided, and the form for the reason."""
    return await _decision(call, "", 200)


async def decide(call: Call) -> Response:
    """Ask for it, or do it where somebody else has asked."""
    form = await read_form(call.request)
    name, what = call.path["held"], call.path["what"]
    try:
        done = await call.services.run_storing(
            oversight_of(call).decide, call.principal, name, what, form.get("reason", "")
        )
    except ConfigError as error:
        return await _decision(call, _sentence(error), 400)
    except Refused as error:
        return await _decision(call, _sentence(error), 409)
    except Denied as error:
        return await _decision(call, REFUSALS.get(error.reason, "That is not allowed."), 403)
    except IntegrityError:
        return await _decision(call, "What is held is not what came in: it is damaged, and stays held.", 409)
    where = f"{QUARANTINE}/{name}" if done.step == "asked" else QUARANTINE
    return see_other(f"{where}?done={done.step}")


async def _decision(call: Call, wrong: str, status: int) -> Response:
    what, person = call.path["what"], call.principal.user.casefold()
    if what not in DECISIONS:
        raise NotFound("no such decision")
    found = await call.services.run_blocking(oversight_of(call).held_object, call.principal, call.path["held"])
    asked = [each for each in found.shown.asked if each.what == what]
    other = next((each for each in asked if each.person.casefold() != person), None)
    return page(
        "decision.html", call, status, held=found.shown, what=what, wrong=wrong, other=other,
        own=bool(asked) and other is None,
    )  # fmt: skip


def _said(call: Call) -> str:
    return WORDS.get(call.request.query_params.get("done", ""), "")


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


_DONE: Final = Parameter("done", "query", "What was done.")
_ALERT: Final = f"{ALERTS}/{{log}}/{{seq}}"
_HELD: Final = f"{QUARANTINE}/{{held}}"

OPERATIONS: Final = (
    Operation(
        "pageAlerts", "GET", ALERTS, show_alerts, "Alerts.", Right.REVIEW,
        (
            Parameter("all", "query", "Those that were seen to as well: yes."),
            Parameter("older", "query", "Where an earlier page has ended."),
            _DONE,
        ),
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageAlertSeen", "GET", _ALERT, show_alert_form, "What came of an alert.", Right.REVIEW,
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "seeToAlert", "POST", _ALERT, see_to_alert, "Note that an alert was seen to.", Right.REVIEW,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 400, 409), is_page=True,
    ),
    Operation(
        "pageQuarantine", "GET", QUARANTINE, show_quarantine, "What is held in quarantine.", Right.REVIEW, (_DONE,),
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageHeld", "GET", _HELD, show_held, "One held object.", Right.REVIEW, (_DONE,),
        produces=("text/html",), is_page=True,
    ),
    Operation(
        "pageDecision", "GET", f"{_HELD}/{{what}}", show_decision, "Decide on a held object.", Right.REVIEW,
        produces=("text/html",), is_page=True, proof_for=f"{_HELD}/{{what}}",
    ),
    Operation(
        "decide", "POST", f"{_HELD}/{{what}}", decide, "Ask for a decision, or agree with it.", Right.REVIEW,
        consumes=(FORM,), produces=("text/html",), statuses=(303, 400, 403, 409), is_page=True,
        proof_for=f"{_HELD}/{{what}}",
    ),
)  # fmt: skip
