"""Every request gets its own number: counters for Quart apps that are right under concurrency.

counters = QuartCounter(app)
number = await counters.increment("tickets")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quart import Quart

    from quart_counter.app import QuartCounter
    from quart_counter.errors import (
        ConfigurationError,
        CounterRefused,
        Forbidden,
        InvalidChange,
        InvalidKey,
        NotApplied,
        OutcomeUnknown,
        QuartCounterError,
        StoreAway,
    )
    from quart_counter.settings import Settings
    from quart_counter.stores import Store, open_store

__version__ = "0.1.0"

# Imported at first use, so that `quart-counter --help` and a bare import stay quick.
_HOMES = {
    "quart_counter.app": ("QuartCounter",),
    "quart_counter.errors": (
        "ConfigurationError",
        "CounterRefused",
        "Forbidden",
        "InvalidChange",
        "InvalidKey",
        "NotApplied",
        "OutcomeUnknown",
        "QuartCounterError",
        "StoreAway",
    ),
    "quart_counter.stores": ("Store", "open_store"),
}

__all__ = [
    "ConfigurationError",
    "CounterRefused",
    "Forbidden",
    "InvalidChange",
    "InvalidKey",
    "NotApplied",
    "OutcomeUnknown",
    "QuartCounter",
    "QuartCounterError",
    "Store",
    "StoreAway",
    "__version__",
    "create_app",
    "open_store",
]


def create_app(settings: Settings | None = None, **given: Any) -> Quart:
    """Return the service as a Quart app; see `quart_counter.app.create_app`."""
    # A function, not a lazy name: `hypercorn "quart_counter:create_app()"` looks in the module's namespace only.
    from quart_counter.app import create_app

    return create_app(settings, **given)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
