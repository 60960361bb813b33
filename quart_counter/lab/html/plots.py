"""How long each call took, and how many were under way: points and steps in per cent, as few as a picture needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from quart_counter.lab.html.calls import Call, Owner
from quart_counter.lab.html.scale import Scale, Tick, percent, round_step

DOTS: Final = 2_000  # calls that get a dot each; more are drawn as a field of shades
ACROSS, UP = 90, 30  # fields of shades
SHADES: Final = 5
COLUMNS: Final = 400  # steps of the curve, at most
TICKS: Final = 4


class Dot(NamedTuple):
    """One call: when it was made, how long it took, who answered, and whether its number had been handed out before."""

    x: str
    y: str
    hue: int
    again: bool


@dataclass(frozen=True)
class Latency:
    """Dots, or from DOTS calls on `shades`: one SVG path for each depth of shade, in fields of ACROSS by UP."""

    dots: Sequence[Dot]
    shades: Sequence[str]
    x: Sequence[Tick]
    y: Sequence[Tick]
    owners: Sequence[Owner]
    slowest: int
    calls: int


@dataclass(frozen=True)
class Overlap:
    """The curve as an SVG path in fields of COLUMNS by 100, and the most that were under way at one moment."""

    path: str
    x: Sequence[Tick]
    y: Sequence[Tick]
    most: int


def latency(calls: Iterable[Call]) -> Latency | None:
    """Return the plot of every add that returned, or None if there is none."""
    adds = [call for call in calls if call.op != "read" and call.end is not None]
    if not adds:
        return None
    across = Scale(0, max(max(call.start for call in adds), 1))
    slowest = max(call.took or 0 for call in adds)
    step = round_step(max(slowest, 1) / TICKS)
    up = Scale(0, -(-max(slowest, 1) // step) * step)
    few = len(adds) <= DOTS
    return Latency(
        list(_dots(adds, across, up)) if few else (),
        () if few else _shades(adds, across, up),
        across.ticks(TICKS),
        [tick._replace(at=percent(100 - float(tick.at[:-1]))) for tick in up.ticks(TICKS)],
        sorted({call.owner for call in adds if call.owner}),
        slowest,
        len(adds),
    )


def _dots(adds: Sequence[Call], across: Scale, up: Scale) -> Iterable[Dot]:
    seen: set[int | None] = set()
    for call in sorted(adds, key=lambda call: call.end or 0):
        again = call.outcome == "ok" and call.value in seen
        seen.add(call.value)
        hue = call.owner.hue if call.owner else 0
        yield Dot(across.place(call.start), percent(100 - up.at(call.took or 0)), hue, again)


def _shades(adds: Sequence[Call], across: Scale, up: Scale) -> Sequence[str]:
    """Fields by how many calls they hold, from few to many; each step of shade is twice as many."""
    fields = Counter(
        (min(ACROSS - 1, int(across.at(call.start) * ACROSS / 100)), min(UP - 1, int(up.at(call.took or 0) * UP / 100)))
        for call in adds
    )
    most = max(fields.values()).bit_length()
    paths = [""] * SHADES
    for (x, y), times in sorted(fields.items()):
        depth = (times.bit_length() - 1) * SHADES // most
        paths[depth] += f"M{x} {UP - 1 - y}h1v1h-1z"
    return paths


def overlap(calls: Iterable[Call]) -> Overlap | None:
    """Return the curve of the adds under way; one that nobody answered is under way at its call alone."""
    adds = [call for call in calls if call.op != "read"]
    if not adds:
        return None
    spans = [(call.start, call.start if call.end is None else call.end) for call in adds]
    across = Scale(0, max(max(end for _, end in spans), 1))
    heights = _heights(spans, across)
    most = max(heights)
    top = max(2, most)
    step = round_step(top / 3)
    up = Scale(0, -(-top // step) * step)
    ticks = [Tick(percent(100 - up.at(n)), str(n)) for n in range(0, up.high + 1, step)]
    return Overlap(_path(heights, up), across.ticks(TICKS), ticks, most)


def _heights(spans: Sequence[tuple[int, int]], across: Scale) -> Sequence[int]:
    """The most under way within each column; intervals are closed, so touching ones overlap."""
    changes = sorted([(start, 0, 1) for start, _ in spans] + [(end, 1, -1) for _, end in spans])
    levels = list(accumulate(change for _, _, change in changes))
    heights, level, i = [], 0, 0
    for column in range(COLUMNS):
        high = level
        while i < len(changes) and across.at(changes[i][0]) * COLUMNS < 100 * (column + 1) + (column == COLUMNS - 1):
            level = levels[i]
            high = max(high, level)
            i += 1
        heights.append(high)
    return heights


def _path(heights: Sequence[int], up: Scale) -> str:
    """Steps, closed along the bottom."""
    path, last = "M0 100", None
    for column, height in enumerate(heights):
        if height != last:
            y = f"{100 - up.at(height):.1f}"
            path += f"H{column}V{y}" if column else f"V{y}"
            last = height
    return f"{path}H{COLUMNS}V100z"
