"""A race told to a person: what was asked, what was counted, what follows, and the witness as lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any

from quart_counter.lab.checker import ANOMALIES
from quart_counter.lab.foreign.answers import printable
from quart_counter.lab.lanes import WIDTH, draw

if TYPE_CHECKING:
    from quart_counter.lab.foreign.row import Row
    from quart_counter.lab.history import Operation


FIRST = " (a first request showed that; it counts too)"


def text(row: Row, coloured: Callable[[str], str] = str) -> str:
    """Return all there is to say of a race; `coloured` paints the verdict."""
    paragraphs = [
        f"{row.method} {row.url}, the number is {_where(row)}{FIRST if row.plan.extractor is None else ''}{_more(row)}",
        "\n".join(_counts(row.document())),
        f"{coloured(row.verdict)}: {sentence(row)}",
        "\n".join(f"  {count} x {trouble}" for trouble, count in row.troubles.items()),
        *_diagnosed(row),
    ]
    return "\n\n".join(filter(None, paragraphs))


def sentence(row: Row) -> str:
    """Return what follows from the race."""
    if row.verdict == "RACY":
        return row.judged.reason if row.diagnosis is None else row.diagnosis.sentence
    if row.verdict == "INCONCLUSIVE":
        return row.doubt
    return f"0 duplicates in {len(row.adds):,} requests, up to {row.max_in_flight:,} in flight"


def steps(row: Row) -> str:
    """Return the witness step by step: who asked, and who was answered what, in the order of our clock."""
    witness = row.judged.witness if row.diagnosis is None else row.diagnosis.witness
    told = sorted(step for operation in witness for step in _steps(operation))
    if not told:
        return "No two answers contradict each other: there is no collision to tell."
    return "\n".join(f"  {(at - told[0][0]) / 1e6:9.3f} ms  {what}" for at, what in told)


def _steps(operation: Operation) -> Iterator[tuple[int, str]]:
    who = f"client {operation.process}"
    yield operation.call, f"{who} asks {'to read' if operation.op == 'read' else 'for a number'}"
    if operation.ret is not None:
        yield operation.ret, f"{who} {'hears nothing' if operation.value is None else f'is answered {operation.value}'}"


def _diagnosed(row: Row) -> list[str]:
    """Return what it looks like with its witness, or the judge's witness alone."""
    told = row.diagnosis
    if told is None:
        return [draw(row.judged.witness, "client")]
    lines = {"cause ": told.cause, "remedy": told.remedy}
    return ["\n".join(_wrapped(name, line) for name, line in lines.items()), draw(told.witness, "client")]


def _wrapped(name: str, line: str) -> str:
    return fill(line, WIDTH, initial_indent=f"  {name}  ", subsequent_indent=" " * 10, break_on_hyphens=False)


def _where(row: Row) -> str:
    if row.extractor.kind == "text":
        return "the only integer in the answer"
    others = f" of {row.extractor.among} integers, for its name" if row.extractor.among > 1 else ""
    return f"{printable(str(row.extractor))}{others}"


def _more(row: Row) -> str:
    return f"; {row.asked_on:,} more requests were sent to tell what it looks like" if row.asked_on else ""


def _counts(document: dict[str, Any]) -> list[str]:
    lines = (
        ("clients", "requests", "ok", "fail", "unknown", "distinct", "final", "max_in_flight"),
        ANOMALIES,
        ("p50_ms", "p99_ms"),
    )
    return ["  ".join(f"{name.replace('_', ' ')} {_cell(document[name])}" for name in names) for names in lines]


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
