"""The order that versions force, where values repeat: decrements, sets and resets (rules B, C, D and F).

Every mutation answers a version one higher than the last, so sorting by version is the order. Replaying the model along
it says whether each answer follows from the one before; versions that nobody answered for are filled by unknown
operations, as long as those are all alike. More than one way to fill them is for the search.
"""

from collections.abc import Callable
from itertools import pairwise

from quart_counter.lab.checker.order import VERSION, Supply, first_inversion, first_unfilled
from quart_counter.lab.checker.parts import Parts
from quart_counter.lab.checker.replay import Replay
from quart_counter.lab.checker.verdict import Undecided, Violation, first_finding, groundless, told, too_early


def judge(parts: Parts, start: int, start_version: int | None) -> Violation | Undecided | None:
    """The first rule that the history breaks. Each rule may rely on those before it."""
    replay = Replay(parts, start, start_version)
    return first_finding(rule(replay) for rule in RULES)


def answer_each_version_once(replay: Replay) -> Violation | None:
    """D: no two mutations made the same version."""
    for one, other in pairwise(sorted(replay.parts.mutations, key=VERSION)):
        if one.version == other.version:
            return Violation(f"{told(one)} and {told(other)} made the same version", (one, other))
    return None


def keep_time(replay: Replay) -> Violation | None:
    """A, B: nothing returned before something that stands earlier in the order was called."""
    inverted = first_inversion(replay.line)
    return None if inverted is None else too_early(*inverted)


def follow_from_each_other(replay: Replay) -> Violation | Undecided | None:
    """D: every answer follows from the one before, with unknown operations in between where versions are missing."""
    if replay.dead is None:
        return None
    violation, certain = replay.dead
    return violation if certain else Undecided("sizes", MIXED, violation)


def stand_somewhere(replay: Replay) -> Violation | Undecided | None:
    """B, F: each read or refusal that tells no version finds a state of its interval that explains it."""
    if not replay.homeless:
        return None
    violation = groundless(replay.homeless[0])
    return Undecided("sizes", MIXED, violation) if replay.parts.unknowns else violation


def fill_in_time(replay: Replay) -> Violation | Undecided | None:
    """C: the unknown mutations that fill missing versions were called in time."""
    empty = first_unfilled(replay.pieces, (Supply(unknown.call, 1) for unknown in replay.parts.unknowns))
    if empty is None:
        return None
    violation = replay.missing_before(empty.around[-1])
    return Undecided("sizes", MIXED, violation) if replay.front_is_open else violation


Rule = Callable[[Replay], Violation | Undecided | None]
RULES: tuple[Rule, ...] = (
    answer_each_version_once,
    keep_time,
    follow_from_each_other,
    stand_somewhere,
    fill_in_time,
)

MIXED = "unknown operations of different kinds could fill the missing versions in more ways than there is time to try"
