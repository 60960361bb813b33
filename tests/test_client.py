"""The client counts once, whatever happens between it and the service, and says so when it does not know."""

import asyncio
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from faults.proxy import FaultProxy
from servers import a_server_of_our_own

from quart_counter import errors
from quart_counter.client import CounterClient, Unresolved
from quart_counter.client.flights import Ask, Claim, Folded
from quart_counter.client.wire import Try, call_for
from quart_counter.errors import StoreAway
from quart_counter.keys import new_key, share_of
from quart_counter.model import MAX_VALUE, Change, NotApplied, OutcomeUnknown, Reading
from quart_counter.serving.service import Service
from quart_counter.settings import load_settings

# ------------------------------------------------------------------------------------------------ a scripted service


@dataclass(frozen=True)
class Heard:
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


def answer(status: int, content: object = None, *headers: str) -> bytes:
    body = json.dumps(content).encode() if content is not None else b"<html>"
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def counted(value: int, version: int = 1) -> bytes:
    return answer(200, {"name": "t", "value": value, "version": version})


AWAY = answer(503, {"applied": "no", "detail": "Redis is away"})
UNKNOWN = answer(504, {"applied": "unknown"})
LOST = b""  # the connection closes without a word


class Scripted:
    """Answers request i with line i of its script, and the rest with its last line. A line may be a coroutine function
    of the request."""

    def __init__(self) -> None:
        self.script: list[bytes | Callable[[Heard], Awaitable[bytes]]] = [counted(7)]
        self.heard: list[Heard] = []
        self.arrived = asyncio.Event()
        self.serving: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            while reply := await self._answer(await _read(reader)):
                pieces = [reply] if not isinstance(reply, Dribble) else [reply[i : i + 1] for i in range(len(reply))]
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0 if piece is reply else 0.1)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _answer(self, heard: Heard) -> bytes:
        line = self.script[min(len(self.heard), len(self.script) - 1)]
        self.heard.append(heard)
        self.arrived.set()
        return line if isinstance(line, bytes) else await line(heard)


