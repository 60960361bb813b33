"""The HTTP measures: start what is needed, fire in alternating rounds, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from benchmarks.needs import missing
from benchmarks.rounds import Record, Subject, alternate
from benchmarks.servers import Stores, start

WRK = "wrk"


def needs_of(subject: Subject) -> list[str]:
    """Return what it takes to measure `subject`."""
    return [WRK, *subject.server.needs]


def measure(subjects: Sequence[Subject], *, rounds: int, seconds: int, say: Callable[[str], None]) -> dict[str, Record]:
    """Measure those of `subjects` that can run here, with all their servers up at the same time."""
    can = [one for one in subjects if not missing(needs_of(one))]
    with Stores() as stores, ExitStack() as running:
        servers = {}
        for server in {one.server.name: one.server for one in can}.values():
            say(f"starting {server.name}")
            servers[server.name] = running.enter_context(start(server, stores))
        return alternate(can, servers, rounds=rounds, seconds=seconds, say=say)
