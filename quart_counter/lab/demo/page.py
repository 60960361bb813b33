"""`/demo`: pick a way of counting, let 100 clients ask at once, and see who got which number."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from quart import Blueprint, Quart, Response, render_template, request

from quart_counter.errors import ConfigurationError
from quart_counter.lab.demo import ways
from quart_counter.lab.demo.board import Race
from quart_counter.lab.demo.stage import CLIENTS, Busy, Stage
from quart_counter.lab.exhibits.side_by_side import LONGEST_GAP_MS
from quart_counter.serving.listening import url_at
from quart_counter.web import answers, parse, static
from quart_counter.web.api import to_response
from quart_counter.web.front import send_answer
from quart_counter.web.page import HEADERS
from quart_counter.web.scope import raw_path
from quart_counter.web.streams import last_event_id

EVENTS: Final = b"/demo/events"
FIRST_GAP_MS: Final = 5

Page = tuple[str, int, dict[str, str]]


class Watching:
    """ASGI middleware: the events of the races, beside Quart as all streams."""

    def __init__(self, app: Any, stage: Stage) -> None:
        self._app, self._stage = app, stage

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer /demo/events, or pass the request on."""
        if scope["type"] != "http" or scope["method"] != "GET" or raw_path(scope) != EVENTS:
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        try:
            parse.refuse_foreign(scope["headers"])
        except answers.Problem as foreign:
            return await send_answer(send, foreign.answer)
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("seen", "")
        seen = last_event_id(scope["headers"]) or asked
        await self._stage.streams.answer(receive, send, self._stage.watcher(seen))


def result_in(app: Quart) -> Any:
    """Return what writes a race's result as HTML, outside of any request."""

    async def tell(race: Race) -> str:
        html: str = await app.jinja_env.get_template("result.html").render_async(race=race)
        return html

    return tell


def blueprint(stage: Stage) -> Blueprint:
    """Return `GET /demo` and its form's `POST /demo`, which races and answers the page with the finished grid. Asked
    for JSON it answers at once, with the race's id; the events tell the rest."""
    routes = Blueprint("demo", __name__, template_folder="templates", url_prefix="/demo")
    static.add_to(routes, Path(__file__).parent / "static")

    @routes.get("")
    async def show() -> Page:
        race = stage.race if stage.race is not None and stage.race.over else None
        return await _page(stage, race)

    @routes.post("")
    async def race() -> Response | Page:
        wants_json = "application/json" in request.headers.get("Accept", "")
        try:
            parse.refuse_foreign(request.scope["headers"])
            way, gap_ms = _asked(await request.form)
            begun = stage.begin(way, gap_ms, _own_url())
        except (Busy, ConfigurationError) as not_now:
            if wants_json:
                return to_response(answers.problem(409, f"{not_now}"))
            return await _page(stage, None, said=str(not_now), status=409)
        if wants_json:
            answer = answers.document({"race": begun.id, "clients": begun.clients})
            return to_response(answer._replace(status=202))
        await stage.over(begun)
        return await _page(stage, begun)

    return routes


async def _page(stage: Stage, race: Race | None, said: str = "", status: int = 200) -> Page:
    html = await render_template(
        "demo.html",
        ways=stage.ways(),
        missing=stage.missing,
        race=race,
        chosen=race.way if race else ways.WAYS[0],
        gap_ms=race.gap_ms if race and race.way.has_gap else FIRST_GAP_MS,
        longest_gap_ms=LONGEST_GAP_MS,
        clients=CLIENTS,
        said=said,
    )
    return html, status, HEADERS


def _asked(form: Any) -> tuple[ways.Way, int]:
    way, gap = ways.find(form.get("way", "")), form.get("gap", "")
    if way is None:
        keys = ", ".join(one.key for one in ways.WAYS)
        raise answers.Problem(422, f"The form's field way must be one of {keys}.", kind="field")
    if not (gap.isascii() and gap.isdigit() and len(gap) < 4 and int(gap) <= LONGEST_GAP_MS):
        raise answers.Problem(422, f"The form's field gap must be 0 to {LONGEST_GAP_MS} (milliseconds).", kind="field")
    return way, int(gap)


def _own_url() -> str:
    """Where this server listens, as it knows itself: the Host header is the visitor's word."""
    host, port = request.scope["server"] or ("127.0.0.1", 8000)
    return url_at("http", host, port or 8000)
