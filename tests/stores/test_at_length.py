"""The contract at length, on every store: ten thousand seeded changes, and two processes before the judge."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation
from quart_counter.model import Change, Reading, Record, State, apply
from quart_counter.stores import Limits
from stores.contract import fresh

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

CHANGES, COUNTERS, BATCH = 10_000, 1_000, 200
PATIENT = Limits(store_timeout_s=10.0, deadline_s=60.0)

WRITERS = """
import asyncio, json, sys, time
from quart_counter.counters import Counters
from quart_counter.stores import Limits, open_store

async def main(url, name, first, writers, each):
    async def writer(counters, process):
        rows = []
        for _ in range(each):
            call = time.monotonic_ns()
            reading = await counters.add(name)
            rows.append((process, call, time.monotonic_ns(), *reading))
        return rows
    async with open_store(url, Limits(store_timeout_s=10.0, deadline_s=60.0)) as store:
        counters = Counters(store, deadline_s=60.0, combine=True)
        done = await asyncio.gather(*(writer(counters, first + i) for i in range(writers)))
    json.dump([row for rows in done for row in rows], sys.stdout)

asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
"""


def anything(draw: random.Random, name: str, keys: list[str]) -> Change:
    """An add, a take, a set-if-version, or a repeat of an earlier key, with small numbers so that rules bite."""
    key = draw.choice(keys) if draw.random() < 0.3 else None
    match draw.randrange(4):
        case 0:
            return Change(name, by=draw.choice([-3, -1, 1, 2, 5]), key=key)
        case 1:
            return Change(name, by=draw.randint(1, 3), limit=draw.randint(0, 12), key=key)
        case 2:
            return Change(name, by=-draw.randint(1, 3), floor=draw.randint(-6, 3), key=key)
    return Change(name, value=draw.randint(-5, 9), if_version=draw.choice([None, draw.randint(0, 6)]), key=key)


async def test_ten_thousand_changes_give_the_models_readings(open_it) -> None:
    """Seeded adds, takes, sets and repeated keys over a thousand counters: every outcome and every reading."""
    draw, prefix = random.Random(20261121), fresh()
    names = [f"{prefix}.{i}" for i in range(COUNTERS)]
    states: dict[str, State] = {}
    records: dict[tuple[str, str], Record] = {}
    async with open_it(PATIENT) as store:
        for _ in range(CHANGES // BATCH):
            batch = [anything(draw, draw.choice(names), ["a", "b", "c"]) for _ in range(BATCH)]
            expected = []
            for change in batch:
                at = (change.name, change.key or "")
                before = states.get(change.name, State())._replace(record=records.get(at), keys=0)
                after, outcome = apply(before, change)
                states[change.name] = after
                if change.key is not None and after.record is not None:
                    records[at] = after.record
                expected.append(outcome)
            assert list(await store.apply(batch)) == expected
        for name, state in states.items():
            assert await store.read(name) == Reading(state.value, state.version)


def url_of(request: pytest.FixtureRequest, store: str, folder: Path) -> str:
    served = {
        "redis": "redis_server",
        "postgres": "postgres_server",
        "mysql": "mariadb_server",
        "memcached": "memcached_that_refuses",
        "manager": "shared_manager",
    }
    return request.getfixturevalue(served[store]).url if store in served else f"{store}:{folder}/counters"


@pytest.mark.parametrize("store", ["redis", "sqlite", "postgres", "mysql", "memcached", "manager", "file"])
def test_two_processes_of_fifty_writers_are_valid(request: pytest.FixtureRequest, store: str, tmp_path: Path) -> None:
    """20,000 increments by 100 writers in two processes: the recorded history is valid by the judge."""
    url, name = url_of(request, store, tmp_path), fresh()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITERS, url, name, str(first), "50", "200"], stdout=subprocess.PIPE, text=True
        )
        for first in (0, 50)
    ]
    rows = [row for process in running for row in json.loads(process.communicate()[0])]
    assert [process.returncode for process in running] == [0, 0]
    history = [
        Operation(process, "add", name, 1, None, None, call, ret, "ok", False, value, version)
        for process, call, ret, value, version in rows
    ]
    assert len(history) == 20_000
    verdict = check(history, start_version=0)
    assert verdict.verdict == "valid", verdict.reason
