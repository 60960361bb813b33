"""The Quart face: `create_app` makes the service, `QuartCounter` gives counters to an app of your own."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, NoReturn

from quart import Quart, Response
from quart.wrappers import Response as QuartResponse
from werkzeug.exceptions import HTTPException

from quart_counter import __version__, keys
from quart_counter.access.guard import Guard
from quart_counter.counters import Counters
from quart_counter.counters.sessions import Sessions
from quart_counter.errors import ConfigurationError, StoreAway
from quart_counter.serving import siblings
from quart_counter.settings import PREFIX, Settings, load_settings
from quart_counter.settings.modes import MODES
from quart_counter.stores import Limits, Store, open_store
from quart_counter.web import (
    answers,
    api,
    docs,
    forwarded,
    front,
    health,
    live,
    log,
    metrics,
    openapi,
    page,
    session,
    shortcut,
)
from quart_counter.web.each_start import each_start
from quart_counter.web.parse import MAX_BODY, TOO_LARGE
from quart_counter.web.tally import Tally

BODY_TIMEOUT_S = 5


class QuartCounter(Counters):
    """Counters for a Quart app: opened when it starts serving, once per worker, and closed when it stops.

        counters = QuartCounter(app)                   # in this process, for one worker
        counters = QuartCounter(app, url="redis://…")  # shared by all workers

    Settings are those of `quart_counter.settings`: given here, else `QUART_COUNTER_…` in `app.config`, else in the
    environment. Raises ConfigurationError for a wrong one.
    """

    def __init__(self, app: Quart | None = None, **settings: Any) -> None:
        super().__init__(_NotOpen(), deadline_s=0, combine=False, key_life_s=0)
        self._given = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Open the counters while `app` serves."""
        if "quart_counter" in app.extensions:
            raise ConfigurationError("this app has its counters already: use app.extensions['quart_counter']")
        config = {name: value for name, value in app.config.items() if name.startswith(PREFIX)}
        self._serve_with(app, load_settings({**os.environ, **config}, **self._given))

    def _serve_with(
        self, app: Quart, settings: Settings, watch: Callable[[Store], Store] = lambda store: store
    ) -> None:
        app.extensions["quart_counter"] = self
        app.logger.addFilter(_in_a_sentence)

        async def serving() -> AsyncGenerator[None, None]:
            alone = (
                siblings.only_worker(app.import_name) if settings.in_worker and not settings.force else nullcontext()
            )
            with alone:
                async with _open(settings) as store:
                    combine = not settings.in_worker and not MODES[settings.mode].exhibit
                    self._use(watch(store), settings.deadline_s, combine, settings.key_life_s)
                    try:
                        yield
                    finally:
                        await self.drain()
                        self._use(_NotOpen(), 0, combine=False, key_life_s=0)

        each_start(app, serving)


def create_app(settings: Settings | None = None, **given: Any) -> Quart:
    """Return the service as a Quart app, for any ASGI server: `hypercorn "quart_counter:create_app()"`.

    Settings are given, or come from `QUART_COUNTER_…` in the environment. Raises ConfigurationError for a wrong one.
    """
    settings = settings or load_settings(**given)
    app = _bare(settings)
    tally = app.extensions["quart_counter_tally"] = Tally()
    counters = QuartCounter()
    counters._serve_with(app, settings, lambda store: metrics.watch_store(store, tally))
    guard = Guard(counters, settings)
    metrics.watch(counters, tally)
    each_start(app, guard.keeping_books)
    _add_routes(app, counters, guard, tally, settings)
    _give_clients_their_own(app, counters, settings)
    _add_error_handlers(app)
    app.after_request(_no_store)
    app.asgi_app = _behind_its_doors(app, counters, guard, tally, settings)  # type: ignore[method-assign]
    return app


def _bare(settings: Settings) -> Quart:
    app = Quart("quart_counter", static_folder=None)
    app.secret_key = settings.secret_key or page.new_secret()
    app.session_interface = forwarded.Cookies()
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY,
        BODY_TIMEOUT=BODY_TIMEOUT_S,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.url_map.merge_slashes = False
    return app


