"""A client's own number: the three effects of the session answer, as effects should be, and its reading."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response, request, session

from quart_counter.counters import Counters
from quart_counter.counters.sessions import Sessions
from quart_counter.model import Applied, Change
from quart_counter.web import answers, parse
from quart_counter.web.api import to_response

CLIENT: Final = "client"  # the session's field with the counter's name; the cookie is signed, so it cannot be made up
VALUE: Final = "value"  # the field of mode `cookie`, where the number itself travels

EFFECTS: Final = {"increment": Change("", by=1), "decrement": Change("", by=-1), "reset": Change("", value=0)}


def blueprint(counters: Counters, sessions: Sessions) -> Blueprint:
    """Return the routes below /session, for numbers that stay on the server."""
    routes = Blueprint("session", __name__)

    @routes.get("/session")
    async def read() -> Response:
        name = session.get(CLIENT)
        if name is None:
            return _answer(0, 0)
        return _answer(*await counters.look(name))

    @routes.post("/session/<any(increment, decrement, reset):effect>")
    async def change(effect: str) -> Response:
        await _check()
        name = session[CLIENT] = await sessions.enter(session.get(CLIENT))
        change = EFFECTS[effect]._replace(name=name)
        outcome = await counters.apply(change)
        if isinstance(outcome, Applied):
            return _answer(outcome.value, outcome.version)
        return to_response(answers.outcome(change, outcome))

    return routes


def cookie_blueprint() -> Blueprint:
    """Return the same routes with the number itself in the cookie: an exhibit, for two requests of one client that
    are under way together both carry the same number, and no lock on the server can mend that."""
    routes = Blueprint("session", __name__)

    @routes.get("/session")
    async def read() -> Response:
        return _answer(session.get(VALUE, 0), session.get(VALUE, 0))

    @routes.post("/session/<any(increment, decrement, reset):effect>")
    async def change(effect: str) -> Response:
        await _check()
        wanted = EFFECTS[effect]
        session[VALUE] = session.get(VALUE, 0) + wanted.by if wanted.value is None else wanted.value
        return _answer(session[VALUE], session[VALUE])

    return routes


async def _check() -> None:
    """Raise what refuses an effect. No body is wanted, but one that breaks off is a request that never came."""
    parse.refuse_foreign(request.scope["headers"])
    parse.refuse_key(request.scope["headers"])
    await request.get_data(cache=False, as_text=False, parse_form_data=False)


def _answer(value: int, version: int) -> Response:
    return to_response(answers.document({"value": value, "version": version}))
