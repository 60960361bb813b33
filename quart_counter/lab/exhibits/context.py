"""Exhibits that share nothing: a number on `quart.g`, and one on the application context. Both live for one request.

"Use g" and "use the application context" are answers in circulation. Every request pushes an application context of its
own and `g` belongs to it, so every client is number 1. Only code that pushes a context by hand and handles several
requests inside it sees more, and not even that on every version: inside `async with app.app_context()` the requests of
a test client count 1, 2, 3 on Quart 0.22 and 1, 1, 1 on 0.23.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from quart import g
from quart.globals import app_ctx

from quart_counter.lab.exhibits.plain import PLAIN, Plain, after
from quart_counter.model import Change
from quart_counter.stores.base import Store

NUMBER: Final = "quart_counter_number"


class _OnContext(Plain):
    """A number as an attribute of `place`; nobody else sees it, so nobody can get in its way."""

    guarantees = replace(
        PLAIN, scope="request", atomic=True, notes=("every request has a context of its own, so every number is 1",)
    )

    def __init__(self, place: Any) -> None:
        self._place = place

    async def _change(self, change: Change) -> int:
        setattr(self._place, NUMBER, after(await self._value(change.name), change))
        return await self._value(change.name)

    async def _value(self, name: str) -> int:
        return int(getattr(self._place, NUMBER, 0))


@asynccontextmanager
async def open_store(mode: str) -> AsyncIterator[Store]:
    """Open `g` or `app-context`."""
    yield _OnContext({"g": g, "app-context": app_ctx}[mode])
