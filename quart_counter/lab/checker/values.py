"""The order that values force, where every mutation is a positive add (rules A, B, C and F).

An answer `v` to an add of `d` says that the add took the units (v - d, v]. So the answers must tile the range from the
start, and that is the order; a read of `r` stands after the add that made `r` and before the next; a refusal becomes
a read of which only one end counts. What remains is to compare times along that one line, and to see that every gap
of the tiling can have been made by adds whose outcome nobody knows. Sorting dominates: O(n log n).
"""

from collections.abc import Callable
from itertools import accumulate, repeat
from operator import ne

from quart_counter.lab.checker.order import bound, first_inversion, first_unfilled, hole
from quart_counter.lab.checker.parts import OP, VALUE, VERSION, Parts
from quart_counter.lab.checker.rising import Rising
from quart_counter.lab.checker.verdict import Undecided, Violation, first_finding, groundless, told, too_early
from quart_counter.lab.history import Operation


def judge(parts: Parts, start: int, start_version: int | None) -> Violation | Undecided | None:
    """The first rule that the history breaks. Each rule may rely on those before it."""
    rising = Rising(parts, start, start_version)
    return first_finding(rule(rising) for rule in RULES)


def tile(rising: Rising) -> Violation | None:
    """A: no two answers took the same unit, and none took a unit from before the start."""
    if rising.contiguous:
        return None
    before: Operation | None = None
    for top, begin, add in rising.steps():
        if begin < rising.start:
            return Violation(f"{told(add)} took numbers from before the start at {rising.start}", (add,))
        if before is not None and begin < top:
            return Violation(f"{told(before)} and {told(add)} took the same number", (before, add))
        before = add
    return None


def read_what_was_held(rising: Rising) -> Violation | None:
    """B: a read returns a value that the counter held."""
    for read in rising.parts.reads:
        if not rising.holds(VALUE(read)):
            return groundless(read)
    return None


def refuse_truly(rising: Rising) -> Violation | None:
    """F: at some value the refusal was true. (When, is a matter of `keep_time`.)"""
    for refusal in rising.parts.refusals:
        if refusal.by < 0 and rising.start >= bound(refusal):
            return groundless(refusal)
    if rising.step is not None and (never := rising.unplaced_refusals()):
        return groundless(never[0])
    return None


def keep_time(rising: Rising) -> Violation | None:
    """A, B, F: nothing returned before something that stands earlier in the order was called."""
    inverted = first_inversion(rising.line)
    return None if inverted is None else too_early(*map(rising.whole, inverted))


def fill_gaps(rising: Rising) -> Violation | Undecided | None:
    """C: unknown adds, called in time, can have made every gap.

    Of one size, comparing sums is exact. Of several sizes it only finds what is impossible: the rest is 3-PARTITION.
    """
    empty = first_unfilled(rising.pieces, rising.supplies) or next(filter(rising.misfits, rising.pieces), None)
    if empty is not None:
        return hole(empty)
    if rising.step is None and rising.pieces:
        return Undecided("sizes", _MIXED, hole(rising.pieces[0]))
    if rising.step is None and (doubtful := rising.unplaced_refusals()):
        return Undecided("sizes", _MIXED, groundless(doubtful[0]))
    return None


def raise_versions_by_one(rising: Rising) -> Violation | None:
    """D: a version counts the mutations so far, those in the gaps included, from one start for all."""
    if _counts_up(rising):
        return None
    before: Operation | None = None
    base = rising.start_version
    for rank, operation in rising.ranks():
        if operation.version is None:
            continue
        if base is None:
            base = operation.version - rank
        if operation.version - rank != base or base < 0:
            witness = (operation,) if before is None else (before, operation)
            reason = f"{told(operation)} should say version {max(base, 0) + rank}: every mutation raises it by one"
            return Violation(reason, witness)
        before = operation
    return None


Rule = Callable[[Rising], Violation | Undecided | None]
RULES: tuple[Rule, ...] = (
    tile,
    read_what_was_held,
    refuse_truly,
    keep_time,
    fill_gaps,
    raise_versions_by_one,
)

_MIXED = "unknown adds of different sizes could have filled its gaps in more ways than there is time to try"


def _counts_up(rising: Rising) -> bool:
    """Whether the versions are plainly right: no gap hides mutations, and all versions count from one start."""
    if rising.pieces or rising.parts.refusals:
        return False
    ranks = accumulate(map(ne, map(OP, rising.line), repeat("read")))
    versions = map(VERSION, rising.line)
    bases = {version - rank for version, rank in zip(versions, ranks, strict=True) if version is not None}
    if rising.start_version is not None:
        return bases <= {rising.start_version}
    return len(bases) <= 1 and min(bases, default=0) >= 0
