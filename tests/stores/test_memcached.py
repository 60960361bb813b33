"""What is special about memcached: every step is a race that is won or run again, and it may forget at any time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from faults.proxy import FaultProxy
from servers import a_server_of_our_own

from quart_counter.counters import Counters
from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading
from quart_counter.stores import Limits, Store, StoreAway, memcached, open_store
from quart_counter.stores.memcached.flush import item_of
from quart_counter.stores.memcached.wire import Wire, gets, put
from stores.contract import fresh
from stores.writers import processes_add

QUICK = Limits(store_timeout_s=0.2, deadline_s=0.5, key_life_s=60.0)
PATIENT = Limits(store_timeout_s=0.5, deadline_s=5.0, key_life_s=60.0)


@pytest.fixture
def server(memcached_that_refuses):
    return memcached_that_refuses


def at(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.fixture
async def proxy(server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(*at(server.url)) as proxy:
        yield proxy


@pytest.fixture
async def direct(server) -> AsyncIterator[Wire]:
    """A connection that goes past our store."""
    wire = Wire(*at(server.url), timeout_s=1.0)
    yield wire
    await wire.aclose()


@asynccontextmanager
async def warm(proxy: FaultProxy, limits: Limits = PATIENT) -> AsyncIterator[Store]:
    """A store that has both its connections, so that the next two exchanges are the next flush: gets, then cas."""
    async with open_store(f"memcached://{proxy.address}", limits) as store:
        await store.apply([Change(fresh())])
        await store.read(fresh())
        yield store


@pytest.mark.parametrize("each", [40, pytest.param(200, marks=pytest.mark.soak)])
async def test_two_processes_of_50_writers_hand_out_every_number_once(server, each):
    answers = await processes_add(server.url, fresh(), processes=2, writers=50, each=each)
    assert sorted(answers) == [Reading(i, i) for i in range(1, 100 * each + 1)]


@pytest.mark.parametrize("change", [Change("n"), Change("n", key="k"), Change("n", value=9), Change("n", limit=5)])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_reply_to_a_cas_costs_a_retry_and_not_a_count(proxy, change, times):
    name = fresh()
    async with warm(proxy) as store:
        await store.apply([Change(name, 3)])
        proxy.script.extend(["pass", "drop", *["drop"] * (times - 1)])
        (outcome,) = await store.apply([change._replace(name=name)])
        assert proxy.fired["drop"] == times
        assert outcome == Applied(9 if change.value else 4, 2)
        assert await store.read(name) == Reading(*outcome[:2])


async def test_a_lost_reply_to_a_first_add_costs_no_count(proxy):
    name = fresh()
    async with warm(proxy) as store:
        proxy.script.extend(["pass", "drop"])
        assert await store.apply([Change(name)]) == [Applied(1, 1)]
        assert await store.names(name[:-1], 1) == [name]


async def test_the_answers_of_a_lost_reply_are_those_it_carried(proxy, server):
    """Whatever others did since: the answers come from what the flush saw, not from what is there now."""
    name, other = fresh(), fresh()
    changes = [Change(name), Change(name, key="k"), Change(other, limit=1), Change(name, -9, floor=0), Change(other, 5)]
    async with warm(proxy) as store, open_store(server.url) as rival:
        await store.apply([Change(name, key="old")])
        exchange = store._flushes.exchange
        lost = False

        async def lose_first_cas(commands):
            nonlocal lost
            replies = await exchange(commands)
            if not lost and commands[-1].startswith((b"cas", b"add")):
                lost = True
                await rival.apply([Change(name, 1000), Change(other, 1000), Change(name, key="m")])
                raise StoreAway("lost")
            return replies

        store._flushes.exchange = lose_first_cas
        assert await store.apply([*changes, Change(name, key="old")]) == [
            Applied(2, 2),
            Applied(3, 3),
            Applied(1, 1),
            ("bound", 3, 3, False),
            Applied(6, 2),
            Applied(1, 1, replayed=True),
        ]
        assert lost
        assert await store.read(name) == Reading(1004, 5)


@pytest.mark.parametrize("arrives", ["before the second try", "after the second try"])
async def test_a_cas_that_arrives_late_counts_once(direct, server, arrives):
    """Given up by us, still on its way: its token is used up by then, or it wins and the second try finds it."""
    name = fresh()
    async with open_store(server.url) as store:
        await store.apply([Change(name)])
        exchange, late = store._flushes.exchange, []

        async def delays_first_cas(commands):
            if not commands[-1].startswith(b"cas"):
                return await exchange(commands)
            if not late:
                late.extend(commands)
                raise StoreAway("timed out")
            if arrives == "before the second try":
                (landed,) = await direct.exchange(late)
                assert landed.line == b"STORED"
            return await exchange(commands)

        store._flushes.exchange = delays_first_cas
        assert await store.apply([Change(name)]) == [Applied(2, 2)]
        if arrives == "after the second try":
            (missed,) = await direct.exchange(late)
            assert missed.line == b"EXISTS"
        assert await store.read(name) == Reading(2, 2)


async def test_a_lost_race_is_run_again(server):
    name = fresh()
    async with open_store(server.url) as store, open_store(server.url) as rival:
        exchange, races = store._flushes.exchange, 3

        async def overtaken(commands):
            nonlocal races
            if commands[-1].startswith((b"cas", b"add")) and races:
                races -= 1
                await rival.apply([Change(name, 10)])
            return await exchange(commands)

        store._flushes.exchange = overtaken
        assert await store.apply([Change(name)]) == [Applied(31, 4)]


async def test_a_race_lost_until_the_deadline_is_not_applied(server):
    name, free = fresh(), fresh()
    async with open_store(server.url, QUICK) as store, open_store(server.url) as rival:
        exchange = store._flushes.exchange

        async def always_overtaken(commands):
            if commands[-1].startswith((b"cas", b"add")):
                await rival.apply([Change(name)])
            return await exchange(commands)

        store._flushes.exchange = always_overtaken
        lost, won = await store.apply([Change(name), Change(free)])
        assert isinstance(lost, NotApplied)
        assert won == Applied(1, 1)


@pytest.mark.parametrize("fault", ["drop", "reset", "stall", "half_close", "drop_request", "dribble"])
@pytest.mark.parametrize("at_cas", [False, True], ids=["at gets", "at cas"])
async def test_every_fault_counts_once(proxy, fault, at_cas):
    name = fresh()
    async with warm(proxy) as store:
        proxy.script.extend(["pass", fault] if at_cas else [fault])
        outcomes = await store.apply([Change(name)] * 5 + [Change(name, key="k")])
        assert outcomes == [Applied(i, i) for i in range(1, 7)]
        assert proxy.fired[fault] == 1
        assert await store.read(name) == Reading(6, 6)


async def test_a_cas_without_an_answer_until_the_deadline_is_unknown(proxy):
    name = fresh()
    async with warm(proxy, QUICK) as store:
        proxy.script.append("pass")
        proxy.always = "drop"
        (unknown,) = await store.apply([Change(name)])
        assert isinstance(unknown, OutcomeUnknown)
        proxy.always = "pass"
        assert await store.read(name) == Reading(1, 1), "this time it had happened"
        assert await store.apply([Change(name)]) == [Applied(2, 2)]


async def test_nothing_read_nothing_sent(proxy):
    name = fresh()
    async with warm(proxy, QUICK) as store:
        proxy.always = "drop"
        (nothing,) = await store.apply([Change(name)])
        assert isinstance(nothing, NotApplied)
        with pytest.raises(StoreAway):
            await store.read(name)
        proxy.always = "pass"
        assert await store.read(name) == Reading(0, 0)


@pytest.mark.parametrize("leftover", [b"STORED\r\n", b"END\r\n", b"VALUE qc:c:other 0 3 7\r\n9 9\r\nEND\r\n", b"\r\n"])
async def test_a_leftover_reply_reaches_nobody(proxy, leftover):
    name = fresh()
    async with warm(proxy) as store:
        await store.apply([Change(name, 5)])
        await proxy.inject(leftover)
        await asyncio.sleep(0.02)
        assert await store.apply([Change(name)]) == [Applied(6, 2)]
        assert await store.apply([Change(name)]) == [Applied(7, 3)]
        assert await store.read(name) == Reading(7, 3)


async def test_a_reply_that_comes_after_its_caller_left_meets_nobody(proxy):
    name = fresh()
    async with warm(proxy) as store:
        await store.apply([Change(name, 5)])
        proxy.next_reply = "stall"
        reader = asyncio.create_task(store.read(fresh()))
        await proxy.happened["stall"].wait()
        reader.cancel()
        await asyncio.wait([reader])
        assert await store.read(name) == Reading(5, 1)


async def test_a_restart_forgets_all_and_says_so():
    with a_server_of_our_own("memcached", extra_args=["-M"]) as own:
        async with open_store(own.url, PATIENT) as store:
            assert store.guarantees.durable == "none"
            assert any("a restart forgets" in note for note in store.guarantees.notes)
            assert await store.apply([Change("tickets", 41, key="k")]) == [Applied(41, 1)]
            own.kill()
            await asyncio.to_thread(own.start)
            assert await store.read("tickets") == Reading(0, 0)
            assert await store.apply([Change("tickets", 41, key="k")]) == [Applied(41, 1)], "forgotten: counted anew"
            assert await store.names() == ["tickets"]


async def test_a_server_that_is_away_is_told_and_comes_back():
    with a_server_of_our_own("memcached") as own:
        async with open_store(own.url, QUICK) as store:
            counters = Counters(store, deadline_s=0.5, combine=True)
            await counters.increment("tickets")
            own.kill()
            (away,) = await store.apply([Change("tickets")])
            assert isinstance(away, NotApplied)
            assert "memcached does not answer" in away.because
            own.start()
            assert await counters.increment("tickets") == 1


KEYS = [f"{i}{'k' * 240}" for i in range(16)]


async def fill(wire: Wire, like: str) -> bytes:
    """Store 3,000 items as large as a counter's, so that they lie in the same slab class; return the last answer."""
    (found,) = await wire.exchange([gets(f"qc:c:{like}")])
    filler = b"x" * len(found.data)
    replies = [(await wire.exchange([put(f"qc:f:{i:0{len(like)}}", filler, None)]))[0] for i in range(3000)]
    return replies[-1].line


