"""The JSON log: a true line for each request, whole lines whatever is sent, and nothing that waits for its reader."""

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.malformed import malformed
from e2e.raw import ask, connect, request, served_by
from e2e.served import Served, outcome, serve
from e2e.test_malformed import attack
from quart_counter import create_app
from quart_counter.access.tokens import new_token
from quart_counter.web import api
from quart_counter.web.log import AT_ONCE, MOST_WAITING, Handler, Lines, Log, line

INCREMENT = ("POST", "/counters/tickets/increment")
SERVERS = pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])


def lines_of(served: Served) -> list[dict[str, Any]]:
    """All that it said, each line read as JSON."""
    for said in served.said:
        assert all(" " <= character <= "~" for character in said), said
    return [json.loads(said) for said in served.said]


def requests_in(served: Served) -> list[dict[str, Any]]:
    return [told for told in lines_of(served) if told["message"] == "request"]


async def test_a_line_tells_who_asked_for_what_and_how_it_went() -> None:
    token, known = new_token(["increment"], id="shop")
    environ = {"QUART_COUNTER_TOKENS": known.line(), "QUART_COUNTER_SECRET_KEY": "good for sixteen bytes"}
    async with serve("--log", "json", "--proxies", "1", **environ) as served:
        await ask(served.url, "GET", "/healthz", [("X-Forwarded-For", f"fe80::1%{'x' * 9000}")])
        bearer = [("Authorization", f"Bearer {token}"), ("X-Forwarded-For", "made up, 192.0.2.7")]
        reply = await ask(served.url, *INCREMENT, [*bearer, ("X-Request-Id", "order-17.a")])
        assert (reply.status, reply.header("x-request-id")) == (200, "order-17.a")
        await ask(served.url, "GET", "/metrics", bearer)
        await ask(served.url, "GET", "/counters?after=secret-in-the-query")
        worker = served.workers[0]
    zoned, first, forbidden, stranger = requests_in(served)
    assert zoned["client"] == "127.0.0.1", "a zone is as long as its writer likes, and no part of an address from afar"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert 0 < first.pop("ms") < 5000
    assert first == {
        **{"level": "info", "message": "request", "request_id": "order-17.a", "method": "POST"},
        **{"path": INCREMENT[1], "status": 200, "worker": worker, "client": "192.0.2.7", "id": "shop"},
    }
    assert (forbidden["status"], forbidden["id"]) == (403, "shop")
    assert (stranger["status"], stranger["path"], "id" in stranger) == (401, "/counters", False)
    assert token not in "".join(served.said)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "%0d%0a", '"}', "\xff"])
async def test_an_insane_request_id_is_replaced(given: str) -> None:
    lines = Lines(os.open(os.devnull, os.O_WRONLY))
    app = create_app()
    app.asgi_app = Log(app.asgi_app, lines)  # type: ignore[method-assign]
    async with served_by("hypercorn", app) as url:
        reply = await ask(url, *INCREMENT, [("X-Request-Id", given)])
        assert re.fullmatch("[0-9a-f]{16}", reply.header("x-request-id") or "")
    lines.close()


@SERVERS
async def test_no_request_breaks_a_line(server: str) -> None:
    """Two workers write to one pipe, and clients send what they like."""
    forged = [
        "/%0d%0a%7B%22level%22:%22error%22%7D",
        "/\x7f%1b[31m",
        '/"}{"',
        "/" + '"' * 7000,
        "/\\u000a",
        "/" + "\xff" * 900,
    ]
    async with serve("--log", "json", "--with-redis", "--workers", "2", "--server", server) as served:
        sending = [request("GET", target, [("X-Request-Id", '"\\')]) for target in forged]
        await asyncio.gather(*(attack(served.url, data) for data in [*sending, *malformed(7, 150)]))
        async with connect(served.url) as connection:
            for _ in range(100):
                await connection.ask(*INCREMENT)
    told = requests_in(served)
    assert sum(one["path"] == INCREMENT[1] and one["status"] == 200 for one in told) >= 100
    assert "/%0d%0a%7B%22level%22:%22error%22%7D" in {one["path"] for one in told}
    assert all(len(said) < AT_ONCE for said in served.said)
    assert [one for one in lines_of(served) if one["level"] != "info"] == []


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_all(fd: int) -> list[dict[str, Any]]:
    os.set_blocking(fd, False)
    text = b""
    try:
        while piece := os.read(fd, 65_536):
            text += piece
    except BlockingIOError:
        pass
    return [json.loads(one) for one in text.splitlines()]


