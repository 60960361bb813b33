"""/metrics: exact over all workers, never going down, readable by Prometheus' own parser, and without an effect."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from e2e.raw import Reply, ask
from prometheus_client.parser import text_string_to_metric_families
from quart import Quart

from quart_counter import create_app
from quart_counter.model import Change, Reading
from quart_counter.serving.service import Service
from quart_counter.settings import load_settings
from quart_counter.stores import StoreAway
from quart_counter.web import openapi, tally
from web.faces import by_client

INCREMENT = "/counters/tickets/increment"
APPLIED = 'changes_total{outcome="applied"}'


def numbers(reply: Reply) -> dict[str, float]:
    """Every series of a scrape; reading them is the parser's verdict on the format."""
    assert reply.status == 200
    assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    series = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        assert family.name.startswith("quart_counter_")
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            labels = ",".join(f'{label}="{value}"' for label, value in sample.labels.items())
            name = sample.name.removeprefix("quart_counter_") + (f"{{{labels}}}" if labels else "")
            assert name not in series
            series[name] = sample.value
    return series


def requests(route: str, method: str, status: str) -> str:
    return f'requests_total{{route="{route}",method="{method}",status="{status}"}}'


async def test_one_process_under_any_server_counts_itself() -> None:
    async with by_client(create_app(mode="lock")) as face:
        for _ in range(3):
            await face("POST", INCREMENT, [("Idempotency-Key", "one")])
        await face("POST", "/counters/%ff/increment")
        await face("POST", "/counters/tickets/take", [("Content-Type", "application/json")], b'{"limit": 1}')
        await face("BREW", "/no/such/path")
        series = numbers(await face("GET", "/metrics"))
    assert series['info{version="0.1.0",mode="lock"}'] == 1
    assert series["worker_starts_total"] == 1
    assert series[requests("/counters/{name}/increment", "POST", "2xx")] == 3
    assert series[requests("/counters/{name}/increment", "POST", "4xx")] == 1
    assert series[requests("/counters/{name}/take", "POST", "4xx")] == 1
    assert series[requests("other", "other", "4xx")] == 1
    changes = {name: value for name, value in series.items() if name.startswith("changes_total")}
    assert changes == {
        APPLIED: 1,
        'changes_total{outcome="replayed"}': 2,
        'changes_total{outcome="refused"}': 1,
        'changes_total{outcome="not_applied"}': 0,
        'changes_total{outcome="unknown"}': 0,
        'changes_total{outcome="unanswered"}': 0,
    }
    assert (series["flushes_total"], series["flushed_changes_total"], series["changes_waiting"]) == (4, 4, 0)
    buckets = [
        value for name, value in series.items() if name.startswith('request_duration_seconds_bucket{route="other')
    ]
    assert len(buckets) == len(tally.BOUNDS_MS) + 1
    assert buckets == sorted(buckets)
    assert buckets[-1] == series['request_duration_seconds_count{route="other"}'] == 1
    assert series['request_duration_seconds_sum{route="other"}'] > 0


async def test_a_scrape_has_no_effect() -> None:
    """But on the series of /metrics itself, which count it like any request."""
    async with by_client(create_app(mode="lock")) as face:
        await face("POST", INCREMENT)
        first, second = [numbers(await face("GET", "/metrics")) for _ in range(2)]
        assert (await face("GET", "/counters/tickets")).json["version"] == 1
    assert {name: value for name, value in second.items() if "/metrics" not in name} == first


async def test_no_series_for_a_counter() -> None:
    """Names are the clients' to choose: a series for each would fill Prometheus."""
    async with by_client(create_app(mode="lock")) as face:
        await face("POST", INCREMENT)
        before = numbers(await face("GET", "/metrics"))
        for place in range(20):
            await face("POST", f"/counters/{place}/increment")
        after = await face("GET", "/metrics")
    assert {name for name in numbers(after) if "/metrics" not in name} == before.keys()


class _Slow:
    """A store whose reads and changes do as they are told."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    async def apply(self, changes: Sequence[Change]) -> Any:
        return [await self._answer() for _ in changes]

    async def read(self, name: str) -> Reading:
        return await self._answer()  # type: ignore[no-any-return]


async def test_store_up_tells_the_last_read() -> None:
    async def away() -> Any:
        raise StoreAway("gone")

    app = create_app(mode="lock")
    async with by_client(app) as face:
        assert "store_up" not in numbers(await face("GET", "/metrics"))
        assert (await face("GET", "/readyz")).status == 200
        assert numbers(await face("GET", "/metrics"))["store_up"] == 1
        app.extensions["quart_counter"]._store = _Slow(away)
        assert (await face("GET", "/readyz")).status == 503
        assert numbers(await face("GET", "/metrics"))["store_up"] == 0


async def hang_up(app: Quart, when: asyncio.Event) -> None:
    """An increment whose client goes away; told to the app as ASGI servers do."""
    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "path": INCREMENT}
    messages: Any = iter([{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        message = next(messages)
        if message["type"] == "http.disconnect":
            await when.wait()
        return message

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    await app({**scope, "query_string": b"", "headers": [(b"host", b"localhost")]}, receive, send)


async def test_a_client_that_hangs_up_is_counted() -> None:
    """It got no status and was told no outcome; and nothing goes on waiting."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def answer() -> Any:
        asked.set()
        await asyncio.Event().wait()

    app = create_app(mode="lock")
    async with by_client(app) as face:
        app.extensions["quart_counter"]._store = _Slow(answer)
        hanging = asyncio.create_task(hang_up(app, gone))
        await asked.wait()
        assert numbers(await face("GET", "/metrics"))["changes_waiting"] == 1
        gone.set()
        await hanging
        series = numbers(await face("GET", "/metrics"))
    assert series["changes_waiting"] == 0
    assert series['changes_total{outcome="unanswered"}'] == 1
    assert series[requests("/counters/{name}/increment", "POST", "none")] == 1


