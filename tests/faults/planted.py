"""Broken on purpose: each bug is one that people ship, planted in the real workers, for the suite to catch.

    with planted("answer-re-read"):
        ... a row of the suite, whose workers now have the bug

As a program (`python tests/faults/planted.py BUG`) this file is such a worker.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

from faults import bugs
from faults.table import Size


class Bug(NamedTuple):
    """What is wrong, which row is to catch it, and how it gets in: `plant` runs in each worker before it serves."""

    says: str
    row: str
    size: Size
    plant: Callable[[], None]


LINE = Size(800, 40)
DOOR = Size(300, 40)

BUGS: dict[str, Bug] = {
    "driver-retries": Bug("the driver sends INCRBY again by itself", "line-store-redis", LINE, bugs.driver_retries),
    "flush-without-number": Bug(
        "a flush sent again is a new flush to the store", "line-store-redis", LINE, bugs.flush_without_number
    ),
    "flush-record-too-short": Bug(
        "the record of a flush is gone before it is sent again", "line-store-redis", LINE, bugs.flush_record_too_short
    ),
    "unknown-told-as-no": Bug(
        "a lost reply is told as not applied", "line-store-redis", LINE, bugs.unknown_told_as_not_applied
    ),
    "key-record-too-short": Bug(
        "a key is forgotten before its caller asks again", "line-client-redis", DOOR, bugs.key_record_too_short
    ),
    "replay-off-by-one": Bug(
        "a repeated key gets the number after its own", "copies-redis", Size(200), bugs.replay_off_by_one
    ),
    "record-after-effect": Bug(
        "the key is looked up, the effect made, the record written, in three steps",
        "copies-redis",
        Size(200),
        bugs.record_after_effect,
    ),
    "key-not-scoped": Bug("two counters share their keys", "copies-redis", Size(200), bugs.key_not_scoped),
    "answer-re-read": Bug("the answer is read again after the step", "healthy-redis", Size(600), bugs.answer_re_read),
    "replies-crossed": Bug("two waiters get each other's answer", "healthy-redis", Size(600), bugs.replies_crossed),
    "worker-local": Bug("each worker counts by itself", "healthy-redis", Size(600), bugs.worker_local),
    "bound-outside": Bug(
        "the bound of a take is checked before the step", "line-store-redis", LINE, bugs.bound_checked_outside
    ),
    "fold-without-prefix": Bug(
        "all members of a folded run get its last number", "line-store-redis", LINE, bugs.fold_without_prefix
    ),
    "cancel-cuts-the-flush": Bug(
        "a client that leaves cancels the flush of all", "disconnects-redis", Size(0, 400), bugs.cancel_cuts_the_flush
    ),
    "acknowledged-before-commit": Bug(
        "SQLite's commit comes after the answer",
        "kill-sqlite-mid-commit",
        Size(100, 1),
        bugs.acknowledged_before_commit,
    ),
    "no-append-only-file": Bug(
        "the store promises to survive a crash and keeps nothing",
        "kill-store-redis-always",
        Size(200, 1),
        bugs.nothing,  # in the store's own command line: see `planted`
    ),
}


@contextmanager
def planted(name: str) -> Iterator[Bug]:
    """Have the workers that start in this block run with the bug."""
    start = asyncio.create_subprocess_exec

    async def start_planted(*command: str, **options: Any) -> asyncio.subprocess.Process:
        if command[1:] == ("-m", "quart_counter.serving.worker"):
            command = (command[0], __file__, name)
        return await start(*command, **options)

    forgetful = name == "no-append-only-file"
    with mock.patch.object(asyncio, "create_subprocess_exec", start_planted), bugs.forgetful_redis(really=forgetful):
        yield BUGS[name]


if __name__ == "__main__":
    BUGS[sys.argv[1]].plant()
    from quart_counter.serving.worker import main

    sys.exit(main())
