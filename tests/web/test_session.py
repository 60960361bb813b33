"""A client's own number: right under parallel requests of one client, private to it, bounded in number and life."""

import asyncio
from typing import Any

import pytest
from quart import Quart

from quart_counter import create_app
from quart_counter.counters import Counters
from quart_counter.counters.sessions import PREFIX, Sessions
from quart_counter.model import Change
from quart_counter.stores.memory import MemoryStore


def app_with(**settings: Any) -> Quart:
    return create_app(secret_key="for these tests alone", **settings)


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory:" if request.param == "memory" else request.getfixturevalue("redis_server").url


async def test_the_three_effects_and_the_reading(url: str) -> None:
    """The answer's own routes, with POST for what has an effect."""
    async with app_with(mode="session", url=url).test_app() as app:
        client = app.test_client()
        assert await (await client.get("/session")).get_json() == {"value": 0, "version": 0}
        for effect, value, version in [("increment", 1, 1), ("increment", 2, 2), ("decrement", 1, 3), ("reset", 0, 4)]:
            answer = await client.post(f"/session/{effect}")
            assert (answer.status_code, await answer.get_json()) == (200, {"value": value, "version": version})
        assert await (await client.get("/session")).get_json() == {"value": 0, "version": 4}


async def test_parallel_increments_of_one_client_all_count(url: str) -> None:
    """50 at once with one cookie give exactly 1 to 50."""
    async with app_with(mode="session", url=url).test_app() as app:
        client = app.test_client()
        await client.post("/session/reset")
        answers = await asyncio.gather(*(client.post("/session/increment") for _ in range(50)))
        values = [(await answer.get_json())["value"] for answer in answers]
        assert sorted(values) == list(range(1, 51))


async def test_parallel_increments_in_a_cookie_lose_counts() -> None:
    """The opposite: where the number itself travels, requests that leave together all carry the same one."""
    app = app_with(mode="cookie")
    async with app.test_app():
        fresh = await app.test_client().post("/session/reset")
        carried = {"Cookie": fresh.headers["Set-Cookie"].partition(";")[0]}
        clients = [app.test_client(use_cookies=False) for _ in range(5)]
        answers = await asyncio.gather(*(one.post("/session/increment", headers=carried) for one in clients))
        assert [(await answer.get_json())["value"] for answer in answers] == [1, 1, 1, 1, 1]


async def test_two_browsers_never_see_each_others_number(url: str) -> None:
    """Each has an id of its own, and neither shows the other's."""
    async with app_with(mode="session", url=url).test_app() as app:
        one, other = app.test_client(), app.test_client()
        for _ in range(3):
            await one.post("/session/increment")
        assert (await (await other.post("/session/increment")).get_json())["value"] == 1
        assert (await (await one.get("/session")).get_json())["value"] == 3


async def test_a_forged_cookie_is_a_new_client() -> None:
    """The id is signed: another client's number cannot be asked for by making its name up."""
    app = app_with(mode="session")
    async with app.test_app():
        victim = app.test_client()
        await victim.post("/session/increment")
        name = (await app.extensions["quart_counter"].names())[0]
        forged = app.test_client(use_cookies=False)
        answer = await forged.get("/session", headers={"Cookie": f'session={{"client": "{name}"}}'})
        assert (await answer.get_json())["value"] == 0


async def test_another_sites_page_has_no_effect() -> None:
    """A cross-site POST is refused, so no page elsewhere can count in a visitor's name."""
    app = app_with(mode="session")
    async with app.test_app():
        answer = await app.test_client().post("/session/increment", headers={"Origin": "https://elsewhere.example"})
        assert answer.status_code == 403
        assert await app.extensions["quart_counter"].names() == []


@pytest.mark.parametrize("effect", ["", "explode", "increment/more"])
async def test_there_is_no_other_effect(effect: str) -> None:
    """Unknown effects are 404, and GET has none."""
    async with app_with(mode="session").test_app() as app:
        client = app.test_client()
        assert (await client.post(f"/session/{effect}")).status_code == 404
        assert (await client.get("/session/increment")).status_code == 405


def sessions_in_memory(**bounds: Any) -> tuple[Counters, Sessions]:
    counters = Counters(MemoryStore(), deadline_s=1, combine=False)
    return counters, Sessions(counters, **bounds)


async def test_sessions_are_bounded_in_number() -> None:
    """A hundred thousand clients leave no more counters than allowed, and the newest are kept."""
    counters, sessions = sessions_in_memory(life_s=3600, most=100)
    for _ in range(100_000):
        newest = await sessions.enter(None)
        await counters.apply(Change(newest))
    assert len(await counters.names(limit=1000)) == 100
    assert await sessions.enter(newest) == newest
    assert (await counters.look(newest)).value == 1


async def test_a_session_ends_with_its_life() -> None:
    """An id past its life gets a new one, and the sweep forgets its number, also one of a worker that is gone."""
    counters, sessions = sessions_in_memory(life_s=3600, most=100)
    old, other = f"{PREFIX}{0:010x}.{'0' * 32}", "tickets"
    for name in (old, other):
        await counters.apply(Change(name))
    young = await sessions.enter(old)
    await counters.apply(Change(young))
    assert young != old
    assert await sessions.sweep() == 1
    assert sorted(await counters.names()) == sorted([young, other])
