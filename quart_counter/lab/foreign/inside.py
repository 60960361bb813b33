"""A client of an ASGI app in this process and this loop: no socket, so the same interleaving every time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from quart_counter.errors import ConfigurationError
from quart_counter.lab.foreign.answers import Answer
from quart_counter.lab.foreign.client import Client, Cookies, Lost
from quart_counter.lab.foreign.target import Request

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}
START_S: Final = 30.0  # for an app to start, and to end


class InsideClient:
    """Calls the app as a server would, one task a request; see Client."""

    def __init__(self, app: App, request: Request, state: MutableMapping[str, Any]) -> None:
        self._app, self._request, self._state = app, request, state
        self._cookies = Cookies()
        self._may_go = asyncio.Event()
        self._answer: asyncio.Future[Answer] | None = None
        self._tasks: list[asyncio.Task[None]] = []  # an app may work on after its answer

    async def ready(self, *, last: bool) -> bool:
        """Stand before the app."""
        self.hang_up()
        self._may_go = asyncio.Event()
        self._answer = asyncio.get_running_loop().create_future()
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(self._call(self._may_go, self._answer)))
        await asyncio.sleep(0)
        return False

    def go(self) -> None:
        """Enter it at the next step of the loop."""
        self._may_go.set()

    async def answer(self) -> Answer:
        """Wait for the whole answer. Raises: Lost, with what the app raised."""
        assert self._answer is not None
        answer = await self._answer
        self._cookies.take(answer)
        return answer

    def hang_up(self) -> None:
        """Cancel the request, as servers do when a client leaves."""
        if self._answer is not None and (self._answer.cancelled() or not self._answer.done()):
            self._tasks[-1].cancel()
        self._answer = None

    async def aclose(self) -> None:
        """Cancel what is not answered, and wait for what works on."""
        self.hang_up()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=START_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self, may_go: asyncio.Event, answer: asyncio.Future[Answer]) -> None:
        await may_go.wait()
        exchange = _Exchange(self._request.body, answer)
        try:
            await self._app(self._scope(), exchange.receive, exchange.send)
        except Exception as error:
            exchange.fail(f"the app raised {type(error).__name__}: {error}", error)
        exchange.fail("the app ended without an answer")

    def _scope(self) -> MutableMapping[str, Any]:
        path, _, query = self._request.path.partition("?")
        headers = [*self._request.headers, *self._cookies.headers()]
        return {
            "type": "http",
            "asgi": VERSIONS,
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "extensions": {},
            "state": dict(self._state),
        }


class _Exchange:
    """What the server's side of one request says and hears."""

    def __init__(self, body: bytes, answer: asyncio.Future[Answer]) -> None:
        self._body: bytes | None = body
        self._answer = answer
        self._gone = asyncio.Event()
        self._start: Message = {}
        self._parts: list[bytes] = []

    def fail(self, why: str, error: Exception | None = None) -> None:
        """Say that no answer comes, if none has come."""
        if not self._answer.done():
            lost = Lost(why)
            lost.__cause__ = error
            self._answer.set_exception(lost)

    def _end(self) -> None:
        self._gone.set()
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self._start["headers"]]
        if not self._answer.done():
            self._answer.set_result(Answer(self._start["status"], headers, b"".join(self._parts)))

    async def receive(self) -> Message:
        """Give the body, then nothing until the answer is whole."""
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take the answer, a message at a time."""
        if message["type"] == "http.response.start":
            self._start = {"headers": [], **message}
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._end()


@asynccontextmanager
async def inside(app: App, *, lifespan: bool = True) -> AsyncIterator[Callable[[Request], Client]]:
    """Give what makes clients of `app`, which is started before and stopped afterwards unless `lifespan` is False.

    Raises: ConfigurationError if it is no ASGI app, or does not start.
    """
    if hasattr(app, "wsgi_app") or not callable(app):
        raise ConfigurationError(f"{type(app).__name__} is no ASGI app: run it under its server and race its URL")
    made = list[Client]()
    state: dict[str, Any] = {}

    def client(request: Request) -> Client:
        made.append(InsideClient(app, request, state))
        return made[-1]

    async with _started(app, state) if lifespan else _as_it_is():
        try:
            yield client
        finally:
            await asyncio.gather(*(one.aclose() for one in made))


@asynccontextmanager
async def _as_it_is() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _started(app: App, state: dict[str, Any]) -> AsyncIterator[None]:
    """Run the app's lifespan around the block; an app that knows of none goes without, as ASGI says."""
    said: asyncio.Queue[str] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    heard.put_nowait({"type": "lifespan.startup"})

    async def send(message: Message) -> None:
        if message["type"].endswith(".failed"):
            said.put_nowait(message.get("message") or "its start failed")
        else:
            said.put_nowait("")

    scope = {"type": "lifespan", "asgi": VERSIONS, "state": state}
    life = asyncio.ensure_future(app(scope, heard.get, send))
    try:
        trouble = await _first(said, life)
        if trouble:
            raise ConfigurationError(f"the app does not start: {trouble}")
        try:
            yield
        finally:
            heard.put_nowait({"type": "lifespan.shutdown"})
            trouble = "" if life.done() else await _first(said, life)
        if trouble:
            raise ConfigurationError(f"the app does not stop: {trouble}")
    finally:
        life.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await life


async def _first(said: asyncio.Queue[str], life: asyncio.Future[Any]) -> str:
    """Return what the app says next, or "" if it ends without a word."""
    word = asyncio.ensure_future(said.get())
    await asyncio.wait([word, life], timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
    if word.done():
        return word.result()
    word.cancel()
    return "" if life.done() else f"it said nothing for {START_S:g} s"
