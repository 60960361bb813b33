"""Limits, on the running service: over all its workers, told in the answers, and nothing that a client makes up fills
it."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from e2e.raw import Connection, Headers, Reply, ask, connect, request
from e2e.served import Served, serve
from quart_counter.access.tokens import new_token
from quart_counter.client import CounterClient

INCREMENT = ("POST", "/counters/tickets/increment")
TWO_WORKERS = ("--with-redis", "--workers", "2")


async def at_once(url: str, n: int, *what: Any) -> list[Reply]:
    """The same request on n connections, so that all workers get some."""
    return await asyncio.gather(*(ask(url, *(what or INCREMENT)) for _ in range(n)))


def statuses(replies: list[Reply]) -> Counter[int]:
    return Counter(reply.status for reply in replies)


async def test_a_rate_holds_over_all_workers_and_says_when_to_come_again() -> None:
    async with serve(*TWO_WORKERS, "--rate", "5/1h") as served:
        replies = await at_once(served.url, 40)
        assert statuses(replies) == {200: 5, 429: 35}
        assert {reply.json["value"] for reply in replies if reply.status == 200} == {1, 2, 3, 4, 5}
        refused = next(reply for reply in replies if reply.status == 429)
        assert refused.json["type"] == "urn:quart-counter:rate"
        assert refused.json["applied"] == "no"
        assert 700 < int(refused.header("retry-after") or 0) <= 720
        assert refused.header("ratelimit-policy") == '"client";q=5;w=3600'
        assert re.fullmatch(r'"client";r=0;t=\d+', refused.header("ratelimit") or "")
        assert statuses(await at_once(served.url, 3, "GET", "/healthz")) == {200: 3}


async def test_behind_a_proxy_each_client_has_its_own() -> None:
    secret = {"QUART_COUNTER_SECRET_KEY": "good for sixteen bytes"}
    async with serve("--proxies", "1", "--open", "--rate", "2/1h", **secret) as served:
        for address, others in (("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::ffff")):
            asked = [("X-Forwarded-For", f"made up, {one}") for one in (address, others, others)]
            assert [(await ask(served.url, *INCREMENT, [one])).status for one in asked] == [200, 200, 429]


async def test_a_token_has_its_own_rate_and_its_own_names(tmp_path: Path) -> None:
    slow, fast = new_token(["increment"], rate="3/1h", max_names=2), new_token(["increment"])
    async with serve(*TWO_WORKERS, QUART_COUNTER_TOKENS=f"{slow[1].line()};{fast[1].line()}") as served:

        def named(token: str, name: str) -> tuple[Any, ...]:
            return "POST", f"/counters/{name}/increment", [("Authorization", f"Bearer {token}")]

        assert [(await ask(served.url, *named(slow[0], name))).status for name in "abc"] == [200, 200, 429]
        assert statuses(await at_once(served.url, 5, *named(slow[0], "a"))) == {429: 5}
        assert statuses(await at_once(served.url, 20, *named(fast[0], "c"))) == {200: 20}


async def test_strangers_are_limited_too() -> None:
    """401 is an answer, and costs what an answer costs; and 429 tells no more than 401 did: every path has it."""
    token, known = new_token(["increment"], rate="100/1h")
    async with serve(*TWO_WORKERS, "--rate", "20/1h", QUART_COUNTER_TOKENS=known.line()) as served:
        guesses = [("Authorization", "Bearer qc_guess")]
        assert statuses(await at_once(served.url, 30, *INCREMENT, guesses)).keys() == {401, 429}
        paths = ("/", "/counters/tickets", "/metrics", "/no/such/path", "/static/page.css")
        assert [(await ask(served.url, "GET", path)).status for path in paths] == [429] * len(paths)
        assert (await ask(served.url, *INCREMENT, [("Authorization", f"Bearer {token}")])).json["value"] == 1


async def test_whoever_has_a_token_does_not_pay_for_strangers_of_the_same_address() -> None:
    token, known = new_token(["increment"])
    async with serve("--rate", "5/1h", QUART_COUNTER_TOKENS=known.line()) as served:
        assert 429 in statuses(await at_once(served.url, 20, *INCREMENT))
        asked = [await ask(served.url, *INCREMENT, [("Authorization", f"Bearer {token}")]) for _ in range(6)]
        assert [reply.status for reply in asked] == [200] * 5 + [429]


async def test_what_a_token_may_not_do_counts_in_its_rate() -> None:
    token, known = new_token(["read"], rate="3/1h")
    async with serve(QUART_COUNTER_TOKENS=known.line()) as served:
        asked = [await ask(served.url, *INCREMENT, [("Authorization", f"Bearer {token}")]) for _ in range(4)]
        assert [reply.status for reply in asked] == [403, 403, 403, 429]


async def test_keys_of_one_client_are_bounded() -> None:
    async with serve("--client-keys", "10") as served:
        keyed = [await ask(served.url, *INCREMENT, [("Idempotency-Key", f"key-{n}")]) for n in range(12)]
        assert [reply.status for reply in keyed] == [200] * 10 + [429] * 2
        assert keyed[-1].header("ratelimit-policy") == '"keys";q=10;w=3600'
        assert statuses(await at_once(served.url, 5)) == {200: 5}


async def test_no_more_names_than_may_be_and_those_go_on() -> None:
    async with serve(*TWO_WORKERS, "--max-names", "20") as served:
        begun = await asyncio.gather(*(ask(served.url, "POST", f"/counters/n{i % 40}/increment") for i in range(120)))
        assert {*statuses(begun)} == {200, 429}
        more = count()
        async with asyncio.timeout(20):
            while len(listed := await names(served.url)) < 20:  # whatever the crowd left free, once that is known
                await ask(served.url, "POST", f"/counters/m{next(more)}/increment")
        assert len(listed) == 20
        refused = await ask(served.url, "POST", "/counters/one-too-many/increment")
        assert (refused.status, refused.json["type"]) == (429, "urn:quart-counter:names-full")
        assert refused.header("retry-after")
        assert refused.header("ratelimit-policy") == '"names";q=20'
        assert (await ask(served.url, "POST", "/", FORM, b"action=increment")).status == 429
        assert {(await ask(served.url, "POST", f"/counters/{name}/increment")).status for name in listed} == {200}


async def names(url: str) -> list[str]:
    return [row["name"] for row in (await ask(url, "GET", "/counters?limit=1000")).json["counters"]]


FORM = [("Content-Type", "application/x-www-form-urlencoded")]


@asynccontextmanager
async def unfinished(url: str) -> AsyncIterator[Connection]:
    """A request whose body is still to come."""
    async with connect(url) as connection:
        await connection.send(request(*INCREMENT, [("Content-Type", "application/json"), ("Content-Length", "2")]))
        yield connection


async def test_too_many_at_once_are_turned_away_without_effect() -> None:
    async with serve("--max-in-flight", "2") as served, AsyncExitStack() as stack:
        two = [await stack.enter_async_context(unfinished(served.url)) for _ in range(2)]
        done = 0
        while (reply := await ask(served.url, *INCREMENT)).status == 200:  # until both of them have arrived
            done += 1
        assert (reply.status, reply.json["applied"], reply.header("retry-after")) == (503, "no", "1")
        assert (await ask(served.url, "GET", "/healthz")).status == 200
        for connection in two:
            await connection.send(b"{}")
            assert (await connection.reply()).status == 200
        assert (await ask(served.url, "GET", "/counters/tickets")).json["value"] == done + 2


async def test_our_client_waits_as_it_is_told_and_loses_nothing() -> None:
    async with serve("--rate", "4/1s") as served, CounterClient(served.url, connections=1) as client:
        readings = [await client.add("tickets") for _ in range(7)]
        assert [reading.value for reading in readings] == [*range(1, 8)]


# Memory


def rss_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


async def made_up(served: Served, numbers: range, connections: int = 8) -> Counter[int]:
    """A request for each number, under a name of its own, every other one with a key, and keys under one name."""
    answers: Counter[int] = Counter()

    def one(n: int) -> bytes:
        name = f"made-up-{n}" if n % 4 else "visits"
        key: Headers = [("Idempotency-Key", f"key-{n}")] if n % 2 == 0 else []
        return request("POST", f"/counters/{name}/increment", key)

    async def some(part: range) -> None:
        async with connect(served.url) as connection:
            for row in (part[i : i + 20] for i in range(0, len(part), 20)):  # sent without waiting for each answer
                await connection.send(b"".join(map(one, row)))
                for _ in row:
                    answers[(await connection.reply()).status] += 1

    await asyncio.gather(*(some(numbers[i::connections]) for i in range(connections)))
    return answers


async def fill(mode: tuple[str, ...], n: int, warm: int) -> float:
    """Return by how many MB the workers grew while one client made up n names and keys; print what was measured."""
    async with serve(*mode, "--max-names", "500", "--client-keys", "500") as served:
        await made_up(served, range(warm))
        before = sum(map(rss_mb, served.workers))
        answers = await made_up(served, range(warm, warm + n))
        after = sum(map(rss_mb, served.workers))
        listed = (await ask(served.url, "GET", "/counters?limit=1000")).json["counters"]
        told = f"{before:.1f} MB, then {after:.1f} MB; {dict(answers)}"
        sys.stdout.write(f"{n} made-up names and keys, {' '.join(mode) or 'lock'}: {told}\n")
    assert len(listed) == 500
    assert {*answers} <= {200, 429}
    assert answers[200] < n / 50, "some: the keys of an hour ago make room"
    return after - before


async def test_a_client_that_makes_up_names_and_keys_fills_no_memory() -> None:
    assert await fill((), 3_000, warm=2_500) < 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", [(), TWO_WORKERS], ids=["lock", "redis"])
async def test_a_million_made_up_names_and_keys(mode: tuple[str, ...]) -> None:
    assert await fill(mode, 1_000_000, warm=10_000) < 16
