"""More requests, while they may tell what it looks like: bounded, and none where enough is known."""

from functools import partial
from itertools import count as count_from

import pytest
from rude import Call, count, rude

from quart_counter.lab.foreign import answers, ask_on, target, wire
from quart_counter.lab.foreign.race import Race
from quart_counter.lab.foreign.row import Plan, Row

CLIENTS = 20


async def raced(url: str, **plan) -> Row:
    asked = target.compose(url, "POST")
    async with wire.over_sockets(target.aim(url, asked), CLIENTS) as client:
        race = Race(url, "POST", Plan(CLIENTS, CLIENTS, answers.Extractor("json", "/value"), timeout_s=10.0, **plan))
        return await race.run(partial(client, asked))


class Processes:
    """Connections go to them in turn, and stay; each gives out its own numbers."""

    def __init__(self, *numbers, close: bool = False) -> None:
        self.numbers, self.close = numbers, close
        self._of: dict[object, int] = {}

    async def script(self, call: Call) -> None:
        mine = self._of.setdefault(call.writer, len(self._of) % len(self.numbers))
        body = f'{{"value": {next(self.numbers[mine])}}}'
        await call.answer(body, headers="Connection: close\n" if self.close else "")
        if self.close:
            call.close()


def blocks(size: int, fresh):
    """What one of several processes gives that take blocks ahead."""
    while True:
        first = next(fresh)
        yield from range(first, first + size)


@pytest.mark.parametrize(
    ("apart", "close"), [(0, False), (7, False), (60, False), (900, False), (0, True), (7, True), (60, True)]
)
async def test_processes_that_have_come_apart_are_brought_to_meet(apart, close):
    """Whether connections are kept (then those of the slower one ask on) or not."""
    processes = Processes(count_from(50), count_from(50 + apart), close=close)
    async with rude(processes.script) as server:
        row = await raced(server.url)
    assert (row.verdict, row.diagnosis.kind) == ("RACY", "per_process")
    assert row.asked_on == len(row.adds) - CLIENTS <= 2 * apart + 10 * CLIENTS


async def test_blocks_end_where_processes_would_go_on():
    fresh = count_from(1, 50)
    async with rude(Processes(blocks(50, fresh), blocks(50, fresh)).script) as server:
        row = await raced(server.url)
    assert (row.verdict, row.diagnosis.kind) == ("RACY", "block_allocation")
    assert 0 < row.asked_on < 20 * CLIENTS
    assert f"{row.asked_on:,} more requests were sent to tell what it looks like" in str(row)


async def test_what_no_number_of_requests_tells_is_not_asked():
    """Processes or blocks: it says both, with the remedy of the dangerous one."""
    async with rude(Processes(count_from(1), count_from(10**6)).script) as server:
        row = await raced(server.url)
    assert (row.diagnosis.kind, row.asked_on, len(row.adds)) == ("processes_or_blocks", 0, CLIENTS)
    assert "start the server afresh" in row.diagnosis.remedy


async def test_it_ends_by_itself(monkeypatch):
    """It would have gone on until they meet."""
    monkeypatch.setattr(ask_on, "MOST", 150)
    async with rude(Processes(count_from(50), count_from(150), close=True).script) as server:
        row = await raced(server.url)
    assert (row.diagnosis.kind, 0 < row.asked_on <= 150) == ("processes_or_blocks", True)


async def test_gaps_that_are_allowed_hide_no_processes():
    """Two series far apart are valid then, so they are brought to meet; what cannot be is not called right."""
    async with rude(Processes(count_from(50), count_from(110)).script) as server:
        row = await raced(server.url, gaps_allowed=True)
    assert (row.verdict, row.diagnosis.kind) == ("RACY", "per_process")
    async with rude(Processes(count_from(50), count_from(10**6)).script) as server:
        row = await raced(server.url, gaps_allowed=True)
    assert (row.verdict, row.asked_on) == ("INCONCLUSIVE", 0)
    assert "start the server afresh and race it again" in str(row)
    async with rude(Processes(n + n // 7 * 20 for n in count_from(1)).script) as server:
        row = await raced(server.url, gaps_allowed=True)
    assert (row.verdict, row.asked_on) == ("NO_RACE_SEEN", 0)


async def test_a_lost_update_of_all_is_no_constant():
    """All at once are answered 1, then all at once 2; a number that nobody keeps stays."""

    async def all_at_once(call: Call) -> None:
        await call.answer(f'{{"value": {(call.number - 1) // CLIENTS + 1}}}')

    async def one(call: Call) -> None:
        await call.answer('{"value": 1}')

    async with rude(all_at_once) as server:
        assert (await raced(server.url)).diagnosis.kind == "lost_update"
    async with rude(one) as server:
        assert (await raced(server.url)).diagnosis.kind == "constant"


async def test_a_right_server_is_asked_no_more():
    async with rude(count) as server:
        row = await raced(server.url, repeat=2)
    assert (row.verdict, row.asked_on, server.calls) == ("NO_RACE_SEEN", 0, 2 * CLIENTS)
