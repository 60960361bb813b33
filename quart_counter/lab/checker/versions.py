"""The order that versions force, where values repeat: decrements, sets and resets (rules B, C, D and F).

Every mutation answers a version one higher than the last, so sorting by version is the order. Replaying the model along
it says whether each answer follows from the one before; versions that nobody answered for are filled by unknown
operations, as long as those are all alike. More than one way to fill them is for the search.
"""

from collections.abc import Callable

from quart_counter.lab.checker.order import Supply, first_inversion, first_unfilled
from quart_counter.lab.checker.parts import Parts
from quart_counter.lab.checker.replay import Replay
from quart_counter.lab.checker.verdict import Undecided, Violation, first_finding, groundless, too_early


def judge(parts: Parts, start: int, start_version: int | None) -> Violation | Undecided | None:
    """The first rule that the history breaks. Each rule may rely on those before it."""
    replay = Replay(parts, start, start_version)
    return first_finding(rule(replay) for rule in RULES)


def follow_from_each_other(replay: Replay) -> Violation | None:
    """D: every version is answered once, and every answer follows from the one before."""
    return replay.dead.violation if replay.dead is not None and replay.dead.certain else None


def keep_time(replay: Replay) -> Violation | None:
    """A, B: nothing returned before something that stands earlier in the order was called."""
    inverted = first_inversion(replay.line)
    return None if inverted is None else too_early(*inverted)


def leave_one_way(replay: Replay) -> Undecided | None:
    """D: missing versions are filled by unknown operations that are all alike. Others are for the search."""
    if replay.dead is None or replay.dead.certain:
        return None
    return Undecided("sizes", MIXED, replay.dead.violation)


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
    follow_from_each_other,
    keep_time,
    leave_one_way,
    stand_somewhere,
    fill_in_time,
)

MIXED = "unknown operations of different kinds could fill the missing versions in more ways than there is time to try"
