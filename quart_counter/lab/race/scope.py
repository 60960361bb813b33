"""Who shares a number, seen from its answers alone: is a history that is wrong for one number right for many?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation


def narrower_scope(operations: Sequence[Operation]) -> Literal["request", "client"] | None:
    """Return the narrower scope that explains every answer exactly, or None.

    `request`: every add is the first of all, and every read finds nothing. `client`: what each process saw is valid by
    itself. The history must hold a read by a process that added nothing: where the number is shared with anybody, that
    read tells.
    """
    if all(_first(operation) for operation in operations):
        return "request"
    apart = [operation._replace(name=f"{operation.name}.{operation.process}") for operation in operations]
    return "client" if check(apart).verdict == "valid" else None


def _first(operation: Operation) -> bool:
    return operation.outcome == "ok" and operation.value == operation.by
