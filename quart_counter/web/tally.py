"""What the service counts about itself: whole numbers in memory that all workers of one service share.

Each worker has a row of its own and is the only one to write there, so counting is `row[slot] += 1`, without a lock;
whoever is asked adds the rows up. The memory belongs to the kernel and not to a worker: what one counted is still there
after its kill -9, and the worker that takes its place goes on in the same row. A slot is one aligned 64-bit word, so a
reader never sees half a number.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import IO, Final

ROUTES: Final = (
    "/",
    "/counters",
    "/counters/{name}",
    "/counters/{name}/increment",
    "/counters/{name}/take",
    "/session",
    "/session/{effect}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/events",
    "/static",
    "other",
)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "other")
STATUSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: the client left before the answer
BOUNDS_MS: Final = (1, 5, 25, 100, 500, 2500)
OUTCOMES: Final = ("applied", "replayed", "refused", "not_applied", "unknown", "unanswered")

# The slots of a row, in this order.
REQUESTS: Final = 0  # by route, method, status
DURATIONS: Final = REQUESTS + len(ROUTES) * len(METHODS) * len(STATUSES)  # by route: the buckets, then the sum in ns
BUCKETS: Final = len(BOUNDS_MS) + 1  # the last one has no bound
CHANGES: Final = DURATIONS + len(ROUTES) * (BUCKETS + 1)  # by outcome
WAITING, FLUSHES, FLUSHED, STARTS, STORE = range(CHANGES + len(OUTCOMES), CHANGES + len(OUTCOMES) + 5)
SLOTS: Final = STORE + 1
WORD: Final = 8  # bytes

_BOUNDS_NS: Final = tuple(bound * 1_000_000 for bound in BOUNDS_MS)
_UNANSWERED: Final = CHANGES + OUTCOMES.index("unanswered")
_METHOD: Final = {method: place for place, method in enumerate(METHODS)}
_ROUTE: Final = {route: place for place, route in enumerate(ROUTES)}
_INCREMENT: Final = _ROUTE["/counters/{name}/increment"]
_FIXED: Final = {route.encode(): place for route, place in _ROUTE.items() if "{" not in route and route != "other"}


class Tally:
    """The numbers of this worker, `row`, and those of all workers together, `totals()`.

    Starts with memory of its own, which is all that one process needs; `share` moves it to the service's.
    """

    def __init__(self) -> None:
        self._rows = self.row = memoryview(bytearray(SLOTS * WORD)).cast("q")
        self.row[STARTS] = 1

    def share(self, fd: int, place: int) -> None:
        """Count in row `place` of the memory that `shared_memory` made, from where the row's last worker stopped."""
        self._rows = memoryview(mmap.mmap(fd, 0)).cast("q")
        os.close(fd)  # the mapping keeps one of its own
        self.row = self._rows[place * SLOTS : (place + 1) * SLOTS]
        self.row[STARTS] += 1
        self.row[_UNANSWERED] += self.row[WAITING]  # they ended with the worker that had them
        self.row[WAITING] = 0

    def totals(self) -> list[int]:
        """Return the sum of each slot over all rows; for STORE, the latest."""
        rows = memoryview(bytes(self._rows)).cast("q")  # one copy first, so that the sums are of one moment
        totals = [sum(rows[slot::SLOTS]) for slot in range(SLOTS)]
        totals[STORE] = max(rows[STORE::SLOTS])
        return totals

    def request(self, method: str, path: bytes, status: int, ns: int) -> None:
        """Count a request, its status (0 if it got none) and the time from its head to its answer's."""
        row, route = self.row, route_of(path)
        row[(route * len(METHODS) + _METHOD.get(method, len(METHODS) - 1)) * len(STATUSES) + status // 100] += 1
        durations = DURATIONS + route * (BUCKETS + 1)
        row[durations + bisect_left(_BOUNDS_NS, ns)] += 1
        row[durations + BUCKETS] += ns

    def store(self, up: bool) -> None:
        """Note whether the store answered just now: one word for when and what, so that neither is torn off."""
        self.row[STORE] = time.time_ns() // 1000 * 2 + up


def route_of(path: bytes) -> int:
    """Return the place in ROUTES of a raw path; counters' names are left out, or there would be a series for each."""
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    if path.endswith(b"/increment") and path.startswith(b"/counters/") and path.count(b"/") == 3:
        return _INCREMENT  # most of them are
    match path.split(b"/"):
        case [b"", b"counters", _]:
            return _ROUTE["/counters/{name}"]
        case [b"", b"counters", _, b"take"]:
            return _ROUTE["/counters/{name}/take"]
        case [b"", b"session", _]:
            return _ROUTE["/session/{effect}"]
        case [b"", b"static", *_]:
            return _ROUTE["/static"]
    return _ROUTE["other"]


def request_slots() -> Sequence[tuple[int, str, str, str]]:
    """Return slot, route, method and status of every request counter."""
    words = [(route, method, status) for route in ROUTES for method in METHODS for status in STATUSES]
    return [(REQUESTS + place, *word) for place, word in enumerate(words)]


def shared_memory(rows: int) -> IO[bytes]:
    """Return zeroed memory for so many workers, as a file without a name; it ends with its last user."""
    if sys.platform == "linux":
        file: IO[bytes] = os.fdopen(os.memfd_create("quart_counter"), "w+b")  # on a disk, a write could wait for it
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.truncate(rows * SLOTS * WORD)
    return file
