"""`QuartCounter` in somebody's own Quart app."""

import asyncio
import secrets

import pytest
from quart import Quart
from quart.testing.app import LifespanError
from servers import a_server_of_our_own

from quart_counter import (
    ConfigurationError,
    CounterRefused,
    InvalidChange,
    NotApplied,
    OutcomeUnknown,
    QuartCounter,
    create_app,
)
from quart_counter.local.process import LocalServer, free_port
from quart_counter.testing import assert_unique_numbers


def ticket_office(**settings: object) -> tuple[Quart, QuartCounter]:
    """The app of the README: a route that hands out numbers."""
    app = Quart("office")
    counters = QuartCounter(app, **settings)

    @app.post("/ticket")
    async def ticket() -> dict[str, int]:
        return {"number": await counters.increment("tickets")}

    return app, counters


@pytest.fixture
def name() -> str:
    """A counter of this test alone: the Redis is everybody's."""
    return f"library-{secrets.token_hex(4)}"


async def test_every_visitor_gets_a_number() -> None:
    app, _ = ticket_office()
    async with app.test_app():
        replies = await asyncio.gather(*(app.test_client().post("/ticket") for _ in range(100)))
        assert sorted([(await reply.get_json())["number"] for reply in replies]) == list(range(1, 101))


async def test_an_app_starts_again_after_it_stopped_and_after_it_could_not() -> None:
    """As it does in every test of a suite that shares it."""
    missing = {"url": f"redis://127.0.0.1:{free_port()}/0"}
    app, counters = ticket_office()
    for _ in range(3):
        async with app.test_app():
            assert [await counters.increment("tickets"), await counters.read("tickets")] == [1, (1, 1)]
            await assert_unique_numbers(app, "POST /ticket", clients=20, lifespan=False)
    for _ in range(2):
        await assert_unique_numbers(app, "POST /ticket", clients=20)
    lost, _ = ticket_office(**missing)
    for _ in range(2):
        with pytest.raises(LifespanError, match="does not answer"):
            async with lost.test_app():
                pass


@pytest.mark.parametrize("given", [{"rate": "100/1s", "max_names": 10}, {"demo": True}], ids=["limits", "demo"])
async def test_the_service_starts_again_too(given: dict[str, object]) -> None:
    app = create_app(**given)
    for _ in range(2):
        async with app.test_app():
            reply = await app.test_client().post("/counters/tickets/increment")
            assert (await reply.get_json())["value"] == 1


async def test_all_the_verbs() -> None:
    app, counters = ticket_office()
    async with app.test_app():
        assert await counters.increment("a") == 1
        assert await counters.increment("a", 5) == 6
        assert await counters.increment("a", by=-2) == 4
        assert await counters.add("a") == (5, 4)
        assert await counters.take("a", limit=6) == (6, 5)
        assert await counters.take("a", -6, floor=0) == (0, 6)
        assert await counters.set("a", 40, if_version=6) == (40, 7)
        assert await counters.reset("a") == (0, 8)
        assert await counters.read("a") == (0, 8)
        assert await counters.read("never") == (0, 0)
        assert list(await counters.names()) == ["a"]
        assert await counters.increment("a", key="k") == await counters.increment("a", key="k") == 1
        assert counters.guarantees.scope == "process"


async def test_refusals_say_why() -> None:
    app, counters = ticket_office()
    async with app.test_app():
        await counters.increment("seats", 3)
        with pytest.raises(CounterRefused) as refused:
            await counters.take("seats", limit=3)
        assert (refused.value.name, refused.value.reason, refused.value.value) == ("seats", "bound", 3)
        with pytest.raises(CounterRefused, match="somebody changed it"):
            await counters.set("seats", 1, if_version=9)
        await counters.increment("seats", key="k")
        with pytest.raises(CounterRefused, match="another request"):
            await counters.increment("seats", 2, key="k")


@pytest.mark.parametrize("by", [0, True, 1.0, "1", None, 2**31 + 1])
async def test_impossible_arguments(by: object) -> None:
    app, counters = ticket_office()
    async with app.test_app():
        with pytest.raises(InvalidChange):
            await counters.increment("a", by)  # type: ignore[arg-type]
        with pytest.raises(InvalidChange):
            await counters.take("a")
        with pytest.raises(ValueError, match="no counter name"):
            await counters.increment("")
        assert await counters.read("a") == (0, 0)


