"""What probably went wrong, in plain words: the judge counts anomalies, this room names what makes such anomalies.

    verdict = check(history)
    diagnosis = diagnose(history, verdict)
    diagnosis.sentence, diagnosis.cause, diagnosis.remedy, lanes.draw(diagnosis.witness)

The verdict is proved; a diagnosis is an inference from the outside, so it says "looks like". It is drawn from the
recorded answers alone. Where several fit, the one that explains most of them with the least is told; where none fits,
only what was seen.

    evidence  what can be asked of a history: who got the same number, which requests did not overlap
    chains    the fewest runs 1, 2, 3, … that the answers fall into
    series    the rules about a few series of numbers: who gave them out
    kinds     the other rules, and all of them in order of explanatory power
    words     the likely cause and the remedy of each kind
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter

from quart_counter.lab.checker import Verdict, check
from quart_counter.lab.diagnosis.evidence import Evidence
from quart_counter.lab.diagnosis.findings import LONG, Finding
from quart_counter.lab.diagnosis.kinds import RULES
from quart_counter.lab.diagnosis.series import processes_or_blocks
from quart_counter.lab.diagnosis.words import CAUSES, KINDS, REMEDIES, Diagnosis, Kind
from quart_counter.lab.history import Operation

__all__ = ["CAUSES", "KINDS", "REMEDIES", "Diagnosis", "Kind", "diagnose", "suspect"]


def diagnose(
    operations: Sequence[Operation],
    verdict: Verdict,
    *,
    start: int | None = None,
    gaps_allowed: bool = False,
    per_client: bool = False,
) -> Diagnosis | None:
    """The likeliest explanation of an invalid verdict; None where there is nothing to explain.

    `start`: the value before the first call, None where nobody knows it. `gaps_allowed`: skipped numbers are no fault.
    `per_client`: each process of the history counts by itself; then the first that is wrong is explained.
    """
    if verdict.verdict != "invalid":
        return None
    if per_client:
        operations, verdict = _first_wrong_client(operations, verdict, start)
    evidence = Evidence(operations, verdict, start, gaps_allowed)
    if gaps_allowed and not evidence.faults_beside_gaps:
        return None
    return _told(next(filter(None, (rule(evidence) for rule in RULES))))


def suspect(operations: Sequence[Operation], verdict: Verdict) -> Diagnosis | None:
    """What a history may be that is valid only because numbers may be left out; None where nothing speaks for it.

    Two processes that count alone, far from each other, leave out many numbers and give none twice, until they meet.
    """
    evidence = Evidence(operations, verdict, None, gaps_allowed=True)
    finding = processes_or_blocks(evidence)
    if finding is None or not any(hole.last - hole.first >= LONG for hole in evidence.holes):
        return None
    return _told(finding)


def _told(finding: Finding) -> Diagnosis:
    witness = tuple(sorted(finding.witness, key=attrgetter("call")))
    kind = finding.kind
    return Diagnosis(kind, finding.sentence, CAUSES[kind], REMEDIES[kind], witness, finding.more)


def _first_wrong_client(
    operations: Sequence[Operation], verdict: Verdict, start: int | None
) -> tuple[Sequence[Operation], Verdict]:
    """The history of the first client whose own numbers are wrong, judged alone; the whole one if none is."""
    for own in _by_process(operations):
        judged = check(own, _start_of(own) if start is None else start)
        if judged.verdict == "invalid":
            return own, judged
    return operations, verdict


def _by_process(operations: Iterable[Operation]) -> Iterable[Sequence[Operation]]:
    clients = defaultdict[int, list[Operation]](list)
    for operation in operations:
        clients[operation.process].append(operation)
    return [own for _, own in sorted(clients.items())]


def _start_of(operations: Iterable[Operation]) -> int:
    return min((op.value - op.by for op in operations if op.outcome == "ok" and op.value is not None), default=0)
