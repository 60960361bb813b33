"""What a rule finds, and the words that several rules share."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from quart_counter.lab.checker.parts import CALL, RET, VALUE
from quart_counter.lab.diagnosis.chains import Chain
from quart_counter.lab.diagnosis.evidence import Evidence
from quart_counter.lab.diagnosis.words import Kind
from quart_counter.lab.history import Operation

WORTH: Final = 5  # repeated numbers, or answers, that each further series must explain
DRIFT: Final = 10  # one step back by time of return for so many repeated numbers, at the least
LONG: Final = 10  # answers of a series; lost updates make shorter ones


class Finding(NamedTuple):
    """A kind that fits, what was seen of it, who shows it, and how many requests more may show something else."""

    kind: Kind
    sentence: str
    witness: tuple[Operation, ...]
    more: int = 0


def until_clear(seen: Evidence) -> int:
    """How many more requests show whether repeats are where two processes met: there may be, while they are few.

    Or while the answers are of a few series: lost updates soon make many.
    """
    if seen.repeats >= WORTH and not 1 < len(seen.chains) <= len(seen.answers) / LONG:
        return 0
    return max(0, seen.two_rounds - seen.asked_since(seen.same[0][-1]))


def same_number(seen: Evidence) -> tuple[Operation, ...]:
    """Two requests that got one number: one after the other if there are such, for that is the stronger case."""
    if seen.same_apart:
        return min(seen.same_apart, key=lambda pair: RET(pair[1]) - CALL(pair[0]))
    return next(iter(seen.same_at_once), tuple(seen.same[0][:2]))


def ranges(line: Sequence[Chain]) -> str:
    """`1 to 52 and 1 to 48`, the first three of them."""
    shown = [f"{VALUE(chain[0])} to {VALUE(chain[-1])}" for chain in sorted(line, key=len, reverse=True)]
    if len(shown) > 3:
        return ", ".join([*shown[:3], "…"])
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if shown[1:] else shown[0]


def repeats(number: int) -> str:
    """`3 answers repeat`."""
    return "1 answer repeats" if number == 1 else f"{number} answers repeat"


def numbers(number: int) -> str:
    """`3 numbers were`."""
    return "1 number was" if number == 1 else f"{number} numbers were"
