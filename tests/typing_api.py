"""What a type checker sees of the public face. Never run: `mypy` reads it."""

from contextlib import AbstractAsyncContextManager
from typing import assert_type

from quart import Quart

import quart_counter
from quart_counter import (
    ConfigurationError,
    CounterRefused,
    Forbidden,
    InvalidChange,
    NotApplied,
    OutcomeUnknown,
    QuartCounter,
    QuartCounterError,
    Store,
    StoreAway,
    create_app,
    open_store,
)
from quart_counter.client import CounterClient
from quart_counter.model import Applied, Change, Outcome, Reading
from quart_counter.stores import Guarantees

assert_type(quart_counter.__version__, str)
app = assert_type(create_app(), Quart)
assert_type(create_app(mode="redis", workers=2), Quart)
counters = assert_type(QuartCounter(app), QuartCounter)
assert_type(QuartCounter(app, url="redis://127.0.0.1:6379/0").guarantees, Guarantees)


async def library() -> None:
    assert_type(await counters.increment("tickets"), int)
    assert_type(await counters.increment("tickets", -1, key="k"), int)
    assert_type(await counters.add("tickets", by=2), Reading)
    assert_type(await counters.take("tickets", limit=100), Reading)
    assert_type(await counters.take("tickets", -1, floor=0, key="k"), Reading)
    assert_type(await counters.set("tickets", 7, if_version=3), Reading)
    assert_type(await counters.reset("tickets"), Reading)
    value, version = await counters.read("tickets")
    assert_type((value, version), tuple[int, int])

    await counters.increment("tickets", "2")  # type: ignore[arg-type]
    await counters.increment("tickets", 1, "k")  # type: ignore[call-arg]
    await counters.take("tickets", limit="100")  # type: ignore[arg-type]
    await counters.add(7)  # type: ignore[arg-type]


async def client() -> None:
    async with CounterClient("http://127.0.0.1:8000") as remote:
        assert_type(await remote.increment("tickets"), int)
        assert_type(await remote.read("tickets"), Reading)


async def stores() -> None:
    opening = assert_type(open_store("memory:"), AbstractAsyncContextManager[Store])
    async with opening as store:
        outcomes = await store.apply([Change("tickets")])
        first: Outcome = outcomes[0]
        if isinstance(first, Applied):
            assert_type(first.value, int)
        assert_type(await store.read("tickets"), Reading)


def errors(error: QuartCounterError) -> None:
    match error:
        case CounterRefused():
            assert_type((error.name, error.reason, error.value, error.version), tuple[str, str, int, int])
        case OutcomeUnknown():
            assert_type((error.name, error.by, error.key), tuple[str, int | None, str | None])
        case InvalidChange():
            _: ValueError = error
        case ConfigurationError() | Forbidden() | NotApplied() | StoreAway():
            pass
