"""The laws of combining (design, part 5), each driven step by step: a flush ends when the test says so."""

import asyncio
import contextvars
from collections.abc import Sequence

import pytest

from quart_counter.counters.combiner import MAX_BATCH, Combiner, Lanes, Statistics


class Flush:
    """A flush that starts, and ends when told to: each call waits for its own future."""

    def __init__(self) -> None:
        self.calls: list[Sequence[str]] = []
        self.effects: list[str] = []
        self._ends: list[asyncio.Future[object]] = []
        self._started = asyncio.Condition()

    async def __call__(self, items: Sequence[str]) -> object:
        end = asyncio.get_running_loop().create_future()
        async with self._started:
            self.calls.append(list(items))
            self._ends.append(end)
            self._started.notify_all()
        answer = await end
        self.effects += items
        return [item.upper() for item in items] if answer is None else answer

    async def started(self, count: int) -> None:
        async with self._started:
            await self._started.wait_for(lambda: len(self.calls) >= count)

    def end(self, number: int, answer: object = None) -> None:
        self._ends[number - 1].set_result(answer)

    def fail(self, number: int, error: BaseException) -> None:
        self._ends[number - 1].set_exception(error)


@pytest.fixture
def flush():
    return Flush()


@pytest.fixture
def combiner(flush):
    return Combiner(
        flush,
        expired=lambda item: f"expired {item}",
        failed=lambda item, error: (item, error),
        deadline_s=60.0,
    )


async def test_one_caller_is_a_batch_of_one(combiner, flush):
    answer = combiner.submit("a")
    await flush.started(1)
    flush.end(1)
    assert await answer == "A"
    assert flush.calls == [["a"]]


async def test_callers_of_one_loop_step_share_the_first_flush(combiner, flush):
    answers = [combiner.submit(item) for item in "abc"]
    await flush.started(1)
    flush.end(1)
    assert await asyncio.gather(*answers) == ["A", "B", "C"]
    assert flush.calls == [["a", "b", "c"]]


async def test_what_comes_during_a_flush_forms_the_next_in_arrival_order(combiner, flush):
    first = combiner.submit("a")
    await flush.started(1)
    later = [combiner.submit(item) for item in "zyxw"]
    assert flush.calls == [["a"]], "one flush in flight at a time"
    flush.end(1)
    assert await first == "A"
    await flush.started(2)
    assert flush.calls[1] == list("zyxw")
    flush.end(2)
    assert await asyncio.gather(*later) == list("ZYXW")


async def test_nobody_is_answered_before_the_flush_replied(combiner, flush):
    answer = combiner.submit("a")
    await flush.started(1)
    assert not answer.done()
    flush.end(1)
    await answer


async def test_a_caller_who_left_before_the_flush_is_never_applied(combiner, flush):
    first = combiner.submit("a")
    await flush.started(1)
    gone, stays = combiner.submit("gone"), combiner.submit("stays")
    gone.cancel()
    flush.end(1)
    await first
    await flush.started(2)
    flush.end(2)
    assert await stays == "STAYS"
    assert flush.effects == ["a", "stays"]


async def test_when_all_have_left_there_is_no_flush(combiner, flush):
    combiner.submit("gone").cancel()
    await combiner.aclose()
    assert flush.calls == []
    assert combiner.statistics() == Statistics(waiting=0, flushes=0, applied=0)


async def test_a_caller_who_leaves_during_the_flush_is_counted_and_the_others_are_answered(combiner, flush):
    async def call(item: str) -> str:
        return await combiner.submit(item)

    gone, stays = asyncio.create_task(call("gone")), asyncio.create_task(call("stays"))
    await flush.started(1)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    flush.end(1)
    assert await stays == "STAYS"
    assert flush.effects == ["gone", "stays"]


async def test_the_flush_of_a_cancelled_caller_is_not_cancelled(combiner, flush):
    only = combiner.submit("only")
    await flush.started(1)
    only.cancel()
    flush.end(1)
    await combiner.aclose()
    assert flush.effects == ["only"]


