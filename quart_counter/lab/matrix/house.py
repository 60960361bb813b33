"""One mode's service on a private backend of its own, for as long as the experiments on it last.

house = await House.build("redis")
await house.open(workers=2)
...                                  # whatever happens to service and store
await house.aclose()
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final, Self

from quart_counter.lab.backends import Backend, backend
from quart_counter.lab.race import Entry, lab_settings
from quart_counter.serving.service import Service
from quart_counter.settings.modes import MODES

# The same at every start, as a service that is meant to last has it: with a new one every cookie would be void.
SECRET_KEY: Final = "the lab's own, for a run of seconds on the loopback"
NAP_S: Final = 0.005


class House:
    """Starts the service, lets it be killed, and starts it again; nothing of it outlives `aclose`."""

    def __init__(self, mode: str, backend: Backend, lease: ExitStack) -> None:
        self.mode, self.backend = mode, backend
        self._lease = lease
        self._service: Service | None = None
        self._store_url = ""
        self._settled = False

    @classmethod
    async def build(cls, mode: str) -> Self:
        """Start the backend. Raises ServerMissing with the command that mends it."""
        lease = ExitStack()
        return cls(mode, await asyncio.to_thread(lease.enter_context, backend(mode)), lease)

    async def aclose(self) -> None:
        """Stop the service, then the backend."""
        await self.close()
        await asyncio.to_thread(self._lease.close)

    async def open(self, *, workers: int, lab: bool = True) -> None:
        """Stop the service if it runs, and start it with `workers`. Raises ConfigurationError."""
        await self.close()
        self._store_url = self.backend.url
        settings = lab_settings(Entry(self.mode, workers), self._store_url, lab=lab, secret_key=SECRET_KEY)
        self._service = await Service(settings).__aenter__()
        self._settled = workers == 1 and not lab

    async def close(self) -> None:
        """Stop the service, in good order."""
        service, self._service = self._service, None
        if service is not None:
            await service.stop(signal.SIGINT)

    @property
    def service(self) -> Service:
        """The service that runs now."""
        assert self._service is not None, "open() comes first"
        return self._service

    @property
    def promises(self) -> dict[str, Any]:
        """The Guarantees that the running store declares."""
        return dict(self.service.guarantees)

    @property
    def in_worker(self) -> bool:
        """Whether the numbers live in the worker's memory, so that what happens to it happens to them."""
        return MODES[self.mode].in_worker

    @property
    def is_down(self) -> bool:
        """Whether the service cannot go on by itself: it ended, or its store is at another address now."""
        return self.service.ended.done() or self.backend.url != self._store_url

    async def mend(self) -> None:
        """Start the service again, with one worker and as in service, without the lab's pauses."""
        await self.open(workers=1, lab=False)

    async def settle(self) -> None:
        """Have it run as in service, with one worker."""
        if not self._settled or self.is_down:
            await self.mend()

    async def kill_one(self) -> None:
        """Kill -9 one worker."""
        await self._kill(self.service.pids[:1])

    async def kill_all(self) -> None:
        """Kill -9 every worker."""
        await self._kill(self.service.pids)

    async def _kill(self, pids: Sequence[int]) -> None:
        """Kill these and return when the service has noticed; an experiment without a victim would prove nothing."""
        assert pids, "no worker is ready"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while set(pids) & set(self.service.pids):
            if self.service.ended.done():
                return
            await asyncio.sleep(NAP_S)

    async def restart_store(self) -> None:
        """Stop the store in good order and start it; where it lives in the service, the service."""
        server = self.backend.server
        if server is None:
            await self.open(workers=1, lab=self.in_worker)
            return
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)

    async def crash_store(self) -> None:
        """Kill -9 the store and start it; where it lives in the workers, those."""
        server = self.backend.server
        if server is None:
            await self.kill_all()
            return
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