@pytest.mark.parametrize("way", ["shortcut", "quart"])
async def test_a_bug_is_told_to_the_log_alone(way: str, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*args: Any, **how: Any) -> None:
        raise RuntimeError("line one\nline two, and hunter2-the-password")

    monkeypatch.setattr(api, "increment" if way == "shortcut" else "answer", broken)
    lines = Lines(pipe[1])
    lines.hide(["hunter2-the-password"])
    app = create_app()
    app.asgi_app = Log(app.asgi_app, lines)  # type: ignore[method-assign]
    monkeypatch.setattr(logging.getLogger("quart_counter"), "handlers", [Handler(lines)])
    monkeypatch.setattr(logging.getLogger("quart_counter"), "propagate", False)
    async with served_by("hypercorn", app) as url:
        reply = await ask(url, *(INCREMENT if way == "shortcut" else ("GET", "/counters/tickets")))
    lines.close()
    assert reply.status == 500
    assert reply.json["type"] == "urn:quart-counter:internal-server-error"
    assert b"line" not in reply.body.replace(b"online", b"")
    bug = next(one for one in read_all(pipe[0]) if one["level"] == "error")
    assert bug["request_id"] == reply.header("x-request-id")
    assert "RuntimeError: line one\nline two, and ***" in bug["traceback"]
    assert "broken" in bug["traceback"]


def test_what_is_hidden_breaks_no_line(pipe: tuple[int, int]) -> None:
    """Be it so short that it is in every line, or in need of quoting."""
    lines = Lines(pipe[1])
    lines.hide(["20", 'pass"wörd'])
    lines.add((0.0, "error", 'no login with pass"wörd', {"status": 200, "path": "/counters/20"}))
    lines.close()
    (told,) = read_all(pipe[0])
    assert (told["time"][:2], told["status"]) == ("19", 200)
    assert (told["message"], told["path"]) == ("no login with ***", "/counters/***")


async def test_a_log_that_nobody_reads_stops_nothing(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1])
    since = time.perf_counter()
    for n in range(5 * MOST_WAITING):
        lines.add((0.0, "info", "request", {"n": n}))
    assert time.perf_counter() - since < 5.0  # it does not wait, however long the machine takes
    told: list[dict[str, Any]] = []
    while not told or "dropped" not in told[-1]:
        told += await asyncio.to_thread(read_all, pipe[0])
        await asyncio.sleep(0.01)  # the writer is a thread, and says nothing when it is through
    lines.close()
    assert told[-1]["dropped"] + len(told) - 1 == 5 * MOST_WAITING
    assert told[-1]["dropped"] > 0


@pytest.mark.soak
async def test_what_a_line_costs() -> None:
    """Prints it: the loop's share alone, which is what requests wait for; then the thread's."""
    n = 20_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "raw_path": INCREMENT[1].encode(), "headers": [], "client": ("::1", 1)}

    async def took_us(app: Any) -> float:
        since = time.perf_counter()
        for _ in range(n):
            await app(scope, None, send)
        return 1e6 * (time.perf_counter() - since) / n

    class Kept(Lines):
        def add(self, entry: Any) -> None:
            self._waiting.append(entry)

    kept = Kept(-1)
    logged = min([await took_us(Log(app, kept)) for _ in range(5)])
    plain = min([await took_us(app) for _ in range(5)])
    since = time.perf_counter()
    written = sum(len(line(*entry)) for entry in kept._waiting)
    thread_us = 1e6 * (time.perf_counter() - since) / len(kept._waiting)
    print(f"a request's line costs the loop {logged - plain:.1f} µs, and the thread {thread_us:.1f} µs")  # noqa: T201
    assert written


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (("--log", "json", "--workers", "0"), {}, "workers is 0: give 1 or more."),
        (("--mode", "none"), {"QUART_COUNTER_LOG": "json"}, "there is no mode 'none'"),
        (("--log", "json", "--url", "redis://127.0.0.1:1/0"), {}, "Redis does not answer"),
        (("--log", "json", "--config", "/nonexistent.toml"), {}, "cannot be read"),
    ],
)
async def test_why_it_cannot_start_is_a_line_too(arguments: Any, environ: dict[str, str], sentence: str) -> None:
    status, said = await outcome("serve", *arguments, **environ)
    told = [json.loads(line) for line in said.splitlines()]
    assert (status, told[-1]["level"]) == (2, "error")
    assert sentence in told[-1]["message"]
