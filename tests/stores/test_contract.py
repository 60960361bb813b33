"""One contract, every store through it. The opposite (a store that breaks it is caught) stands below."""

import asyncio
import random
from bisect import insort
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from inspect import signature

import pytest

from quart_counter.model import MAX_KEYS, MAX_VALUE, Applied, Change, Reading
from quart_counter.stores import Limits, Store, open_store
from quart_counter.stores.memory import MemoryStore
from stores.contract import Open, StoreContract


@pytest.fixture
async def store(open_it: Open) -> AsyncIterator[Store]:
    async with open_it(None) as store:
        yield store


class TestEveryStore(StoreContract):
    """Parametrized over the openers of conftest."""


class Wrong(MemoryStore):
    """A right store, to be made wrong in one place."""

    def __init__(self) -> None:
        super().__init__(guard=asyncio.Lock())


class Unguarded(MemoryStore):
    def __init__(self) -> None:
        super().__init__(pause=partial(asyncio.sleep, 0))


class AnswersLate(Wrong):
    async def apply(self, changes):
        outcomes = await super().apply(changes)
        await asyncio.sleep(0)
        return [
            Applied(*await self.read(change.name)) if isinstance(outcome, Applied) else outcome
            for change, outcome in zip(changes, outcomes, strict=True)
        ]


class AnswersTheValueBefore(Wrong):
    async def apply(self, changes):
        return [
            one._replace(value=one.value - 1) if isinstance(one, Applied) else one
            for one in await super().apply(changes)
        ]


class SortsItsBatch(Wrong):
    async def apply(self, changes):
        return await super().apply(sorted(changes, key=lambda change: change.by))


class ForgetsKeys(Wrong):
    async def apply(self, changes):
        return await super().apply([change._replace(key=None) for change in changes])


class OneForAll(OrderedDict):
    def setdefault(self, _name, keys):
        return super().setdefault("everybody", keys)

    def __setitem__(self, _name, keys):
        super().__setitem__("everybody", keys)


class SharesKeys(Wrong):
    def __init__(self) -> None:
        super().__init__()
        self._keys = OneForAll()


class RemembersKeysForEver(Wrong):
    def __init__(self) -> None:
        super().__init__()
        self._limits = Limits(key_life_s=3600.0)


class ForgetsKeysAtOnce(Wrong):
    def __init__(self) -> None:
        super().__init__()
        self._limits = Limits(key_life_s=0.05)


class HasNoCap(Wrong):
    async def _step(self, change):
        if change.value is None and change.by > 0 and change.limit is None:
            value, version = self._readings.get(change.name, Reading())
            self._readings[change.name] = Reading(value + change.by, version + 1)
            return Applied(value + change.by, version + 1)
        return await super()._step(change)


class ExcludesTheLimit(Wrong):
    async def _step(self, change):
        limit = None if change.limit is None else change.limit - 1
        return await super()._step(change._replace(limit=limit))


class ResetsTheVersion(Wrong):
    async def _step(self, change):
        if change.value == 0:
            self._readings.pop(change.name, None)
        return await super()._step(change)


class ListsInAnyOrder(Wrong):
    async def names(self, after="", limit=1000):
        return list(reversed(await super().names(after, limit)))


class ListsWhatWasOnlyRead(Wrong):
    async def read(self, name):
        if name not in self._names:
            insort(self._names, name)
        return await super().read(name)


class HasNoQuota(Wrong):
    """Its limits stay the default ones, whatever was asked for."""


CAUGHT_BY = [
    (Unguarded, "test_100_at_once_get_100_different_numbers"),
    (Unguarded, "test_take_sells_100_and_never_101"),
    (Unguarded, "test_set_if_version_lets_one_of_many_win"),
    (Unguarded, "test_one_key_sent_100_times_at_once_counts_once"),
    (AnswersLate, "test_100_at_once_get_100_different_numbers"),
    (AnswersTheValueBefore, "test_one_change_is_a_batch_of_one"),
    (AnswersTheValueBefore, "test_it_agrees_with_the_model"),
    (SortsItsBatch, "test_outcomes_stand_in_the_order_of_the_changes"),
    (SortsItsBatch, "test_it_agrees_with_the_model"),
    (ForgetsKeys, "test_a_key_counts_once_and_answers_the_same"),
    (ForgetsKeys, "test_a_key_repeated_inside_one_batch_counts_once"),
    (SharesKeys, "test_a_key_belongs_to_its_counter"),
    (RemembersKeysForEver, "test_a_key_is_remembered_for_its_life_and_forgotten_after_twice_that"),
    (ForgetsKeysAtOnce, "test_a_key_is_remembered_for_its_life_and_forgotten_after_twice_that"),
    (HasNoCap, "test_a_run_of_adds_that_would_pass_the_cap_is_cut_where_it_passes"),
    (HasNoCap, "test_it_agrees_with_the_model"),
    (ExcludesTheLimit, "test_take_sells_100_and_never_101"),
    (ResetsTheVersion, "test_a_reset_goes_to_0_and_the_version_goes_on"),
    (ListsInAnyOrder, "test_names_are_listed_in_pages_and_in_order"),
    (ListsWhatWasOnlyRead, "test_a_name_that_was_only_read_or_refused_is_not_listed"),
    (HasNoQuota, "test_a_full_quota_of_keys_is_told_before_any_effect"),
]


@pytest.mark.parametrize(("wrong", "law"), CAUGHT_BY, ids=[f"{wrong.__name__}-{law}" for wrong, law in CAUGHT_BY])
async def test_a_wrong_store_is_caught(wrong, law):
    @asynccontextmanager
    async def open_wrong(_limits):
        yield wrong()

    test = getattr(StoreContract, law)
    wanted = signature(test).parameters
    given = {"open_it": open_wrong, "store": wrong()}
    if law == "test_it_agrees_with_the_model":
        running = compared_by_seed(wrong())
    else:
        running = test(StoreContract(), **{word: given[word] for word in given if word in wanted})
    with pytest.raises(AssertionError):
        await running


async def compared_by_seed(store):
    """The comparison with the model on random batches, by seed: hypothesis would report the failure that is wanted."""
    law = StoreContract.test_it_agrees_with_the_model.hypothesis.inner_test
    for seed in range(300):
        dice = random.Random(seed)
        batches = [[some_change(dice) for _ in range(dice.randint(1, 8))] for _ in range(3)]
        start = dice.choice([None, MAX_VALUE - 2, 2 - MAX_VALUE])
        await law(StoreContract(), {MAX_KEYS: store}, batches, start, MAX_KEYS)


def some_change(dice):
    by = dice.choice([-2, -1, 1, 2, 3])
    bound = {} if dice.random() < 0.7 else {"limit" if by > 0 else "floor": dice.randint(-3, 3)}
    return Change(dice.choice("ab"), by, key=dice.choice([None, None, "k", "l"]), **bound)


async def test_a_right_store_passes_the_seeded_comparison():
    """The opposite of the table above: what catches the wrong ones lets the right one through."""
    async with open_store("memory:") as store:
        await compared_by_seed(store)
