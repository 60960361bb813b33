"""Positions and ticks of a picture: per cent of its width, at times that a person would choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quart_counter.lab.lanes import elapsed


class Tick(NamedTuple):
    """A labelled place: `at` per cent. `fine` ones are for those who zoom in."""

    at: str
    label: str
    fine: bool = False


@dataclass(frozen=True)
class Scale:
    """Maps the nanoseconds from `low` to `high` to 0 … 100 per cent."""

    low: int
    high: int

    def at(self, moment: float) -> float:
        """Per cent of the way."""
        return 100 * (moment - self.low) / max(1, self.high - self.low)

    def place(self, moment: float) -> str:
        """The same, as SVG wants it: `12.5%`."""
        return percent(self.at(moment))

    def ticks(self, most: int, *, finer: int = 1) -> Sequence[Tick]:
        """At most `most` round times, and between each two of them `finer` - 1 fine ones; told from `low` on."""
        step = round_step((self.high - self.low) / most)
        fine = max(1, step // finer)
        times = range(0, self.high - self.low + 1, fine)
        return [Tick(self.place(self.low + time), elapsed(time), bool(time % step)) for time in times]


def percent(number: float) -> str:
    """A number of per cent, as short as can be: `12.5%`."""
    return f"{number:.2f}".rstrip("0").rstrip(".") + "%"


def round_step(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … that is not below `least`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= least:
                return digit * power
        power *= 10
