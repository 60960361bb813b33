"""One short rule a kind, in order of explanatory power: the first that fits is told, and the last always does."""

from collections.abc import Callable
from itertools import pairwise
from math import gcd
from typing import Final

from quart_counter.lab.checker.parts import CALL, RET, VALUE
from quart_counter.lab.diagnosis.chains import one_after_the_other
from quart_counter.lab.diagnosis.evidence import Evidence, Hole
from quart_counter.lab.diagnosis.findings import (
    DRIFT,
    LONG,
    WORTH,
    Finding,
    numbers,
    ranges,
    repeats,
    same_number,
    until_clear,
)
from quart_counter.lab.diagnosis.series import (
    block_allocation,
    per_process,
    processes_far_apart,
    processes_or_blocks,
    reset_under_way,
)
from quart_counter.lab.history import Operation

FAR: Final = 100  # numbers that nobody got, for each that somebody did
FEW: Final = 3  # answers, of which one says nothing and two may be chance


def per_client(seen: Evidence) -> Finding | None:
    """Each client got 1, 2, 3, …, also those that began when others had ended."""
    clients = seen.by_client
    if sum(len(own) > 1 for own in clients) < FEW or not seen.same_apart or len({VALUE(own[0]) for own in clients}) > 1:
        return None
    if not all(VALUE(late) == VALUE(early) + 1 for own in clients for early, late in pairwise(own)):
        return None
    longest = max(clients, key=len)
    sentence = f"each of {len(clients)} clients got {ranges([longest])}: looks like a number for each client"
    return Finding("per_client", sentence, same_number(seen))


def constant(seen: Evidence) -> Finding | None:
    """Every request got one and the same number, those that did not overlap too (or it is the number before the race).

    Without that proof, all at once getting one number is the lost update in its purest form: more requests tell.
    """
    if len(seen.answers) < FEW or seen.repeats != len(seen.answers) - 1:
        return None
    number = VALUE(seen.answers[0])
    if not seen.same_apart and seen.start is not None and number > seen.start:
        return None
    sentence = f"all {len(seen.answers)} requests got the number {number}: looks like a number that nobody keeps"
    return Finding("constant", sentence, same_number(seen), 0 if seen.same_apart else seen.two_rounds)


def someone_elses_answer(seen: Evidence) -> Finding | None:
    """Numbers twice and as many skipped, so that nothing is lost: counted right, answered wrong."""
    duplicate, skipped, lost, over = map(seen.anomalies.__getitem__, ("duplicate", "skipped", "lost", "overcount"))
    if lost or over > duplicate or not (duplicate and skipped and seen.repeats):
        return None
    sentence = (
        f"{repeats(duplicate)} a number that another request got, {numbers(skipped)} given to nobody, and the "
        "total is right: looks like someone else's answer"
    )
    return Finding("someone_elses_answer", sentence, same_number(seen), until_clear(seen))


def cached_answers(seen: Evidence) -> Finding | None:
    """The same number for requests one after the other, and never a step back: it is old when it is answered."""
    if (
        not seen.same
        or seen.anomalies["skipped"]
        or DRIFT * seen.turns > seen.repeats
        or 2 * seen.overtaken > len(seen.same_apart)
        or 4 * len(seen.same_apart) < 3 * len(seen.same)
    ):
        return None
    sentence = (
        f"{repeats(seen.repeats)} a number that had been answered before, even one after the other, and the numbers "
        "never step back: looks like a stale cache"
    )
    return Finding("stale_cache", sentence, same_number(seen), until_clear(seen))


def lost_update(seen: Evidence) -> Finding | None:
    """Numbers twice, and the counter is short of as many. A few, or long series, may be where two processes meet."""
    duplicate, lost = seen.anomalies["duplicate"], seen.anomalies["lost"]
    if not seen.repeats or not (lost or seen.start is None):
        return None
    missing = f", and {lost} of {len(seen.answers)} increments are missing in the total" if lost else ""
    sentence = f"{repeats(duplicate)} a number that another request got{missing}: looks like lost updates"
    return Finding("lost_update", sentence, same_number(seen), until_clear(seen))


def sequence_gaps(seen: Evidence) -> Finding | None:
    """Every number at most once, in order; the skipped ones are those of requests that failed."""
    if not _only_skipped(seen) or not seen.failures_explain_the_holes:
        return None
    sentence = (
        f"{numbers(seen.anomalies['skipped'])} given to nobody, and requests that failed in their time explain each: "
        "looks like a sequence, which does not take numbers back"
    )
    hole = seen.holes[0]
    burner = min(seen.failed, key=lambda op: abs(CALL(op) - CALL(hole.around[-1])))
    return Finding("sequence_gaps", sentence, (burner, *hole.around))


