"""Small SVG pictures: bars with goals, and lines. Narrow enough for a phone, legible in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 420
SIDE: Final = 14
COLOURS: Final = ("a", "b", "c", "d", "e", "f")
STYLE: Final = """
  svg { font: 13px system-ui, sans-serif }
  text { fill: #24292f } .quiet { fill: #57606a; font-size: 11px } .title { font-weight: 600; font-size: 14px }
  .paper { fill: #fff } .grid { stroke: #d0d7de } .bar { fill: #8c959f } .ours { fill: #0969da }
  .goal { stroke: #cf222e; stroke-width: 2 } .goaltext { fill: #cf222e; font-size: 11px }
  .line { fill: none; stroke-width: 2 } .far { stroke-dasharray: 4 3 }
  .a { stroke: #57606a } .b { stroke: #0969da } .c { stroke: #bc4c00 }
  .d { stroke: #8250df } .e { stroke: #1a7f37 } .f { stroke: #bf3989 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .paper { fill: #0d1117 } .grid { stroke: #3d444d }
    .bar { fill: #6e7681 } .ours { fill: #4493f8 } .goal { stroke: #ff7b72 } .goaltext { fill: #ff7b72 }
    .a { stroke: #9198a1 } .b { stroke: #4493f8 } .c { stroke: #f0883e }
    .d { stroke: #ab7df8 } .e { stroke: #3fb950 } .f { stroke: #db61a2 }
  }
"""


@dataclass(frozen=True)
class Bar:
    """A figure with a name; `goal` is where it should reach at least."""

    title: str
    figure: float
    ours: bool = False
    goal: float | None = None


@dataclass(frozen=True)
class Plot:
    """Lines over a logarithmic axis below; the axis at the side is logarithmic too where figures differ much."""

    title: str
    below: str
    beside: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def svg(height: float, title: str, parts: Iterable[str]) -> str:
    """Return the whole document."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(title: str, explained: str, all_bars: Sequence[Bar]) -> str:
    """Return horizontal bars, each below its name. The axis is logarithmic: what is ten times as fast fits too."""
    row, top = 40, 58
    least = min([0.1, *(bar.figure for bar in all_bars)])
    most = max([1.0, *(max(bar.figure, bar.goal or 0) for bar in all_bars)])
    room = WIDTH - 2 * SIDE - 44

    def width(figure: float) -> float:
        return 10 + (room - 10) * math.log(figure / least) / math.log(most / least)

    parts = [text(SIDE, 24, title, "title"), text(SIDE, 42, explained, "quiet")]
    for i, bar in enumerate(all_bars):
        y = top + i * row
        parts.append(text(SIDE, y + 11, bar.title))
        parts.append(
            f'<rect class="{"ours" if bar.ours else "bar"}" x="{SIDE}" y="{y + 16}" '
            f'width="{width(bar.figure):.1f}" height="13" rx="2"/>'
        )
        end = SIDE + width(max(bar.figure, bar.goal or 0)) + 6
        parts.append(text(end, y + 27, f"{bar.figure:.2f}", "quiet"))
        if bar.goal is not None:
            x = SIDE + width(bar.goal)
            parts.append(f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 13}" y2="{y + 32}"/>')
    return svg(top + len(all_bars) * row + 6, title, parts)


def plots(title: str, all_plots: Sequence[Plot]) -> str:
    """Return plots one below the other, each with its legend."""
    parts, y = [], 0.0
    for plot in all_plots:
        drawn, height = _plot(plot, y)
        parts += drawn
        y += height
    return svg(y + 8, title, parts)


def _plot(plot: Plot, top: float) -> tuple[list[str], float]:
    points = [point for line in plot.lines.values() for point in line]
    x_of = _scale([x for x, _ in points], 52, WIDTH - SIDE - 8)
    marks = _marks([y for _, y in points])
    y_of = _scale(marks, top + 214, top + 54)
    parts = [text(SIDE, top + 26, plot.title, "title"), text(SIDE, top + 44, plot.beside, "quiet")]
    for figure in marks:
        y = y_of(figure)
        parts.append(f'<line class="grid" x1="52" x2="{WIDTH - SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(46, y + 4, f"{figure:g}", "quiet", "end"))
    every_x = sorted({x for x, _ in points})
    parts += [text(x_of(x), top + 232, f"{x:,.0f}", "quiet", _anchor(x, every_x)) for x in every_x]
    parts.append(text(WIDTH - SIDE, top + 248, plot.below, "quiet", "end"))
    for i, ((name, line), kind) in enumerate(zip(plot.lines.items(), _kinds(plot.lines), strict=True)):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="line {kind}" points="{path}"/>')
        across, down = SIDE + 200 * (i % 2), top + 268 + 18 * (i // 2)
        parts.append(f'<line class="line {kind}" x1="{across}" x2="{across + 20}" y1="{down - 4}" y2="{down - 4}"/>')
        parts.append(text(across + 26, down, name))
    return parts, 268 + 18 * math.ceil(len(plot.lines) / 2)


def _anchor(x: float, every_x: Sequence[float]) -> str:
    """Keep the words of the last mark within the picture."""
    return "end" if x == every_x[-1] else "middle"


def _kinds(names: Iterable[str]) -> Iterable[str]:
    """Give each name's first word a colour of its own, and p99 dashes."""
    colours: dict[str, str] = {}
    for name in names:
        colour = colours.setdefault(name.partition(",")[0], COLOURS[len(colours) % len(COLOURS)])
        yield f"{colour} far" if name.endswith("p99") else colour


class _scale:  # noqa: N801 - used as a function
    """A logarithmic axis from one edge to the other."""

    def __init__(self, figures: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = math.log(min(figures)), math.log(max(figures))
        self._start, self._end = start, end

    def __call__(self, figure: float) -> float:
        share = (math.log(figure) - self._low) / ((self._high - self._low) or 1.0)
        return self._start + share * (self._end - self._start)


def _marks(figures: Sequence[float]) -> list[float]:
    """Return the powers of ten that hold the figures."""
    low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]
