"""What exhibits share that keep a plain number, as people do by hand: no versions, no keys, no bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from quart_counter.lab.exhibits.gate import THREADS
from quart_counter.model import Applied, Change, Outcome, OutcomeUnknown, Reading
from quart_counter.stores.base import Guarantees, StoreAway

Result = TypeVar("Result")

# What a plain number promises at best; each exhibit replaces what is otherwise with it.
PLAIN: Final = Guarantees(
    scope="process", atomic=False, durable="none", exactly_once=False, versioned=False, gapless=False
)


class Plain:
    """A store of plain numbers; a subclass says how one is read and how it is added to, both in its own wrong way."""

    guarantees = PLAIN

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out each change in this exhibit's own way; the value stands in for the version."""
        return [await self._outcome(change) for change in changes]

    async def _outcome(self, change: Change) -> Outcome:
        try:
            value = await self._change(change)
        except Exception as error:  # whatever its driver says: an exhibit knows no more than that
            return OutcomeUnknown(f"the store does not answer ({str(error) or type(error).__name__})")
        return Applied(value, value)

    async def read(self, name: str) -> Reading:
        """Return the value; the version is made up. Raises StoreAway."""
        try:
            value = await self._value(name)
        except Exception as error:
            raise StoreAway(f"the store does not answer ({str(error) or type(error).__name__})") from error
        return Reading(value, value)

    async def _change(self, change: Change) -> int:
        raise NotImplementedError

    async def _value(self, name: str) -> int:
        raise NotImplementedError

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """List nothing: an exhibit keeps no list."""
        return []

    async def forget(self, name: str) -> None:
        """Keep it: an exhibit forgets when it ends."""

    async def aclose(self) -> None:
        """Nothing to let go of."""


class Threads:
    """The threads in which sync handlers run; more than a crowd of them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="exhibit")

    async def run(self, handler: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `handler` returns, called in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, handler, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)


def after(before: int, change: Change) -> int:
    """Return the number that `change` wants, given the one that was read."""
    return before + change.by if change.value is None else change.value
