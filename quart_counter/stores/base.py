"""What every store is: a `Store` that applies changes atomically, and the `Guarantees` it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar, runtime_checkable

from quart_counter.errors import StoreAway as StoreAway  # what every store raises lives in the error tree
from quart_counter.model import MAX_KEYS, Change, NotApplied, Outcome, OutcomeUnknown, Reading

Scope = Literal["request", "client", "process", "host", "network"]
Durability = Literal["none", "restart", "crash", "power_loss"]

Reply = TypeVar("Reply")
AT_ONCE: Final = 8  # reads of one listing, so that it leaves connections for others


@dataclass(frozen=True)
class Guarantees:
    """What a store promises as it is configured now; data, so that the lab can turn each field into an experiment.

    `durable` names the worst event an acknowledged change survives: none of them, a clean restart of the store, a
    kill -9 of it, a power cut. A server setting that cannot be read counts as none. `notes` explain in a sentence each;
    `server` is the server's own name and version, empty where there is none.
    """

    scope: Scope
    atomic: bool
    durable: Durability
    exactly_once: bool
    versioned: bool
    gapless: bool
    notes: tuple[str, ...] = ()
    server: str = ""


@dataclass(frozen=True)
class Limits:
    """How long a store may try and how much it remembers; the same for every store.

    Each try on the server has `store_timeout_s`; a flush is given up after `deadline_s`. A key's record lives for at
    least `key_life_s`, which is more than twice the deadline; a counter holds at most `max_keys` live keys.
    """

    store_timeout_s: float = 1.0
    deadline_s: float = 5.0
    key_life_s: float = 3600.0
    max_keys: int = MAX_KEYS


class Store(Protocol):
    """Somewhere counters live. `apply` raises only for bugs: what goes wrong with a change is its `Outcome`."""

    @property
    def guarantees(self) -> Guarantees:
        """What it promises, read from the server's own settings when it was opened."""

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, atomically per name, and return one outcome a change, in the same order."""

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment; 0 and 0 for a counter never touched. Raises StoreAway."""

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order. Raises StoreAway."""

    async def forget(self, name: str) -> None:
        """Remove a counter that nobody will ask for again; its version starts over. Raises StoreAway."""

    async def aclose(self) -> None:
        """Let go of everything it opened."""


@runtime_checkable
class ReadsMany(Protocol):
    """What a store may do beyond a `Store`, where a trip costs something."""

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, in their order, each of one moment. Raises StoreAway."""


@runtime_checkable
class HasLanes(Protocol):
    """What a store on several servers may do beyond a `Store`: some counters need not wait for others."""

    @property
    def lanes(self) -> int:
        """How many flushes it takes at the same time."""

    def lane_of(self, name: str) -> int:
        """Return the lane of a counter, below `lanes`: always the same while the store is open."""


async def read_many(store: Store, names: Sequence[str]) -> Sequence[Reading]:
    """Return a reading for each of `names`, in their order: in one trip if the store can, else a few reads at once."""
    if isinstance(store, ReadsMany):
        return await store.read_many(names)
    readings: list[Reading] = []
    for start in range(0, len(names), AT_ONCE):
        readings += await asyncio.gather(*(store.read(name) for name in names[start : start + AT_ONCE]))
    return readings


class NeverSent(StoreAway):
    """The store was not reached at all, so the try had no effect."""


def outcome_of(away: StoreAway) -> Outcome:
    """Say what became of changes whose last try ended so: what was sent and not answered, nobody knows."""
    return NotApplied(str(away)) if isinstance(away, NeverSent) else OutcomeUnknown(str(away))


def path_of(url: str) -> str:
    """Return the path in `scheme:counters`, `scheme:/var/lib/counters` or `scheme:///var/lib/counters`."""
    path = url.partition(":")[2]
    return path.removeprefix("//") if path.startswith("///") else path


class Patience:
    """Waits between tries, a little longer each time, until the deadline."""

    def __init__(self, limits: Limits) -> None:
        self._deadline = asyncio.get_running_loop().time() + limits.deadline_s
        self._pause_s = 0.01

    async def again(self) -> bool:
        """Wait, and return True; return False at once when the deadline would pass meanwhile."""
        if asyncio.get_running_loop().time() + self._pause_s >= self._deadline:
            return False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, 0.25)
        return True


async def answered(attempt: Callable[[], Awaitable[Reply]], limits: Limits) -> Reply:
    """Call `attempt` until it answers or the deadline passes; only for attempts that count once however often sent.

    Raises `NeverSent` when no try can have had an effect, otherwise `StoreAway`, of the last try.
    """
    patience, in_doubt = Patience(limits), False
    while True:
        try:
            return await attempt()
        except StoreAway as away:
            in_doubt = in_doubt or not isinstance(away, NeverSent)
            last = away
        if not await patience.again():
            raise (StoreAway if in_doubt else NeverSent)(str(last)) from last