def _add_routes(app: Quart, counters: Counters, guard: Guard, tally: Tally, settings: Settings) -> None:
    described = openapi.document(
        __version__,
        key_life_s=settings.key_life_s,
        body_timeout_s=BODY_TIMEOUT_S,
        guarded=bool(settings.tokens),
    )
    for routes in (
        api.blueprint(counters, guard.places),
        health.blueprint(counters, settings.mode),
        metrics.blueprint(tally, __version__, settings.mode),
        openapi.blueprint(described),
        docs.blueprint(described),
        page.blueprint(counters, settings.mode, MODES[settings.mode].summary, guard.places),
    ):
        app.register_blueprint(routes)


def _add_error_handlers(app: Quart) -> None:
    app.register_error_handler(answers.Problem, _problem)
    app.register_error_handler(StoreAway, _store_away)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, _unexpected)


def _behind_its_doors(app: Quart, counters: Counters, guard: Guard, tally: Tally, settings: Settings) -> Any:
    """Return the app with all that a request passes before it gets to Quart, the innermost first."""
    inner: Any = app.asgi_app
    if not MODES[settings.mode].in_context:
        inner = shortcut.Shortcut(inner, counters, guard.places, body_timeout_s=BODY_TIMEOUT_S, logger=app.logger)
    inner = _live(app, live.Live(inner, counters, page.COUNTER, guard.in_force, most=settings.max_streams))
    if settings.demo:
        from quart_counter.lab import demo

        inner = demo.mount(app, inner, settings)
    door = front.Front(guard.in_front_of(inner), any_host=bool(settings.tokens or settings.open))
    inner = metrics.Requests(door, tally)
    if settings.log == "json":
        inner = log.Log(inner, log.standard_output())
    if settings.lab:
        from quart_counter.lab import witness

        inner = witness.Witness(inner)
    return inner


def _live(app: Quart, events: live.Live) -> live.Live:
    each_start(app, events.serving)
    app.extensions["quart_counter_leaving"] = [events.end]  # whom a worker tells first that it stops
    return events


def _give_clients_their_own(app: Quart, counters: Counters, settings: Settings) -> None:
    """Add the routes below /session."""
    if settings.mode in ("cookie", "session-blob"):  # the handlers are the same, and the session is kept elsewhere
        if settings.mode == "session-blob":
            from quart_counter.lab.exhibits import blob

            app.session_interface = blob.BlobSessions()  # type: ignore[assignment]  # Quart names its default's type
        app.register_blueprint(session.cookie_blueprint())
        return
    sessions = Sessions(counters, life_s=settings.session_life_s, most=settings.max_sessions)
    app.register_blueprint(session.blueprint(counters, sessions))

    async def sweeping() -> AsyncGenerator[None, None]:
        sweeper = asyncio.create_task(sessions.keep_sweeping())
        yield
        sweeper.cancel()

    each_start(app, sweeping)


def _open(settings: Settings) -> AbstractAsyncContextManager[Store]:
    kept_s = keys.kept_s(settings.key_life_s, settings.deadline_s)
    limits = Limits(settings.store_timeout_s, settings.deadline_s, kept_s, settings.max_keys)
    mode = MODES[settings.mode]
    if mode.exhibit or (settings.lab and settings.in_worker):
        from quart_counter.lab import exhibits

        return exhibits.open_store(settings.mode, settings.url, limits)
    return open_store(settings.url, limits)


async def _problem(wrong: answers.Problem) -> Response:
    return api.to_response(wrong.answer)


async def _store_away(away: StoreAway) -> Response:
    return api.to_response(answers.store_away(away))


async def _http_problem(error: HTTPException) -> Response:
    if error.code == 404:
        return api.to_response(api.problem_not_found())
    if error.code == 408:
        return api.to_response(answers.too_slow(BODY_TIMEOUT_S))
    if error.code == 413:
        return api.to_response(answers.problem(413, TOO_LARGE))
    return api.to_response(answers.problem(error.code or 500, str(error.description)))


async def _no_store(response: QuartResponse) -> QuartResponse:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


async def _unexpected(error: Exception) -> Response:
    from quart import current_app

    current_app.logger.exception("a bug in quart_counter")
    return api.to_response(answers.bug())


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """Quart logs what ends the start with a traceback; of a wrong setting the sentence says all there is."""
    if record.exc_info and isinstance(record.exc_info[1], ConfigurationError):
        record.msg, record.args, record.exc_info = f"cannot start: {record.exc_info[1]}", (), None
    return True


class _NotOpen:
    """What stands in before the app serves: every use says what to do."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ConfigurationError(
            "the counters open when the app starts serving: use them in a request, a background task or while_serving "
            "(in tests: async with app.test_app())"
        )