async def test_one_that_evicts_promises_less_and_says_what_to_run():
    with a_server_of_our_own("memcached", extra_args=["-m", "2"]) as own:
        wire = Wire(*at(own.url), timeout_s=1.0)
        async with open_store(own.url) as store:
            assert (store.guarantees.exactly_once, store.guarantees.gapless) == (False, False)
            assert store.guarantees.atomic
            assert any("run memcached -M" in note for note in store.guarantees.notes)
            await store.apply([Change("tickets", key=key) for key in KEYS])
            await fill(wire, like="tickets")
            assert await store.read("tickets") == Reading(0, 0), "evicted"
        async with open_store(own.url) as store:
            assert any("items so far" in note and "(0 items" not in note for note in store.guarantees.notes)
        await wire.aclose()


async def test_one_that_does_not_evict_refuses_when_full_and_loses_nothing():
    with a_server_of_our_own("memcached", extra_args=["-M", "-m", "2"]) as own:
        wire = Wire(*at(own.url), timeout_s=1.0)
        async with open_store(own.url) as store:
            assert (store.guarantees.exactly_once, store.guarantees.gapless) == (True, True)
            await store.apply([Change("tickets", 7), Change("tickets", key="kept")])
            await store.apply([Change("grown_up", key=key) for key in KEYS])
            assert (await fill(wire, like="grown_up")).startswith(b"SERVER_ERROR out of memory")
            full = await store.apply([Change("tickets", key=key) for key in KEYS])
            assert {type(one) for one in full} == {NotApplied}
            assert "out of memory" in full[0].because
            assert await store.read("tickets") == Reading(8, 2), "a cas that is refused leaves the old item"
            (again,) = await store.apply([Change("tickets", key="kept")])
            assert again == Applied(8, 2, replayed=True)
        await wire.aclose()