def test_every_route_of_the_document_has_its_series() -> None:
    described = openapi.document("1", key_life_s=1, body_timeout_s=1)
    assert {*tally.ROUTES} == {*described["paths"], "/events", "/static", "other"}


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/counters", "/counters"),
        ("/counters/", "/counters/{name}"),
        ("/counters/metrics", "/counters/{name}"),
        ("/counters/a%2Fincrement", "/counters/{name}"),
        ("/counters/a/increment/", "other"),
        ("/counters/a/take", "/counters/{name}/take"),
        ("/counters/a/b", "other"),
        ("/session/reset", "/session/{effect}"),
        ("/static/page.css", "/static"),
        ("/{name}", "other"),
        ("other", "other"),
        ("", "other"),
    ],
)
def test_route_of(path: str, route: str) -> None:
    assert tally.ROUTES[tally.route_of(path.encode())] == route


def test_a_worker_goes_on_in_the_row_of_the_one_before() -> None:
    """What that one still had to answer ended with it."""
    memory = tally.shared_memory(rows=2)
    first, neighbour, second = tally.Tally(), tally.Tally(), tally.Tally()
    for one, place in ((first, 0), (neighbour, 1)):
        one.share(os.dup(memory.fileno()), place)
        one.row[tally.WAITING] += 3
        one.request("GET", b"/", 200, 1_000_001)
    second.share(os.dup(memory.fileno()), 0)
    memory.close()
    second.request("GET", b"/", 200, 999_999)
    totals = second.totals()
    assert totals == first.totals() == neighbour.totals()
    assert (totals[tally.STARTS], totals[tally.WAITING]) == (3, 3)
    assert totals[tally.CHANGES + tally.OUTCOMES.index("unanswered")] == 3
    assert sum(totals[: tally.DURATIONS]) == 3
    assert totals[tally.DURATIONS : tally.DURATIONS + 2] == [1, 2]


@pytest.fixture
async def service(redis_server: Any) -> AsyncIterator[Service]:
    """Two workers that say in X-Worker who they are."""
    settings = load_settings(url=redis_server.url, mode="redis", workers=2, bind="127.0.0.1:0", lab=True)
    async with Service(settings) as running:
        yield running


async def scrape(service: Service, pid: int) -> dict[str, float]:
    """Ask until that worker answers. Counts of /metrics are left out: the scrapes make them."""
    async with asyncio.timeout(45):
        while True:
            reply = await ask(service.url, "GET", "/metrics")
            if reply.header("x-worker") == str(pid):
                return {name: value for name, value in numbers(reply).items() if "/metrics" not in name}


async def load(service: Service, total: int = 200) -> int:
    """Count on connections of their own, until each worker counted; return how often."""
    answered: Counter[str | None] = Counter()
    async with asyncio.timeout(30):
        while sum(answered.values()) < total or len(answered) < len(service.pids):
            replies = await asyncio.gather(*(ask(service.url, "POST", "/counters/m/increment") for _ in range(20)))
            assert {reply.status for reply in replies} == {200}
            answered.update(reply.header("x-worker") for reply in replies)
    return sum(answered.values())


async def test_each_worker_answers_for_all_and_kill_9_takes_nothing_away(service: Service) -> None:
    sent = await load(service)
    one, other = service.pids
    before = await scrape(service, one)
    assert await scrape(service, other) == before
    increments = requests("/counters/{name}/increment", "POST", "2xx")
    assert before[increments] == before[APPLIED] == before["flushed_changes_total"] == sent
    assert before['request_duration_seconds_count{route="/counters/{name}/increment"}'] == sent
    assert 0 < before["flushes_total"] <= sent
    assert before["worker_starts_total"] == 2

    os.kill(one, signal.SIGKILL)
    assert await scrape(service, other) in (before, {**before, "worker_starts_total": 3})
    async with asyncio.timeout(45):
        while len(service.pids) < 2 or one in service.pids:  # each turn asks the service, so its loop goes on
            assert (await scrape(service, other))[increments] == sent
    (new,) = {*service.pids} - {other}
    assert await scrape(service, new) == {**before, "worker_starts_total": 3}

    sent += await load(service)
    for pid in (new, other):
        assert (await scrape(service, pid))[increments] == sent
