"""Which Host a service answers to that asks nobody for a token: one that no page of another site can have.

Whoever owns a name can make it lead here, and a browser then takes his page for one of ours (DNS rebinding): neither
Origin nor Sec-Fetch-Site tells. An address and localhost lead nowhere but to themselves.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from quart_counter.web.answers import Answer, problem

LOCAL: Final = "localhost"


@lru_cache(maxsize=64)
def leads_here(host: bytes) -> bool:
    """Whether a well-formed Host is an address, localhost, or nothing, which no browser sends."""
    if host.startswith(b"["):
        return True
    name = host.partition(b":")[0].decode().lower().removesuffix(".")
    return name in ("", LOCAL) or name.endswith(f".{LOCAL}") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def misdirected() -> Answer:
    """Answer a request to a name that anybody may have made lead here (RFC 9110, 15.5.20)."""
    return problem(
        421,
        "Without tokens this service answers to localhost and to addresses, and to no other name in Host: start it "
        "with --tokens (QUART_COUNTER_TOKENS), or with --open (QUART_COUNTER_OPEN=1) for everybody who reaches it.",
    )
