"""A history is what the callers of a counter saw: one `Operation` a call, one JSON object a line.

The checker judges histories and believes nothing else, so reading one is strict: a line that is not exactly an
operation raises `HistoryError` with the file, the line and what is wrong there. Only empty lines are passed over.

    operations = load("tickets.ndjson")
    write("copy.ndjson", operations)

Times are integer nanoseconds of one monotonic clock: the call is stamped before the first byte is written, the
return after the whole answer is read.
"""

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from sys import intern
from typing import Any, Final, NamedTuple

OVERLAP: Final = 0.5  # of the clients must have been in flight at one moment

OPS = ("add", "take", "set", "read")
OUTCOMES = ("ok", "fail", "info")


class Operation(NamedTuple):
    """One recorded call. The fields stand in the order of the NDJSON contract (`ret` is its `return`).

    `op`: `add`, `take` (an add with a bound), `set` (a reset is a set to 0) or `read`.
    `by`: what an add or a take adds, never 0; 0 for the others.
    `limit`: the bound of a take: the most it may reach, or with a negative `by` the least; None is no bound.
    `outcome`: `ok` (answered), `fail` (it did not happen and will not), `info` (it may have, or may still).
    `ret`: None when nothing definite came back. With `info` it is only when the caller gave up.
    `refused`: a `fail` by rule (bound, cap, If-Match), which claims something about the counter's value.
    `value`: the value answered; for a set the value wanted, whatever became of it.
    """

    process: int
    op: str
    name: str
    by: int
    limit: int | None
    key: str | None
    call: int
    ret: int | None
    outcome: str
    refused: bool = False
    value: int | None = None
    version: int | None = None


class HistoryError(ValueError):
    """A history that cannot be judged because it cannot be read; the message names file, line and remedy."""


def load(path: str | PathLike[str]) -> list[Operation]:
    """Every operation of an NDJSON file, in the order of its lines. Raises: HistoryError, OSError."""
    operations = []
    with open(path, "rb") as lines, _no_garbage():
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            try:
                operations.append(parse(line))
            except HistoryError as error:
                raise HistoryError(f"{path}, line {number}: {error}") from None
    return operations