async def test_a_flush_that_raises_gives_each_caller_its_own_failure(combiner, flush):
    answers = [combiner.submit(item) for item in "ab"]
    await flush.started(1)
    error = ZeroDivisionError("a bug")
    flush.fail(1, error)
    assert await asyncio.gather(*answers) == [("a", error), ("b", error)]


async def test_after_a_flush_that_raised_the_waiting_are_served(combiner, flush):
    failed = combiner.submit("a")
    await flush.started(1)
    waiting = combiner.submit("b")
    flush.fail(1, ZeroDivisionError())
    await failed
    await flush.started(2)
    flush.end(2)
    assert await waiting == "B"


@pytest.mark.parametrize("answer", [[], ["A"], ["A", "B", "C"]], ids=["none", "too few", "too many"])
async def test_the_wrong_number_of_results_is_a_failure_of_all(combiner, flush, answer):
    answers = [combiner.submit(item) for item in "ab"]
    await flush.started(1)
    flush.end(1, answer)
    for item, (failed_item, error) in zip("ab", await asyncio.gather(*answers), strict=True):
        assert failed_item == item
        assert f"the flush answered {len(answer)} results to 2 items" in str(error)


async def test_an_answer_that_is_no_sequence_is_a_failure(combiner, flush):
    answer = combiner.submit("a")
    await flush.started(1)
    flush.end(1, 7)
    item, error = await answer
    assert (item, type(error)) == ("a", TypeError)


def flush_task(combiner: Combiner[str, object]) -> asyncio.Task[None]:
    """The combiner's own task, to be cancelled as a dying loop or a careless `all_tasks()` sweep would."""
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    return task


async def test_a_flush_task_cancelled_before_its_first_step_leaves_nobody_waiting(combiner, flush):
    answers = [combiner.submit(item) for item in "ab"]
    flush_task(combiner).cancel()
    assert await asyncio.gather(*answers) == ["expired a", "expired b"], "never sent, so never applied"
    assert flush.calls == []
    later = combiner.submit("c")
    await flush.started(1)
    flush.end(1)
    assert await later == "C"


async def test_a_flush_task_cancelled_in_the_middle_leaves_nobody_waiting(combiner, flush):
    sent = [combiner.submit(item) for item in "ab"]
    await flush.started(1)
    waiting = combiner.submit("c")
    flush_task(combiner).cancel()
    for item, (failed_item, error) in zip("ab", await asyncio.gather(*sent), strict=True):
        assert (failed_item, type(error)) == (item, asyncio.CancelledError)
    assert await waiting == "expired c"
    later = combiner.submit("d")
    await flush.started(2)
    flush.end(2)
    assert await later == "D"
    assert flush.effects == ["d"]


async def test_whoever_calls_between_the_cancellation_and_its_end_does_not_hang(combiner, flush):
    sent = combiner.submit("a")
    await flush.started(1)
    called = []
    sent.add_done_callback(lambda _: called.append(combiner.submit("b")))
    flush_task(combiner).cancel()
    await sent
    await combiner.aclose()
    assert [await one for one in called] in (["expired b"], ["B"])


async def test_who_waited_past_the_deadline_is_told_so_and_not_sent(combiner, flush, monkeypatch):
    first = combiner.submit("a")
    await flush.started(1)
    late = combiner.submit("late")
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 61.0)
    in_time = combiner.submit("in time")
    flush.end(1)
    assert await first == "A", "a flush in flight is not cut short by the combiner"
    assert await late == "expired late"
    await flush.started(2)
    assert flush.calls[1] == ["in time"]
    flush.end(2)
    assert await in_time == "IN TIME"


async def test_a_flush_carries_at_most_max_batch_and_the_rest_comes_next(combiner, flush):
    answers = [combiner.submit(str(i)) for i in range(MAX_BATCH + 3)]
    await flush.started(1)
    flush.end(1)
    await flush.started(2)
    flush.end(2)
    assert await asyncio.gather(*answers) == [str(i) for i in range(MAX_BATCH + 3)]
    assert [len(call) for call in flush.calls] == [MAX_BATCH, 3]


