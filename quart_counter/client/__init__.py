"""Counters of a service elsewhere, over HTTP, each change exactly once; needs the extra `client`.

async with CounterClient("http://127.0.0.1:8000") as client:
    number = await client.increment("tickets")
"""

from quart_counter.client.calls import CounterClient
from quart_counter.client.flights import Unresolved

__all__ = ["CounterClient", "Unresolved"]
