"""What stands in front of the app, as the settings ask: who may come in, and how often. Unasked it costs nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

from quart_counter.access.places import Places
from quart_counter.access.rates import Rate, parse_rate
from quart_counter.access.throttle import Throttle
from quart_counter.access.tokens import Credential, Tokens
from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.settings import Settings
from quart_counter.settings.modes import MODES
from quart_counter.web.access import Access, Known
from quart_counter.web.forwarded import Forwarded
from quart_counter.web.limits import Limited

RECOUNT_S: Final = 600.0


class Guard:
    """Make it before anybody watches `counters`: what it counts for itself is no client's change."""

    def __init__(self, counters: Counters, settings: Settings) -> None:
        self._settings = settings
        self._tokens = Tokens(settings.tokens) if settings.tokens else None
        counts_right = not MODES[settings.mode].exhibit
        limits = settings.rate or settings.client_keys or settings.max_in_flight
        self._throttle = Throttle(counters) if limits or (counts_right and self._tokens) else None
        self.places: Places | None = None  # who says whether another counter may be begun
        if counts_right and (settings.max_names or self._tokens):
            self.places = Places(counters, most=settings.max_names, deadline_s=settings.deadline_s)

    def in_force(self, credential: Credential | None) -> bool:
        """Whether a client that was let in would be let in again: asked by whoever answers for long."""
        return self._tokens is None or credential is None or self._tokens.in_force(credential)

    def in_front_of(self, app: Any) -> Any:
        """Return the app with its guards: who it is comes before how often, and that before what it may do."""
        settings = self._settings
        if self._tokens is not None:
            app = Access(app)
        if self._throttle is not None:
            rate = parse_rate("rate", settings.rate) if settings.rate else None
            keys = Rate(settings.client_keys, math.ceil(settings.key_life_s)) if settings.client_keys else None
            app = Limited(app, self._throttle, rate=rate, keys=keys, max_in_flight=settings.max_in_flight)
        if self._tokens is not None:
            app = Known(app, self._tokens)
        return Forwarded(app, settings.proxies) if settings.proxies else app

    async def keeping_books(self) -> AsyncGenerator[None, None]:
        """Keep its own counters in order while the app serves."""
        tasks = []
        if self._throttle is not None:
            tasks.append(asyncio.create_task(self._throttle.keep_sweeping()))
        if self.places is not None and self._settings.max_names:
            with suppress(StoreAway):  # it is counted again later
                await self.places.recount()
            every_s = max(self._settings.key_life_s, RECOUNT_S)
            tasks.append(asyncio.create_task(self.places.keep_counting(every_s)))
        yield
        for task in tasks:
            task.cancel()
