"""One short rule a kind, in order of explanatory power: the first that fits is told, and the last always does."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

from quart_counter.lab.checker.parts import CALL, RET, VALUE
from quart_counter.lab.diagnosis.chains import Chain, one_after_the_other
from quart_counter.lab.diagnosis.evidence import Evidence, Hole
from quart_counter.lab.diagnosis.words import Kind
from quart_counter.lab.history import Operation


class Finding(NamedTuple):
    """A kind that fits, what was seen of it, and who shows it."""

    kind: Kind
    sentence: str
    witness: tuple[Operation, ...]


def per_client(seen: Evidence) -> Finding | None:
    """Each client got 1, 2, 3, …, also those that began when others had ended."""
    clients = seen.by_client
    if sum(len(own) > 1 for own in clients) < FEW or not seen.same_apart or len({VALUE(own[0]) for own in clients}) > 1:
        return None
    if not all(VALUE(late) == VALUE(early) + 1 for own in clients for early, late in pairwise(own)):
        return None
    longest = max(clients, key=len)
    sentence = f"each of {len(clients)} clients got {_ranges([longest])}: looks like a number for each client"
    return Finding("per_client", sentence, _same_number(seen))


def constant(seen: Evidence) -> Finding | None:
    """Every request got one and the same number, those that did not overlap too (or it is the number before the race).

    Without that proof, all at once getting one number is the lost update in its purest form.
    """
    if len(seen.answers) < FEW or seen.repeats != len(seen.answers) - 1:
        return None
    number = VALUE(seen.answers[0])
    if not seen.same_apart and seen.start is not None and number > seen.start:
        return None
    sentence = f"all {len(seen.answers)} requests got the number {number}: looks like a number that nobody keeps"
    return Finding("constant", sentence, _same_number(seen))


def someone_elses_answer(seen: Evidence) -> Finding | None:
    """Numbers twice and numbers skipped, but nothing lost: counted right, answered wrong."""
    duplicate, skipped, lost = (seen.anomalies[name] for name in ("duplicate", "skipped", "lost"))
    if lost or not (duplicate and skipped and seen.repeats):
        return None
    sentence = (
        f"{_repeats(duplicate)} a number that another request got, {_numbers(skipped)} given to nobody, and the "
        "total is right: looks like someone else's answer"
    )
    return Finding("someone_elses_answer", sentence, _same_number(seen))


def reset_under_way(seen: Evidence) -> Finding | None:
    """The answers are chains one after the other, each from the beginning."""
    eras = seen.chains
    if not 1 < len(eras) <= MANY or min(map(len, eras)) < 2 or not one_after_the_other(eras):
        return None
    first, second, *_ = eras
    if any(VALUE(era[0]) > VALUE(first[0]) for era in eras):
        return None
    top = max(first, key=VALUE)
    often = "" if len(eras) == 2 else f", {len(eras) - 1} times in all"
    sentence = (
        f"after {VALUE(top)} the numbers begin again at {VALUE(second[0])}{often}: looks like a counter that was reset "
        "under way"
    )
    return Finding("reset_under_way", sentence, (top, second[0]))


def cached_answers(seen: Evidence) -> Finding | None:
    """The same number for requests one after the other, and never a step back: it is old when it is answered."""
    if (
        not seen.same
        or seen.anomalies["skipped"]
        or DRIFT * seen.turns > seen.repeats
        or 4 * len(seen.same_apart) < 3 * len(seen.same)
    ):
        return None
    sentence = (
        f"{_repeats(seen.repeats)} a number that had been answered before, even one after the other, and the numbers "
        "never step back: looks like a stale cache"
    )
    return Finding("stale_cache", sentence, _same_number(seen))


def per_process(seen: Evidence) -> Finding | None:
    """The answers are a few chains side by side.

    Each further chain must explain five repeated numbers, and begin by itself: lost updates begin a chain each, and a
    slow writer that sets the counter back a long one, but at a number that was read before. And more than two must
    drift apart: threads that lose updates in step give each number to as many, but all of one before the next.
    """
    side_by_side = seen.chains
    if len(side_by_side) < 2 or WORTH * (len(side_by_side) - 1) > seen.repeats:
        return None
    if not all(map(seen.begins_by_itself, side_by_side)):
        return None
    drifting = seen.same_apart or seen.backward or DRIFT * seen.turns >= seen.repeats
    if len(side_by_side) > 2 and not drifting:
        return None
    sentence = (
        f"the answers are {len(side_by_side)} series side by side, {_ranges(side_by_side)}: looks like "
        f"{len(side_by_side)} processes, each with its own counter"
    )
    return Finding("per_process", sentence, _same_number(seen))


def lost_update(seen: Evidence) -> Finding | None:
    """Numbers twice, and the counter is short of as many."""
    duplicate, lost = seen.anomalies["duplicate"], seen.anomalies["lost"]
    if not seen.repeats or not (lost or seen.start is None):
        return None
    missing = f", and {lost} of {len(seen.answers)} increments are missing in the total" if lost else ""
    sentence = f"{_repeats(duplicate)} a number that another request got{missing}: looks like lost updates"
    return Finding("lost_update", sentence, _same_number(seen))


def block_allocation(seen: Evidence) -> Finding | None:
    """Every number once, but a later request got a smaller one."""
    if seen.anomalies["duplicate"] or seen.repeats or not seen.answers:
        return None
    if seen.backward is not None:
        late = seen.anomalies["out_of_order"]
        sentence = (
            f"every number was given once, but {late} of {len(seen.answers)} requests had a larger number before one "
            "with a smaller was even sent: looks like block allocation"
        )
        return Finding("block_allocation", sentence, seen.backward)
    blocks = seen.chains
    if not seen.holes or len(blocks) < 2 or len(seen.answers) < WORTH * len(blocks) or seen.disorder < MIXED:
        return None
    sentence = f"every number was given once, but out of {_ranges(blocks)} at a time: looks like block allocation"
    return Finding("block_allocation", sentence, (blocks[0][0], blocks[1][0]))


def sequence_gaps(seen: Evidence) -> Finding | None:
    """Every number at most once, in order; the skipped ones are those of requests that failed."""
    if not _only_skipped(seen) or not seen.failures_explain_the_holes:
        return None
    sentence = (
        f"{_numbers(seen.anomalies['skipped'])} given to nobody, and requests that failed in their time explain each: "
        "looks like a sequence, which does not take numbers back"
    )
    hole = seen.holes[0]
    burner = min(seen.failed, key=lambda op: abs(CALL(op) - CALL(hole.around[-1])))
    return Finding("sequence_gaps", sentence, (burner, *hole.around))


def double_apply(seen: Evidence) -> Finding | None:
    """Every number at most once, in order; the counter went up more often than there are answers."""
    if not (_only_skipped(seen) or seen.anomalies["overcount"]) or seen.repeats:
        return None
    skipped = seen.anomalies["skipped"] or seen.anomalies["overcount"]
    sentence = (
        f"{_numbers(skipped)} counted and given to nobody{_told(seen.holes)}: looks like requests that are carried out "
        "twice"
    )
    return Finding("double_apply", sentence, _around(seen))


def stale_read(seen: Evidence) -> Finding | None:
    """The answers are right, and what is read afterwards is behind them."""
    if not seen.anomalies["stale"] or not seen.reads or seen.repeats:
        return None
    read = max(seen.reads, key=CALL)
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
    someone_elses_answer,
    reset_under_way,
    cached_answers,
    per_process,
    lost_update,
    block_allocation,
    sequence_gaps,
    double_apply,
    stale_read,
    unclear,
)

FEW: Final = 3  # answers, of which one says nothing and two may be chance
MANY: Final = 20  # beginnings; more is no reset
WORTH: Final = 5  # repeated numbers that each further chain must explain
MIXED: Final = 1 / 8  # of all answers between the place by value and the place by time; two blocks side by side: 1 / 4
DRIFT: Final = 10  # one step back by time of return for so many repeated numbers, at the least


def _only_skipped(seen: Evidence) -> bool:
    others = ("duplicate", "out_of_order", "lost")
    return bool(seen.holes and seen.anomalies["skipped"]) and not any(seen.anomalies[name] for name in others)


def _same_number(seen: Evidence) -> tuple[Operation, ...]:
    """Two requests that got one number: one after the other if there are such, for that is the stronger case."""
    if seen.same_apart:
        return min(seen.same_apart, key=lambda pair: RET(pair[1]) - CALL(pair[0]))
    return next(iter(seen.same_at_once), tuple(seen.same[0][:2]))


def _around(seen: Evidence) -> tuple[Operation, ...]:
    """The answers either side of the first hole; where the hole is above them all, the last answer and the read."""
    if seen.holes:
        return seen.holes[0].around
    return (*sorted(seen.answers, key=VALUE)[-1:], *sorted(seen.reads, key=CALL)[-1:])


def _ranges(line: list[Chain]) -> str:
    """`1 to 52 and 1 to 48`, the first three of them."""
    shown = [f"{VALUE(chain[0])} to {VALUE(chain[-1])}" for chain in sorted(line, key=len, reverse=True)]
    if len(shown) > 3:
        return ", ".join([*shown[:3], "…"])
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if shown[1:] else shown[0]


def _told(holes: list[Hole]) -> str:
    """`: 7, 12 to 13, …`: the first three holes."""
    shown = [f"{hole.first}" if hole.first == hole.last else f"{hole.first} to {hole.last}" for hole in holes[:3]]
    return f" ({', '.join(shown)}{', …' if len(holes) > 3 else ''})" if shown else ""


def _repeats(number: int) -> str:
    return "1 answer repeats" if number == 1 else f"{number} answers repeat"


def _numbers(number: int) -> str:
    return "1 number was" if number == 1 else f"{number} numbers were"
