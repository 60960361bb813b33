"""What the judge says, and what its rules hand each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from quart_counter.lab.history import Operation

ANOMALIES = ("duplicate", "skipped", "lost", "overcount", "out_of_order", "stale")


def no_anomalies() -> dict[str, int]:
    """The six counts, all 0, in the order they are always shown."""
    return dict.fromkeys(ANOMALIES, 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one history.

    `witness`: when invalid, the operations that contradict each other, or those either side of the one hole (attempts
    of one key stand as one operation, from the first call to the first answer). `reason`: one sentence, empty when
    valid. `unknown`: how many counters could not be judged, by cause: `sizes` (unknown operations of different
    sizes), `versions` (mutations without versions).
    """

    verdict: Literal["valid", "invalid", "unknown"]
    operations: int
    anomalies: dict[str, int] = field(default_factory=no_anomalies)
    witness: list[Operation] = field(default_factory=list)
    reason: str = ""
    unknown: dict[str, int] = field(default_factory=dict)


class Violation(NamedTuple):
    """A contradiction that no order can mend."""

    reason: str
    witness: tuple[Operation, ...]


class Undecided(NamedTuple):
    """More than one way is left; `otherwise` is what to report when none of them works."""

    cause: Literal["sizes", "versions"]
    reason: str
    otherwise: Violation | None = None


def first_finding(findings: Iterable[Violation | Undecided | None]) -> Violation | Undecided | None:
    """The first thing that a rule found, as lazily as it is asked for."""
    return next((finding for finding in findings if finding is not None), None)


def combine(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict of the verdicts by name: invalid beats unknown beats valid, the counts are added up."""
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    worst_name, worst = "", Verdict("valid", 0)
    anomalies, unknown = no_anomalies(), dict[str, int]()
    for name, verdict in verdicts.items():
        _add(anomalies, verdict.anomalies)
        _add(unknown, verdict.unknown)
        if _BADNESS[verdict.verdict] > _BADNESS[worst.verdict]:
            worst_name, worst = name, verdict
    operations = sum(verdict.operations for verdict in verdicts.values())
    reason = worst.reason and f"counter {worst_name!a}: {worst.reason}"
    return Verdict(worst.verdict, operations, anomalies, worst.witness, reason, unknown)


_BADNESS = {"valid": 0, "unknown": 1, "invalid": 2}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        total[name] = total.get(name, 0) + number


def told(operation: Operation) -> str:
    """The operation in words: `process 3's add of 1 that answered 7 (version 9)`."""
    what = {"read": "read", "set": f"set to {operation.value}"}.get(operation.op, f"{operation.op} of {operation.by}")
    if operation.limit is not None:
        what += f" within {operation.limit}"
    if operation.refused:
        return f"process {operation.process}'s {what} that was refused"
    if operation.outcome == "info":
        return f"process {operation.process}'s {what} of unknown outcome"
    version = "" if operation.version is None else f" (version {operation.version})"
    return f"process {operation.process}'s {what} that answered {operation.value}{version}"


def groundless(operation: Operation) -> Violation:
    """A read or a refusal that no value of the counter explains."""
    fault = "had no reason" if operation.refused else "saw a value that the counter did not hold"
    return Violation(f"{told(operation)} {fault} at any moment between its call and its return", (operation,))


def too_early(earlier: Operation, later: Operation) -> Violation:
    """Two operations whose answers say one order, and whose times the other."""
    reason = f"{told(later)} had returned before {told(earlier)} was called, but the answers put it after that"
    return Violation(reason, (earlier, later))
