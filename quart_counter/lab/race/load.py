"""Fires many HTTP clients at one counter, all at once, and records every answer. The only room that knows httpx."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Final, Literal, Self

import httpx

from quart_counter.errors import ConfigurationError
from quart_counter.lab import steps
from quart_counter.lab.history import Operation
from quart_counter.lab.witness import WORKER

TIMEOUT_S: Final = 60.0  # generous: behind a lock that pauses 20 ms, the last of 1,000 clients waits 20 s
REOPENINGS: Final = 40  # rounds; each worker takes about half of what is reopened
ENOUGH: Final = 0.10  # of the connections, for each worker; two asyncio workers split 100 as unevenly as 83 to 17

# One for all clients: making one costs more than a request, and none of them speaks TLS.
_NO_TLS = ssl.create_default_context()


class NoAnswer(ConfigurationError):
    """The service did not answer where an answer is needed to go on."""


@dataclass(frozen=True)
class Target:
    """What is called: the paths of an increment and of a read, and the counter's name in the history.

    `who` the callers are to the server: `anyone` (no cookie matters), `each` a client of its own, or all of them `one`
    client, a browser with many tabs: they share one jar of cookies, which the `reset` fills before the race begins.
    """

    name: str
    increment: str
    read: str
    reset: str = ""
    who: Literal["anyone", "each", "one"] = "anyone"


def counter(name: str) -> Target:
    """One counter for everybody."""
    return Target(name, f"/counters/{name}/increment", f"/counters/{name}")


def session(who: Literal["each", "one"]) -> Target:
    """A client's own number."""
    return Target("session", "/session/increment", "/session", "/session/reset", who)


