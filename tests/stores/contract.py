"""What every store must do, whatever it is made of: one suite, run through a `store` that is handed in.

The model is the specification, so the heart of it is a comparison: the same batches through the store and through
`model.apply`, one change after another. For Redis this is the comparison of the Lua script with the model; there is no
second description of the rules anywhere.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quart_counter.model import (
    MAX_BY,
    MAX_KEYS,
    MAX_VALUE,
    MAX_VERSION,
    Applied,
    Change,
    NotApplied,
    Outcome,
    OutcomeUnknown,
    Reading,
    Record,
    Refused,
    State,
    apply,
)
from quart_counter.stores import Limits, Store
from quart_counter.stores.base import read_many

Open = Callable[[Limits | None], AbstractAsyncContextManager[Store]]

CLIENTS = 100
EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    # one server for all examples is meant: each example counts under names of its own
    # it is one test for every store there is
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class Model:
    """The pure rules, run beside a store: the same changes, one after another."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._readings: dict[str, Reading] = {}
        self._records: dict[str, dict[str, Record]] = {}
        self._max_keys = max_keys

    def apply(self, changes: Iterable[Change]) -> list[Outcome]:
        return [self._step(change) for change in changes]

    def read(self, name: str) -> Reading:
        return self._readings.get(name, Reading())

    def _step(self, change: Change) -> Outcome:
        records = self._records.setdefault(change.name, {})
        record = records.get(change.key) if change.key is not None else None
        after, outcome = apply(State(*self.read(change.name), record, len(records)), change, self._max_keys)
        self._readings[change.name] = Reading(after.value, after.version)
        if change.key is not None and after.record is not None:
            records[change.key] = after.record
        return outcome


def words(outcomes: Sequence[Outcome]) -> list[tuple[object, ...]]:
    """Outcomes with their kind, which tuples forget; a reason for not applying is the store's own choice of words."""
    return [(type(one).__name__, *(() if isinstance(one, NotApplied) else one)) for one in outcomes]


def fresh() -> str:
    """A counter's name that nobody else uses, on a server that others may use too."""
    return f"t{secrets.token_hex(8)}"


SMALL = st.integers(-4, 4)
NEAR_CAP = st.integers(MAX_VALUE - 4, MAX_VALUE) | st.integers(-MAX_VALUE, 4 - MAX_VALUE)
BY = SMALL.filter(bool) | st.sampled_from([MAX_BY, -MAX_BY])
VALUE = SMALL | NEAR_CAP
KEY = st.none() | st.sampled_from(["k", "l", "m", "n"])
NO_VERSION = st.sampled_from([None, 0])


@st.composite
def any_change(draw: st.DrawFn) -> Change:
    """Half of them plain, so that runs fold; the others of every kind."""
    name, by = draw(st.sampled_from(["a", "b"])), draw(BY)
    match draw(st.sampled_from(["plain", "plain", "plain", "keyed", "take", "set", "set if", "restore"])):
        case "plain":
            return Change(name, by)
        case "keyed":
            return Change(name, by, key=draw(KEY))
        case "take":
            bound = "limit" if by > 0 else "floor"
            return Change(name, by, key=draw(KEY), **{bound: draw(VALUE)})
        case "set":
            return Change(name, value=draw(VALUE), key=draw(KEY))
        case "restore":
            return Change(name, value=draw(VALUE), version=draw(st.integers(1, 9)), if_version=draw(NO_VERSION))
        case _:
            return Change(name, value=draw(VALUE), if_version=draw(st.integers(0, 6)), key=draw(KEY))


BATCHES = st.lists(st.lists(any_change(), min_size=1, max_size=10), min_size=1, max_size=6)


QUOTAS = (2, 3, MAX_KEYS)


