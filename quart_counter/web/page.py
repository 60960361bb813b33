"""The page at `/`: one number, three buttons, no JavaScript needed; with it, the number moves by itself."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Final

from quart import Blueprint, Response, flash, redirect, render_template, request
from quart.wrappers import Response as QuartResponse

from quart_counter.access.places import Full, Places
from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.model import Applied, Change, Outcome
from quart_counter.web import answers, parse, static
from quart_counter.web.answers import RETRY_AFTER_S
from quart_counter.web.api import to_response
from quart_counter.web.scope import CREDENTIAL, sees_detail

COUNTER: Final = "visits"  # the counter that the page shows
ACTIONS: Final = {
    "increment": Change(COUNTER, by=1),
    "decrement": Change(COUNTER, by=-1),
    "reset": Change(COUNTER, value=0),
}
# What goes with every page: it loads nothing from elsewhere, runs no script but ours, and sits in nobody's frame.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def blueprint(counters: Counters, mode: str, summary: str, places: Places | None = None) -> Blueprint:
    """Return `GET /` and its form's `POST /`, which answers 303 and flashes what happened."""
    routes = Blueprint("page", __name__, template_folder="templates")
    static.add_to(routes, Path(__file__).parent / "static")

    @routes.get("/")
    async def show() -> Response | tuple[str, int, dict[str, str]]:
        try:
            value, version = await counters.read(COUNTER)
        except StoreAway as away:
            return await _away(away)
        html = await render_template(
            "page.html",
            name=COUNTER,
            value=value,
            version=version,
            mode=mode,
            summary=summary,
            guarantees=counters.guarantees,
            notes=counters.guarantees.notes if sees_detail(request.scope) else (),
        )
        return html, 200, HEADERS

    @routes.post("/")
    async def act() -> QuartResponse | Response:
        parse.refuse_foreign(request.scope["headers"])
        parse.refuse_key(request.scope["headers"])
        form = await request.form
        change = ACTIONS.get(form.get("action", ""))
        if change is None:
            wanted = ", ".join(ACTIONS)
            return to_response(answers.problem(422, f"The form's field action must be one of {wanted}.", kind="field"))
        scope: Any = request.scope
        outcome = await (counters.apply(change) if places is None else places.apply(change, scope.get(CREDENTIAL)))
        if isinstance(outcome, Full):
            return to_response(answers.names_full(outcome.places))
        await flash(_told(change, outcome))
        return redirect("/", 303)  # type: ignore[return-value]

    return routes


def _told(change: Change, outcome: Outcome) -> str:
    """Say to the person who pressed the button what came of it."""
    if not isinstance(outcome, Applied):
        return answers.told(change, outcome)
    if change is ACTIONS["increment"]:
        return f"You are number {outcome.value}"
    return f"The counter is at {outcome.value}"


async def _away(away: StoreAway) -> Response | tuple[str, int, dict[str, str]]:
    """Answer a page view that the store does not: in HTML for those who ask for it, who are people."""
    if "text/html" not in request.headers.get("Accept", ""):
        return to_response(answers.store_away(away))
    html = await render_template("away.html", name=COUNTER, why=answers.WITHHELD.shown(str(away)))
    return html, 503, {**HEADERS, "Retry-After": str(RETRY_AFTER_S)}


def new_secret() -> str:
    """Return a secret for signing cookies, good for one run."""
    return secrets.token_hex(32)
