"""What a handler did, step by step, told by the handler itself: the lab asks for it, nobody else sees it.

Each step is stamped with the machine's monotonic clock, which all processes of one host share, so that the steps of two
requests can be laid side by side.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final, NamedTuple

HEADER: Final = "x-lab-steps"

_steps: ContextVar[list[str] | None] = ContextVar("steps", default=None)


class Step(NamedTuple):
    """One thing that a handler did, the number that it saw, and when, in nanoseconds."""

    what: str
    number: int
    at: int


def begin() -> list[str]:
    """Start a new record for the request being handled and return it."""
    record: list[str] = []
    _steps.set(record)
    return record


def wanted() -> bool:
    """Whether the lab sent the request being handled."""
    return _steps.get() is not None


def note(what: str, number: int) -> None:
    """Add a step to the record of the request being handled; no effect outside the lab."""
    record = _steps.get()
    if record is not None:
        record.append(f"{what} {number} {time.monotonic_ns()}")


def parse(header: str) -> list[Step]:
    """Return the steps in a header's value."""
    words = [step.rsplit(" ", 2) for step in header.split(", ") if step]
    return [Step(what, int(number), int(at)) for what, number, at in words]
