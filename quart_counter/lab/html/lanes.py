"""The calls around the witness as lanes, one a client, time from left to right.

Every place is given in per cent, so that the picture stretches (phone, paper, zoom) and its letters do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from quart_counter.lab.html.calls import Call
from quart_counter.lab.html.scale import Scale, Tick, percent

LANES: Final = 14  # more would not be read
ROOM: Final = 14.0  # per cent of the width that a label takes: two calls nearer than that get a lane each
TICKS: Final = 4
FINER: Final = 5


class Bar(NamedTuple):
    """One call: where it begins and ends in its lane. `label` ends at `label_at`, or begins there."""

    call: Call
    left: str
    width: str
    label_at: str
    anchor: str
    open_end: bool


class Lane(NamedTuple):
    """One client, or a second lane of it."""

    client: int
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Lanes:
    """`about`: `witness` or, where nothing was wrong, `busiest`. `hidden`: calls under way then, and not drawn."""

    about: str
    lanes: Sequence[Lane]
    ticks: Sequence[Tick]
    since: int
    hidden: int

    @property
    def bars(self) -> Sequence[Bar]:
        """All of them, in the order of their calls."""
        return sorted((bar for lane in self.lanes for bar in lane.bars), key=lambda bar: bar.call.start)


def lanes(calls: Sequence[Call]) -> Lanes | None:
    """Draw the witness and what was under way with it; of a history without one, its busiest moment."""
    if not calls:
        return None
    witness = [call for call in calls if call.witness]
    chosen, hidden = _around(witness, calls) if witness else _busiest(calls)
    scale = Scale(min(call.start for call in chosen), max(_end(call) for call in chosen))
    return Lanes(
        "witness" if witness else "busiest",
        list(_lanes(chosen, scale)),
        scale.ticks(TICKS, finer=FINER),
        scale.low,
        hidden,
    )


def _around(witness: Sequence[Call], calls: Sequence[Call]) -> tuple[Sequence[Call], int]:
    """The witness, and of the calls under way with it those with the nearest answers."""
    witness = witness[:LANES]
    begin, end = min(call.start for call in witness), max(_end(call) for call in witness)
    others = [call for call in calls if not call.witness and call.start <= end and _last(call) >= begin]
    others.sort(key=lambda call: (_distance(call, witness), call.start))
    drawn = others[: LANES - len(witness)]
    return sorted([*witness, *drawn], key=_in_order), len(others) - len(drawn)


def _busiest(calls: Sequence[Call]) -> tuple[Sequence[Call], int]:
    """The calls under way at the moment when most were."""
    adds = [call for call in calls if call.op != "read"] or calls
    moments = sorted((moment, what) for call in adds for moment, what in ((call.start, -1), (_end(call), 1)))
    most = now = at = 0
    for moment, what in moments:
        now -= what
        if now > most:
            most, at = now, moment
    under_way = [call for call in adds if call.start <= at <= _end(call)]
    under_way.sort(key=lambda call: (call.value is None, call.value or 0, call.start))
    return sorted(under_way[:LANES], key=_in_order), max(0, len(under_way) - LANES)


def _distance(call: Call, witness: Sequence[Call]) -> float:
    """How far its answer is from the nearest of the witness; who has none is far away."""
    values = [seen.value for seen in witness if seen.value is not None]
    if call.value is None or not values:
        return float("inf")
    return min(abs(call.value - value) for value in values)


def _in_order(call: Call) -> tuple[int, int]:
    return call.start, call.client


def _end(call: Call) -> int:
    """The last moment at which it was certainly under way."""
    return call.start if call.end is None else call.end


def _last(call: Call) -> float:
    """The last moment at which it can have been."""
    return float("inf") if call.end is None else call.end


def _lanes(chosen: Sequence[Call], scale: Scale) -> list[Lane]:
    """One lane a client in the order of first calls; calls that would touch there get a lane of their own."""
    lanes: list[tuple[int, list[Call]]] = []
    for call in chosen:
        own = (lane for client, lane in lanes if client == call.client and _fits(call, lane[-1], scale))
        lane = next(own, None)
        if lane is None:
            lanes.append((call.client, lane := []))
        lane.append(call)
    return [Lane(client, [_bar(call, scale) for call in lane]) for client, lane in lanes]


def _fits(call: Call, before: Call, scale: Scale) -> bool:
    return before.end is not None and scale.at(call.start) > scale.at(before.end) + ROOM


def _bar(call: Call, scale: Scale) -> Bar:
    left = scale.at(call.start)
    right = 100.0 if call.end is None else scale.at(call.end)
    anchor = "end" if right > ROOM else "start"
    label_at = right if anchor == "end" else left
    return Bar(call, percent(left), percent(right - left), percent(label_at), anchor, call.outcome == "info")