class StoreContract:
    """Run by every store: inherit it and provide `open_it` (an `Open`) and `store` (one opened with the defaults)."""

    @pytest.fixture
    async def by_quota(self, open_it: Open) -> AsyncIterator[dict[int, Store]]:
        """One open store for each quota of keys."""
        async with AsyncExitStack() as stack:
            yield {quota: await stack.enter_async_context(open_it(Limits(max_keys=quota))) for quota in QUOTAS}

    async def test_a_counter_never_touched_reads_0_and_0(self, store):
        assert await store.read(fresh()) == Reading(0, 0)

    async def test_one_change_is_a_batch_of_one(self, store):
        name = fresh()
        assert await store.apply([Change(name)]) == [Applied(1, 1)]
        assert await store.read(name) == Reading(1, 1)

    async def test_an_empty_batch_has_no_outcomes(self, store):
        assert list(await store.apply([])) == []

    async def test_100_at_once_get_100_different_numbers(self, store):
        name, barrier = fresh(), asyncio.Barrier(CLIENTS)

        async def client() -> Outcome:
            await barrier.wait()
            return (await store.apply([Change(name)]))[0]

        answers = await asyncio.gather(*(client() for _ in range(CLIENTS)))
        assert sorted(answers) == [Applied(i, i) for i in range(1, CLIENTS + 1)]
        assert await store.read(name) == Reading(CLIENTS, CLIENTS)

    async def test_clients_that_go_on_and_on_get_different_numbers(self, store):
        name, rounds = fresh(), 20

        async def client() -> list[Outcome]:
            return [(await store.apply([Change(name)]))[0] for _ in range(rounds)]

        answers = await asyncio.gather(*(client() for _ in range(10)))
        for own in answers:
            assert own == sorted(own), "a later answer is a larger number"
        assert sorted(itertools.chain(*answers)) == [Applied(i, i) for i in range(1, 10 * rounds + 1)]

    async def test_batches_at_once_are_each_answered_in_order(self, store):
        name, other = fresh(), fresh()
        batch = [Change(name), Change(other), Change(name)]
        answers = await asyncio.gather(*(store.apply(batch) for _ in range(30)))
        assert sorted(one for first, _, last in answers for one in (first, last)) == [
            Applied(i, i) for i in range(1, 61)
        ]
        assert sorted(one for _, one, _ in answers) == [Applied(i, i) for i in range(1, 31)]
        assert all(last.value > first.value for first, _, last in answers)

    async def test_outcomes_stand_in_the_order_of_the_changes(self, store):
        a, b = fresh(), fresh()
        changes = [Change(a, 10), Change(b), Change(a, 5), Change(b, -3), Change(a, -100), Change(a, value=7)]
        assert await store.apply(changes) == [
            Applied(10, 1),
            Applied(1, 1),
            Applied(15, 2),
            Applied(-2, 2),
            Applied(-85, 3),
            Applied(7, 4),
        ]

    async def test_every_mutation_raises_the_version_by_exactly_1(self, store):
        name = fresh()
        kinds = [
            Change(name, MAX_BY),
            Change(name, -1),
            Change(name, value=5),
            Change(name, value=5),
            Change(name, value=0),
            Change(name, key="k"),
            Change(name, limit=10),
            Change(name, value=1, if_version=7),
        ]
        assert [one.version for one in await store.apply(kinds)] == list(range(1, len(kinds) + 1))

    async def test_a_refusal_and_a_replay_leave_the_version(self, store):
        name = fresh()
        await store.apply([Change(name, key="k")])
        await store.apply([Change(name, limit=0), Change(name, key="k"), Change(name, value=1, if_version=9)])
        assert await store.read(name) == Reading(1, 1)

    async def test_512_changes_in_one_batch(self, store):
        name = fresh()
        assert await store.apply([Change(name)] * 512) == [Applied(i, i) for i in range(1, 513)]

    async def test_512_changes_of_512_counters(self, store):
        names = [f"{fresh()}.{i}" for i in range(512)]
        assert await store.apply([Change(name) for name in names]) == [Applied(1, 1)] * 512

    async def test_512_keyed_changes_in_one_batch(self, store):
        name = fresh()
        changes = [Change(name, key=f"{i}{'k' * 250}") for i in range(512)]
        assert await store.apply(changes) == [Applied(i, i) for i in range(1, 513)]
        assert await store.apply(changes) == [Applied(i, i, replayed=True) for i in range(1, 513)]

    async def test_one_name_refused_leaves_the_others_alone(self, store):
        bad, good = fresh(), fresh()
        await store.apply([Change(bad, value=MAX_VALUE)])
        outcomes = await store.apply([Change(bad), Change(good), Change(bad), Change(good), Change(bad, -1)])
        assert outcomes == [
            Refused("cap", MAX_VALUE, 1),
            Applied(1, 1),
            Refused("cap", MAX_VALUE, 1),
            Applied(2, 2),
            Applied(MAX_VALUE - 1, 2),
        ]

    async def test_take_sells_100_and_never_101(self, store):
        name = fresh()
        takes = await asyncio.gather(*(store.apply([Change(name, limit=100)]) for _ in range(150)))
        assert sorted(one for (one,) in takes if isinstance(one, Applied)) == [Applied(i, i) for i in range(1, 101)]
        assert [one for (one,) in takes if not isinstance(one, Applied)] == [Refused("bound", 100, 100)] * 50

    async def test_take_down_to_the_floor(self, store):
        name = fresh()
        await store.apply([Change(name, value=2)])
        takes = [Change(name, -1, floor=0)] * 3 + [Change(name, -3, floor=-3)] * 2
        assert await store.apply(takes) == [
            Applied(1, 2),
            Applied(0, 3),
            Refused("bound", 0, 3),
            Applied(-3, 4),
            Refused("bound", -3, 4),
        ]

    async def test_set_if_version_lets_one_of_many_win(self, store):
        name = fresh()
        await store.apply([Change(name, value=10)])
        sets = await asyncio.gather(
            *(store.apply([Change(name, value=100 + i, if_version=1)]) for i in range(20)),
        )
        won = [one for (one,) in sets if isinstance(one, Applied)]
        assert len(won) == 1
        assert won[0].version == 2
        lost = [one for (one,) in sets if not isinstance(one, Applied)]
        assert lost == [Refused("version", won[0].value, 2)] * 19

    async def test_set_if_never_touched(self, store):
        name = fresh()
        first, second = await store.apply([Change(name, value=3, if_version=0)] * 2)
        assert (first, second) == (Applied(3, 1), Refused("version", 3, 1))

    async def test_a_reset_goes_to_0_and_the_version_goes_on(self, store):
        name = fresh()
        await store.apply([Change(name, 5), Change(name, 5)])
        assert await store.apply([Change(name, value=0)]) == [Applied(0, 3)]
        assert await store.apply([Change(name)]) == [Applied(1, 4)]

    async def test_a_restore_brings_its_version_and_never_takes_one_back(self, store):
        name = fresh()
        restore = Change(name, value=70, version=MAX_VERSION, if_version=0)
        assert await store.apply([restore, restore, Change(name)]) == [
            Applied(70, MAX_VERSION),
            Refused("version", 70, MAX_VERSION),
            Applied(71, MAX_VERSION + 1),
        ]
        assert await store.apply([Change(name, value=5, version=3)]) == [Applied(5, MAX_VERSION + 2)]
        assert await store.read(name) == Reading(5, MAX_VERSION + 2)
        assert name in await store.names(name[:-1], 100)

    @pytest.mark.parametrize("sign", [1, -1])
    async def test_the_cap_is_reached_and_never_passed(self, store, sign):
        name, top = fresh(), sign * MAX_VALUE
        await store.apply([Change(name, value=top - 2 * sign)])
        assert await store.apply([Change(name, sign)]) == [Applied(top - sign, 2)]
        assert await store.apply([Change(name, 2 * sign)]) == [Refused("cap", top - sign, 2)]
        assert await store.apply([Change(name, sign)]) == [Applied(top, 3)]
        assert await store.apply([Change(name, sign)]) == [Refused("cap", top, 3)]
        assert await store.read(name) == Reading(top, 3)

    async def test_a_run_of_adds_that_would_pass_the_cap_is_cut_where_it_passes(self, store):
        name = fresh()
        await store.apply([Change(name, value=MAX_VALUE - 5)])
        assert await store.apply([Change(name, 3), Change(name, 3), Change(name, 2), Change(name, 1)]) == [
            Applied(MAX_VALUE - 2, 2),
            Refused("cap", MAX_VALUE - 2, 2),
            Applied(MAX_VALUE, 3),
            Refused("cap", MAX_VALUE, 3),
        ]

    async def test_what_follows_a_run_at_the_cap_keeps_its_place(self, store):
        name, other = fresh(), fresh()
        await store.apply([Change(name, value=MAX_VALUE - 1)])
        outcomes = await store.apply(
            [Change(name), Change(other), Change(name), Change(name, value=0), Change(name, key="k"), Change(other)]
        )
        assert outcomes == [
            Applied(MAX_VALUE, 2),
            Applied(1, 1),
            Refused("cap", MAX_VALUE, 2),
            Applied(0, 3),
            Applied(1, 4),
            Applied(2, 2),
        ]
        assert await store.read(name) == Reading(1, 4)

    async def test_a_key_counts_once_and_answers_the_same(self, store):
        name = fresh()
        assert await store.apply([Change(name, 5, key="k")]) == [Applied(5, 1)]
        await store.apply([Change(name, 100)])
        assert await store.apply([Change(name, 5, key="k")]) == [Applied(5, 1, replayed=True)]
        assert await store.read(name) == Reading(105, 2)

    async def test_one_key_sent_100_times_at_once_counts_once(self, store):
        name = fresh()
        answers = await asyncio.gather(*(store.apply([Change(name, key="k")]) for _ in range(CLIENTS)))
        assert {(one.value, one.version) for (one,) in answers} == {(1, 1)}
        assert sorted(one.replayed for (one,) in answers) == [False] + [True] * (CLIENTS - 1)
        assert await store.read(name) == Reading(1, 1)

    async def test_a_key_repeated_inside_one_batch_counts_once(self, store):
        name = fresh()
        outcomes = await store.apply(
            [Change(name, key="k"), Change(name), Change(name, key="k"), Change(name, 9, key="k")]
        )
        assert outcomes == [Applied(1, 1), Applied(2, 2), Applied(1, 1, replayed=True), Refused("key_reused", 2, 2)]

    @pytest.mark.parametrize(
        "other",
        [
            lambda name: Change(name, 2, key="k"),
            lambda name: Change(name, 1, key="k", limit=100),
            lambda name: Change(name, value=1, key="k"),
            lambda name: Change(name, value=0, key="k"),
        ],
        ids=["another by", "a limit", "a set", "a reset"],
    )
    async def test_a_key_used_for_another_request_is_refused(self, store, other):
        name = fresh()
        await store.apply([Change(name, 1, key="k"), Change(name, 10)])
        assert await store.apply([other(name)]) == [Refused("key_reused", 11, 2)]
        assert await store.apply([Change(name, 1, key="k")]) == [Applied(1, 1, replayed=True)]
        assert await store.read(name) == Reading(11, 2)

    @pytest.mark.parametrize(
        ("refused", "reason"),
        [
            (lambda name: Change(name, 5, limit=4, key="k"), "bound"),
            (lambda name: Change(name, value=1, if_version=7, key="k"), "version"),
            (lambda name: Change(name, value=MAX_VALUE + 1, key="k"), "cap"),
        ],
        ids=["bound", "version", "cap"],
    )
    async def test_a_refusal_is_an_answer_that_a_key_keeps(self, store, refused, reason):
        name = fresh()
        change = refused(name)
        assert await store.apply([change]) == [Refused(reason, 0, 0)]
        await store.apply([Change(name, -3)])
        assert await store.apply([change]) == [Refused(reason, 0, 0, replayed=True)]
        assert await store.read(name) == Reading(-3, 1)

    async def test_a_key_belongs_to_its_counter(self, store):
        one, other = fresh(), fresh()
        assert await store.apply([Change(one, 1, key="k"), Change(other, 7, key="k")]) == [Applied(1, 1), Applied(7, 1)]

    async def test_any_visible_ascii_makes_a_key(self, store):
        name = fresh()
        keys = [*map(chr, range(0x21, 0x7F)), "k" * 255, '"]}\\u0041', "%s{0}"]
        changes = [Change(name, key=key) for key in keys]
        assert await store.apply(changes) == [Applied(i, i) for i in range(1, len(keys) + 1)]
        assert await store.apply(changes) == [Applied(i, i, replayed=True) for i in range(1, len(keys) + 1)]

    async def test_a_full_quota_of_keys_is_told_before_any_effect(self, open_it):
        name, other = fresh(), fresh()
        async with open_it(Limits(max_keys=3)) as store:
            kept = [Change(name, key=key) for key in "abc"]
            assert await store.apply(kept) == [Applied(1, 1), Applied(2, 2), Applied(3, 3)]
            full, elsewhere, replayed, unkeyed = await store.apply(
                [Change(name, key="d"), Change(other, key="d"), Change(name, key="a"), Change(name)]
            )
            assert isinstance(full, NotApplied)
            assert name in full.because
            assert (elsewhere, replayed, unkeyed) == (Applied(1, 1), Applied(1, 1, replayed=True), Applied(4, 4))

    async def test_the_quota_fills_up_inside_one_batch(self, open_it):
        name = fresh()
        async with open_it(Limits(max_keys=3)) as store:
            outcomes = await store.apply([Change(name, key=key) for key in "abcda"])
            assert words(outcomes) == [
                ("Applied", 1, 1, False),
                ("Applied", 2, 2, False),
                ("Applied", 3, 3, False),
                ("NotApplied",),
                ("Applied", 1, 1, True),
            ]
            assert await store.read(name) == Reading(3, 3)

    async def test_a_key_is_remembered_for_its_life_and_forgotten_after_twice_that(self, open_it):
        """The clock is the store's own, so this one waits for it: under a second, and only judged if it was in time."""
        loop = asyncio.get_running_loop()
        for life_s in (0.25, 1.0, 4.0):
            name = fresh()
            limits = Limits(store_timeout_s=life_s / 3, deadline_s=life_s / 3, key_life_s=life_s)
            async with open_it(limits) as store:
                sent = loop.time()
                [first] = await store.apply([Change(name, key="k")])
                answered = loop.time()
                await asyncio.sleep(sent + 0.6 * life_s - loop.time())
                [late] = await store.apply([Change(name, key="k")])
                in_time = loop.time() - sent < life_s
                await asyncio.sleep(answered + 2 * life_s + 0.01 - loop.time())
                [after] = await store.apply([Change(name, key="k")])
                if not in_time or any(isinstance(one, NotApplied | OutcomeUnknown) for one in (first, late, after)):
                    continue  # this machine was too slow for so short a life
                assert (first, late, after) == (Applied(1, 1), Applied(1, 1, replayed=True), Applied(2, 2))
                return
        pytest.fail("this machine did not get three steps done in four seconds")

    async def test_many_are_read_at_once_in_the_order_asked(self, store):
        names = [fresh() for _ in range(40)]
        await store.apply([Change(name, by=i + 1) for i, name in enumerate(names[1:])])
        asked = [names[7], *reversed(names), names[7]]
        readings = await read_many(store, asked)
        assert readings == [await store.read(name) for name in asked]
        assert readings[-2:] == [Reading(0, 0), Reading(7, 1)]
        assert list(await read_many(store, [])) == []

    async def test_names_are_listed_in_pages_and_in_order(self, store):
        prefix = fresh()
        names = [f"{prefix}.{i:03}" for i in range(25)]
        await store.apply([Change(name) for name in reversed(names)])
        pages, after = [], prefix
        while page := [name for name in await store.names(after, 10) if name.startswith(f"{prefix}.")]:
            pages.append(page)
            after = page[-1]
        assert pages == [names[:10], names[10:20], names[20:]]

    async def test_names_are_in_the_order_of_their_characters(self, store):
        prefix = fresh()
        names = [prefix + end for end in ("-a", ".a", "0", "9", "A", "Z", "_a", "a", "z", "~a")]
        assert names == sorted(names)
        await store.apply([Change(name) for name in reversed(names)])
        found = [name for name in await store.names("", 100_000) if name.startswith(prefix)]
        assert found == names

    async def test_a_name_that_was_only_read_or_refused_is_not_listed(self, store):
        name = fresh()
        await store.read(name)
        await store.apply([Change(name, limit=0), Change(name, value=1, if_version=1, key="k")])
        assert name not in await store.names(name[:-1], 100)
        await store.apply([Change(name)])
        assert name in await store.names(name[:-1], 100)

    async def test_a_forgotten_counter_starts_over_and_the_others_stay(self, store):
        gone, stays = fresh(), fresh()
        await store.apply([Change(gone, 5), Change(stays, 5), Change(gone, 5)])
        await store.forget(gone)
        assert await store.read(gone) == Reading(0, 0)
        assert gone not in await store.names(gone[:-1], 100)
        assert await store.apply([Change(gone), Change(stays)]) == [Applied(1, 1), Applied(6, 2)]
        assert gone in await store.names(gone[:-1], 100)

    async def test_forgetting_what_was_never_there_is_no_error(self, store):
        await store.forget(fresh())

    async def test_two_stores_on_one_url_share_the_numbers(self, store, open_it):
        name = fresh()
        if store.guarantees.scope not in ("host", "network"):
            pytest.skip(f"its scope is the {store.guarantees.scope}: two stores are two counters")
        async with open_it(None) as other:
            answers = await asyncio.gather(*(one.apply([Change(name)]) for one in [store, other] * 50))
            assert sorted(answers) == [[Applied(i, i)] for i in range(1, 101)]
            assert await store.apply([Change(name, key="k")]) == [Applied(101, 101)]
            assert await other.apply([Change(name, key="k")]) == [Applied(101, 101, replayed=True)]
            assert await other.read(name) == await store.read(name) == Reading(101, 101)

    async def test_numbers_outlive_the_store_object_where_they_are_shared(self, store, open_it):
        name = fresh()
        async with open_it(None) as first:
            await first.apply([Change(name, 41)])
            scope = first.guarantees.scope
        async with open_it(None) as second:
            (after,) = await second.apply([Change(name)])
        assert after == (Applied(42, 2) if scope in ("host", "network") else Applied(1, 1))

    async def test_a_cancelled_caller_leaves_the_store_usable(self, store):
        name = fresh()
        caller = asyncio.create_task(store.apply([Change(name)]))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        value, _ = await store.read(name)
        (after,) = await store.apply([Change(name)])
        assert after.value - value in (1, 2), "it may have counted, and now or never"
        assert await store.read(name) == Reading(after.value, after.version)

    async def test_the_guarantees_are_stated(self, store):
        assert store.guarantees.atomic
        assert store.guarantees.versioned
        assert store.guarantees.gapless
        assert store.guarantees.scope in ("process", "host", "network")

    @EXAMPLES
    @given(batches=BATCHES, start=st.none() | VALUE, quota=st.sampled_from(QUOTAS))
    async def test_it_agrees_with_the_model(self, by_quota, batches, start, quota):
        """The store's own words (SQL, Lua) against `model.apply`, on random batches near 0 and near the cap."""
        own = {"a": fresh(), "b": fresh()}
        if start is not None:
            batches = [[Change("a", value=start), Change("b", value=-start)], *batches]
        store, model = by_quota[quota], Model(quota)
        for batch in batches:
            changes = [change._replace(name=own[change.name]) for change in batch]
            assert words(await store.apply(changes)) == words(model.apply(changes))
        for name in own.values():
            assert await store.read(name) == model.read(name)
