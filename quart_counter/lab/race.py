"""Races the service against itself: one row a mode, on real servers, judged from what the clients saw."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from quart_counter.lab import history, load
from quart_counter.lab.checker import ANOMALIES, Verdict, check
from quart_counter.lab.history import Operation
from quart_counter.lab.steps import Step
from quart_counter.server import Service
from quart_counter.settings import MODES, load_settings

OVERLAP: Final = 0.5  # of the clients must have been in flight at one moment
SHARE: Final = 0.05  # of the answers must have come from each worker


class Entry(NamedTuple):
    """A mode with a number of workers: one row of the table."""

    mode: str
    workers: int

    @property
    def expected(self) -> str:
        """What theory says of it: SAFE or RACY."""
        if self.mode == "bare":  # no await inside its step: right as long as there is one event loop
            return "SAFE" if self.workers == 1 else "RACY"
        mode = MODES[self.mode]
        return "RACY" if mode.exhibit or (mode.in_worker and self.workers > 1) else "SAFE"


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


@dataclass(frozen=True)
class Row:
    """The outcome of one race."""

    entry: Entry
    clients: int
    requests: int
    operations: Sequence[Operation]
    judged: Verdict
    max_in_flight: int
    pids: Mapping[int, int]
    seconds: float
    steps: Mapping[int, Sequence[Step]] = field(repr=False)

    @property
    def verdict(self) -> str:
        """SAFE needs a valid history and proof that the requests overlapped; a wrong answer needs no such proof."""
        if self.judged.verdict == "invalid":
            return "RACY"
        return "SAFE" if self.judged.verdict == "valid" and self._overlapped() else "INCONCLUSIVE"

    def _overlapped(self) -> bool:
        answers = sum(self.pids.values())
        everyone = len(self.pids) >= self.entry.workers and min(self.pids.values()) >= SHARE * answers
        return everyone and self.max_in_flight >= OVERLAP * self.clients

    def keep(self, folder: Path) -> None:
        """Write the history to FOLDER/<mode>-<workers>.ndjson."""
        folder.mkdir(parents=True, exist_ok=True)
        history.write(folder / f"{self.entry.mode}-{self.entry.workers}.ndjson", self.operations)

    @property
    def as_expected(self) -> bool:
        """Whether the lab's expectation held."""
        return self.verdict == self.entry.expected

    def document(self) -> dict[str, Any]:
        """Return the row as the JSON contract has it. No speed is given for a history that is not valid."""
        adds = [operation for operation in self.operations if operation.op == "add"]
        numbers = [operation.value for operation in adds if operation.outcome == "ok"]
        valid = self.judged.verdict == "valid"
        return {
            "mode": self.entry.mode,
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
            "expected": self.entry.expected,
            "client_bound_per_s": round(len(numbers) / self.seconds, 1) if valid else None,
            "p50_ms": _percentile_ms(adds, 0.50) if valid else None,
            "p99_ms": _percentile_ms(adds, 0.99) if valid else None,
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
    """Start the service as `entry` says, race it, judge what was recorded, stop it. `url` is for modes that use one."""
    settings = load_settings(
        {},
        mode=entry.mode,
        url=None if MODES[entry.mode].in_worker else url,
        workers=entry.workers,
        bind="127.0.0.1:0",
        force=True,
        lab=True,
    )
    name = f"race-{secrets.token_hex(4)}"
    async with Service(settings) as service:
        volley = await load.fire(
            service.url, name, clients=clients, requests=requests, workers=entry.workers, heard=heard
        )
    adds = [operation for operation in volley.operations if operation.op == "add"]
    return Row(
        entry,
        clients,
        requests,
        volley.operations,
        check(volley.operations),
        history.max_in_flight(adds),
        volley.pids,
        volley.seconds,
        volley.steps,
    )


def _percentile_ms(operations: Sequence[Operation], share: float) -> float | None:
    times = sorted(op.ret - op.call for op in operations if op.outcome == "ok" and op.ret is not None)
    return round(times[min(len(times) - 1, int(share * len(times)))] / 1e6, 2) if times else None
