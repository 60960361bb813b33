"""Counters: outcomes become return values and exceptions, and every sentence names the remedy."""

import asyncio
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from quart_counter import errors
from quart_counter.counters import Counters, explain
from quart_counter.counters.combiner import Statistics
from quart_counter.keys import new_key, share_of
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading, Refused
from quart_counter.stores.base import Guarantees, StoreAway

GUARANTEES = Guarantees("process", atomic=True, durable="none", exactly_once=True, versioned=True, gapless=True)


class ScriptedStore:
    """Answers every change with `outcome`, and remembers what it was asked."""

    guarantees = GUARANTEES

    def __init__(self, outcome=None) -> None:
        self.outcome = outcome or Applied(7, 3)
        self.batches = []
        self.reading = Reading(7, 3)
        self.away: Exception | None = None

    async def apply(self, changes):
        self.batches.append(list(changes))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [self.outcome] * len(changes)

    async def read(self, name):
        if self.away:
            raise self.away
        return self.reading

    async def names(self, after="", limit=1000):
        return [after, limit]

    async def aclose(self):
        """Nothing to close."""


@pytest.fixture(params=[True, False], ids=["combine", "alone"])
def combine(request):
    return request.param


@pytest.fixture
def store():
    return ScriptedStore()


@pytest.fixture
def counters(store, combine):
    return Counters(store, deadline_s=60.0, combine=combine)


CALLS = {
    "increment": (lambda c: c.increment("t"), Change("t"), 7),
    "increment by": (lambda c: c.increment("t", -2, key="k"), Change("t", by=-2, key="k"), 7),
    "add": (lambda c: c.add("t", 5, key="k"), Change("t", by=5, key="k"), Reading(7, 3)),
    "take to a limit": (lambda c: c.take("t", 2, limit=9), Change("t", by=2, limit=9), Reading(7, 3)),
    "take to a floor": (
        lambda c: c.take("t", -2, floor=0, key="k"),
        Change("t", by=-2, floor=0, key="k"),
        Reading(7, 3),
    ),
    "set": (lambda c: c.set("t", 0), Change("t", value=0), Reading(7, 3)),
    "set if version": (
        lambda c: c.set("t", 4, if_version=0, key="k"),
        Change("t", value=4, if_version=0, key="k"),
        Reading(7, 3),
    ),
    "reset": (lambda c: c.reset("t", key="k"), Change("t", value=0, key="k"), Reading(7, 3)),
}


@pytest.mark.parametrize(("call", "change", "answer"), CALLS.values(), ids=CALLS)
async def test_a_call_is_one_change_and_its_answer(counters, store, call, change, answer):
    answered = await call(counters)
    assert (answered, type(answered)) == (answer, type(answer))
    assert store.batches == [[change]]


async def test_increment_answers_the_value_not_the_version(counters):
    assert await counters.increment("t") == 7


@pytest.mark.parametrize("reason", ["bound", "cap", "version", "key_reused"])
async def test_a_refusal_is_raised_with_what_the_rule_saw(counters, store, reason):
    store.outcome = Refused(reason, 41, 6)
    with pytest.raises(errors.CounterRefused) as raised:
        await counters.add("t", key="k")
    error = raised.value
    assert (error.name, error.reason, error.value, error.version) == ("t", reason, 41, 6)
    assert str(error).endswith("Nothing was changed.")


async def test_a_replayed_refusal_is_a_refusal(counters, store):
    store.outcome = Refused("bound", 41, 6, replayed=True)
    with pytest.raises(errors.CounterRefused):
        await counters.take("t", limit=41, key="k")


async def test_not_applied_is_raised(counters, store):
    store.outcome = NotApplied("Redis does not answer")
    with pytest.raises(errors.NotApplied, match="sending it again is safe"):
        await counters.increment("t")


async def test_unknown_carries_name_by_and_key(counters, store):
    store.outcome = OutcomeUnknown("Redis does not answer")
    with pytest.raises(errors.OutcomeUnknown) as raised:
        await counters.increment("t", -3, key="k")
    assert (raised.value.name, raised.value.by, raised.value.key) == ("t", -3, "k")


