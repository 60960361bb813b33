"""The answer to the question, measured: every mode and exhibit, what it declares, and what an experiment just now saw.

A row's experiments follow one another on one service and one private backend, two workers first, then one; some rows
run side by side. Prices are taken at the end, one after another, when nothing else runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from quart_counter.errors import ConfigurationError
from quart_counter.lab.backends import BAD_LINES
from quart_counter.lab.matrix import trials
from quart_counter.lab.matrix.house import House
from quart_counter.lab.matrix.price import Price, price_of
from quart_counter.lab.race import Entry
from quart_counter.settings.modes import MODES

COLUMNS: Final = ("scope", "right_1", "right_2", "worker_kill", "store_restart", "store_kill", "exactly_once")
# On one machine nobody can tell a host's number from a network's: both are seen as shared by processes.
SEEN_AS: Final[Mapping[str, str]] = {"host": "processes", "network": "processes"}

Told = Callable[[str, str], None]


@dataclass(frozen=True)
class Plan:
    """How much is asked: clients and requests of a race, requests for a price, rows side by side, patience a cell.

    `beside`: whether `bare` is priced again just before each row, which takes out what else the machine is doing.
    """

    clients: int
    requests: int
    priced: int
    together: int
    beside: bool = False
    patience_s: float = 60.0


FULL: Final = Plan(clients=100, requests=300, priced=3200, together=2, beside=True)
QUICK: Final = Plan(clients=50, requests=50, priced=384, together=3)


@dataclass
class Row:
    """One mode: what its store declares, what was measured, what that costs, and why something is not there."""

    mode: str
    promises: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    price: Mapping[str, Any] | None = None
    missing: str = ""
    troubles: dict[str, str] = field(default_factory=dict)

    def differs(self, column: str) -> bool:
        """Whether the experiment contradicts the declaration."""
        if column not in self.measured or self.is_open(column):
            return False
        declared = self.expected[column]
        return bool(self.measured[column] != (SEEN_AS.get(declared, declared) if column == "scope" else declared))

    def is_open(self, column: str) -> bool:
        """Whether the experiment came to no result."""
        return self.measured.get(column) in (None, "INCONCLUSIVE")

    @property
    def counts_right(self) -> bool:
        """Whether one worker counts right: only then a price means anything."""
        return self.measured.get("right_1") == "SAFE"

    def document(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return {
            "mode": self.mode,
            "exhibit": MODES[self.mode].exhibit,
            "expected": dict(self.expected),
            "measured": {**self.measured, "price": self.price} if self.measured else {},
            "differs": [column for column in COLUMNS if self.differs(column)],
            "guarantees": dict(self.promises) or None,
            "missing": self.missing or None,
            "troubles": self.troubles,
        }


def expected(mode: str, promises: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows, cell by cell, from the Guarantees that the running store declares."""
    per_client = MODES[mode].per_client
    return {
        "scope": "client" if per_client else promises["scope"],
        "right_1": Entry(mode, 1, one_client=per_client).expected(promises),
        "right_2": Entry(mode, 2, one_client=per_client).expected(promises),
        "worker_kill": promises["scope"] not in ("request", "process"),
        "store_restart": promises["durable"] != "none",
        "store_kill": promises["durable"] in ("crash", "power_loss"),
        "exactly_once": promises["exactly_once"] and not per_client,  # the routes below /session take no key
    }


async def measure(rows: Sequence[Row], plan: Plan, told: Told = lambda mode, column: None) -> None:
    """Fill the rows; `told` hears which mode got which column. What was learnt stays in them when it is cancelled."""
    turn, houses = asyncio.Semaphore(plan.together), dict[str, House]()
    try:
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(_measure(row, plan, turn, houses, told))
        await _price(rows, plan, houses, told)
    finally:
        await asyncio.gather(*(house.aclose() for house in houses.values()))


