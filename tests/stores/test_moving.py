"""Export and import through every store: exact when nothing else writes, and what holds when somebody does."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from quart_counter.errors import StoreAway
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading
from quart_counter.stores import Limits, Store, open_store
from quart_counter.stores.memory import MemoryStore
from quart_counter.transfer import moving
from quart_counter.transfer.moving import Kept, Restoring, pages
from quart_counter.transfer.rows import Row
from stores.contract import Open, fresh


@pytest.fixture
async def store(open_it: Open) -> AsyncIterator[Store]:
    async with open_it(None) as store:
        yield store


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PAGE", 7)


def some(prefix: str, number: int = 20) -> list[Row]:
    return [Row(f"{prefix}.{i:03}", 10 * i - 50, i * i + 1) for i in range(number)]


async def exported(store: Store, prefix: str) -> list[Row]:
    """What an export says of the names that begin with `prefix`; others may use the same server."""
    found: list[Row] = []
    async for page in pages(store, Limits(), after=prefix):
        found += [row for row in page if row.name.startswith(prefix)]
        if page and not page[-1].name.startswith(prefix):
            break
    return found


async def restored(store: Store, rows: Sequence[Row], *, replace: bool = False) -> Restoring:
    restoring = Restoring(store, replace=replace, told=2)
    await restoring.flush(rows)
    return restoring


async def test_what_goes_in_comes_out_and_counts_on(store):
    prefix = fresh()
    rows = some(prefix)
    assert (await restored(store, rows)).made == 20
    assert await exported(store, prefix) == rows
    assert await store.apply([Change(rows[3].name)]) == [Applied(rows[3].value + 1, rows[3].version + 1)]


async def test_doing_it_again_changes_nothing_and_goes_on_where_it_was(store):
    prefix = fresh()
    rows = some(prefix)
    await restored(store, rows[:12])
    again = await restored(store, rows)
    assert (again.made, again.there_already, again.settled) == (8, 12, 20)
    assert await exported(store, prefix) == rows


async def test_a_counter_with_another_value_is_kept_and_named(store):
    rows = some(fresh(), 6)
    await store.apply([Change(row.name, value=row.value + 1) for row in rows[:3]])
    done = await restored(store, rows)
    assert (done.made, done.kept, done.settled) == (3, 3, 6)
    assert done.examples == [Kept(row, row.value + 1, 1) for row in rows[:2]]
    assert await store.read(rows[0].name) == Reading(rows[0].value + 1, 1)


async def test_replaced_only_when_told_and_no_version_goes_back(store):
    older, newer = fresh(), fresh()
    await store.apply([Change(older, value=5), *[Change(newer)] * 9])
    rows = [Row(older, 70, 7), Row(newer, 90, 3)]
    done = await restored(store, rows, replace=True)
    assert (done.replaced, done.settled) == (2, 2)
    assert [await store.read(older), await store.read(newer)] == [Reading(70, 7), Reading(90, 10)]
    assert (await restored(store, rows, replace=True)).there_already == 2


async def test_one_name_twice_the_last_one_holds_when_replacing(store):
    name = fresh()
    assert (await restored(store, [Row(name, 1, 4), Row(name, 2, 5)])).kept == 1
    assert await store.read(name) == Reading(1, 4)
    await restored(store, [Row(name, 3, 6), Row(name, 4, 7)], replace=True)
    assert (await store.read(name)).value == 4


async def test_replacing_while_others_count_loses_none_of_their_numbers(store):
    name, start = fresh(), 1_000_000
    await store.apply([Change(name)])

    async def count() -> list[Applied]:
        return [(await store.apply([Change(name)]))[0] for _ in range(25)]

    _, *answers = await asyncio.gather(
        restored(store, [Row(name, start, 1)], replace=True), *(count() for _ in range(4))
    )
    counted = sorted((one for own in answers for one in own), key=lambda one: one.version)
    versions = [one.version for one in counted]
    (restored_at,) = set(range(2, 103)) - set(versions)
    before = [one.value for one in counted if one.version < restored_at]
    after = [one.value for one in counted if one.version > restored_at]
    assert before == list(range(2, 2 + len(before)))
    assert after == list(range(start + 1, start + 1 + len(after)))
    assert await store.read(name) == Reading(start + len(after), 102)


async def test_an_export_while_others_count_tears_no_counter(store):
    prefix = fresh()
    names = [f"{prefix}.{i:02}" for i in range(30)]
    await store.apply([Change(name) for name in names])

    async def count() -> None:
        for _ in range(20):
            await store.apply([Change(name) for name in names])

    counting = asyncio.create_task(count())
    while not counting.done():
        rows = await exported(store, prefix)
        assert [row.name for row in rows] == names
        assert all(row.value == row.version for row in rows), "value and version are of one moment"
    await counting


async def test_clients_own_numbers_stay_behind():
    async with open_store("memory:") as store:
        await store.apply([Change("tickets", 5), Change("~session.0065f0c0aa.00000000000000000000000000000000", 3)])
        assert [row async for page in pages(store, Limits()) for row in page] == [Row("tickets", 5, 1)]


class Shaky(MemoryStore):
    """Answers a few of a flush, and says of the others what a store in trouble says."""

    def __init__(self, trouble, at_a_time, *, applies=False):
        super().__init__(guard=asyncio.Lock())
        self._trouble, self._at_a_time, self._applies = trouble, at_a_time, applies

    async def apply(self, changes):
        done = await super().apply(changes if self._applies else changes[: self._at_a_time])
        return [*done[: self._at_a_time], *[self._trouble] * (len(changes) - self._at_a_time)]


@pytest.mark.parametrize("trouble", [NotApplied("the disk was busy"), OutcomeUnknown("no reply came")])
@pytest.mark.parametrize("applies", [False, True], ids=["not applied", "applied"])
async def test_what_a_flush_did_not_answer_is_sent_again_and_counts_once(trouble, applies):
    store, rows = Shaky(trouble, 3, applies=applies), some("t", 10)
    assert (await restored(store, rows)).settled == 10
    assert [row async for page in pages(store, Limits()) for row in page] == rows


async def test_a_store_that_does_not_get_on_is_told_with_its_reason():
    with pytest.raises(StoreAway, match="the disk was busy"):
        await restored(Shaky(NotApplied("the disk was busy"), 0), some("t", 3))
