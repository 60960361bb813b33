"""A rate: so many in so many seconds, written 100/1s."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from quart_counter.errors import ConfigurationError

UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_RATE: Final = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})?([smh])", re.ASCII)


class Rate(NamedTuple):
    """At most `limit` in any `window_s` seconds."""

    limit: int
    window_s: int

    def __str__(self) -> str:
        return f"{self.limit}/{self.window_s}s"


def parse_rate(source: str, word: str) -> Rate:
    """Return the rate that `word` writes. Raises ConfigurationError, which names the `source`."""
    found = _RATE.fullmatch(word)
    if found is None:
        raise ConfigurationError(f"{source} is {word!r}: write a rate as 100/1s, 5/10s, 600/1m or 5000/1h")
    return Rate(int(found[1]), int(found[2] or 1) * UNITS[found[3]])
