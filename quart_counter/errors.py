"""Everything this package raises on purpose.

QuartCounterError
├── ConfigurationError     a setting, an extra or a server is missing or wrong; the sentence says what to do
├── InvalidChange          the change itself is malformed (also a ValueError); nothing was sent
├── InvalidKey             the key cannot make this change count once (also a ValueError); nothing was changed
├── CounterRefused         a rule said no: bound, cap, version or a key used for another request; no effect
├── NotApplied             it did not happen and will not; sending it again is safe
├── Forbidden              the service does not let this client do it: no token for it; no effect (CounterClient)
├── OutcomeUnknown         it may have happened; only the same key can find out
└── StoreAway              a reading could not be had: the store does not answer
"""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "CounterRefused",
    "Forbidden",
    "InvalidChange",
    "InvalidKey",
    "NotApplied",
    "OutcomeUnknown",
    "QuartCounterError",
    "StoreAway",
]


class QuartCounterError(Exception):
    """The root: `except QuartCounterError` catches all that this package raises on purpose."""


class ConfigurationError(QuartCounterError):
    """The service cannot start as configured. The sentence names the setting and the remedy."""


class InvalidChange(QuartCounterError, ValueError):
    """The arguments name no possible change. Nothing was sent to the store."""


class InvalidKey(QuartCounterError, ValueError):
    """The key cannot make this change count once, so nothing was changed.

    `reason` is "expired" (its record may be forgotten: it might count again), "ahead" (made by a clock too far ahead of
    ours) or "unsupported" (this store keeps no keys, or may forget them).
    """

    def __init__(self, sentence: str, *, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class CounterRefused(QuartCounterError):
    """A rule of counting refused the change: it had no effect, and will have none.

    `reason` is "bound", "cap", "version" or "key_reused"; `value` and `version` are the counter's when it refused.
    """

    def __init__(self, sentence: str, *, name: str, reason: str, value: int, version: int) -> None:
        super().__init__(sentence)
        self.name, self.reason, self.value, self.version = name, reason, value, version


class NotApplied(QuartCounterError):
    """The change did not happen and will not happen later. Sending it again is safe."""


class Forbidden(QuartCounterError):
    """The service does not let this client do this (401, 403, 421): it had no effect, and sending it again has none.

    `CounterClient` raises it. The sentence says what is missing: a token that is in force, a scope, a prefix.
    """


class OutcomeUnknown(QuartCounterError):
    """The change may have happened. With a `key`, sending the same change again finds out and counts once."""

    def __init__(self, sentence: str, *, name: str, by: int | None, key: str | None) -> None:
        super().__init__(sentence)
        self.name, self.by, self.key = name, by, key


class StoreAway(QuartCounterError):
    """The store did not answer: nothing is known beyond that.

    The sentence is fit for a person who operates it. What is for nobody else, the store's address, a path, the server's
    own words, stands in parentheses at its end: HTTP clients are not told that.
    """