async def test_keys_have_the_room_of_half_an_item_and_then_new_ones_are_refused():
    with a_server_of_our_own("memcached", extra_args=["-M", "-I", "64k", "-o", "slab_chunk_max=16384"]) as own:
        async with open_store(own.url) as store:
            kept, refused = [], None
            for i in range(400):
                change = Change("tickets", key=f"{i}{'k' * 200}")
                (outcome,) = await store.apply([change])
                if isinstance(outcome, NotApplied):
                    refused = outcome
                    break
                kept.append(change)
            assert refused is not None
            assert "tickets" in refused.because
            assert 80 < len(kept) < 200
            assert await store.apply([Change("tickets")]) == [Applied(len(kept) + 1, len(kept) + 1)]
            replays = await store.apply(kept)
            assert replays == [Applied(i, i, replayed=True) for i in range(1, len(kept) + 1)], "none was dropped"


async def test_flush_records_are_pruned(server, direct, monkeypatch):
    name, now_ms = fresh(), 10_000_000
    monkeypatch.setattr(memcached, "monotonic_ms", lambda: now_ms)
    for _ in range(5):
        async with open_store(server.url, QUICK) as store:
            await store.apply([Change(name)])
    (reply,) = await direct.exchange([gets(f"qc:c:{name}")])
    assert len(item_of(name, reply.data).flushes) == 5
    now_ms += 10_000
    async with open_store(server.url, QUICK) as store:
        store._clock_ms += 10_000
        await store.apply([Change(name)])
    (reply,) = await direct.exchange([gets(f"qc:c:{name}")])
    assert len(item_of(name, reply.data).flushes) == 1


