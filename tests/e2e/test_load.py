"""100 clients ask at once. Does each of them get a number of its own?"""

import asyncio

import httpx
import pytest

from e2e.served import serve

CLIENTS = 100
REQUESTS_EACH = 5
TOTAL = CLIENTS * REQUESTS_EACH


@pytest.mark.parametrize("how", ["--mode lock", "--with-redis --workers 2"])
async def test_every_request_gets_a_number_of_its_own(how: str) -> None:
    """One worker under an asyncio.Lock, or several that count in Redis: 1, 2, 3 … and each number once."""
    assert sorted(await numbers(how)) == list(range(1, TOTAL + 1))


async def test_without_a_lock_some_get_the_same_number() -> None:
    """An await between reading and writing is all it takes, with one worker and one event loop."""
    assert len(set(await numbers("--mode unguarded"))) < TOTAL


async def numbers(how: str) -> list[int]:
    """Start the service, let all clients go at the same moment, and return every number that was handed out."""
    async with serve(*how.split()) as service:
        go = asyncio.Event()
        clients = [asyncio.create_task(client(service.url, go)) for _ in range(CLIENTS)]
        go.set()
        return [number for handed_out in await asyncio.gather(*clients) for number in handed_out]


async def client(url: str, go: asyncio.Event) -> list[int]:
    async with httpx.AsyncClient(base_url=url, timeout=30, verify=False) as http:  # no TLS here: load no certificates
        await go.wait()
        answers = [await http.post("/counters/tickets/increment") for _ in range(REQUESTS_EACH)]
        return [answer.raise_for_status().json()["value"] for answer in answers]