def write(path: str | PathLike[str], operations: Iterable[Operation]) -> None:
    """Write one operation a line; `load` gives the same operations back."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(to_document(operation)) + "\n" for operation in operations)


def parse(line: str | bytes) -> Operation:
    """One line as an `Operation`. Raises: HistoryError saying what is wrong with it."""
    return from_document(_decode(line))


def to_document(operation: Operation) -> dict[str, Any]:
    """The operation as the JSON object of the contract, every field present."""
    return dict(zip(_FIELDS, operation, strict=True))


def from_document(document: object) -> Operation:
    """A decoded JSON object as an `Operation`, checked field by field. Raises: HistoryError."""
    if type(document) is not dict:
        raise HistoryError("expected a JSON object, one operation a line")
    if not document.keys() >= _REQUIRED:
        missing = (name for name in _FIELDS if name in _REQUIRED and name not in document)
        raise HistoryError("missing field " + ", ".join(missing))
    for name, value in document.items():
        if name not in _TYPES:
            raise HistoryError(f"unknown field {name!a}; an operation has {', '.join(_FIELDS)}")
        if type(value) not in _TYPES[name]:
            raise HistoryError(f"field {name!r} must be {_TYPE_WORDS[name]}, not {_shown(value)}")
    get = document.get
    operation = Operation(
        document["process"],
        intern(document["op"]),
        intern(document["name"]),
        document["by"] or 0,
        get("limit"),
        get("key"),
        document["call"],
        document["return"],
        intern(document["outcome"]),
        get("refused", False),
        document["value"],
        get("version"),
    )
    return _sensible(operation)


def overlapped(in_flight: int, clients: int) -> bool:
    """Whether so many in flight at one moment prove that the clients met: without that, right answers prove nothing."""
    return in_flight >= max(2, OVERLAP * clients)


def max_in_flight(operations: Iterable[Operation]) -> int:
    """The most operations that were under way at one instant; intervals are closed, so touching ones overlap.

    An operation without a return counts at its call alone: that instant is all that is known of it, and a
    certificate of overlap must not grow by calls that nobody heard of again.
    """
    spans = [(op.call, op.call if op.ret is None else op.ret) for op in operations]
    returns = sorted(end for _, end in spans)
    most = ended = 0
    for started, call in enumerate(sorted(start for start, _ in spans), 1):
        while returns[ended] < call:
            ended += 1
        most = max(most, started - ended)
    return most


def percentile_ms(operations: Sequence[Operation], share: float) -> float | None:
    """Return how long the answered of `operations` took, at most, but for the rest beyond `share`."""
    times = sorted(op.ret - op.call for op in operations if op.outcome == "ok" and op.ret is not None)
    return round(times[min(len(times) - 1, int(share * len(times)))] / 1e6, 2) if times else None


def _sensible(operation: Operation) -> Operation:
    """The operation itself, once its fields make sense together."""
    _, op, name, by, limit, _, call, ret, outcome, refused, value, version = operation
    if op not in OPS:
        raise HistoryError(f"field 'op' must be one of {', '.join(OPS)}, not {_shown(op)}")
    if outcome not in OUTCOMES:
        raise HistoryError(f"field 'outcome' must be one of {', '.join(OUTCOMES)}, not {_shown(outcome)}")
    if not name:
        raise HistoryError("field 'name' is empty; every operation belongs to a named counter")
    if ret is None and outcome != "info":
        raise HistoryError(f"an operation with outcome {outcome!r} was answered, so it needs a 'return'")
    if ret is not None and ret < call:
        raise HistoryError(f"it returned before it was called ({ret} < {call}); use one monotonic clock")
    if value is None and (outcome == "ok" or (op == "set" and outcome == "info")):
        raise HistoryError(f"op {op!r} with outcome {outcome!r} needs a 'value'")
    if refused and (outcome != "fail" or op == "read"):
        raise HistoryError(f"'refused' belongs to a failed add, take or set, not to op {op!r} with outcome {outcome!r}")
    if version is not None and version < 0:
        raise HistoryError(f"field 'version' must not be below 0, but it is {version}")
    if op in ("add", "take"):
        if by == 0:
            raise HistoryError(f"op {op!r} needs a 'by' other than 0")
    elif by:
        operation = operation._replace(by=0)
    if limit is not None and op != "take":
        raise HistoryError(f"a 'limit' belongs to a take, not to op {op!r}")
    return operation


class _RepeatedFieldError(ValueError):
    """JSON lets a field stand twice and then disagrees with itself; we do not."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    names = [name for name, _ in pairs]
    repeated = next(name for name in names if names.count(name) > 1)
    raise _RepeatedFieldError(f"field {repeated!a} stands there twice")


_loads: Callable[[str], object] = json.JSONDecoder(object_pairs_hook=_unique).decode


def _decode(line: str | bytes) -> object:
    try:
        return _loads(line.decode() if isinstance(line, bytes) else line)
    except UnicodeDecodeError as error:
        raise HistoryError(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise HistoryError(f"not JSON ({error.msg} at character {error.pos + 1})") from None
    except _RepeatedFieldError as error:
        raise HistoryError(str(error)) from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; brackets nested thousands deep
        raise HistoryError("not an operation: a number or a nesting beyond all measure") from None


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Collect no cycles meanwhile: operations hold none, and looking for them doubles the time of a long load."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


_FIELDS = ("process", "op", "name", "by", "limit", "key", "call", "return", "outcome", "refused", "value", "version")
_REQUIRED = frozenset(_FIELDS) - {"limit", "key", "refused", "version"}

_INTEGER, _STRING, _BOOLEAN = frozenset({int}), frozenset({str}), frozenset({bool})
_INTEGER_OR_NULL, _STRING_OR_NULL = _INTEGER | {type(None)}, _STRING | {type(None)}
# Sets of exact types, because to Python True is an int and to a counter it is not.
_TYPES: dict[str, frozenset[type]] = {
    "process": _INTEGER,
    "op": _STRING,
    "name": _STRING,
    "by": _INTEGER_OR_NULL,
    "limit": _INTEGER_OR_NULL,
    "key": _STRING_OR_NULL,
    "call": _INTEGER,
    "return": _INTEGER_OR_NULL,
    "outcome": _STRING,
    "refused": _BOOLEAN,
    "value": _INTEGER_OR_NULL,
    "version": _INTEGER_OR_NULL,
}
_WORDS = {_INTEGER: "an integer", _STRING: "a string", _BOOLEAN: "true or false"}
_WORDS |= {_INTEGER_OR_NULL: "an integer or null", _STRING_OR_NULL: "a string or null"}
_TYPE_WORDS = {name: _WORDS[types] for name, types in _TYPES.items()}
