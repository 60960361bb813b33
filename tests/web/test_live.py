"""The live number, over a real Hypercorn: what a stream tells, that it ends, and that it leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from e2e.events import Stream, stream
from e2e.raw import ask, hypercorn
from hypercorn.asyncio import run
from quart import Quart

from quart_counter import create_app
from quart_counter.asgi.connection import Connection
from quart_counter.stores import StoreAway
from quart_counter.web import live, streams

ONE_MORE = "/counters/visits/increment"


@pytest.fixture
async def app() -> Quart:
    return create_app(mode="lock", max_streams=50)


@pytest.fixture
async def url(app: Quart) -> AsyncIterator[str]:
    async with hypercorn(app) as url:
        yield url


async def eventually(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - the server sets no event of ours
            await asyncio.sleep(0.01)


async def versions_until(told: Stream, version: int) -> list[int]:
    seen = [(await told.next()).json["version"]]
    while seen[-1] < version:
        seen.append((await told.next()).json["version"])
    return seen


async def test_two_browsers_see_the_same_number_move(url: str) -> None:
    async with stream(url) as alice, stream(url) as bob:
        for viewer in (alice, bob):
            assert (await viewer.next()).json == {"name": "visits", "value": 0, "version": 0}
        for number in (1, 2, 3):
            await ask(url, "POST", ONE_MORE)
            for viewer in (alice, bob):
                event = await viewer.next()
                assert event.json == {"name": "visits", "value": number, "version": number}
                assert event.id == str(number)


async def test_under_load_versions_only_rise_and_the_last_is_told(url: str) -> None:
    async with stream(url) as told:
        for _ in range(20):
            await asyncio.gather(*(ask(url, "POST", ONE_MORE) for _ in range(10)))
        seen = await versions_until(told, 200)
    assert seen == sorted({*seen})


async def test_whoever_comes_back_is_told_what_is_newer_and_nothing_else(url: str) -> None:
    for _ in range(3):
        await ask(url, "POST", ONE_MORE)
    async with stream(url, headers=[("Last-Event-ID", "2")]) as told:
        assert (await told.next()).id == "3"
    async with stream(url, headers=[("Last-Event-ID", "3")]) as told:
        await ask(url, "POST", ONE_MORE)
        assert (await told.next()).id == "4"


@pytest.mark.parametrize("nonsense", ["", "x", "-1", "1.5", "9" * 400, "\xb2"])
async def test_a_last_event_id_of_nobody_is_none(url: str, nonsense: str) -> None:
    async with stream(url, headers=[("Last-Event-ID", nonsense)]) as told:
        assert (await told.next()).json["version"] == 0


async def test_a_counter_that_began_anew_says_so(url: str) -> None:
    """A worker's memory is lost with it: the browser has seen more than there is."""
    await ask(url, "POST", ONE_MORE)
    async with stream(url, headers=[("Last-Event-ID", "7")]) as told:
        event = await told.next()
        assert (event.kind, event.json["version"]) == ("again", 1)
        await ask(url, "POST", ONE_MORE)
        assert (await told.next()).kind == "message"


async def test_a_newcomer_is_not_told_what_was_seen_before_it_came(app: Quart, url: str) -> None:
    """A look that began before it came may be older than what its page shows."""
    looks = asyncio.Semaphore(0)
    counters = app.extensions["quart_counter"]
    look, looked = counters.look, asyncio.Event()

    async def slow_look(name: str) -> object:
        reading = await look(name)
        looked.set()
        await looks.acquire()
        return reading

    counters.look = slow_look
    async with stream(url), stream(url, headers=[("Last-Event-ID", "1")]) as told:
        await looked.wait()  # 0, and on its way for a while
        await ask(url, "POST", ONE_MORE)
        for _ in range(3):
            looks.release()
        await ask(url, "POST", ONE_MORE)
        looks.release()
        event = await told.next()
        assert (event.kind, event.id) == ("message", "2")


async def test_a_store_that_is_away_is_told_once_and_so_is_its_return(
    app: Quart, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stream(url) as told:
        assert (await told.next()).id == "0"
        with monkeypatch.context() as trouble:
            trouble.setattr(app.extensions["quart_counter"], "look", _away)
            assert (await told.next()).kind == "away"
            await asyncio.sleep(3 * live.LOOK_EVERY_S)
        assert (await told.next()).id == "0"


async def _away(name: str) -> None:
    raise StoreAway("gone")


async def test_one_task_looks_however_many_watch_and_none_when_nobody_does(
    app: Quart, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = app.extensions["quart_counter"]
    look, looks = counters.look, 0

    async def counted(name: str) -> object:
        nonlocal looks
        looks += 1
        return await look(name)

    monkeypatch.setattr(counters, "look", counted)
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        since = clock()
        crowd = [await stack.enter_async_context(stream(url)) for _ in range(40)]
        for viewer in crowd:
            await viewer.next()
        await asyncio.sleep(0.5)
        assert looks <= 2 + (clock() - since) / live.LOOK_EVERY_S
    await asyncio.sleep(2 * live.LOOK_EVERY_S)
    before = looks
    await asyncio.sleep(2 * live.LOOK_EVERY_S)
    assert looks == before


async def test_beyond_the_most_they_are_turned_away_until_one_leaves(app: Quart, url: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(stream(url))
        refused = await ask(url, "GET", "/events")
        assert (refused.status, refused.header("retry-after")) == (503, str(streams.FULL_RETRY_S))
        assert "as many event streams as it may" in refused.json["detail"]
    await eventually(lambda: not _live(app).streams.open)
    async with stream(url) as told:
        assert (await told.next()).id == "0"


async def test_a_thousand_connects_and_disconnects_leave_no_task_behind(
    app: Quart, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "TCPServer", Connection)  # as our workers serve
    await ask(url, "GET", "/healthz")
    await asyncio.sleep(0.05)
    before = len(asyncio.all_tasks())
    for _ in range(25):
        await asyncio.gather(*(_come_and_go(url, wait=bool(number % 2)) for number in range(40)))
    await eventually(lambda: not _live(app).streams.open)
    await eventually(lambda: len(asyncio.all_tasks()) <= before)


async def _come_and_go(url: str, wait: bool) -> None:
    async with stream(url) as told:
        assert told.status in (200, 503)
        if wait and told.status == 200:
            await told.next()


async def test_a_stream_ends_by_itself_in_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LIFE_S", 0.5)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.1)
    async with stream(url) as told:
        assert [event.id for event in await told.end()] == ["0"]


async def test_all_end_at_once_when_the_worker_stops(app: Quart) -> None:
    async with hypercorn(app) as url, stream(url) as told, stream(url) as another:
        await told.next()
        for end in app.extensions["quart_counter_leaving"]:
            end()
        await told.end()
        await another.end()
        assert (await ask(url, "GET", "/events")).status == 503
        assert (await ask(url, "GET", "/healthz")).status == 200


async def test_only_get_opens_one_and_only_for_this_site(app: Quart, url: str) -> None:
    head = await ask(url, "HEAD", "/events")
    assert (head.status, head.header("content-type")) == (200, "text/event-stream; charset=utf-8")
    refused = await ask(url, "POST", "/events")
    assert (refused.status, refused.header("allow")) == (405, "GET, HEAD")
    assert (await ask(url, "GET", "/events", [("Origin", "https://evil.example")])).status == 403
    assert (await ask(url, "GET", "/events", [("Sec-Fetch-Site", "cross-site")])).status == 403
    assert not _live(app).streams.open


def _live(app: Quart) -> live.Live:
    (end,) = app.extensions["quart_counter_leaving"]
    return end.__self__
