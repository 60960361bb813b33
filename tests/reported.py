"""Rows with literal histories, for the page that shows them. Times are milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation, max_in_flight, to_document
from quart_counter.lab.html.calls import Call
from quart_counter.lab.html.calls import calls as calls_of
from quart_counter.lab.race import Entry, Row

MS = 10**6
NASTY = "</title><script>alert('x')</script><!-- \" & {{ 7 * 7 }}"


def add(client: int, call: float, ret: float | None, value: int | None, outcome: str = "ok") -> Operation:
    """One increment."""
    end = None if ret is None else int(ret * MS)
    return Operation(client, "add", "n", 1, None, None, int(call * MS), end, outcome, False, value)


def read(client: int, call: float, ret: float, value: int) -> Operation:
    """One read."""
    return Operation(client, "read", "n", 0, None, None, int(call * MS), int(ret * MS), "ok", False, value)


def row(operations: Sequence[Operation], *, mode: str = "lock", owners: Sequence[int] = ()) -> Row:
    """A race of ours as it was recorded; `owners`: the process that answered each add."""
    adds = [operation for operation in operations if operation.op == "add"]
    pids = {pid: list(owners).count(pid) for pid in dict.fromkeys(owners)} or {1: len(adds)}
    return Row(
        Entry(mode, len(pids)),
        {"scope": "process", "atomic": True},
        len({operation.process for operation in adds}),
        len(adds),
        operations,
        check(operations),
        max_in_flight(adds),
        pids,
        1.0,
        {},
        dict(enumerate(owners)),
    )


def apart(each: int = 6, more: int = 4) -> Row:
    """Two processes that count alone: one answers `each` clients, the other `more` besides."""
    first = [add(n, n, 40 + 5 * n, n + 1) for n in range(each + more)]
    second = [add(100 + n, 2 + n, 42 + 8 * n, n + 1) for n in range(each)]
    owners = [11] * len(first) + [22] * len(second)
    return row([*first, *second, read(999, 900, 910, each)], owners=owners)


def right(clients: int = 12, rounds: int = 1) -> Row:
    """Everybody gets a number of their own."""
    adds = [
        add(client, 100 * turn + client / clients, 100 * turn + 50 + client / clients, turn * clients + client + 1)
        for turn in range(rounds)
        for client in range(clients)
    ]
    return row([*adds, read(clients, 100 * rounds + 1, 100 * rounds + 2, len(adds))])


@dataclass(frozen=True)
class Foreign:
    """What a race of somebody's URL leaves: a document and operations, and nothing else that a page needs."""

    operations: Sequence[Operation]
    told: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The contract, with `url` for `mode`, and nothing expected."""
        judged = check(self.operations, None)
        numbers = [op.value for op in self.operations if op.op == "add" and op.outcome == "ok"]
        return {
            "url": "http://127.0.0.1:5000/tickets",
            "workers": None,
            "clients": 2,
            "requests": len(numbers),
            "ok": len(numbers),
            "fail": 0,
            "unknown": 0,
            "distinct": len(set(numbers)),
            **judged.anomalies,
            "final": None,
            "max_in_flight": 2,
            "pids": {},
            "verdict": "RACY" if judged.verdict == "invalid" else "NO_RACE_SEEN",
            "expected": None,
            "p50_ms": None,
            "p99_ms": None,
            "witness": [to_document(operation) for operation in judged.witness],
            "reason": judged.reason,
            "troubles": {},
            **self.told,
        }


def calls(of: Any) -> Sequence[Call]:
    """Its calls, with the judge's witness."""
    return calls_of(of.operations, getattr(of, "owners", {}), of.document()["witness"])
