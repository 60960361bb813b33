"""`CounterClient`: the calls of `Counters`, over HTTP, right when replies get lost."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Self

from quart_counter import errors
from quart_counter.client.flights import Claim, Delivery, Flight, Unresolved, reading
from quart_counter.client.folding import Folder
from quart_counter.client.sending import Sender
from quart_counter.client.wire import Call, Wire, check_url
from quart_counter.errors import StoreAway
from quart_counter.keys import new_key
from quart_counter.model import Change, Outcome, Reading, Refused, check_change, check_name

FOR_EVER_S: Final = 1e9


class CounterClient:
    """Counts at a service elsewhere: `async with CounterClient("http://127.0.0.1:8000") as client`.

    Every change carries an idempotency key, and is sent again under it until `deadline_s` when its answer does not
    come: it counts once. All calls raise what those of `Counters` raise, and `Forbidden` where a token is missing; an
    `OutcomeUnknown` can be given to `resolve`.

    Increments by 1 without a key of their own that wait for the same name share one request. Each gets its own number,
    and `version` rises by 1 for all of them together. The number of a caller that was cancelled is skipped.

    `connections` are kept open. `headers` go with every request, for a door in front of the service; `verify` is what
    https: URLs are checked with. Proxies named in the environment are not used. Raises ConfigurationError.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_s: float = 30.0,
        connections: int = 8,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        if not 0 < deadline_s < math.inf or connections < 1:
            raise errors.ConfigurationError("deadline_s must be more than 0 seconds, and connections 1 or more")
        new_wire = partial(Wire, check_url(url), connections=connections, headers=headers or {}, verify=verify)
        self._sender = Sender(new_wire, slots=connections, deadline_s=deadline_s)
        self._folder = Folder(self._sender, deadline_s)
        self._deadline_s = deadline_s

    async def __aenter__(self) -> Self:
        self._sender.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Wait until every change given so far is answered or given up, then close the connections."""
        self._sender.refuse()
        await self._folder.drain()
        await self._sender.aclose()

    async def increment(self, name: str, by: int = 1, *, key: str | None = None) -> int:
        """Add `by` (negative counts down) and return the new value: yours alone while everybody adds."""
        if key is None and type(by) is int and by == 1:
            check_name(name)
            return await self._folder.increment(name)
        return (await self._change(Change(name, by, key=key), number=True)).value

    async def add(self, name: str, by: int = 1, *, key: str | None = None) -> Reading:
        """Add `by` and return the new value and version."""
        return await self._change(Change(name, by, key=key))

    async def take(
        self, name: str, by: int = 1, *, limit: int | None = None, floor: int | None = None, key: str | None = None
    ) -> Reading:
        """Add `by` unless that would pass `limit` (counting up) or `floor` (counting down): sell 100, never 101."""
        if (limit is None) == (floor is None):
            raise errors.InvalidChange("take needs a limit (with a positive by) or a floor (with a negative by)")
        return await self._change(Change(name, by, key=key, limit=limit, floor=floor))

    async def set(self, name: str, value: int, *, if_version: int | None = None, key: str | None = None) -> Reading:
        """Set to `value`; with `if_version`, only if nothing has changed since that version was read."""
        return await self._change(Change(name, value=value, if_version=if_version, key=key))

    async def reset(self, name: str, *, key: str | None = None) -> Reading:
        """Set to 0. The version goes on, so a reset can be told from a counter never touched."""
        return await self._change(Change(name, value=0, key=key))

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment; sees every change answered before the call. Raises StoreAway."""
        check_name(name)
        document = await self._ask(Call("GET", f"/counters/{name}"))
        return Reading(document["value"], document["version"])

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` (up to 1000) counter names greater than `after`, in order. Raises StoreAway."""
        check_name(after or "any")
        document = await self._ask(Call("GET", f"/counters?after={after}&limit={limit}", fields=("counters",)))
        return [counter["name"] for counter in document["counters"]]

    async def resolve(self, unknown: errors.OutcomeUnknown, *, deadline_s: float | None = None) -> int | Reading:
        """Send that same request until it is answered: this makes the change happen, it does not merely ask.

        Returns what the call would have returned, however often it is resolved. Raises `CounterRefused`, and
        `OutcomeUnknown` again after `deadline_s` (None: never) or when the service will not take the request; when the
        key is older than the service remembers keys, no later try can find out either, and the sentence says so.
        """
        if not isinstance(unknown, Unresolved):
            raise errors.InvalidChange("not an outcome of this client: repeat the call itself, with the same key")
        due = asyncio.get_running_loop().time() + (FOR_EVER_S if deadline_s is None else deadline_s)
        claim = unknown.claim
        outcome = await self._resend(claim.change, due)
        if claim.is_share and isinstance(outcome, Refused):
            claim = claim.alone()
            outcome = await self._resend(claim.change, due)
        answer = reading(claim, outcome)
        return answer.value if claim.number else answer

    async def _resend(self, change: Change, due: float) -> Outcome:
        delivery = Delivery(change, due)
        delivery.in_doubt = True
        return await self._sender.outcome(delivery)

    async def _change(self, change: Change, *, number: bool = False) -> Reading:
        check_change(change)
        if change.key is None:
            change = change._replace(key=new_key())
        outcome = await self._sender.outcome(Delivery(change, self._due()))
        return reading(Claim(change, number=number), outcome)

    async def _ask(self, call: Call) -> Mapping[str, Any]:
        tried = await self._sender.start(Flight(call, self._due()))
        if tried.standing == "forbidden":
            raise errors.Forbidden(f"{tried.because}.")
        if tried.standing != "answered":
            raise StoreAway(tried.because)
        return tried.document

    def _due(self) -> float:
        return asyncio.get_running_loop().time() + self._deadline_s
