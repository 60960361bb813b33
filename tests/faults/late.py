"""One more fault, the meanest: a request that arrives after its sender gave up, and perhaps has sent it again.

Networks do it: a kernel goes on delivering what a closed socket still held, and so do proxies.
"""

import asyncio
from typing import Any

from faults.proxy import FaultProxy
from quart_counter.lab.proxy import Link

ARRIVES_S = 0.4  # later; a try on the store takes at most 0.25 s in these rows


class LateProxy(FaultProxy):
    """A FaultProxy that makes some requests late: it closes towards the client now, and forwards them in a while."""

    def __init__(self, *place: Any, **options: Any) -> None:
        super().__init__(*place, **options)
        self.late_share = 0.0  # of the requests
        self.delay_s = 0.0  # of every request, so that more happens while it is under way

    async def _requests(self, link: Link) -> None:
        link.client_reader = _Peeked(self, link, link.client_reader)  # type: ignore[assignment]
        await super()._requests(link)


class _Peeked:
    """Stands between the proxy and what it reads: a request that is to be late waits here."""

    def __init__(self, proxy: LateProxy, link: Link, reader: asyncio.StreamReader) -> None:
        self._proxy, self._link, self._reader = proxy, link, reader

    async def read(self, size: int) -> bytes:
        data = await self._reader.read(size)
        proxy, link = self._proxy, self._link
        await asyncio.sleep(proxy.delay_s)
        if data and link.between_exchanges and proxy.late_share > proxy._random.random():
            link.between_exchanges, link.fault = False, "pass"
            link.client.close()
            await asyncio.sleep(ARRIVES_S)
            proxy._fire("late")  # type: ignore[arg-type]
        return data