async def test_unknown_of_a_set_has_no_by(counters, store):
    store.outcome = OutcomeUnknown("Redis does not answer")
    with pytest.raises(errors.OutcomeUnknown) as raised:
        await counters.set("t", 5)
    assert (raised.value.name, raised.value.by, raised.value.key) == ("t", None, None)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.increment("no name"),
        lambda c: c.increment("t", 0),
        lambda c: c.increment("t", key=""),
        lambda c: c.take("t"),
        lambda c: c.take("t", limit=1, floor=0),
        lambda c: c.take("t", -1, limit=1),
        lambda c: c.take("t", 1, floor=1),
        lambda c: c.set("t", 2**53),
        lambda c: c.set("t", 0, if_version=True),
        lambda c: c.read("no name"),
    ],
)
async def test_what_is_impossible_is_never_sent(counters, store, call):
    with pytest.raises(errors.InvalidChange):
        await call(counters)
    assert store.batches == []


KEYED = {
    "increment": lambda c, key: c.increment("t", key=key),
    "add": lambda c, key: c.add("t", key=key),
    "take": lambda c, key: c.take("t", limit=9, key=key),
    "set": lambda c, key: c.set("t", 1, key=key),
    "reset": lambda c, key: c.reset("t", key=key),
}


@pytest.mark.parametrize("call", KEYED)
async def test_a_key_older_than_keys_are_remembered_is_never_sent(store, combine, call):
    key, clock = new_key(), SimpleNamespace(now=time.time())
    counters = Counters(store, deadline_s=60.0, combine=combine, key_life_s=30.0, now_s=lambda: clock.now)
    await KEYED[call](counters, key)
    clock.now += 29.0
    await KEYED[call](counters, key)
    clock.now += 2.0
    with pytest.raises(errors.InvalidKey, match="read the counter") as refused:
        await KEYED[call](counters, key)
    assert refused.value.reason == "expired"
    clock.now -= 100.0
    with pytest.raises(errors.InvalidKey, match="set the clock") as refused:
        await KEYED[call](counters, share_of(key, 3))
    assert refused.value.reason == "ahead"
    assert len(store.batches) == 2
    await KEYED[call](counters, "order-7")
    await KEYED[call](counters, None)


@pytest.mark.parametrize("call", KEYED)
async def test_a_store_that_may_forget_keys_takes_none(store, counters, call):
    """It would promise to count a repeat once, and count it again."""
    store.guarantees = replace(GUARANTEES, exactly_once=False)
    with pytest.raises(errors.InvalidKey, match="might count again") as refused:
        await KEYED[call](counters, "k")
    assert (refused.value.reason, store.batches) == ("unsupported", [])
    await KEYED[call](counters, None)


async def test_a_limit_of_0_is_a_limit(counters, store):
    await counters.take("t", limit=0)
    assert store.batches == [[Change("t", limit=0)]]


async def test_read_and_names_go_to_the_store(counters):
    assert await counters.read("t") == Reading(7, 3)
    assert await counters.names("a", 5) == ["a", 5]
    assert counters.guarantees is GUARANTEES


async def test_a_read_with_the_store_away_says_so(counters, store):
    store.away = StoreAway("Redis does not answer")
    with pytest.raises(StoreAway):
        await counters.read("t")