def double_apply(seen: Evidence) -> Finding | None:
    """Every number at most once, in order; the counter went up more often than there are answers."""
    if not (_only_skipped(seen) or seen.anomalies["overcount"]) or seen.repeats or seen.anomalies["out_of_order"]:
        return None
    skipped = seen.anomalies["skipped"] or seen.anomalies["overcount"]
    sentence = (
        f"{numbers(skipped)} counted and given to nobody{_told(seen.holes)}: looks like requests that are carried out "
        "twice"
    )
    return Finding("double_apply", sentence, _around(seen))


def steps(seen: Evidence) -> Finding | None:
    """Every number once, in order, and all a multiple of the same step apart."""
    step = gcd(*(VALUE(b[0]) - VALUE(a[-1]) for a, b in pairwise(seen.runs)))
    if not _only_skipped(seen) or len(seen.answers) < LONG or len(seen.runs) < len(seen.answers) or step < 2:
        return None
    sentence = f"all numbers are {step} or a multiple of it apart: looks like a counter that goes up by more than one"
    return Finding("steps", sentence, (seen.runs[0][0], seen.runs[1][0]))


def not_counted(seen: Evidence) -> Finding | None:
    """Hardly a number has a neighbour, or they come in handfuls one after the other, far from each other."""
    if len(seen.runs) < WORTH:
        return None
    given = sum(map(len, seen.runs))
    span = VALUE(seen.runs[-1][-1]) - VALUE(seen.runs[0][0]) + 1
    between = span - given
    alone = len(seen.runs) * WORTH > given >= LONG and between > (1 if seen.repeats else WORTH) * len(seen.answers)
    handfuls = between > FAR * len(seen.answers) and one_after_the_other(seen.runs)
    if not (alone or handfuls):
        return None
    sentence = (
        f"of {span:,} numbers from {VALUE(seen.runs[0][0])} on {given} were given, here and there: looks like numbers "
        "that nobody counts"
    )
    return Finding("not_counted", sentence, (seen.runs[0][-1], seen.runs[1][0]))


def stale_read(seen: Evidence) -> Finding | None:
    """The answers are right, and what is read afterwards is behind them."""
    if not seen.anomalies["stale"] or not seen.reads or seen.repeats:
        return None
    read = max(seen.reads, key=lambda op: (CALL(op), VALUE(op)))
    newer = [op for op in seen.answers if RET(op) < CALL(read) and VALUE(op) > VALUE(read)]
    if not newer:
        return None
    answered = max(newer, key=VALUE)
    sentence = (
        f"a read said {VALUE(read)} after {VALUE(answered)} had been answered, and the answers themselves are right: "
        "looks like a stale cache"
    )
    return Finding("stale_cache", sentence, (answered, read))


def unclear(seen: Evidence) -> Finding:
    """Nothing fits: only what was seen."""
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in seen.anomalies.items() if number)
    sentence = f"{seen.verdict.reason or 'no order explains the answers'}{counts and f' ({counts})'}"
    return Finding("unclear", sentence, tuple(seen.verdict.witness[:3]))


Rule = Callable[[Evidence], Finding | None]
RULES: Final[tuple[Rule, ...]] = (
    per_client,
    constant,
    steps,
    not_counted,
    processes_far_apart,
    someone_elses_answer,
    reset_under_way,
    cached_answers,
    per_process,
    lost_update,
    block_allocation,
    sequence_gaps,
    processes_or_blocks,
    double_apply,
    stale_read,
    unclear,
)


def _only_skipped(seen: Evidence) -> bool:
    others = ("duplicate", "out_of_order", "lost")
    return bool(seen.holes and seen.anomalies["skipped"]) and not any(seen.anomalies[name] for name in others)


def _around(seen: Evidence) -> tuple[Operation, ...]:
    """The answers either side of the first hole; where the hole is above them all, the last answer and the read."""
    if seen.holes:
        return seen.holes[0].around
    return (*sorted(seen.answers, key=VALUE)[-1:], *sorted(seen.reads, key=CALL)[-1:])


def _told(holes: list[Hole]) -> str:
    """`: 7, 12 to 13, …`: the first three holes."""
    shown = [f"{hole.first}" if hole.first == hole.last else f"{hole.first} to {hole.last}" for hole in holes[:3]]
    return f" ({', '.join(shown)}{', …' if len(holes) > 3 else ''})" if shown else ""
