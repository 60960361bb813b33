"""What is known of one race: its events, for those who watch, and its grid, for those who come later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quart_counter.lab.demo.ways import Way
from quart_counter.web.streams import event


class Cell(NamedTuple):
    """A number and the workers that handed it out, one entry each time."""

    number: int
    workers: Sequence[int]

    @property
    def state(self) -> str:
        """`hollow`, `once` or `twice`, which is more than once."""
        return ("hollow", "once")[len(self.workers)] if len(self.workers) < 2 else "twice"


@dataclass
class Race:
    """One race, from the press of the button to its verdict. `failed` says in a sentence why there is none."""

    id: str
    way: Way
    clients: int
    gap_ms: int
    events: list[bytes] = field(default_factory=list)
    answers: list[Mapping[str, Any]] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)  # in the order of their first answers
    result: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def over(self) -> bool:
        """Whether it has a verdict, or never will."""
        return bool(self.result or self.failed)

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event for those who watch."""
        self.events.append(event(json.dumps(data), kind=kind, id=f"{self.id}.{len(self.events)}"))

    def answer(self, told: Mapping[str, Any]) -> None:
        """Note one answer."""
        if told["worker"] and told["worker"] not in self.pids:
            self.pids.append(told["worker"])
        seen = {**told, "worker": self.pids.index(told["worker"]) if told["worker"] else 0}
        self.answers.append(seen)
        self.tell("answer", seen)

    def cells(self) -> Iterator[Cell]:
        """The numbers 1 to N, each with who handed it out."""
        for number in range(1, self.clients + 1):
            yield Cell(number, [one["worker"] for one in self.answers if one["value"] == number])

    def shares(self) -> list[tuple[int, int]]:
        """How many answers came from each worker: its process id, and the count."""
        return [(pid, sum(one["worker"] == place for one in self.answers)) for place, pid in enumerate(self.pids)]

    @property
    def in_two_colours(self) -> bool:
        """Whether it matters who answered."""
        return self.way.workers > 1


class Watcher:
    """What one stream was told. `seen` is the last event's id, or the id of a race that its page shows whole."""

    def __init__(self, seen: str) -> None:
        self._race, _, place = seen.partition(".")
        self._place = int(place) + 1 if place.isascii() and place.isdigit() and len(place) < 6 else -1

    def take(self, race: Race | None) -> bytes:
        """Return the race's events that are new to this stream."""
        if race is None:
            return b""
        if race.id != self._race:
            self._race, self._place = race.id, 0
        elif self._place < 0:
            self._place = len(race.events) if race.over else 0
        new = race.events[self._place :]
        self._place = len(race.events)
        return b"".join(new)