async def _measure(row: Row, plan: Plan, turn: asyncio.Semaphore, houses: dict[str, House], told: Told) -> None:
    """Do all of a row's experiments but the price; leave the house open if there is one to take."""
    async with turn:
        try:
            house = houses[row.mode] = await House.build(row.mode)
            await house.open(workers=2)
        except ConfigurationError as error:
            row.missing = str(error)
            told(row.mode, "missing")
        else:
            row.promises, row.expected = house.promises, expected(row.mode, house.promises)
            for column, experiment in _experiments(house, plan):
                await _cell(row, column, experiment, plan, told)
    if row.mode in houses and not row.counts_right:
        await houses.pop(row.mode).aclose()


def _experiments(house: House, plan: Plan) -> Sequence[tuple[str, Callable[[], Awaitable[Any]]]]:
    """Return the experiments in an order in which each leaves a service that the next can use.

    A store without a server lives in the workers: with one worker, its kill is the store's, and the last experiment
    answers both.
    """

    def right(workers: int) -> Callable[[], Awaitable[str]]:
        return lambda: trials.right(house, workers, clients=plan.clients, requests=plan.requests)

    async def right_with_one() -> str:
        if len(house.service.pids) != 1 and house.mode not in BAD_LINES:
            await house.open(workers=1, lab=house.in_worker)
        return await right(1)()

    first = [("scope", lambda: trials.shared_by(house)), ("right_2", right(2))]
    once = ("exactly_once", lambda: trials.counts_once(house))
    restart = ("store_restart", lambda: trials.survives(house, house.restart_store))
    crash = ("store_kill", lambda: trials.survives(house, house.crash_store))
    if house.backend.server is None:
        return [*first, restart, ("right_1", right_with_one), once, crash]
    kill = ("worker_kill", lambda: trials.survives(house, house.kill_one))
    return [*first, once, kill, restart, crash, ("right_1", right_with_one)]


async def _cell(row: Row, column: str, experiment: Callable[[], Awaitable[Any]], plan: Plan, told: Told) -> None:
    try:
        async with asyncio.timeout(plan.patience_s):
            row.measured[column] = await experiment()
    except (ConfigurationError, TimeoutError) as error:
        row.measured[column] = None
        row.troubles[column] = str(error) or f"no result within {plan.patience_s:.0f} s"
    if column == "store_kill" and "worker_kill" not in row.measured:
        row.measured["worker_kill"] = row.measured[column]
    told(row.mode, column)


async def _price(rows: Sequence[Row], plan: Plan, houses: dict[str, House], told: Told) -> None:
    """Take the prices of all that count right, each beside that of `bare`, which is taken even where it is no row."""
    if not houses:
        return
    if "bare" not in houses:
        houses["bare"] = await House.build("bare")
    bare = await _price_of(Row("bare"), plan, houses["bare"])
    for row in rows:
        if row.mode not in houses:
            continue
        if plan.beside and row.mode != "bare":
            bare = await _price_of(Row("bare"), plan, houses["bare"])
        price = bare if row.mode == "bare" else await _price_of(row, plan, houses[row.mode])
        row.price = None if price is None else price.document(bare)
        told(row.mode, "price")


async def _price_of(row: Row, plan: Plan, house: House) -> Price | None:
    try:
        async with asyncio.timeout(plan.patience_s):
            await house.settle()
            price = await price_of(house.service.url, trials.target(house, "one"), plan.priced)
    except (ConfigurationError, TimeoutError) as error:
        row.troubles["price"] = str(error) or f"no result within {plan.patience_s:.0f} s"
        return None
    if price is None:
        row.measured["right_1"] = "RACY"
        row.troubles["price"] = "the answers under load were wrong, so there is no speed to tell"
    return price


def status(rows: Sequence[Row], *, complete: bool = True) -> int:
    """2 if something is missing here, else 1 if a cell contradicts its declaration, else 3 if one is open, else 0."""
    if any(row.missing for row in rows):
        return 2
    if any(row.differs(column) for row in rows for column in COLUMNS):
        return 1
    is_open = any(row.is_open(column) for row in rows for column in COLUMNS)
    return 3 if is_open or not complete else 0
