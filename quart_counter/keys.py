"""Idempotency keys that tell their age, and the one rule that follows from it.

    key = new_key()                      # a UUIDv7 (RFC 9562, 5.7): it begins with the time at which it was made
    check_age(key, life_s, time.time())  # raises InvalidKey once a store may have forgotten it

A key's record is kept for a while. After that the same key would count again, and nothing would show it; a key that
tells its age is turned away instead. Of any other key nobody can say how old it is.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from typing import Final

from quart_counter.errors import InvalidKey

# What follows a dot tells apart those who share a key, or whatever else its maker likes; the age is the same.
_TELLS_ITS_AGE: Final = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?:\..*)?", re.ASCII | re.IGNORECASE
)
CLOCKS_APART_S: Final = 60.0  # so much may a client's clock be ahead of ours, and the clocks of our own hosts apart


def new_key() -> str:
    """Return a key that nobody else has, and that tells its age."""
    milliseconds = time.time_ns() // 1_000_000 % 2**48
    number = milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def share_of(key: str, place: int | None) -> str:
    """Return the key of one of those who shared `key`: the same one however often it is asked for, and as old."""
    return f"{key}.{place}"


def made_s(key: str) -> float | None:
    """Return when `key` was made, in seconds since 1970, if it says so."""
    told = _TELLS_ITS_AGE.fullmatch(key)
    return int(told[1] + told[2], 16) / 1000 if told else None


def check_age(key: str, life_s: float, now_s: float) -> None:
    """Raise `InvalidKey` for a key whose record may be gone by now, and for one from so far ahead that it would outlive
    its record unnoticed."""
    made = made_s(key)
    if made is None:
        return
    age_s = now_s - made
    if age_s > life_s:
        raise InvalidKey(
            f"the key {key!r} is {age_s:.0f} s old by our clock, and keys are remembered for {life_s:g} s: what became "
            "of a request that had it can no longer be found out by it, so read the counter; for a new change use a "
            "new key. Nothing was changed",
            reason="expired",
        )
    if age_s < -CLOCKS_APART_S:
        raise InvalidKey(
            f"the key {key!r} was made {-age_s:.0f} s ahead of our clock, so we could not tell when it is too old: set "
            "the clock of the machine that made it. Nothing was changed",
            reason="ahead",
        )


def kept_s(life_s: float, deadline_s: float) -> float:
    """Return how long records must be kept so that whatever `check_age` lets pass still finds its own.

    After the check a change waits for up to a deadline and is tried for another. A key from a clock that is ahead
    passes for longer, and so it does where the clock of one of our hosts is behind that of another.
    """
    return life_s + 2 * deadline_s + 2 * CLOCKS_APART_S
