"""Numbers per client: a counter each, named by a random id that the client carries, in whatever store there is.

The answer to "use the session": the id travels, signed; the number does not. So parallel requests of one client count
right, which they cannot when the number itself is in the cookie. Their number is bounded, and their life too.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.model import RESERVED

PREFIX: Final = f"{RESERVED}session."
_NAME: Final = re.compile(rf"{re.escape(PREFIX)}([0-9a-f]{{10}})\.[0-9a-f]{{32}}", re.ASCII)
SWEEP: Final = 1000  # names looked at in one go
LONGEST_PAUSE_S: Final = 600.0


class Sessions:
    """Makes ids, and forgets the counters whose time is over or whose place is needed.

    An id begins with its time of birth, so names sort by age and the oldest are found first, in any store, also those
    that a worker long gone has made. `life_s` counts from birth; a worker keeps `most`, and to make room forgets
    the one it has known longest.
    """

    def __init__(self, counters: Counters, *, life_s: float, most: int) -> None:
        self._counters, self._life_s, self._most = counters, life_s, most
        self._known: OrderedDict[str, None] = OrderedDict()

    async def enter(self, name: object) -> str:
        """Return the counter of a client that carries `name`, or a new one: nobody guesses a name, nobody keeps one
        beyond its life."""
        if not isinstance(name, str) or not self._alive(name):
            name = f"{PREFIX}{int(time.time()):010x}.{secrets.token_hex(16)}"
        if name not in self._known:
            self._known[name] = None
            if len(self._known) > self._most:
                await self._counters.forget(self._known.popitem(last=False)[0])
        return name

    async def sweep(self) -> int:
        """Forget every session in the store that is past its life; return how many."""
        forgotten, after = 0, PREFIX
        while names := await self._counters.names(after, SWEEP):
            for name in names:
                if not name.startswith(PREFIX) or self._alive(name):
                    return forgotten
                await self._counters.forget(name)
                self._known.pop(name, None)
                forgotten += 1
            after = names[-1]
        return forgotten

    async def keep_sweeping(self) -> None:
        """Sweep now and then, until cancelled; a store that is away is swept the next time."""
        while True:
            with suppress(StoreAway):
                await self.sweep()
            await asyncio.sleep(min(self._life_s / 10, LONGEST_PAUSE_S))

    def _alive(self, name: str) -> bool:
        made = _NAME.fullmatch(name)
        return made is not None and int(made[1], 16) + self._life_s > time.time()
