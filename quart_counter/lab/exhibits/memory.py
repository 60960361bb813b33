"""Exhibits in one worker's memory: the question's global, with and without what people add to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from quart_counter.lab import steps
from quart_counter.lab.exhibits.gate import Gate, ThreadGate
from quart_counter.lab.exhibits.plain import PLAIN, Plain, Threads
from quart_counter.model import Applied, Change, Outcome, Reading
from quart_counter.stores.base import Limits, Store
from quart_counter.stores.memory import MemoryStore


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
        # A repeated key counts once, but is answered with what the counter says by then.
        self.guarantees = replace(self.guarantees, atomic=False, exactly_once=False)
        self._gate = Gate()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Apply rightly, then answer with what the counter says by now."""
        outcomes = await super().apply(changes)
        await self._gate.wait()
        late = [Applied(*await self.read(change.name)) for change in changes]
        for answer in late:
            steps.note("answers", answer.value)
        return [late[i] if isinstance(outcome, Applied) else outcome for i, outcome in enumerate(outcomes)]


class SomeObj:
    """The question's own class."""

    def __init__(self, param: int) -> None:
        self.param = param

    def query(self, by: int = 1) -> int:
        """The question's own two lines."""
        self.param += by
        return self.param


def gil_enabled() -> bool:
    """Whether this Python runs one thread at a time; free-threaded builds (3.13t and later) do not."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class _InThreads(Plain):
    """The question's global in sync handlers, which Quart runs in threads.

    With the GIL it counts right on CPython 3.10 and later: a thread is only interrupted at calls and backward jumps,
    and `self.param += by; return self.param` has neither in its middle. Nothing promises that, and a free-threaded
    build breaks it. In the lab a crowd of threads starts the two lines together.
    """

    def __init__(self, gil: bool) -> None:
        note = "right by luck: the GIL is on" if gil else "the GIL is off"
        self.guarantees = replace(PLAIN, atomic=gil, gapless=gil, notes=(note,))
        self._objects: dict[str, SomeObj] = {}
        self._gate, self._threads = ThreadGate(), Threads()

    async def _change(self, change: Change) -> int:
        here = self._objects.setdefault(change.name, SomeObj(0))
        return await self._threads.run(self._handler, here, change, self._gate if steps.wanted() else None)

    def _handler(self, here: SomeObj, change: Change, gate: ThreadGate | None) -> int:
        if gate is not None:
            gate.wait()
        if change.value is not None:
            here.param = change.value
            return here.param
        return here.query(change.by)

    async def _value(self, name: str) -> int:
        return self._objects[name].param if name in self._objects else 0

    async def aclose(self) -> None:
        self._threads.close()


def _promising(store: MemoryStore, **promises: Any) -> MemoryStore:
    store.guarantees = replace(store.guarantees, **promises)
    return store


def _cookie(limits: Limits) -> Store:
    # Nothing is here: the number travels, signed, and outlives everything but the client and the secret key.
    note = "the number lives in the client's cookie, as long as the secret key stays the same"
    promises = {"scope": "client", "durable": "power_loss", "notes": (note,)}
    return _promising(_Told(limits=limits), atomic=False, exactly_once=False, versioned=False, **promises)


_MAKERS: Final[dict[str, Callable[[Limits], Store]]] = {
    "bare": lambda limits: _Told(limits=limits),
    "unguarded": lambda limits: _Told(pause=Gate().wait, limits=limits),
    "lock": lambda limits: _Told(guard=asyncio.Lock(), pause=Gate().wait, limits=limits),
    "lock-late-answer": _LateAnswer,
    "thread": lambda limits: _InThreads(gil_enabled()),
    "session": lambda limits: _Told(guard=asyncio.Lock(), pause=Gate().wait, limits=limits),
    "session-blob": lambda limits: _promising(_Told(limits=limits), atomic=False, exactly_once=False, versioned=False),
    "cookie": _cookie,
}


@asynccontextmanager
async def open_store(mode: str, limits: Limits) -> AsyncIterator[Store]:
    """Open the store of a mode whose numbers live in the worker."""
    async with aclosing(_MAKERS[mode](limits)) as store:
        yield store
