"""Where a repeat would count again, a key is refused: nothing pretends."""

import pytest
from servers import require

from quart_counter import create_app
from quart_counter.lab.backends import backend
from quart_counter.settings.modes import MODES
from quart_counter.web import session
from web.faces import assert_problem, by_client

SERVERS = {"redis-get-set": "redis", "redis-retry": "redis", "memcached-get-set": "memcached"}
IN_REACH = [mode for mode, one in MODES.items() if one.exhibit and not one.per_client] + ["lock", "sqlite", "file"]
KEY = (("Idempotency-Key", "order-7"),)


@pytest.mark.parametrize("mode", IN_REACH)
async def test_a_key_counts_once_or_is_refused(mode):
    if mode in SERVERS:
        require(SERVERS[mode])
    with backend(mode) as private:
        async with by_client(create_app(mode=mode, url=private.url)) as face:
            keeps = (await face("GET", "/readyz")).json["guarantees"]["exactly_once"]
            first, again = [await face("POST", "/counters/tickets/increment", KEY) for _ in range(2)]
            if keeps:
                assert (first.status, again.status, again.json) == (200, 200, first.json)
                assert again.header("idempotency-replayed") == "true"
                return
            for reply in (first, again):
                assert (reply.status, reply.json["type"]) == (422, "urn:quart-counter:key-unsupported")
                assert_problem(reply)
            assert (await face("GET", "/counters/tickets")).json["value"] == 0
            assert (await face("POST", "/counters/tickets/increment")).json["value"] == 1


@pytest.mark.parametrize("mode", ["lock", "session", "cookie", "session-blob"])
async def test_a_clients_own_number_takes_no_key(mode):
    async with by_client(create_app(mode=mode)) as face:
        for effect in session.EFFECTS:
            reply = await face("POST", f"/session/{effect}", KEY)
            assert (reply.status, reply.json["type"]) == (422, "urn:quart-counter:key-unsupported")
            assert_problem(reply)
            assert reply.header("set-cookie") is None
            assert (await face("POST", f"/session/{effect}")).status == 200
