"""Rows in which the lines break, clients leave, and keys come several times."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

from faults.crowd import BROKEN, Caller, Crowd, Wanted
from faults.proxy import FaultProxy
from faults.rig import Rig, rig, until
from faults.rows_kill import CLIENTS, HOURS_S, under_load
from faults.table import Result, Size, judge
from faults.work import SEATS, first, mixed

STORE_FAULTS = {"drop": 6, "drop_request": 3, "reset": 3, "stall": 1, "dribble": 1, "half_close": 1}
CLIENT_FAULTS = {"drop": 6, "drop_request": 3, "reset": 3, "stall": 1, "dribble": 2, "half_close": 2}
COPIES = 5
KEYS_A_PAIR = 4000  # memcached keeps some thousands a counter
LONG_WAY_S = 0.05


async def healthy(mode: str, size: Size, seed: int) -> Result:
    """Nothing breaks."""
    result = Result(f"healthy-{mode}", seed, size)
    few_keys = {"memcached": 0.01}  # a counter there keeps some thousands of keys
    async with rig(mode, seed=seed, workers=1 if mode == "lock" else 2) as running:
        began = time.monotonic()
        await running.crowd.run(CLIENTS, first(size.ops, mixed(seed, keyed=few_keys.get(mode, 0.25), any_size=True)))
        took_s = time.monotonic() - began
        await running.last_reads()
        judge(result, running.crowd)
        taken = sum(
            one.name == "seats" and one.op == "take" and one.outcome == "ok" for one in running.crowd.operations
        )
        not_ok = running.crowd.unanswered.total() + sum(n.total() for n in running.crowd.not_ok.values())
    result.notes.append(
        f"{taken} of {SEATS} seats taken; answers 503 or 504, or none: {not_ok}; {size.ops / took_s:,.0f} operations/s"
    )
    result.miss_unless(not_ok == 0, f"{not_ok} requests failed without a fault")
    result.miss_unless(taken == SEATS, f"{taken} of {SEATS} seats were taken")
    return result


async def take(mode: str, size: Size, seed: int) -> Result:
    """So many clients reach for one of 100 seats at the same moment, while 64 others count elsewhere."""
    result = Result(f"take-{mode}", seed, size)
    async with rig(mode, seed=seed, workers=1 if mode == "lock" else 2, timeout_s=60.0) as running:
        crowd, buyers = running.crowd, []
        for _ in range(0, size.ops, CLIENTS):  # a backlog is no place for a thousand
            buyers += [crowd.caller() for _ in range(min(CLIENTS, size.ops - len(buyers)))]
            await asyncio.gather(*(one.connect() for one in buyers[-CLIENTS:]))
        connected = sum(one._writer is not None for one in buyers)
        others = (wanted for wanted in mixed(seed, keyed=0.1) if wanted.name != "seats")
        load = asyncio.create_task(crowd.run(CLIENTS, others))
        await running.progress(CLIENTS)
        outcomes = await asyncio.gather(
            *(one.settle(Wanted("take", "seats", 1, SEATS, f"buyer-{one.process}")) for one in buyers)
        )
        crowd.leaving = True
        await load
        await running.last_reads()
        judge(result, crowd)
        final = await crowd.caller().once(Wanted("read", "seats"))
    sold = sum(one is not None and one.outcome == "ok" for one in outcomes)
    turned_away = sum(one is not None and one.refused for one in outcomes)
    result.notes.append(
        f"{connected:,} clients connected and asking at once: {sold} sold, {turned_away:,} turned away, the counter "
        f"says {final.value if final else '?'}; {crowd.settled - len(buyers):,} other operations meanwhile"
    )
    result.miss_unless(connected == size.ops, f"only {connected} of {size.ops} clients connected")
    result.miss_unless(sold == SEATS, f"{sold} of {SEATS} seats were sold")
    result.miss_unless(final is not None and final.value == SEATS, "the counter does not say 100")
    result.miss_unless(sold + turned_away == size.ops, f"{size.ops - sold - turned_away} clients were not told")
    return result


async def lost_at_store(mode: str, size: Size, seed: int) -> Result:
    """The line between app and store loses replies and requests, is reset and stalls; clients see none of it."""
    result = Result(f"line-store-{mode}", seed, size)
    async with rig(mode, seed=seed, line=True, store_timeout_s=0.25) as running:
        line = running.line
        assert line is not None
        _count_waiting(running, line, result, share=2)
        share = 0.12
        line.delay_s = (
            0.005  # a longer way to the store: more changes share a flush, so more are at stake when it breaks
        )
        async with under_load(running, mixed(seed, keyed=0.2), size):
            line.mix, line.late_share = (
                {"pass": sum(STORE_FAULTS.values()) * (1 / share - 1), **STORE_FAULTS},
                share / 6,
            )
            await until(lambda: result.faults >= size.faults, patience_s=HOURS_S)
            line.mix, line.late_share = {}, 0.0
        judge(result, running.crowd)
        _tell(result, line, running.crowd)
        silent = running.crowd.unanswered.total()
        result.miss_unless(silent == 0, f"{silent} requests were left without an answer")
    return result


async def lost_at_client(mode: str, size: Size, seed: int) -> Result:
    """The same between clients and app: the client does not hear, asks again with its key, and is told."""
    result = Result(f"line-client-{mode}", seed, size)
    async with rig(mode, seed=seed, door=True, timeout_s=1.0) as running:
        door = running.door
        assert door is not None
        _count_waiting(running, door, result, share=0)
        share = min(0.2, 1.5 * size.faults / size.ops)
        async with under_load(running, mixed(seed), size):
            door.mix = {"pass": sum(CLIENT_FAULTS.values()) * (1 / share - 1), **CLIENT_FAULTS}
            await until(lambda: result.faults >= size.faults, patience_s=HOURS_S)
            door.mix = {}
        judge(result, running.crowd)
        _tell(result, door, running.crowd)
    return result


def _count_waiting(running: Rig, proxy: FaultProxy, result: Result, share: int) -> None:
    """At each fault add the requests it may concern: one client's own, or a worker's share of all that wait."""
    fire = proxy._fire

    def fired(fault: str) -> None:
        fire(fault)  # type: ignore[arg-type]
        result.faults += 1
        result.in_flight += running.crowd.waiting // share if share else 1

    proxy._fire = fired  # type: ignore[method-assign]


def _tell(result: Result, proxy: FaultProxy, crowd: Crowd) -> None:
    statuses = sum(crowd.not_ok.values(), Counter())
    told = ", ".join(f"{count:,} {fault.replace('_', ' ')}" for fault, count in sorted(proxy.fired.items()))
    result.notes.append(
        f"faults: {told}; answers {dict(statuses) or 'all definite'}; no answer {crowd.unanswered.total():,}"
    )


async def copies(mode: str, size: Size, seed: int) -> Result:
    """Each key is sent one to five times, at once on both workers or one after another; two counters share the keys."""
    result, rng, both = Result(f"copies-{mode}", seed, size), random.Random(seed), 0
    async with rig(mode, seed=seed, workers=1 if mode == "lock" else 2, knows_workers=True) as running:
        callers = [running.crowd.caller() for _ in range(12 * COPIES)]
        await asyncio.gather(*(caller.connect() for caller in callers))
        callers.sort(key=lambda caller: caller.worker)
        groups = [callers[i::12] for i in range(12)]
        wanted = _repeated(size.ops)

        async def work(group: list[Caller]) -> None:
            nonlocal both
            for one in wanted:
                chosen = rng.sample(group, rng.randrange(1, COPIES + 1))
                both += len({caller.worker for caller in chosen}) > 1
                if rng.random() < 0.75:
                    await asyncio.gather(*(caller.settle(one) for caller in chosen))
                else:
                    for caller in chosen:
                        await caller.settle(one)

        await asyncio.gather(*map(work, groups))
        await running.last_reads()
        judge(result, running.crowd)
        sent = sum(one.key is not None for one in running.crowd.operations)
    result.notes.append(f"{size.ops:,} keys sent {sent:,} times, {both:,} of them to two workers")
    return result


def _repeated(keys: int) -> Iterator[Wanted]:
    for number in range(keys):
        key, turn = f"k{number // 2}", number % 8
        name = f"pair-{number // KEYS_A_PAIR}-{number % 2}"  # the same key in two counters is two keys
        yield Wanted("take", name, 1, number // 4, key) if turn > 5 else Wanted("add", name, 1 + turn % 3, None, key)


async def disconnects(mode: str, size: Size, seed: int) -> Result:
    """Clients leave at any byte of the request or of the answer; one in four was only reading."""
    result = Result(f"disconnects-{mode}", seed, size)
    async with rig(mode, seed=seed, line=True, lab=True) as running:
        crowd, line = running.crowd, running.line
        assert line is not None
        await _warm(running)
        line.delay_s = LONG_WAY_S  # a longer way to the store: many leave while their change is on it
        connected = line.accepted
        numbers = iter(range(size.faults * 8 // 7))
        leavers = [crowd.caller() for _ in range(CLIENTS)]
        await asyncio.gather(*(_leave(one, numbers, random.Random(f"{seed}-{one.process}"), result) for one in leavers))
        told = [one for one in crowd.operations if one.name == "gone" and one.op != "read"]
        heard = {one.key for one in told if one.outcome == "ok"}
        unheard = {one.key for one in told if one.outcome == "info"} - heard
        reader = crowd.caller()
        middle = await reader.settle(Wanted("read", "gone"))
        assert middle is not None
        assert middle.value is not None
        least, most = len(heard), len(heard) + len(unheard)
        reconnects = line.accepted - connected
        await crowd.run(CLIENTS, map(_one_of_many, sorted(int(str(key)[1:]) for key in unheard)))
        last = await reader.settle(Wanted("read", "gone"))
        judge(result, crowd)
    between, exact = least <= middle.value <= most, last is not None and last.value == most
    result.notes.append(
        f"count {middle.value:,} in [{least:,}, {most:,}] before the replay, {'exact' if exact else 'WRONG'} after it; "
        f"connections to the store that the workers made meanwhile: {reconnects}"
    )
    result.miss_unless(between, "the count was out of bounds before the replay")
    result.miss_unless(exact, "the count was not exact after the replay")
    harmed = sum(n.total() for n in crowd.not_ok.values())
    result.miss_unless(harmed == 0, f"{harmed} requests of clients that stayed were not answered 200")
    result.miss_unless(reconnects <= result.faults / 100, f"{reconnects} reconnects to the store")
    return result


async def _warm(running: Rig) -> None:
    """Have each worker connect to its store, which it does when it first has to."""
    crowd, met, numbers = running.crowd, set[int](), count()
    crowd.knows_workers = True
    while len(met) < len(running.service.pids):
        clients = [crowd.caller() for _ in range(8)]
        await asyncio.gather(*(one.settle(Wanted("add", "warm", 1, None, f"w{next(numbers)}")) for one in clients))
        met.update(one.worker for one in clients)
        for one in clients:
            one.hang_up()
    crowd.knows_workers = False


async def _leave(caller: Caller, numbers: Iterator[int], rng: random.Random, result: Result) -> None:
    """Send a request up to a random byte, or all of it and take some of the answer, then go; one in eight stays."""
    for number in numbers:
        wanted = _one_of_many(number)
        if number % 8 == 0:
            await caller.settle(wanted)
            continue
        if not await caller.connect():
            continue
        went_out_whole = await _cut_short(caller, wanted, rng)  # not `+= await`: others add to it meanwhile
        result.in_flight += went_out_whole
        result.faults += 1


def _one_of_many(number: int) -> Wanted:
    """Adds, which go the short way through the app; takes, which go the long one; and reads."""
    match number % 4:
        case 1:
            return Wanted("read", "gone")
        case 2:
            return Wanted("take", "gone", 1, 10**9, f"d{number}")
        case _:
            return Wanted("add", "gone", 1, None, f"d{number}")


async def _cut_short(caller: Caller, wanted: Wanted, rng: random.Random) -> bool:
    """Return whether the request went out whole. What did not has no effect: should it have one, the judge finds a
    number that nobody was given."""
    assert caller._reader is not None
    assert caller._writer is not None
    wire = wanted.wire()
    cut, call = rng.randrange(1, 2 * len(wire)), time.monotonic_ns()
    with suppress(*BROKEN):
        caller._writer.write(wire[:cut])
        if rng.random() < 0.5:
            await asyncio.sleep(rng.uniform(0, LONG_WAY_S))
        elif cut > len(wire):
            async with asyncio.timeout(caller.crowd.timeout_s):
                await caller._reader.read(cut - len(wire))
    caller.hang_up(abruptly=rng.random() < 0.5)
    if cut >= len(wire):
        caller.record(wanted, call, None)
    return cut >= len(wire)