async def test_an_item_of_somebody_else_is_left_alone(server, direct):
    name, good = fresh(), fresh()
    await direct.exchange([put(f"qc:c:{name}", b"hello", None)])
    async with open_store(server.url) as store:
        foreign, fine = await store.apply([Change(name), Change(good)])
        assert isinstance(foreign, NotApplied)
        assert name in foreign.because
        assert fine == Applied(1, 1)
        with pytest.raises(StoreAway, match=name):
            await store.read(name)


async def test_a_forgotten_name_is_not_listed(server):
    name, stays = fresh(), fresh()
    async with open_store(server.url) as store:
        await store.apply([Change(name, key="k"), Change(stays)])
        await store.forget(name)
        listed = await store.names("", 100_000)
        assert name not in listed
        assert stays in listed
        assert await store.apply([Change(name, key="k")]) == [Applied(1, 1)]
        assert name in await store.names("", 100_000)


async def test_one_without_cas_is_refused():
    with a_server_of_our_own("memcached", extra_args=["-C"]) as own, pytest.raises(ConfigurationError, match="-C"):
        async with open_store(own.url):
            pass


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memcached://127.0.0.1:99999", "use memcached://HOST:PORT"),
        ("memcached://user:pw@127.0.0.1", "use memcached://HOST:PORT"),
        ("memcached://127.0.0.1/7", "use memcached://HOST:PORT"),
        ("memcached://127.0.0.1:1", "memcached does not answer .*Start it"),
    ],
)
async def test_a_url_that_leads_nowhere(url, said):
    with pytest.raises(ConfigurationError, match=said):
        async with open_store(url, QUICK):
            pass


async def test_no_connection_stays_open(proxy):
    async with warm(proxy):
        assert len(proxy.links) == 2
    async with asyncio.timeout(2):
        await proxy.quiet.wait()