async def _read(reader: asyncio.StreamReader) -> Heard:
    line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = dict(one.lower().split(": ", 1) for one in rest)
    return Heard(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    service = Scripted()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    yield service
    server.close()
    for task in service.serving:
        task.cancel()
    await asyncio.gather(*service.serving, return_exceptions=True)


# ------------------------------------------------------------------------------------------------------ real services


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["lock", "redis"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A real service: one worker in mode lock, two in mode redis."""
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    workers = 2 if request.param == "redis" else 1
    settings = load_settings({}, mode=request.param, url=url, workers=workers, bind="127.0.0.1:0")
    async with Service(settings) as service:
        yield service


on_a_service = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def name() -> str:
    """A counter that nobody else touches: the Redis is shared."""
    return f"client-{uuid.uuid4()}"


def before(url: str, **faults: object) -> FaultProxy:
    """A proxy to the service, for `async with`."""
    parts = urlsplit(url)
    return FaultProxy(parts.hostname, parts.port, **faults)


async def crowd(client: CounterClient, name: str, callers: int, each: int = 1) -> list[int]:
    async def one() -> list[int]:
        return [await client.increment(name) for _ in range(each)]

    return sorted(number for row in await asyncio.gather(*(one() for _ in range(callers))) for number in row)


def sentences(outcomes: list[object]) -> set[str]:
    return {type(one).__name__ for one in outcomes}


# -------------------------------------------------------------------------------------------------------- it counts


@on_a_service
async def test_a_thousand_tasks_get_a_thousand_numbers_and_share_requests(service, name):
    async with CounterClient(service.url) as client:
        assert await crowd(client, name, callers=1000, each=3) == list(range(1, 3001))
        value, version = await client.read(name)
    assert value == 3000
    assert version < 100, "a shared request raises the version by 1"


@on_a_service
async def test_two_clients_share_the_counter(service, name):
    async with CounterClient(service.url) as one, CounterClient(service.url) as other:
        numbers = await asyncio.gather(crowd(one, name, 200, each=3), crowd(other, name, 200, each=3))
    assert sorted(numbers[0] + numbers[1]) == list(range(1, 1201))


@on_a_service
async def test_all_calls_answer_as_those_of_counters_do(service, name):
    async with CounterClient(service.url) as client:
        assert await client.read(name) == Reading(0, 0)
        assert await client.increment(name) == 1
        assert await client.increment(name, 5) == 6
        assert await client.increment(name, by=-2, key="k") == 4
        assert await client.add(name) == Reading(5, 4)
        assert await client.take(name, 5, limit=10) == Reading(10, 5)
        assert await client.take(name, -10, floor=0) == Reading(0, 6)
        assert await client.set(name, 70) == Reading(70, 7)
        assert await client.set(name, 80, if_version=7) == Reading(80, 8)
        assert await client.reset(name) == Reading(0, 9)
        assert await client.read(name) == Reading(0, 9)
        assert list(await client.names(after=name[:-1], limit=1)) == [name]


@on_a_service
async def test_a_refusal_says_why_and_what_it_saw(service, name):
    async with CounterClient(service.url) as client:
        await client.add(name, 100, key="k")
        refused = {
            "bound": client.take(name, limit=100),
            "version": client.set(name, 1, if_version=0),
            "cap": client.increment(name, 2**31, key="cap") if await _near_the_cap(client, name) else None,
            "key_reused": client.add(name, 99, key="k"),
        }
        for reason, call in refused.items():
            with pytest.raises(errors.CounterRefused, match=r"Nothing was changed\.$") as caught:
                await call
            assert (caught.value.reason, caught.value.name) == (reason, name)
            assert Reading(caught.value.value, caught.value.version) == await client.read(name)


async def _near_the_cap(client: CounterClient, name: str) -> bool:
    await client.set(name, MAX_VALUE - 1)
    return True


@on_a_service
async def test_at_the_cap_a_shared_request_goes_as_far_as_there_is_room(service, name):
    async with CounterClient(service.url) as client:
        await client.set(name, MAX_VALUE - 3)
        outcomes = await asyncio.gather(*(client.increment(name) for _ in range(8)), return_exceptions=True)
    numbers = [one for one in outcomes if isinstance(one, int)]
    refused = [one for one in outcomes if isinstance(one, errors.CounterRefused)]
    assert sorted(numbers) == [MAX_VALUE - 2, MAX_VALUE - 1, MAX_VALUE]
    assert [one.reason for one in refused] == ["cap"] * 5


@on_a_service
@pytest.mark.parametrize("key", ["plain", '"quoted"', 'a"b\\c', "\\", "~" * 255])
async def test_a_key_of_the_callers_own_counts_once(service, name, key):
    async with CounterClient(service.url) as client:
        assert await client.increment(name, key=key) == 1
        assert await client.increment(name, key=key) == 1
        assert await client.add(name, key=key) == Reading(1, 1)
        assert await client.increment(name, key="x" + key[1:]) == 2


# ------------------------------------------------------------------------------------------ what goes over the wire

SAID = {
    "increment": (lambda c: c.increment("t", 5), "POST /counters/t/increment", b'{"by": 5}'),
    "folded": (lambda c: c.increment("t"), "POST /counters/t/increment", b'{"by": 1}'),
    "add": (lambda c: c.add("t"), "POST /counters/t/increment", b'{"by": 1}'),
    "take": (lambda c: c.take("t", 2, limit=9), "POST /counters/t/take", b'{"by": 2, "limit": 9}'),
    "take down": (lambda c: c.take("t", -2, floor=0), "POST /counters/t/take", b'{"by": -2, "floor": 0}'),
    "set": (lambda c: c.set("t", 4, if_version=3), "PUT /counters/t", b'{"value": 4}'),
    "reset": (lambda c: c.reset("t"), "PUT /counters/t", b'{"value": 0}'),
}


@pytest.mark.parametrize("case", SAID)
async def test_every_change_carries_a_key_of_its_own(scripted, case):
    call, line, body = SAID[case]
    async with CounterClient(scripted.url, headers={"authorization": "Bearer abc"}) as client:
        await call(client)
        await call(client)
    first, second = scripted.heard
    assert (first.line, first.body) == (f"{line} HTTP/1.1", body)
    assert uuid.UUID(first.key.strip('"')).version == 7
    assert first.key != second.key
    assert first.headers.get("if-match") == ('"3"' if case == "set" else None)
    assert first.headers["authorization"] == "bearer abc"
    assert scripted.connections == 1


WRONG = {
    "name": lambda c: c.increment("not a name"),
    "name of add": lambda c: c.add(""),
    "by": lambda c: c.increment("t", 0),
    "True": lambda c: c.increment("t", True),
    "key": lambda c: c.increment("t", key="sp ace"),
    "empty key": lambda c: c.increment("t", key=""),
    "bounds": lambda c: c.take("t"),
    "value": lambda c: c.set("t", 2**53),
    "name of read": lambda c: c.read("a/b"),
    "after": lambda c: c.names("a&limit=1"),
    "a stranger's outcome": lambda c: c.resolve(errors.OutcomeUnknown("", name="t", by=1, key="k")),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_impossible_change_is_not_sent(scripted, wrong):
    async with CounterClient(scripted.url) as client:
        with pytest.raises(errors.InvalidChange):
            await WRONG[wrong](client)
    assert scripted.connections == 0


# --------------------------------------------------------------------------------------------- retries and deadlines

CALLS = {"folded": lambda c: c.increment("t"), "direct": lambda c: c.increment("t", 3)}
NOT_FINAL = {
    "lost": LOST,
    "half": b"HTTP/1.1 200 OK\r\ncontent-le",
    "no HTTP": b"SSH-2.0\r\n",
    "408": answer(408),
    "429": answer(429),
    "500": answer(500, {"detail": "a bug"}),
    "502": answer(502),
    "503": AWAY,
    "a proxy's 503": answer(503),
    "504": UNKNOWN,
    "200 of somebody else": answer(200, {"hello": "world"}),
    "200 without JSON": answer(200),
    "JSON, but a list": answer(200, [1, 2]),
    "a number in words": answer(200, {"value": "7", "version": 1}),
    "a number that is none": answer(200, {"value": None, "version": True}),
    "JSON without end": b"HTTP/1.1 200 X\r\ncontent-length: 200000\r\n\r\n" + b"[" * 200_000,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reply", NOT_FINAL)
async def test_what_is_not_final_is_sent_again_under_the_same_key(scripted, reply, call):
    scripted.script = [NOT_FINAL[reply], NOT_FINAL[reply], counted(7)]
    async with CounterClient(scripted.url, deadline_s=3) as client:
        assert await CALLS[call](client) == 7
    assert len(scripted.heard) == 3
    assert len({(one.key, one.body) for one in scripted.heard}) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reply", ["503", "408", "429"])
async def test_what_surely_did_not_happen_until_the_deadline_is_not_applied(scripted, reply, call):
    scripted.script = [NOT_FINAL[reply]]
    async with CounterClient(scripted.url, deadline_s=1.0) as client:
        with pytest.raises(errors.NotApplied, match=r"sending it again is safe\.$"):
            await CALLS[call](client)
    assert len(scripted.heard) > 1


@pytest.mark.parametrize("call", CALLS)
async def test_a_service_that_is_not_there_is_not_applied(call):
    async with CounterClient("http://127.0.0.1:1", deadline_s=0.5) as client:
        with pytest.raises(errors.NotApplied, match=r"deadline|cannot be reached"):
            await CALLS[call](client)
        with pytest.raises(StoreAway, match="cannot be reached"):
            await client.read("t")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "script", [["lost"], ["504"], ["502"], ["a proxy's 503"], ["lost", "503"], ["503", "lost", "503"]]
)
async def test_one_try_in_doubt_makes_it_unknown(scripted, script, call):
    scripted.script = [NOT_FINAL[reply] for reply in script]
    async with CounterClient(scripted.url, deadline_s=0.4) as client:
        with pytest.raises(errors.OutcomeUnknown, match="resolve") as caught:
            await CALLS[call](client)
    last = scripted.heard[-1]
    assert (caught.value.name, f'"{caught.value.key}"') == ("t", last.key)
    assert {"by": caught.value.by} == json.loads(last.body)


@pytest.mark.parametrize("call", CALLS)
async def test_a_declined_request_is_not_sent_again(scripted, call):
    scripted.script = [answer(404, {"detail": "There is nothing here"})]
    async with CounterClient(scripted.url) as client:
        with pytest.raises(errors.NotApplied, match=r"404 \(There is nothing here\)"):
            await CALLS[call](client)
    assert len(scripted.heard) == 1


@pytest.mark.parametrize("status", [401, 403, 421])
@pytest.mark.parametrize("call", CALLS)
async def test_what_a_client_may_not_do_is_no_matter_of_trying_again(scripted, call, status):
    scripted.script = [answer(status, {"detail": "This needs a token"})]
    async with CounterClient(scripted.url) as client:
        with pytest.raises(errors.Forbidden, match=rf"{status} \(This needs a token\).*changes nothing either"):
            await CALLS[call](client)
        scripted.script = [answer(status, {"detail": "This needs a token"})] * 2
        for read in (client.read("t"), client.names()):
            with pytest.raises(errors.Forbidden, match="This needs a token"):
                await read
    assert len(scripted.heard) == 3


@pytest.mark.parametrize("call", CALLS)
async def test_a_declined_second_try_says_nothing_about_the_first(scripted, call):
    scripted.script = [LOST, answer(401)]
    async with CounterClient(scripted.url) as client:
        with pytest.raises(errors.OutcomeUnknown):
            await CALLS[call](client)
    assert len(scripted.heard) == 2


TROUBLES = ["expired", "ahead", "unsupported"]


@pytest.mark.parametrize("reason", TROUBLES)
@pytest.mark.parametrize(
    "call", [lambda c, key: c.increment("t", 3, key=key), lambda c, key: c.take("t", limit=9, key=key)]
)
async def test_a_key_that_the_service_will_not_take_is_told_as_such(scripted, reason, call):
    """Not as `NotApplied`: what became of an earlier request with this key is not known."""
    scripted.script = [answer(422, {"type": f"urn:quart-counter:key-{reason}", "detail": "Read the counter."})]
    async with CounterClient(scripted.url) as client:
        with pytest.raises(errors.InvalidKey, match=r"Read the counter") as refused:
            await call(client, "01993c7e-9a00-7b3a-8f21-5d0c6e4b9a17")
    assert refused.value.reason == reason
    assert len(scripted.heard) == 1


async def test_an_unknown_outcome_whose_key_is_too_old_stays_unknown_and_says_so(scripted):
    scripted.script = [LOST]
    async with CounterClient(scripted.url, deadline_s=0.3) as client:
        (unknown,) = await asyncio.gather(client.increment("t", 3), return_exceptions=True)
        assert isinstance(unknown, Unresolved)
        assert "resolve(unknown)` sends it again" in str(unknown)
        scripted.script = [answer(422, {"type": "urn:quart-counter:key-expired", "detail": "The key is too old."})]
        for _ in range(2):
            (again,) = await asyncio.gather(client.resolve(unknown), return_exceptions=True)
            assert isinstance(again, Unresolved)
            assert re.search(r"The key is too old.*may have been applied.*cannot find out any more", str(again))


@on_a_service
async def test_the_service_refuses_an_old_key_and_all_that_derive_from_it(service, name):
    async with CounterClient(service.url) as client:
        for key in ("01993c7e-9a00-7b3a-8f21-5d0c6e4b9a17", share_of("01993c7e-9a00-7b3a-8f21-5d0c6e4b9a17", 5)):
            with pytest.raises(errors.InvalidKey, match="remembered for 3600 s"):
                await client.add(name, key=key)
        assert await client.read(name) == (0, 0)
        assert await client.increment(name, key=new_key()) == 1
        assert await client.increment(name, key=share_of(new_key(), 7)) == 2


@pytest.mark.parametrize("status", [503, 429])
async def test_retry_after_is_heeded(scripted, status):
    scripted.script = [answer(status, {"applied": "no"}, "retry-after: 1"), counted(7)]
    async with CounterClient(scripted.url) as client:
        assert await client.increment("t") == 7
    first, second = scripted.heard
    assert second.at - first.at >= 1


async def test_a_wait_beyond_the_deadline_is_not_waited_for(scripted):
    scripted.script = [answer(503, {"applied": "no"}, "retry-after: 60")]
    async with CounterClient(scripted.url, deadline_s=30) as client:
        async with asyncio.timeout(5):
            with pytest.raises(errors.NotApplied):
                await client.increment("t")
    assert len(scripted.heard) == 1


async def silence(heard: Heard) -> bytes:
    await asyncio.sleep(60)
    return LOST


async def late(heard: Heard) -> bytes:
    await asyncio.sleep(0.2)
    return AWAY


LATE = {"silence": silence, "late": late, "away": AWAY, "lost": LOST, "unknown": UNKNOWN}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reply", LATE)
async def test_the_deadline_is_kept(scripted, reply, call):
    scripted.script = [LATE[reply]]
    async with CounterClient(scripted.url, deadline_s=1.0) as client:
        start = time.monotonic()
        with pytest.raises((errors.NotApplied, errors.OutcomeUnknown)):
            await CALLS[call](client)
        assert time.monotonic() - start == pytest.approx(1.0, rel=0.2)


async def test_callers_behind_a_stuck_request_keep_their_own_deadlines(scripted):
    scripted.script = [silence]
    waited = []

    async def caller(client: CounterClient, after_s: float) -> str:
        await asyncio.sleep(after_s)
        start = time.monotonic()
        try:
            await client.increment("t")
        except errors.QuartCounterError as error:
            waited.append(time.monotonic() - start)
            return type(error).__name__

    async with CounterClient(scripted.url, deadline_s=1.0) as client:
        outcomes = await asyncio.gather(*(caller(client, after_s / 10) for after_s in range(13)))
    assert outcomes[0] == "Unresolved"
    assert all(one == pytest.approx(1.0, rel=0.2) for one in waited)


class Dribble(bytes):
    """Sent one byte at a time, each well within any read timeout."""


async def test_a_dribbling_service_does_not_hold_the_caller(scripted):
    scripted.script = [Dribble(counted(7))]
    client = await CounterClient(scripted.url, deadline_s=1.0).__aenter__()
    start = time.monotonic()
    with pytest.raises(errors.OutcomeUnknown, match="too slow"):
        await client.add("t")
    assert time.monotonic() - start == pytest.approx(1.0, rel=0.2)
    await client.aclose()
    assert time.monotonic() - start < 2, "what still dribbles is cut"


async def test_names_do_not_wait_for_each_other(scripted):
    arrived = asyncio.Barrier(3)

    async def together(heard: Heard) -> bytes:
        await arrived.wait()
        return counted(7)

    scripted.script = [together]
    async with CounterClient(scripted.url) as client, asyncio.timeout(5):
        assert await asyncio.gather(*(client.increment(name) for name in "abc")) == [7, 7, 7]


async def test_connections_are_few_and_kept(scripted):
    async with CounterClient(scripted.url, connections=3) as client:
        for _ in range(3):
            await asyncio.gather(*(client.add("t") for _ in range(50)))
    assert len(scripted.heard) == 150
    assert scripted.connections <= 3


async def test_nothing_is_kept_of_a_name_that_is_done_with(scripted):
    async with CounterClient(scripted.url) as client:
        await asyncio.gather(*(client.increment(f"n{i}") for i in range(200)))
        assert not client._folder._lanes


# ------------------------------------------------------------------------------------------------ faults on the way


@on_a_service
async def test_a_lost_reply_counts_once(service, name):
    async with before(service.url) as proxy, CounterClient(f"http://{proxy.address}", deadline_s=6) as client:
        for fault in ("drop", "drop_request", "reset", "half_close", "stall", "dribble"):
            proxy.next_reply = fault
            await client.increment(name)
            proxy.next_reply = fault
            await client.add(name, 2)
            assert proxy.fired[fault] >= 2
        assert (await client.read(name)).value == 18


@on_a_service
async def test_under_a_storm_of_faults_every_change_counts_once(service, name):
    mix = {"pass": 10, "drop": 3, "drop_request": 3, "reset": 3, "dribble": 1}
    async with (
        before(service.url, seed=11, mix=mix) as proxy,
        CounterClient(f"http://{proxy.address}", deadline_s=12) as through,
        CounterClient(service.url) as client,
    ):
        numbers, versions = await asyncio.gather(
            crowd(through, name, callers=40, each=3),
            asyncio.gather(*(through.add(f"{name}.2") for _ in range(100))),
        )
        assert numbers == list(range(1, 121)), proxy.fired
        assert sorted(versions) == [Reading(i, i) for i in range(1, 101)]
        assert (await client.read(name)).value == 120
    assert proxy.fired["drop"] > 5


@on_a_service
async def test_unknown_outcomes_are_resolved_once_each(service, name):
    async with before(service.url) as proxy, CounterClient(f"http://{proxy.address}", deadline_s=0.6) as client:
        proxy.always = "drop"
        calls = [*(client.increment(name) for _ in range(20)), client.increment(name, 3), client.add(name)]
        unknown = await asyncio.gather(*calls, return_exceptions=True)
        assert sentences(unknown) == {"Unresolved"}
        assert all(isinstance(one, errors.OutcomeUnknown) for one in unknown)
        with pytest.raises(Unresolved):
            await client.resolve(unknown[0], deadline_s=0.2)
        proxy.always = "pass"
        once = await asyncio.gather(*map(client.resolve, unknown))
        again = await asyncio.gather(*map(client.resolve, unknown))
        final = await client.read(name)
    assert once == again
    *numbers, three, added = once
    assert final.value == 24
    taken = {*numbers, three, three - 1, three - 2, added.value}
    assert taken == set(range(1, 25)), "no number twice, none left out"


@on_a_service
async def test_resolve_makes_happen_what_never_arrived(service, name):
    async with before(service.url) as proxy, CounterClient(f"http://{proxy.address}", deadline_s=0.5) as client:
        proxy.always = "drop_request"
        unknown = await asyncio.gather(*(client.increment(name) for _ in range(5)), return_exceptions=True)
        proxy.always = "pass"
        assert (await client.read(name)).value == 0
        assert await client.resolve(unknown[3]) == 4
        assert (await client.read(name)).value == 5, "the request is one, of five callers"
        assert [await client.resolve(one) for one in unknown] == [1, 2, 3, 4, 5]
        assert await client.read(name) == Reading(5, 1)


@on_a_service
async def test_at_the_cap_unknown_shares_are_resolved_as_far_as_there_is_room(service, name):
    async with before(service.url) as proxy, CounterClient(f"http://{proxy.address}", deadline_s=0.5) as client:
        await client.set(name, MAX_VALUE - 2)
        proxy.always = "drop"
        unknown = await asyncio.gather(*(client.increment(name) for _ in range(4)), return_exceptions=True)
        assert sentences(unknown) == {"Unresolved"}
        proxy.always = "pass"
        for _ in range(2):
            outcomes = [await _outcome(client.resolve(one)) for one in unknown]
            assert outcomes == [MAX_VALUE - 1, MAX_VALUE, "cap", "cap"]


async def _outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except errors.CounterRefused as refused:
        return refused.reason


async def test_the_service_recovers_within_the_deadline():
    with a_server_of_our_own("redis", appendonly="always") as redis:
        settings = load_settings(
            {}, mode="redis", url=redis.url, workers=2, bind="127.0.0.1:0", deadline_s=0.4, store_timeout_s=0.2
        )
        async with Service(settings) as service, CounterClient(service.url) as client:
            assert await crowd(client, "t", 10) == list(range(1, 11))
            await asyncio.to_thread(redis.stop)
            away = asyncio.gather(crowd(client, "t", 300), client.add("u"), client.read("t"))
            await asyncio.sleep(1.0)
            assert not away.done()
            await asyncio.to_thread(redis.start)
            numbers, added, value = await away
            assert numbers == list(range(11, 311))
            assert added == Reading(1, 1)
            assert 10 <= value.value <= 310


# --------------------------------------------------------------------------------------- callers that are cancelled


@on_a_service
async def test_cancelled_callers_harm_nobody_and_cost_no_connection(service, name):
    async with CounterClient(service.url, connections=2, deadline_s=10) as client:
        for _ in range(10):
            tasks = [
                asyncio.create_task(call) for _ in range(10) for call in (client.increment(name), client.add(name))
            ]
            await asyncio.sleep(0.001)
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert sentences(outcomes[1::2]) <= {"int", "Reading"}
        numbers = await crowd(client, name, 50)
        assert len(set(numbers)) == 50
        assert len({await client.add(name) for _ in range(10)}) == 10


async def test_a_cancelled_change_goes_on_and_aclose_waits_for_it(scripted):
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(heard: Heard) -> bytes:
        arrived.set()
        await go.wait()
        return counted(7)

    scripted.script = [LOST, slow]
    client = await CounterClient(scripted.url).__aenter__()
    task = asyncio.create_task(client.add("t"))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0.05)
    assert not closing.done()
    for call in (client.add("t"), client.increment("t"), client.read("t")):
        with pytest.raises(errors.ConfigurationError, match="not open"):
            await call
    go.set()
    await closing
    assert len(scripted.heard) == 2


async def test_who_leaves_before_anything_was_applied_is_left_out(scripted):
    scripted.script = [AWAY, counted(2)]
    async with CounterClient(scripted.url) as client:
        tasks = [asyncio.create_task(client.increment("t")) for _ in range(4)]
        await scripted.arrived.wait()
        tasks[0].cancel()
        tasks[2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [1, 2]
    assert [one.body for one in scripted.heard] == [b'{"by": 4}', b'{"by": 2}']
    assert scripted.heard[0].key != scripted.heard[1].key, "another request, another key"


async def test_who_leaves_a_request_in_doubt_leaves_a_gap(scripted):
    scripted.script = [LOST, counted(4)]
    async with CounterClient(scripted.url) as client:
        tasks = [asyncio.create_task(client.increment("t")) for _ in range(4)]
        await scripted.arrived.wait()
        tasks[0].cancel()
        tasks[2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [2, 4]
    assert len({(one.key, one.body) for one in scripted.heard}) == 1


async def test_when_all_leave_nothing_more_is_sent(scripted):
    scripted.script = [AWAY]
    async with CounterClient(scripted.url) as client:
        tasks = [asyncio.create_task(client.increment("t")) for _ in range(4)]
        await scripted.arrived.wait()
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(5):
            await client.aclose()
    assert len(scripted.heard) == 1


# ---------------------------------------------------------------------- one request of several callers, in slow motion


def asks(count: int) -> list[Ask]:
    made = [Ask(due) for due in range(count)]
    for ask in made:
        ask.future = asyncio.get_running_loop().create_future()
    return made


async def test_once_somebody_was_told_unknown_the_request_stays_as_it_is():
    # Otherwise: the try turns out "not applied", the others go on under a new key and get their numbers, and then the
    # one who was told "unknown" resolves the old request, which counts all of them again.
    first, *others = asks(3)
    flight = Folded("t", [first, *others])
    change, flight.under_way = flight.change, True
    first.give_up()
    assert isinstance(first.future.result(), OutcomeUnknown)
    assert flight.goes_on()
    assert flight.change == change
    assert isinstance(flight.outcome(Try("not_applied")), OutcomeUnknown), "nor may the others hear: it will not happen"
    assert [ask.claim("t") for ask in (first, *others)] == [Claim(change, place, number=True) for place in range(3)]


async def test_between_two_tries_that_surely_did_nothing_a_caller_may_leave():
    first, *others = asks(3)
    flight = Folded("t", [first, *others])
    key = flight.change.key
    first.give_up()
    assert isinstance(first.future.result(), NotApplied)
    assert flight.goes_on()
    assert (flight.change.by, flight.change.key != key) == (2, True)
    assert flight.call == call_for(flight.change)
    assert [ask.claim("t").place for ask in others] == [0, 1]


async def test_a_caller_that_waits_behind_another_request_was_not_sent():
    (ask,) = asks(1)
    ask.give_up()
    ask.give_up()
    assert isinstance(ask.future.result(), NotApplied)
    assert ask.claim("t") == Claim(Change("t"), None, number=True)


# --------------------------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "redis://h", "http://", "http://h/?a=1", "http://h:x", None])
def test_a_wrong_address_is_told_at_once(url):
    with pytest.raises(errors.ConfigurationError, match="give one like http://"):
        CounterClient(url)


@pytest.mark.parametrize("wrong", [{"deadline_s": 0}, {"deadline_s": float("inf")}, {"connections": 0}])
def test_a_wrong_option_is_told_at_once(wrong):
    with pytest.raises(errors.ConfigurationError, match="deadline_s must"):
        CounterClient("http://h", **wrong)


async def test_a_client_that_is_not_open_says_so():
    with pytest.raises(errors.ConfigurationError, match="async with"):
        await CounterClient("http://h").increment("t")


def test_a_missing_extra_is_named():
    line = "import sys; sys.modules['httpx'] = None; import quart_counter.client"
    failed = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert "ConfigurationError: the client needs httpx: run pip install '.[client]'" in failed.stderr


async def test_the_address_may_have_a_path(scripted):
    async with CounterClient(f"{scripted.url}/behind/") as client:
        await client.increment("t")
    assert scripted.heard[0].line.startswith("POST /behind/counters/t/increment ")
