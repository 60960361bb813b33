"""How much: requests and keys of one client, and requests under way in one worker. Off unless asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NamedTuple

from quart_counter.access.rates import Rate
from quart_counter.access.throttle import Throttle
from quart_counter.access.tokens import Credential
from quart_counter.web import answers
from quart_counter.web.answers import Answer
from quart_counter.web.front import send_answer
from quart_counter.web.scope import CREDENTIAL

STREAM: Final = "/events"  # open for long; how many there may be is limited where they are kept
NEVER_LIMITED: Final = ("/healthz", "/readyz")  # who is asked whether it lives must say so, the more the busier it is
READS: Final = ("GET", "HEAD", "OPTIONS")


class Policy(NamedTuple):
    """What a client may do so often; `name` is the one in the RateLimit fields."""

    name: str
    client: str
    rate: Rate


class Limited:
    """ASGI middleware, behind the question who it is and in front of the question what it may do.

    `rate` is for an address, and a token's own rate is instead of that; `keys` is for both. `max_in_flight` is for this
    worker; 0 is no limit. Strangers are limited too: to say no costs what an answer costs. But apart from those of the
    same address who have a token: these must not pay for them.
    """

    def __init__(
        self, app: Any, throttle: Throttle, *, rate: Rate | None, keys: Rate | None, max_in_flight: int
    ) -> None:
        self._app, self._throttle = app, throttle
        self._rate, self._keys, self._max_in_flight = rate, keys, max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that is one too many, before it has any effect, or pass it on."""
        if scope["type"] != "http" or scope["path"] in NEVER_LIMITED:
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        if self._max_in_flight and self._in_flight >= self._max_in_flight:
            return await send_answer(send, busy(self._in_flight))
        held = scope["path"] != STREAM
        self._in_flight += held
        try:
            answer = await self._refusal(scope)
            if answer is not None:
                return await send_answer(send, answer)
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= held

    async def _refusal(self, scope: Any) -> Answer | None:
        for policy in self._policies(scope):
            wait_s = await self._throttle.wait_s(*policy)
            if wait_s:
                return too_many(policy, wait_s)
        return None

    def _policies(self, scope: Any) -> Iterator[Policy]:
        credential: Credential | None = scope.get(CREDENTIAL)
        if credential is not None and credential.rate is not None:
            yield Policy("token", credential.id, credential.rate)
        elif self._rate is not None:
            stranger = credential is None and CREDENTIAL in scope
            yield Policy("client", f"{'stranger ' if stranger else ''}{address_of(scope)}", self._rate)
        if self._keys is not None and scope["method"] not in READS and _has_key(scope):
            client = address_of(scope) if credential is None else f"id {credential.id}"
            yield Policy("keys", client, self._keys)


def _has_key(scope: Any) -> bool:
    return any(word == b"idempotency-key" for word, _ in scope["headers"])


def address_of(scope: Any) -> str:
    """Return whom a limit is for: an IPv4 address, or the /64 of an IPv6 one, which one client has to itself."""
    return _whose((scope.get("client") or ("",))[0])


@lru_cache(maxsize=1024)
def _whose(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host or "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))


def busy(in_flight: int) -> Answer:
    """Answer that this worker has enough to do."""
    return answers.away(f"{in_flight} requests are under way here, as many as may be. Try again.")


_UNIT: Final = {"client": "requests", "token": "requests", "keys": "requests with an Idempotency-Key"}


def too_many(policy: Policy, wait_s: float) -> Answer:
    """Answer a client that is too fast, and say when it may go on (draft-ietf-httpapi-ratelimit-headers-10)."""
    name, _, (limit, window_s) = policy
    return answers.too_much(
        f"More than {limit} {_UNIT[name]} in {window_s} s; nothing was changed. Try again in {wait_s:.3g} s.",
        kind="rate",
        wait_s=math.ceil(wait_s),
        policy=f'"{name}";q={limit};w={window_s}',
        left=f'"{name}";r=0;t={math.ceil(wait_s)}',
    )
