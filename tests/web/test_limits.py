"""Whom a limit is for, and in which words a client hears of it."""

import pytest

from quart_counter.access.rates import Rate
from quart_counter.web.limits import Policy, address_of, too_many


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("/run/socket", "/run/socket"),
        ("", "unknown"),
    ],
)
def test_an_ipv6_client_is_its_network(host: str, client: str) -> None:
    assert address_of({"client": (host, 1)}) == client


def test_a_client_without_an_address_is_one_too() -> None:
    assert address_of({"client": None}) == address_of({}) == "unknown"


@pytest.mark.parametrize(("wait_s", "told"), [(0.001, "1"), (1.0, "1"), (1.01, "2"), (720.5, "721")])
def test_nobody_is_told_to_come_again_too_early(wait_s: float, told: str) -> None:
    answer = too_many(Policy("token", "shop", Rate(5, 3600)), wait_s)
    headers = dict(answer.headers)
    assert (answer.status, headers["retry-after"]) == (429, told)
    assert headers["ratelimit-policy"] == '"token";q=5;w=3600'
    assert headers["ratelimit"] == f'"token";r=0;t={told}'
    assert b"shop" not in answer.body
