"""The connections that readings go over; a flush has one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from quart_counter.stores.base import Limits, StoreAway
from quart_counter.stores.mysql.session import Address, MysqlSession, connect

READ_CONNECTIONS: Final = 4


class Reads:
    """A few connections that reads share. One that failed or was left in the middle is never used again."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self._address, self._limits = address, limits
        self._free = asyncio.Semaphore(READ_CONNECTIONS)
        self._idle: list[MysqlSession] = []

    async def run(self, *statements: str) -> list[Sequence[Any]]:
        """Send all statements in one trip and return the rows of each. Raises what a session does."""
        try:
            async with asyncio.timeout(self._limits.store_timeout_s), self._free:
                if self._idle:
                    try:
                        return await self._run_on(self._idle.pop(), statements)
                    except StoreAway:  # it may have ended while it was idle, and these statements may be repeated
                        self._forget_idle()
                return await self._run_on(await connect(self._address, self._limits), statements)
        except TimeoutError:
            raise StoreAway(f"MySQL did not answer in {self._limits.store_timeout_s:g} s") from None

    async def _run_on(self, session: MysqlSession, statements: Sequence[str]) -> list[Sequence[Any]]:
        try:
            results = await session.run(statements)
        except BaseException:
            session.terminate()
            raise
        self._idle.append(session)
        return results

    def _forget_idle(self) -> None:
        idle, self._idle = self._idle, []
        for session in idle:
            session.terminate()

    async def aclose(self) -> None:
        """Close them; nobody reads any more."""
        self._forget_idle()
