"""The service, reached in every way: what holds for one must hold for all."""

from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest
import pytest_asyncio
from servers import a_server_of_our_own

from quart_counter import create_app
from web.faces import FACES, JSON, Face


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=["client lock", "hypercorn lock", "client redis", "hypercorn redis"]
)
async def face(request: pytest.FixtureRequest) -> AsyncIterator[Face]:
    """The service, with the counter `tickets` at value 70 and version 7."""
    way, mode = request.param.split(" ")
    with a_server_of_our_own("redis") if mode == "redis" else nullcontext() as server:
        app = create_app(mode=mode, url=server and server.url)
        async with FACES[way](app) as face:
            for _ in range(7):
                await face("POST", "/counters/tickets/increment", JSON, b'{"by": 10}')
            yield face
