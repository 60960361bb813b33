"""Without tokens, a name that anybody may have made lead here is not answered: DNS rebinding gets nothing."""

from typing import Any

import pytest
from e2e.raw import ask, hypercorn

from quart_counter import create_app
from quart_counter.access.tokens import new_token
from quart_counter.web.hosts import leads_here
from web.faces import assert_problem, by_client

LOCAL = ["localhost", "LOCALHOST:8000", "localhost.", "a.localhost:1", "127.0.0.1:8000", "192.0.2.7", "[::1]:8000", ""]
FOREIGN = ["evil.example:8000", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example", "2130706433", "x"]


@pytest.mark.parametrize("host", LOCAL)
def test_an_address_or_localhost_leads_here(host: str) -> None:
    assert leads_here(host.encode())


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name_may_be_anybodys(host: str) -> None:
    assert not leads_here(host.encode())


REQUESTS = [
    *(("GET", path) for path in ("/", "/counters", "/events", "/metrics", "/healthz", "/static/page.css", "/nothing")),
    *(("POST", "/counters/tickets/increment"), ("DELETE", "/counters/tickets"), ("POST", "/session/increment")),
]


async def test_nothing_is_answered_under_a_name_of_somebodys() -> None:
    """As a browser asks after rebinding: Origin and Sec-Fetch-Site speak for the page."""
    host = "evil.example:8000"
    headers = [("Host", host), ("Origin", f"http://{host}"), ("Sec-Fetch-Site", "same-origin")]
    async with hypercorn(create_app()) as url:
        for method, target in REQUESTS:
            reply = await ask(url, method, target, headers)
            assert reply.status == 421, (method, target)
            assert_problem(reply)
            assert "--tokens" in reply.json["detail"]
        absolute = await ask(url, "GET", "http://localhost/counters", headers)
        assert absolute.status == 421, "the target may be whose it will: Host is what no page chooses"
        assert (await ask(url, "POST", "/counters/tickets/increment")).json["value"] == 1, "and nothing had an effect"


@pytest.mark.parametrize(
    "settings", [{"open": True}, {"tokens": new_token(["read"])[1].line()}], ids=["open", "tokens"]
)
async def test_whoever_says_who_may_come_in_chooses_the_name(settings: dict[str, Any]) -> None:
    async with by_client(create_app(**settings)) as face:
        assert (await face("GET", "/healthz", [("Host", "counters.example.org")])).status == 200