async def test_those_who_left_do_not_fill_the_batch(combiner, flush):
    for _ in range(MAX_BATCH):
        combiner.submit("gone").cancel()
    answer = combiner.submit("a")
    await flush.started(1)
    flush.end(1)
    assert await answer == "A"
    assert flush.calls == [["a"]]


request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")


async def test_a_flush_does_not_see_the_context_of_a_caller():
    seen = []

    async def flush(items):
        seen.append(request_id.get("nobody's"))
        return items

    combiner = Combiner(flush, expired=str, failed=lambda item, error: error, deadline_s=60.0)
    request_id.set("mine")
    first = combiner.submit("a")
    await first
    second = combiner.submit("b")
    await second
    assert seen == ["nobody's", "nobody's"]
    assert request_id.get() == "mine"


async def test_aclose_waits_for_all_that_was_submitted(combiner, flush):
    first = combiner.submit("a")
    await flush.started(1)
    second = combiner.submit("b")
    closing = asyncio.create_task(combiner.aclose())
    flush.end(1)
    await flush.started(2)
    assert not closing.done()
    flush.end(2)
    await closing
    assert (first.result(), second.result()) == ("A", "B")


async def test_who_comes_as_the_last_flush_ends_is_served_and_aclose_waits_for_it(combiner, flush):
    """The caller's future wakes before the flush task has ended: whoever calls right then finds a task that is over."""
    first = combiner.submit("a")
    second = []
    first.add_done_callback(lambda _: second.append(combiner.submit("b")))
    await flush.started(1)
    closing = asyncio.create_task(combiner.aclose())
    flush.end(1)
    await flush.started(2)
    assert not closing.done()
    flush.end(2)
    await closing
    assert [one.result() for one in second] == ["B"]


async def test_aclose_with_nothing_to_do_returns(combiner):
    await combiner.aclose()


async def test_statistics_count_what_waits_what_was_sent_and_what_was_answered(combiner, flush):
    assert combiner.statistics() == Statistics(waiting=0, flushes=0, applied=0)
    first = [combiner.submit(item) for item in "ab"]
    assert combiner.statistics() == Statistics(waiting=2, flushes=0, applied=0)
    await flush.started(1)
    second = combiner.submit("c")
    assert combiner.statistics() == Statistics(waiting=1, flushes=1, applied=0)
    flush.end(1)
    await asyncio.gather(*first)
    await flush.started(2)
    assert combiner.statistics() == Statistics(waiting=0, flushes=2, applied=2)
    flush.fail(2, ZeroDivisionError())
    await second
    assert combiner.statistics() == Statistics(waiting=0, flushes=2, applied=2), "a failed flush answered nothing"


async def test_under_load_there_are_far_fewer_flushes_than_callers():
    async def flush(items):
        await asyncio.sleep(0)
        return items

    combiner = Combiner(flush, expired=str, failed=lambda item, error: error, deadline_s=60.0)

    async def caller(number: int) -> list[int]:
        return [await combiner.submit(number * 100 + i) for i in range(10)]

    answers = await asyncio.gather(*(caller(number) for number in range(100)))
    assert answers == [[number * 100 + i for i in range(10)] for number in range(100)]
    counts = combiner.statistics()
    assert counts.applied == 1000
    assert counts.flushes <= 20


async def test_who_waits_in_one_lane_holds_up_nobody_in_another():
    stuck, flushed = asyncio.Event(), []

    async def flush(items):
        if "slow" in items:
            await stuck.wait()
        flushed.append(list(items))
        return items

    options = {"expired": str, "failed": lambda item, error: "failed", "deadline_s": 5.0}
    lanes = Lanes([Combiner(flush, **options) for _ in range(2)], lane_of=lambda item: int(item == "quick"))
    slow = lanes.submit("slow")
    await asyncio.sleep(0)
    assert [await lanes.submit("quick") for _ in range(2)] == ["quick"] * 2
    assert not slow.done()
    assert lanes.statistics() == Statistics(waiting=0, flushes=3, applied=2)
    stuck.set()
    await lanes.aclose()
    assert slow.result() == "slow"
    assert flushed == [["quick"], ["quick"], ["slow"]]
