"""Races the service against itself: one row a mode, on real servers, judged from what the clients saw."""

from __future__ import annotations

import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from quart_counter.lab import history
from quart_counter.lab.backends import line_to
from quart_counter.lab.checker import ANOMALIES, Verdict, check
from quart_counter.lab.history import Operation, percentile_ms
from quart_counter.lab.race import load
from quart_counter.lab.race.scope import narrower_scope
from quart_counter.lab.steps import Step
from quart_counter.serving.service import Service
from quart_counter.settings import Settings, load_settings
from quart_counter.settings.modes import MODES

SHARE: Final = 0.05  # of the answers must have come from each worker


class Entry(NamedTuple):
    """A mode with a number of workers: one row of the table. Modes that give each client a number of its own race
    twice: many clients, and then `one_client` that is in many places at once."""

    mode: str
    workers: int
    one_client: bool = False

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.mode}, one client" if self.one_client else self.mode

    @property
    def target(self) -> load.Target:
        """What its clients call."""
        if MODES[self.mode].per_client:
            return load.session("one" if self.one_client else "each")
        return load.counter(f"race-{secrets.token_hex(4)}")

    def expected(self, promises: Mapping[str, Any]) -> str:
        """What follows from the `Guarantees` that the running store declares."""
        if promises["scope"] == "request" or self.target.who == "each":
            return "SCOPED"
        alone = promises["scope"] == "process" and self.workers > 1
        return "SAFE" if promises["atomic"] and not alone else "RACY"


DEFAULT: Final = (
    Entry("bare", 1),
    Entry("bare", 2),
    Entry("unguarded", 1),
    Entry("lock", 1),
    Entry("lock", 2),
    Entry("lock-late-answer", 1),
    Entry("redis-get-set", 2),
    Entry("redis", 1),
    Entry("redis", 2),
)


def entries(mode: str, workers: int) -> Sequence[Entry]:
    """Return the races of one mode."""
    if MODES[mode].per_client:
        return Entry(mode, workers), Entry(mode, workers, one_client=True)
    return (Entry(mode, workers),)


@dataclass(frozen=True)
class Row:
    """The outcome of one race."""

    entry: Entry
    promises: Mapping[str, Any] = field(repr=False)
    clients: int
    requests: int
    operations: Sequence[Operation]
    judged: Verdict
    max_in_flight: int
    pids: Mapping[int, int]
    seconds: float
    steps: Mapping[int, Sequence[Step]] = field(repr=False)
    owners: Mapping[int, int] = field(default_factory=dict, repr=False)

    @cached_property
    def verdict(self) -> str:
        """SAFE needs a valid history and proof that the requests overlapped; a wrong answer needs no such proof."""
        if self.judged.verdict == "invalid":
            return "SCOPED" if not self.entry.one_client and narrower_scope(self.operations) else "RACY"
        return "SAFE" if self.judged.verdict == "valid" and self._overlapped() else "INCONCLUSIVE"

    def _overlapped(self) -> bool:
        answers = sum(self.pids.values())
        everyone = len(self.pids) >= self.entry.workers and min(self.pids.values()) >= SHARE * answers
        return everyone and history.overlapped(self.max_in_flight, self.clients)

    def keep(self, folder: Path) -> None:
        """Write the history to FOLDER/<mode>-<workers>.ndjson."""
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "-one-client" if self.entry.one_client else ""
        history.write(folder / f"{self.entry.mode}-{self.entry.workers}{suffix}.ndjson", self.operations)

    @property
    def expected(self) -> str:
        """What follows from what the store declared."""
        return self.entry.expected(self.promises)

    @property
    def as_expected(self) -> bool:
        """Whether the lab's expectation held."""
        return self.verdict == self.expected

    def document(self) -> dict[str, Any]:
        """Return the row as the JSON contract has it. No speed is given for a history that is not valid."""
        adds = [operation for operation in self.operations if operation.op == "add"]
        numbers = [operation.value for operation in adds if operation.outcome == "ok"]
        valid = self.judged.verdict == "valid"
        return {
            "mode": self.entry.mode,
            **({"one_client": self.entry.one_client} if MODES[self.entry.mode].per_client else {}),
            "workers": self.entry.workers,
            "clients": self.clients,
            "requests": self.requests,
            "ok": len(numbers),
            "fail": sum(operation.outcome == "fail" for operation in adds),
            "unknown": sum(operation.outcome == "info" for operation in adds),
            "distinct": len(set(numbers)),
            **{anomaly: self.judged.anomalies[anomaly] for anomaly in ANOMALIES},
            "final": self.operations[-1].value,
            "max_in_flight": self.max_in_flight,
            "pids": {str(pid): answers for pid, answers in sorted(self.pids.items())},
            "verdict": self.verdict,
            "expected": self.expected,
            "client_bound_per_s": round(len(numbers) / self.seconds, 1) if valid else None,
            "p50_ms": percentile_ms(adds, 0.50) if valid else None,
            "p99_ms": percentile_ms(adds, 0.99) if valid else None,
            "witness": [history.to_document(operation) for operation in self.judged.witness],
        }


async def run(
    entry: Entry,
    *,
    url: str,
    clients: int,
    requests: int,
    heard: Callable[[Operation], None] = lambda operation: None,
) -> Row:
    """Start the service as `entry` says, race it, judge what was recorded, stop it. `url`: the store, if not in it."""
    async with line_to(entry.mode, url) as address, running(lab_settings(entry, address)) as service:
        return await against(service, entry, clients=clients, requests=requests, heard=heard)


def lab_settings(entry: Entry, url: str, *, lab: bool = True, secret_key: str = "") -> Settings:
    """Return the settings of a service that the lab starts; exhibits and several workers are welcome there."""
    return load_settings(
        {},
        mode=entry.mode,
        url=url or None,
        workers=entry.workers,
        bind="127.0.0.1:0",
        secret_key=secret_key,
        force=True,
        lab=lab,
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """The service for one block; in the end there is nobody left to be answered, so it stops at once."""
    service = await Service(settings).__aenter__()
    try:
        yield service
    finally:
        await service.stop(signal.SIGINT)


async def against(
    service: Service,
    entry: Entry,
    *,
    clients: int,
    requests: int,
    heard: Callable[[Operation], None] = lambda operation: None,
) -> Row:
    """Race a service that runs as `entry` says, and judge what was recorded."""
    volley = await load.fire(
        service.url, entry.target, clients=clients, requests=requests, workers=entry.workers, heard=heard
    )
    adds = [operation for operation in volley.operations if operation.op == "add"]
    return Row(
        entry,
        service.guarantees,
        clients,
        requests,
        volley.operations,
        check(volley.operations),
        history.max_in_flight(adds),
        volley.pids,
        volley.seconds,
        volley.steps,
        volley.owners,
    )
