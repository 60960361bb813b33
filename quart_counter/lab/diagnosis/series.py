"""The rules about answers that fall into a few series, each counting up by one: who gave them out?

A process that counts alone and one that has taken a block of numbers ahead look alike until one series comes to where
another began. Then the process gives the other's numbers once more, and the block ends. So where no two series have
met, that is what is told, and how many more requests may bring them to meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from quart_counter.lab.checker.parts import RET, VALUE
from quart_counter.lab.diagnosis.chains import TOLERATED, Chain, fewest, one_after_the_other
from quart_counter.lab.diagnosis.evidence import Evidence, Pair, steps_back
from quart_counter.lab.diagnosis.findings import DRIFT, LONG, WORTH, Finding, ranges, same_number

MANY: Final = 20  # beginnings; more is no reset
WOVEN: Final = 3  # times that each further series is taken up again where it was left
VERY_LONG: Final = 40  # answers for each series
BULK: Final = 3  # numbers in a hole; a request that is carried out again makes a smaller one


def reset_under_way(seen: Evidence) -> Finding | None:
    """The answers are chains one after the other, each from the beginning.

    A second process that comes late looks alike, until the first one answers again.
    """
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
    more = max(0, seen.two_rounds - seen.asked_since(second[0]))
    return Finding("reset_under_way", sentence, (top, second[0]), more)


def per_process(seen: Evidence) -> Finding | None:
    """The answers are a few chains side by side."""
    series = fewest(seen.answers)
    if series < 2 or not seen.repeats:
        return None
    if seen.chains and (_begun_apart(seen) or _woven(seen)):
        told = f", {ranges(seen.chains)}"
    elif _too_long_for_losses(seen, series):
        told = ""
    else:
        return None
    sentence = (
        f"the answers are {series} series side by side{told}: looks like {series} processes, each with its own counter"
    )
    return Finding("per_process", sentence, same_number(seen))


def _begun_apart(seen: Evidence) -> bool:
    """Whether each further chain explains five repeated numbers, and begins by itself.

    Lost updates begin a chain each, and a slow writer that sets the counter back a long one, but at a number that was
    read before. And more than two must drift apart: threads that lose updates in step give each number to as many, but
    all of one before the next.
    """
    if WORTH * (len(seen.chains) - 1) > seen.repeats or not all(map(seen.begins_by_itself, seen.chains)):
        return False
    return len(seen.chains) == 2 or bool(seen.same_apart or seen.backward or DRIFT * seen.turns >= seen.repeats)


def _woven(seen: Evidence) -> bool:
    """Whether all chains are long, hardly step back, and are taken up again and again where they were left.

    Processes that counted before the race may stand at neighbouring numbers, and then none begins by itself.
    """
    if min(map(len, seen.chains)) < LONG or min(seen.resumed, seen.turns) < WOVEN * (len(seen.chains) - 1):
        return False
    back: int = sum(RET(a) > RET(b) for chain in seen.chains for a, b in pairwise(chain))
    return back <= TOLERATED * len(seen.answers)


def _too_long_for_losses(seen: Evidence, series: int) -> bool:
    """Whether very few series explain very many repeats, and alternate from the first to the last.

    Which answer belongs to which cannot be told then, where they stand at neighbouring numbers. Lost updates begin a
    series each; and where a slow writer sets the counter back, the old series ends when the new one begins.
    """
    half = len(seen.answers) // 2
    steady = min(steps_back(seen.answers[:half]), steps_back(seen.answers[half:])) >= WOVEN * series
    return steady and len(seen.answers) >= VERY_LONG * series and seen.repeats >= LONG * (series - 1)


def processes_far_apart(seen: Evidence) -> Finding | None:
    """Some numbers twice, and many left out, in a few long series side by side."""
    series = fewest(seen.answers)
    if not seen.repeats or not any(hole.last - hole.first >= LONG for hole in seen.holes):
        return None
    if len(seen.answers) < LONG * max(series, len(seen.runs)) or not _side_by_side(seen.runs):
        return None
    sentence = (
        f"the answers are {series} series side by side, which have {ranges(seen.runs)}: looks like {series} processes, "
        "each with its own counter"
    )
    return Finding("per_process", sentence, same_number(seen))


def block_allocation(seen: Evidence) -> Finding | None:
    """Every number once, but a later request got a smaller one; and where one series met another, neither went on."""
    met = next(iter(seen.used_up), None)
    if seen.anomalies["duplicate"] or seen.repeats or met is None or seen.asked_since(met[0]) < seen.two_rounds:
        return None
    late = seen.anomalies["out_of_order"]
    sentence = (
        f"every number was given once, but {late} of {len(seen.answers)} requests had a larger number before one "
        "with a smaller was even sent: looks like block allocation"
    )
    return Finding("block_allocation", sentence, seen.backward or met)


def processes_or_blocks(seen: Evidence) -> Finding | None:
    """Every number once, out of a few series side by side; or of two one after the other, far apart."""
    if seen.anomalies["duplicate"] or seen.repeats or len(seen.answers) < WORTH * len(seen.runs):
        return None
    if not (seen.used_up or seen.backward or _side_by_side(seen.runs) or _far_apart(seen)):
        return None
    out_of = ranges(seen.runs) + (" in disorder" if len(seen.runs) == 1 else "")
    sentence = (
        f"every number was given once, but out of {out_of}: looks like processes that each count alone and have come "
        "apart, or like blocks of numbers taken ahead"
    )
    return Finding("processes_or_blocks", sentence, _shown(seen), _until_they_meet(seen))


def _side_by_side(runs: Sequence[Chain]) -> bool:
    """Whether the runs were not given one after the other, the smaller numbers first."""
    return not one_after_the_other(runs)


def _far_apart(seen: Evidence) -> bool:
    """Whether there is one hole, and no request that is carried out again makes such a large one."""
    return len(seen.runs) == 2 and any(hole.last - hole.first >= BULK for hole in seen.holes)


def _shown(seen: Evidence) -> Pair:
    """A step back if there is one, else the beginnings of two series."""
    return seen.backward or next(iter(seen.used_up), None) or (seen.runs[0][0], seen.runs[1][0])


def _until_they_meet(seen: Evidence) -> int:
    """How many requests may bring the nearest two series to meet, and show then who went on."""
    if seen.used_up:
        return seen.two_rounds
    return min(hole.last - hole.first + 1 for hole in seen.holes) + seen.two_rounds