@dataclass
class Volley:
    """What came of it: the recorded calls, who answered how often, and who answered each, in what steps."""

    operations: list[Operation] = field(default_factory=list)
    pids: Counter[int] = field(default_factory=Counter)
    steps: dict[int, Sequence[steps.Step]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0


class Caller:
    """A client with one connection: calls the target and tells each call as an operation.

    `answered` is whether the last call got an answer; `worker` and `steps` are what that said of the server behind it,
    0 and nothing outside the lab.
    """

    def __init__(self, url: str, target: Target, process: int = 0, jar: CookieJar | None = None) -> None:
        self._target, self._process = target, process
        self._jar = CookieJar() if jar is None else jar
        self._client = _client(url, self._jar)
        self.answered, self.worker = False, 0
        self.steps: Sequence[steps.Step] = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def move(self, url: str) -> None:
        """Go on at another address, as the same client."""
        await self._client.aclose()
        self._client = _client(url, self._jar)

    def become(self, jar: CookieJar) -> None:
        """Be the client with these cookies, on the same connection."""
        self._jar = jar
        self._client.cookies = jar

    async def connect(self, again: bool = False) -> int:
        """Connect, or close the connection and make another; return the worker at its end. Raises NoAnswer."""
        if again:
            await self._ask("GET", "/healthz", {"Connection": "close"})
        self._note(await self._ask("GET", "/healthz"))
        return self.worker

    async def reset(self) -> None:
        """Set the client's own number to 0, and so get the cookie that stands for it. Raises NoAnswer."""
        await self._ask("POST", self._target.reset)

    async def add(self, key: str | None = None) -> Operation:
        """Increment once; whatever happens is the operation's outcome."""
        headers = {} if key is None else {"Idempotency-Key": key}
        call = time.monotonic_ns()
        try:
            answer = self._note(await self._client.post(self._target.increment, headers=headers))
        except httpx.TransportError as error:
            self.answered = False
            outcome = "fail" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "info"
            return self._operation("add", key, call, outcome)
        refused = answer.status_code in (409, 412)
        return self._operation("add", key, call, _outcome(answer.status_code), refused, answer)

    async def read(self) -> Operation:
        """Read once. Raises NoAnswer."""
        call = time.monotonic_ns()
        answer = await self._ask("GET", self._target.read)
        return self._operation("read", None, call, "ok", False, answer)

    async def _ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            return (await self._client.request(method, path, headers=headers)).raise_for_status()
        except httpx.HTTPError as error:
            raise NoAnswer(f"{method} {path} was not answered ({str(error) or type(error).__name__})") from error

    def _note(self, answer: httpx.Response) -> httpx.Response:
        self.answered, self.worker = True, int(answer.headers.get(WORKER, 0))
        self.steps = steps.parse(answer.headers.get(steps.HEADER, ""))
        return answer

    def _operation(
        self,
        op: str,
        key: str | None,
        call: int,
        outcome: str,
        refused: bool = False,
        answer: httpx.Response | None = None,
    ) -> Operation:
        ret = time.monotonic_ns()
        told = answer.json() if answer is not None and outcome == "ok" else {}
        by = 1 if op == "add" else 0
        seen = (told.get("value"), told.get("version"))
        return Operation(self._process, op, self._target.name, by, None, key, call, ret, outcome, refused, *seen)


def _client(url: str, jar: CookieJar) -> httpx.AsyncClient:
    only_one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncClient(
        base_url=url, timeout=TIMEOUT_S, limits=only_one, verify=_NO_TLS, trust_env=False, cookies=jar
    )


def _outcome(status: int) -> str:
    if status == 200:
        return "ok"
    return "fail" if status < 500 or status == 503 else "info"


async def fire(
    url: str, target: Target, *, clients: int, requests: int, workers: int, heard: Callable[[Operation], None]
) -> Volley:
    """Let `clients` connect, then send `requests` increments in all at once, then read the counter.

    `heard` is told each operation as it ends. A client keeps its connection, so a worker is only as busy as it has
    connections: they are reopened until every worker has its share.
    """
    volley = Volley()
    shared = CookieJar() if target.who == "one" else None
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(Caller(url, target, i, shared)) for i in range(clients)]
        await spread(crowd, workers)
        if target.who == "one":
            await crowd[0].reset()
        together = asyncio.Barrier(clients)
        shares = [requests // clients + (i < requests % clients) for i in range(clients)]
        start = time.perf_counter()
        await asyncio.gather(
            *(_row(caller, share, together, volley, heard) for caller, share in zip(crowd, shares, strict=True))
        )
        volley.seconds = time.perf_counter() - start
        if target.who == "each":
            volley.operations += await asyncio.gather(*(caller.read() for caller in crowd))
        # Somebody who has not called yet; only where all are one client, it is that client.
        last = await stack.enter_async_context(Caller(url, target, clients, shared))
        volley.operations.append(await last.read())
    return volley


async def spread(crowd: Sequence[Caller], workers: int) -> list[int]:
    """Connect all, then reopen the connections of the busiest worker until each has enough; return whose each is."""
    owners = list(await asyncio.gather(*(caller.connect() for caller in crowd)))
    for _ in range(REOPENINGS):
        shares = Counter(owners)
        if len(shares) == workers and min(shares.values()) >= ENOUGH * len(crowd):
            break
        busiest = shares.most_common(1)[0][0]
        moving = [i for i, owner in enumerate(owners) if owner == busiest][::2]
        moved = await asyncio.gather(*(crowd[i].connect(again=True) for i in moving))
        for i, owner in zip(moving, moved, strict=True):
            owners[i] = owner
    return owners


async def _row(
    caller: Caller, share: int, together: asyncio.Barrier, volley: Volley, heard: Callable[[Operation], None]
) -> None:
    await together.wait()
    for _ in range(share):
        operation = await caller.add()
        if caller.answered:
            volley.pids[caller.worker] += 1
            volley.steps[len(volley.operations)] = caller.steps
            volley.owners[len(volley.operations)] = caller.worker
        volley.operations.append(operation)
        heard(operation)
