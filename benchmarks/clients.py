"""Growth with the number of clients: 1, 8, 64 and 512 of them, each with a request in flight all the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benchmarks import board
from benchmarks.measures import BY_NAME
from benchmarks.report import Table, why_not
from benchmarks.rounds import Record, Subject
from benchmarks.wrk import Hit

CLIENTS: Final = (1, 8, 64, 512)
MODES: Final = ("bare", "lock", "redis")

SUBJECTS: Final[Sequence[Subject]] = [
    Subject(f"{name} {clients}", BY_NAME[name].title, BY_NAME[name], Hit(*BY_NAME[name].hit, clients=clients))
    for clients in CLIENTS
    for name in MODES
]


def measure(*, rounds: int, seconds: int, say: Callable[[str], None]) -> dict[str, Record]:
    """Return a record for each mode and number of clients, such as "redis 64"."""
    return board.measure(SUBJECTS, rounds=rounds, seconds=seconds, say=say)


def table(records: Mapping[str, Record]) -> Table:
    """A row a mode and number of clients."""
    header = ["set-up", "clients", "req/s", "p50 ms", "p99 ms"]
    return Table("Clients", header, [_cells(f"{name} {n}", n, records) for name in MODES for n in CLIENTS])


def _cells(name: str, clients: int, records: Mapping[str, Record]) -> list[str]:
    record = records.get(name)
    if record is None or why_not(name, record):
        return [name.partition(" ")[0], str(clients), "-", "-", why_not(name, record)]
    figures = [f"{record.per_s:,.0f}", f"{record.p50_ms:.2f}", f"{record.p99_ms:.2f}"]
    return [record.subject.title, str(clients), *figures]


def lines(records: Mapping[str, Record]) -> dict[str, list[tuple[float, float]]]:
    """Return the points to plot: clients and milliseconds."""
    told = {name: record for name, record in records.items() if not why_not(name, record)}
    return {
        f"{mode}, {label}": [(n, getattr(told[f"{mode} {n}"], field)) for n in CLIENTS if f"{mode} {n}" in told]
        for mode in MODES
        for label, field in (("p50", "p50_ms"), ("p99", "p99_ms"))
    }
