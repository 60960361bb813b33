"""The ways of counting that the demo races, with the words and the lines of code that stand for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class Way(NamedTuple):
    """One way of counting, by so many processes. `right` and `wrong` say why, after a race that came out so."""

    mode: str
    workers: int
    title: str
    about: str
    code: str
    right: str
    wrong: str
    has_gap: bool = True

    @property
    def key(self) -> str:
        """What the form calls it."""
        return self.mode if self.workers == 1 else f"{self.mode}-{self.workers}"


_LOCK: Final = "async with lock:\n    n = counter.n\n    await gap()\n    counter.n = n + 1\n    return n + 1"
_BY_LUCK: Final = "This time no two of them met in the gap. Nothing keeps them apart: widen it and press again."

WAYS: Final = (
    Way(
        "unguarded",
        1,
        "A global and an await",
        "read, wait, write",
        "n = counter.n\nawait gap()\ncounter.n = n + 1\nreturn n + 1",
        _BY_LUCK,
        "At the await each had read the number and none had written it: all who waited together wrote the same one. "
        "One event loop is enough for that.",
    ),
    Way(
        "bare",
        1,
        "A plain global",
        "no await, one process",
        "counter.n += 1\nreturn counter.n",
        "Nothing is awaited between reading and writing, so one event loop never stops there. "
        "One await, or a second process, ends that.",
        "It was not one event loop that answered.",
        has_gap=False,
    ),
    Way(
        "lock",
        1,
        "An asyncio.Lock",
        "one at a time, one process",
        _LOCK,
        "One request at a time is between reading and writing, and the others wait for the lock.",
        "The lock was not one lock.",
    ),
    Way(
        "lock-late-answer",
        1,
        "The lock, answered late",
        "adds inside, answers outside",
        "async with lock:\n    counter.n += 1\nawait gap()\nreturn counter.n",
        _BY_LUCK,
        "The total is right and the answers are not: each read its number after it let go of the lock, and by then "
        "others had added. The answer has to be born inside the step.",
    ),
    Way(
        "lock",
        2,
        "The lock, 2 processes",
        "each with a counter of its own",
        _LOCK,
        "One of the two processes answered everybody: press again.",
        "Each process has a lock and a number of its own, and both count from 1: the two colours under the numbers. "
        "A lock does not reach into another process.",
    ),
    Way(
        "redis-get-set",
        2,
        "Redis: GET, then SET",
        "2 processes, one number, two steps",
        "n = await redis.get(key)\nawait gap()\nawait redis.set(key, n + 1)\nreturn n + 1",
        _BY_LUCK,
        "Redis is shared, and the step is not: between a GET and its SET others got the same number. Sharing it is "
        "half of the answer, and adding in one step is the other half.",
    ),
    Way(
        "redis",
        2,
        "Redis, in one step",
        "2 processes, one number",
        "# one step, inside Redis\nn = await increment(name)\nreturn n",
        "One step in Redis reads, adds and answers, for all processes alike: no answer is born outside it.",
        "Redis gave one number twice.",
        has_gap=False,
    ),
)

IN_PROCESS: Final = tuple(dict.fromkeys(way.mode for way in WAYS if not way.mode.startswith("redis")))
IN_REDIS: Final = tuple(way.mode for way in WAYS if way.mode.startswith("redis"))


def find(key: str) -> Way | None:
    """Return the way that the form calls so."""
    return next((way for way in WAYS if way.key == key), None)


def why(way: Way, verdict: str) -> str:
    """Return the second line: why it came out so."""
    if verdict == "INCONCLUSIVE":
        return "The requests did not overlap enough to prove anything: press again."
    return way.right if verdict == "SAFE" else way.wrong


def observed(verdict: str, clients: int, answers: Sequence[int], final: int | None) -> str:
    """Return the first line: what was seen."""
    different = len({*answers})
    lost = "" if len(answers) == clients else f", {clients - len(answers)} without an answer"
    if verdict == "SAFE":
        return f"{clients} requests, {different} different numbers{lost}: each its own."
    repeated = len(answers) - different
    if not repeated:
        return f"{clients} requests, {different} different numbers{lost}, and the counter stands at {final}."
    numbers = f"{different} different number{'s' if different != 1 else ''}"
    return f"{clients} requests, {numbers}{lost}: {repeated} got one that somebody else had already."
