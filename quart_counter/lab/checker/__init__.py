"""The judge: says of a counter's history whether any one-at-a-time order explains every answer, and shows where not.

    verdict = check(load("tickets.ndjson"))
    verdict.verdict, verdict.anomalies, verdict.reason

The question is linearizability, and a counter that answers with its value makes it easy: the answers say where each
operation stands, so the exact judgement is a sort where others have to search. It is asked of each name by itself,
because linearizability is local (Herlihy and Wing, 1990). Nothing here knows the counters it judges.

The rooms, in the order a history passes them:

    parts      attempts of one key become one operation; adds, reads, refusals and unknowns go apart   (rule E)
    values     adds of positive sizes: sort by the value answered                               (rules A, B, C, F)
    versions   decrements, sets, resets: sort by the version answered, replay                   (rules B, C, D, F)
    orders     what neither order decides: searches them one by one, and gives up in the open
    anomalies  the six counts, once a history is known to be wrong
"""

from collections.abc import Iterable, Sequence

from quart_counter.lab.checker.anomalies import count
from quart_counter.lab.checker.order import beyond_limit
from quart_counter.lab.checker.orders import search
from quart_counter.lab.checker.parts import Parts, by_name, lowest_start, split
from quart_counter.lab.checker.values import judge as judge_by_values
from quart_counter.lab.checker.verdict import ANOMALIES, Undecided, Verdict, Violation, combine
from quart_counter.lab.checker.versions import judge as judge_by_versions
from quart_counter.lab.history import Operation

__all__ = ["ANOMALIES", "Verdict", "check"]


def check(
    operations: Iterable[Operation],
    start: int | None = 0,
    start_version: int | None = None,
    *,
    gaps_allowed: bool = False,
) -> Verdict:
    """Judge a history exactly: valid, invalid with a witness, or (rarely, and with the reason) unknown.

    `start` is the value every counter held before the first call; None lets the history say, where all it holds are
    positive adds without versions, and reads. `start_version` is the version it held then; None lets the history say,
    for a counter that lived before has any: then some version of 0 or more must fit them all. `gaps_allowed`: positive
    adds may leave numbers out, as database sequences do, as if others took them unseen; nothing else is forgiven.
    """
    names = by_name(operations)
    verdicts = [_check_one(history, start, start_version, gaps_allowed) for history in names.values()]
    return combine(dict(zip(names, verdicts, strict=True)))


def _check_one(
    operations: Sequence[Operation], start: int | None, start_version: int | None, gaps_allowed: bool
) -> Verdict:
    parts, disagreement = split(operations)
    parts.gaps_allowed = gaps_allowed
    if start is None:
        start = lowest_start(parts)
    finding = disagreement or beyond_limit(parts) or _judge(parts, start, start_version)
    if finding is None:
        return Verdict("valid", len(operations))
    if isinstance(finding, Undecided):
        return Verdict("unknown", len(operations), reason=finding.reason, unknown={finding.cause: 1})
    counts = count(parts, start, start_version)
    return Verdict("invalid", len(operations), counts, list(finding.witness), finding.reason)


def _judge(parts: Parts, start: int, start_version: int | None) -> Violation | Undecided | None:
    """Ask the order that the answers force; search only if they leave more than one way."""
    if parts.rising:
        finding = judge_by_values(parts, start, start_version)
    elif parts.versioned:
        finding = judge_by_versions(parts, start, start_version)
    else:
        finding = Undecided("versions", _UNVERSIONED)
    if isinstance(finding, Undecided):
        return search(parts, start, start_version, finding)
    return finding


_UNVERSIONED = (
    "values repeat, some answers tell no version, and there are more possible orders than there is time to try"
)