async def test_before_it_serves_every_use_says_what_to_do() -> None:
    app, counters = ticket_office()
    for use in (counters.increment("a"), counters.read("a"), counters.reset("a"), counters.names()):
        with pytest.raises(ConfigurationError, match="open when the app starts serving"):
            await use
    with pytest.raises(ConfigurationError, match="open when the app starts serving"):
        _ = counters.guarantees
    async with app.test_app():
        assert await counters.increment("a") == 1
    with pytest.raises(ConfigurationError, match="open when the app starts serving"):
        await counters.increment("a")


async def test_init_app() -> None:
    """The counters first, the app later, as extensions have it."""
    counters = QuartCounter()
    app = Quart("later")
    counters.init_app(app)
    assert app.extensions["quart_counter"] is counters
    async with app.test_app():
        assert await counters.increment("a") == 1
    with pytest.raises(ConfigurationError, match="its counters already"):
        QuartCounter(app)


async def test_it_is_ready_in_the_apps_own_start() -> None:
    app, counters = ticket_office()

    @app.while_serving
    async def start() -> None:
        assert await counters.increment("starts") == 1
        yield
        assert await counters.increment("starts") == 2

    async with app.test_app():
        assert await counters.read("starts") == (1, 1)


async def test_no_route_of_the_app_is_touched() -> None:
    app = Quart("plain")
    rules, hooks = len(app.url_map._rules), (dict(app.before_request_funcs), dict(app.error_handler_spec))
    asgi_app = app.asgi_app
    QuartCounter(app)
    assert len(app.url_map._rules) == rules
    assert (dict(app.before_request_funcs), dict(app.error_handler_spec)) == hooks
    assert app.asgi_app == asgi_app
    async with app.test_app():
        assert (await app.test_client().post("/counters/a/increment")).status_code == 404


def test_settings_come_from_app_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given beats app.config, which beats the environment."""
    monkeypatch.setenv("QUART_COUNTER_MODE", "nonsense-of-the-environment")
    app = Quart("configured")
    app.config["QUART_COUNTER_MODE"] = "nonsense-of-the-config"
    with pytest.raises(ConfigurationError, match="nonsense-of-the-config"):
        QuartCounter(app)
    QuartCounter(app, mode="lock")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mode": "none"}, "there is no mode 'none'"),
        ({"url": "gopher://x"}, "no mode uses gopher"),
        ({"nope": 1}, "there is no setting 'nope'"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"mode": "lock", "url": "redis://x"}, "does not use redis"),
    ],
)
def test_wrong_settings_are_told_at_once(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        QuartCounter(Quart("wrong"), **settings)


async def test_apps_share_redis(redis_server: LocalServer, name: str) -> None:
    """Two workers' worth of apps, or two services of one company: one counter."""
    (one, first), (two, second) = (ticket_office(url=redis_server.url) for _ in range(2))
    async with one.test_app(), two.test_app():
        both = [counters.increment(name) for counters in (first, second) for _ in range(100)]
        assert sorted(await asyncio.gather(*both)) == list(range(1, 201))
        assert await first.read(name) == await second.read(name) == (200, 200)
        assert first.guarantees.scope == "network"


async def test_what_was_asked_for_is_done_at_shutdown(redis_server: LocalServer, name: str) -> None:
    """Callers that leave, and an app that stops, take nothing back."""
    app, counters = ticket_office(url=redis_server.url)
    async with app.test_app():
        leaving = [asyncio.create_task(counters.increment(name)) for _ in range(50)]
        while counters.statistics().flushes == 0:  # noqa: ASYNC110 - the very moment of the first flush
            await asyncio.sleep(0)
        for task in leaving[:25]:
            task.cancel()
    done = await asyncio.gather(*leaving, return_exceptions=True)
    numbers = [number for number in done if isinstance(number, int)]
    assert sorted(numbers) == sorted(set(numbers))
    assert len(numbers) == 25
    app, counters = ticket_office(url=redis_server.url)
    async with app.test_app():
        assert 25 <= (await counters.read(name)).value <= 50


async def test_redis_that_is_away_at_the_start() -> None:
    app, _ = ticket_office(url="redis://127.0.0.1:1/0")
    with pytest.raises(Exception, match="Redis does not answer"):
        async with app.test_app():
            pass


async def test_redis_that_goes_away_later(name: str) -> None:
    with a_server_of_our_own("redis") as server:
        app, counters = ticket_office(url=server.url, deadline_s=0.3, store_timeout_s=0.1)
        async with app.test_app():
            assert await counters.increment(name) == 1
            server.kill()
            with pytest.raises(OutcomeUnknown, match="cannot be found out") as unknown:  # it met the closing connection
                await counters.increment(name)
            assert (unknown.value.name, unknown.value.by, unknown.value.key) == (name, 1, None)
            with pytest.raises(NotApplied, match="sending it again is safe"):
                await counters.increment(name)
