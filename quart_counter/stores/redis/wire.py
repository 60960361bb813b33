"""What goes to the Redis script and what comes back: changes into steps as JSON, replies into outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from redis.exceptions import (
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from quart_counter.model import (
    Applied,
    Change,
    NotApplied,
    Outcome,
    OutcomeUnknown,
    Reading,
    Refused,
    Step,
    fingerprint,
    unfold,
)
from quart_counter.stores.base import StoreAway, outcome_of

# Errors that the script's first command or the server's front door gives: nothing was written.
_NO_EFFECT_TYPES = (  # redis-py strips the code from these; MASTERDOWN is a ClusterDownError to it
    OutOfMemoryError,
    ReadOnlyError,
    NoPermissionError,
    ClusterDownError,
)
_NO_EFFECT_CODES = ("MISCONF", "WRONGTYPE", "NOREPLICAS")


class Part(NamedTuple):
    """One counter's share of a flush: its steps, and where their changes stand in the flush."""

    name: str
    steps: Sequence[Step]
    positions: Sequence[int]


def parts(changes: Sequence[Change], into_steps: Callable[[Sequence[Change]], Iterable[Step]]) -> Iterator[Part]:
    """Split a flush by name, keeping the order within each."""
    positions: dict[str, list[int]] = {}
    for position, change in enumerate(changes):
        positions.setdefault(change.name, []).append(position)
    for name, places in positions.items():
        yield Part(name, list(into_steps([changes[i] for i in places])), places)


def each(changes: Sequence[Change]) -> Iterable[Step]:
    """Make every change a step of its own."""
    return (Step([change], change.by) for change in changes)


def as_json_row(step: Step) -> list[object]:
    """Return a step as the script reads it."""
    change = step.changes[0]
    if len(step.changes) > 1:
        return [step.by, len(step.changes)]
    optional = (change.value, change.limit, change.floor, change.if_version, change.version, change.key)
    words = [False if part is None else part for part in optional]
    return [change.by, 1, *words, fingerprint(change)] if any(part is not None for part in optional) else [change.by, 1]


def hand_out(part: Part, reply: Any, outcomes: list[Outcome]) -> list[int]:
    """Turn one counter's reply into outcomes; return the positions from a folded run that met the cap on."""
    if isinstance(reply, ResponseError | StoreAway):
        for position in part.positions:
            outcomes[position] = from_error(reply) if isinstance(reply, ResponseError) else outcome_of(reply)
        return []
    words = reply.split(" ")
    start = 0
    for i, step in enumerate(part.steps):
        code, value, version, replayed = words[4 * i : 4 * i + 4]
        positions = part.positions[start : start + len(step.changes)]
        start += len(step.changes)
        if code == "cap" and len(positions) > 1:
            return list(part.positions[start - len(positions) :])  # the script stopped here, so the order is kept
        answers = _answers(step, code, Reading(int(value), int(version)), replayed == "1")
        for position, answer in zip(positions, answers, strict=True):
            outcomes[position] = answer
    return []


def _answers(step: Step, code: str, reading: Reading, replayed: bool) -> Sequence[Outcome]:
    if len(step.changes) > 1:
        return unfold(step, reading)
    if code == "applied":
        return [Applied(*reading, replayed)]
    if code == "quota":
        return [NotApplied(f"{step.changes[0].name} is at its quota of live idempotency keys")]
    return [Refused(code, *reading, replayed)]  # type: ignore[arg-type]  # the script's codes are the model's reasons


def from_error(error: ResponseError) -> Outcome:
    """Say what a server error means for a change: nothing happened, or nobody knows."""
    sentence = f"Redis refuses it ({error})"
    harmless = isinstance(error, _NO_EFFECT_TYPES) or str(error).startswith(_NO_EFFECT_CODES)
    return NotApplied(sentence) if harmless else OutcomeUnknown(sentence)
