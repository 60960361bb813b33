"""What `quart-counter check FILE...` prints and how it exits; the command line only has to print and exit.

results = [judge(file, start) for file in files]
print(as_json(results) if json else as_text(results))
sys.exit(exit_status(results))
"""

import json
from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any, NamedTuple

from quart_counter.lab.checker import Verdict, check
from quart_counter.lab.history import HistoryError, load, to_document
from quart_counter.lab.lanes import draw

VALID, INVALID, BAD_INPUT, INCONCLUSIVE = 0, 1, 2, 3


class Judged(NamedTuple):
    """One file and its verdict, or the reason why there is none."""

    file: str
    verdict: Verdict | None
    problem: str = ""


def judge(file: str | PathLike[str], start: int = 0) -> Judged:
    """Load a history file and check it; what cannot be read becomes a `problem`."""
    name = fspath(file)
    try:
        return Judged(name, check(load(file), start))
    except HistoryError as error:
        return Judged(name, None, str(error))
    except OSError as error:
        return Judged(name, None, f"{name}: {error.strerror or error}")


def exit_status(results: Sequence[Judged]) -> int:
    """One status for all files: bad input before invalid before unknown before valid."""
    statuses = {_status(result) for result in results}
    return next((status for status in (BAD_INPUT, INVALID, INCONCLUSIVE) if status in statuses), VALID)


def documents(results: Sequence[Judged]) -> list[dict[str, Any]]:
    """The document of each file that could be read, in the shape of the contract."""
    return [_document(result.file, result.verdict) for result in results if result.verdict is not None]


def problems(results: Sequence[Judged]) -> list[str]:
    """A sentence for each file that could not be read; they belong on standard error."""
    return [result.problem for result in results if result.verdict is None]


def as_json(results: Sequence[Judged]) -> str:
    """A document for one file, a list of documents for several (then without the files that could not be read)."""
    readable = documents(results)
    return json.dumps(readable[0] if len(results) == 1 and readable else readable, indent=2)


def as_text(results: Sequence[Judged]) -> str:
    """A paragraph for each file that could be read: the verdict, the anomalies, the reason, the witness as lanes."""
    return "\n\n".join(_paragraph(result.file, result.verdict) for result in results if result.verdict is not None)


def _status(result: Judged) -> int:
    if result.verdict is None:
        return BAD_INPUT
    return {"valid": VALID, "invalid": INVALID, "unknown": INCONCLUSIVE}[result.verdict.verdict]


def _document(file: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "file": file,
        "verdict": verdict.verdict,
        "operations": verdict.operations,
        "anomalies": verdict.anomalies,
        "witness": [to_document(operation) for operation in verdict.witness],
    }


def _paragraph(file: str, verdict: Verdict) -> str:
    count = "1 operation" if verdict.operations == 1 else f"{verdict.operations:,} operations"
    lines = [f"{file}: {verdict.verdict}, {count}"]
    seen = [f"{number:,} {name}" for name, number in verdict.anomalies.items() if number]
    if seen:
        lines.append("  anomalies: " + ", ".join(seen))
    if verdict.reason:
        lines.append(f"  because {verdict.reason}")
    return "\n".join([*lines, *([draw(verdict.witness)] if verdict.witness else [])])
