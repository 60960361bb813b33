"""A fixture for tests with and without an event loop; `pytest_plugins = ["quart_counter.pytest_plugin"]` adds it.

    def test_tickets(race):
        assert race(app, "POST /tickets").verdict == "NO_RACE_SEEN"

It is not registered for everybody: most who install quart_counter test something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from quart_counter import testing


@pytest.fixture
def race() -> Callable[..., Any]:
    """`testing.race`: its outcome in a plain test; in an async test, something to await."""

    def either(*arguments: Any, **options: Any) -> Any:
        under_way = testing.race(*arguments, **options)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(under_way)
        return under_way

    return either
