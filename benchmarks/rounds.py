"""Alternating rounds: every subject in turn, again and again, so that what disturbs the machine disturbs all alike.

The total is read before and after each round. It has to have grown by as many as wrk saw answered, and by at most one
more for each connection: at its end wrk hangs up on what is in flight, which may still be counted. Nothing is said of
the speed of a subject whose total was ever wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks import processes, wrk
from benchmarks.servers import Server
from quart_counter.local.process import LocalServer

BUSY_CLIENT: Final = 0.9
SETTLED_S: Final = 0.05
SETTLE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class Subject:
    """A server and how it is asked."""

    name: str
    title: str
    server: Server
    hit: wrk.Hit


@dataclass
class Record:
    """The rounds of one subject. `wrong` says why its speed is not told."""

    subject: Subject
    loop: str = ""
    wrong: str = ""
    rounds: list[wrk.Round] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # of the server, for each request

    @property
    def per_s(self) -> float:
        """Requests a second, the median of the rounds. Raises ValueError where the total was wrong."""
        if self.wrong:
            raise ValueError(f"{self.subject.name} has no speed: {self.wrong}")
        return median(one.per_s for one in self.rounds)

    @property
    def cpu_us_each(self) -> float:
        return median(self.cpu_us)

    @property
    def p50_ms(self) -> float:
        return median(one.p50_ms for one in self.rounds)

    @property
    def p99_ms(self) -> float:
        return median(one.p99_ms for one in self.rounds)

    @property
    def client_busy(self) -> float:
        return median(one.client_busy for one in self.rounds)

    @property
    def client_bound(self) -> bool:
        """Whether wrk was the limit, so that this is no speed of the server's."""
        return bool(self.rounds) and self.client_busy > BUSY_CLIENT


def alternate(
    subjects: Sequence[Subject],
    running: Mapping[str, LocalServer],
    *,
    rounds: int,
    seconds: int,
    say: Callable[[str], None],
) -> dict[str, Record]:
    """Fire at each subject in turn, `rounds` times after one round to warm up; `running` are the servers by name."""
    records = {one.name: Record(one) for one in subjects}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warming up")
        for record in records.values():
            if not record.wrong:
                _round(record, running[record.subject.server.name], seconds if number else 1, counts=number > 0)
    return records


def _round(record: Record, server: LocalServer, seconds: int, *, counts: bool) -> None:
    subject = record.subject
    try:
        before, cpu_s = subject.server.total(server.url), processes.cpu_s(server.pid)
        one = wrk.fire(server.url, subject.hit, seconds)
        spent_s = processes.cpu_s(server.pid) - cpu_s
        counted = _settled(subject.server.total, server.url) - before
    except (OSError, ValueError, LookupError) as error:
        record.wrong = f"its total could not be read: {str(error) or type(error).__name__}"
        return
    record.wrong = why_wrong(one, counted, subject.hit.clients)
    record.loop = subject.server.loop or processes.loop_of(server.pid)
    if counts:
        record.rounds.append(one)
        record.cpu_us.append(spent_s / max(1, one.requests) * 1e6)


def why_wrong(one: wrk.Round, counted: int, clients: int) -> str:
    """Return why this round's speed must not be told; empty if all is well."""
    if one.refused or one.socket_errors:
        return f"{one.refused} answers were errors, and {one.socket_errors} connections broke"
    if not one.requests:
        return "nothing was answered"
    if not one.requests <= counted <= one.requests + clients:
        return f"wrk saw {one.requests} answers, and the total grew by {counted}"
    return ""


def _settled(total: Callable[[str], int], url: str) -> int:
    """Read the total until it stays: the last requests may still be on their way."""
    give_up = time.monotonic() + SETTLE_TIMEOUT_S
    last = total(url)
    while time.monotonic() < give_up:
        time.sleep(SETTLED_S)
        if (now := total(url)) == last:
            break
        last = now
    return last
