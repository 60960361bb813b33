"""Ways of counting for the lab: those broken on purpose, and `lock` with the same pause, so that races fire each time.

Between its read and its write every handler waits at a `Gate`. Where nothing guards the step, a crowd gathers there,
and all of them have read the same number. Under a lock only one can ever be there, and it waits in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from quart_counter.lab import steps
from quart_counter.model import Applied, Change, Outcome, OutcomeUnknown, Reading
from quart_counter.stores.base import Guarantees, Limits, Store
from quart_counter.stores.memory import MemoryStore

CROWD: Final = 10
PATIENCE_S: Final = 0.020


class Gate:
    """Opens when `crowd` have arrived, or `patience_s` after the first of them came: no tuned sleep, no luck."""

    def __init__(self, crowd: int = CROWD, patience_s: float = PATIENCE_S) -> None:
        self._crowd, self._patience_s = crowd, patience_s
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Return when the gate opens for this crowd."""
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting.append(place)
        if len(self._waiting) == self._crowd:
            self._open()
        elif self._timer is None:
            self._timer = loop.call_later(self._patience_s, self._open)
        await place

    def _open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        crowd, self._waiting, self._timer = self._waiting, [], None
        for place in crowd:
            if not place.done():
                place.set_result(None)


class _Told(MemoryStore):
    """The in-process store, telling its steps."""

    async def _step(self, change: Change) -> Outcome:
        steps.note("reads", self._readings.get(change.name, Reading()).value)
        outcome = await super()._step(change)
        if isinstance(outcome, Applied):
            steps.note("writes", outcome.value)
        return outcome


class _LateAnswer(_Told):
    """Adds under the lock, lets go of it, and reads the answer after that: the right total, and wrong answers."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(guard=asyncio.Lock(), limits=limits)
        self._gate = Gate()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Apply rightly, then answer with what the counter says by now."""
        outcomes = await super().apply(changes)
        await self._gate.wait()
        late = [Applied(*await self.read(change.name)) for change in changes]
        for answer in late:
            steps.note("answers", answer.value)
        return [late[i] if isinstance(outcome, Applied) else outcome for i, outcome in enumerate(outcomes)]


class _PlainRedis:
    """Redis as people use it by hand: no script, no versions (the value stands in for them), no keys."""

    guarantees = Guarantees(
        scope="network", atomic=False, durable="none", exactly_once=False, versioned=False, gapless=False
    )

    def __init__(self, url: str) -> None:
        import redis.asyncio as aioredis

        self._redis: Any = aioredis.Redis.from_url(url, decode_responses=True)
        self._gate = Gate()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out each change in this exhibit's own way."""
        return [await self._add(change) for change in changes]

    async def _add(self, change: Change) -> Outcome:
        raise NotImplementedError

    async def read(self, name: str) -> Reading:
        """Return the value; the version is made up."""
        value = int(await self._redis.get(_home(name)) or 0)
        return Reading(value, value)

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """List nothing: an exhibit has one counter."""
        return []

    async def aclose(self) -> None:
        """Close the client."""
        await self._redis.aclose()


class _GetThenSet(_PlainRedis):
    """GET, add in Python, SET: wrong although it is Redis, for another worker may SET in between."""

    async def _add(self, change: Change) -> Outcome:
        before = int(await self._redis.get(_home(change.name)) or 0)
        steps.note("GETs", before)
        await self._gate.wait()
        after = before + change.by if change.value is None else change.value
        await self._redis.set(_home(change.name), after)
        steps.note("SETs", after)
        return Applied(after, after)


class _Retry(_PlainRedis):
    """INCRBY through redis-py as it comes: when a reply is lost, its default client sends the command again."""

    async def _add(self, change: Change) -> Outcome:
        try:
            value = int(await self._redis.incrby(_home(change.name), change.by))
        except Exception as error:  # whatever the driver says after ten tries
            return OutcomeUnknown(str(error))
        return Applied(value, value)


def _home(name: str) -> str:
    return f"exhibit:{name}"


_IN_PROCESS: Final[dict[str, Callable[[Limits], Store]]] = {
    "bare": lambda limits: _Told(limits=limits),
    "unguarded": lambda limits: _Told(pause=Gate().wait, limits=limits),
    "lock": lambda limits: _Told(guard=asyncio.Lock(), pause=Gate().wait, limits=limits),
    "lock-late-answer": _LateAnswer,
    "session": lambda limits: _Told(guard=asyncio.Lock(), pause=Gate().wait, limits=limits),
    "cookie": lambda limits: _Told(limits=limits),
}
_IN_REDIS: Final[dict[str, Callable[[str], Store]]] = {"redis-get-set": _GetThenSet, "redis-retry": _Retry}


@asynccontextmanager
async def open_store(mode: str, url: str, limits: Limits) -> AsyncIterator[Store]:
    """Open the store of a mode as the lab runs it."""
    store = _IN_PROCESS[mode](limits) if mode in _IN_PROCESS else _IN_REDIS[mode](url)
    try:
        yield store
    finally:
        await store.aclose()