@pytest.mark.parametrize("call", [lambda c: c.read("t"), lambda c: c.names(), lambda c: c.forget("t")])
@pytest.mark.parametrize("ends", [Reading(7, 3), StoreAway("gone")])
async def test_a_reader_that_leaves_does_not_cut_the_read(call, ends):
    """The store sees it through, and drain waits for it; how it ends is nobody's business any more."""
    started, release, done = asyncio.Event(), asyncio.Event(), []

    class SlowStore(ScriptedStore):
        async def read(self, *_):
            started.set()
            await release.wait()
            done.append("whole")
            if isinstance(ends, Exception):
                raise ends

        names = forget = read

    counters = Counters(SlowStore(), deadline_s=60.0, combine=True)
    caller = asyncio.create_task(call(counters))
    await started.wait()
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    draining = asyncio.create_task(counters.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    release.set()
    await draining
    assert done == ["whole"]


async def test_combined_callers_share_a_flush():
    store = ScriptedStore()
    counters = Counters(store, deadline_s=60.0, combine=True)
    await asyncio.gather(*(counters.increment("t") for _ in range(10)))
    assert [len(batch) for batch in store.batches] == [10]
    assert counters.statistics() == Statistics(waiting=0, flushes=1, applied=10)
    await counters.drain()


async def test_uncombined_callers_go_each_alone():
    store = ScriptedStore()
    counters = Counters(store, deadline_s=60.0, combine=False)
    await asyncio.gather(*(counters.increment("t") for _ in range(10)))
    assert [len(batch) for batch in store.batches] == [1] * 10
    assert counters.statistics() == Statistics(waiting=0, flushes=0, applied=0)
    await counters.drain()


async def test_a_bug_in_the_store_is_an_unknown_outcome_to_each_combined_caller():
    counters = Counters(ScriptedStore(ZeroDivisionError("secret detail")), deadline_s=60.0, combine=True)
    answers = await asyncio.gather(*(counters.increment("t", key=k) for k in "ab"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [errors.OutcomeUnknown] * 2
    assert answers[0] is not answers[1], "each its own exception"
    assert [answer.key for answer in answers] == ["a", "b"]
    assert "ZeroDivisionError" in str(answers[0])


async def test_drain_waits_for_a_change_whose_caller_went_away():
    release = asyncio.Event()
    started = asyncio.Event()
    done = []

    class SlowStore(ScriptedStore):
        async def apply(self, changes):
            started.set()
            await release.wait()
            done.extend(changes)
            return await super().apply(changes)

    counters = Counters(SlowStore(), deadline_s=60.0, combine=True)
    caller = asyncio.create_task(counters.increment("t"))
    await started.wait()
    caller.cancel()
    await asyncio.wait([caller])
    draining = asyncio.create_task(counters.drain())
    release.set()
    await draining
    assert done == [Change("t")]


async def test_who_waited_past_the_deadline_was_not_applied(monkeypatch):
    release, started = asyncio.Event(), asyncio.Event()

    class SlowStore(ScriptedStore):
        async def apply(self, changes):
            started.set()
            await release.wait()
            return await super().apply(changes)

    store = SlowStore()
    counters = Counters(store, deadline_s=5.0, combine=True)
    first = asyncio.create_task(counters.increment("t"))
    await started.wait()
    second = counters.apply(Change("u"))
    waiting = asyncio.ensure_future(second)
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 6.0)
    release.set()
    assert await first == 7
    assert isinstance(await waiting, NotApplied)
    assert store.batches == [[Change("t")]]


T = Change("tickets", 3, limit=100)
SENTENCES = {
    "limit": (T, Refused("bound", 99, 5), "tickets is at 99: +3 would pass the limit 100. Nothing was changed."),
    "floor": (
        Change("tickets", -3, floor=0),
        Refused("bound", 2, 5),
        "tickets is at 2: -3 would pass the floor 0. Nothing was changed.",
    ),
    "cap": (
        Change("tickets"),
        Refused("cap", 2**53 - 1, 5),
        "tickets is at 9007199254740991: the change would leave ±(2^53 - 1). Nothing was changed.",
    ),
    "version": (
        Change("tickets", value=1, if_version=4),
        Refused("version", 2, 5),
        "tickets is at version 5, not 4: somebody changed it. Read it again, then decide. Nothing was changed.",
    ),
    "key reused": (
        Change("tickets", key="k"),
        Refused("key_reused", 2, 5),
        "The key 'k' was used for another request on tickets. Use a new key for a new request. Nothing was changed.",
    ),
    "not applied": (
        T,
        NotApplied("Redis does not answer"),
        "Redis does not answer. The change was not applied; sending it again is safe.",
    ),
    "unknown with a key": (
        Change("tickets", key="k"),
        OutcomeUnknown("Redis does not answer"),
        (
            "Redis does not answer. The change may have been applied; send it again with the same key to find out; "
            "it counts once."
        ),
    ),
    "unknown without a key": (
        Change("tickets"),
        OutcomeUnknown("Redis does not answer"),
        (
            "Redis does not answer. The change may have been applied; sent without Idempotency-Key: the outcome cannot "
            "be found out."
        ),
    ),
}


@pytest.mark.parametrize(("change", "outcome", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_the_sentence_names_the_thing_and_the_remedy(change, outcome, sentence):
    assert explain(change, outcome) == sentence
    assert not re.search(r"\.\.", sentence)
