"""One race of somebody's endpoint: a first look, all requests at once, the judgement."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from quart_counter.errors import ConfigurationError
from quart_counter.lab import history
from quart_counter.lab.checker import ANOMALIES, Verdict, check
from quart_counter.lab.foreign.answers import Answer, Extractor, agree
from quart_counter.lab.foreign.volley import Volley, ask, fire
from quart_counter.lab.foreign.wire import Client, Lost, NotSent
from quart_counter.lab.history import Operation, percentile_ms

OVERLAP: Final = 0.5  # of the clients must have been in flight at one moment
ANSWERED: Final = 0.5  # of the requests must have been answered with a number
FIRST_GUESS: Final = Extractor("text", "")
REDIRECTS: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Plan:
    """How a race is run and judged. `requests` is the total over all clients; `start` None is not known.

    `extractor` None: a first request finds it out, and its number is part of the history.
    """

    clients: int = 100
    requests: int = 100
    extractor: Extractor | None = None
    start: int | None = None
    per_client: bool = False
    gaps_allowed: bool = False
    repeat: int = 1
    timeout_s: float = 10.0

    def check(self, operations: Sequence[Operation], *, from_the_start: bool = True) -> Verdict:
        """Judge what was recorded, or a later part of it."""
        start = self.start if from_the_start else None
        if not self.per_client:
            return check(operations, start, gaps_allowed=self.gaps_allowed)
        apart = [operation._replace(name=f"{operation.name}, client {operation.process}") for operation in operations]
        return check(apart, start or 0 if from_the_start else None, gaps_allowed=self.gaps_allowed)


@dataclass(frozen=True)
class Row:
    """The outcome of one race, in the words of a row of our own races."""

    url: str
    method: str
    plan: Plan
    extractor: Extractor
    operations: Sequence[Operation] = field(repr=False)
    troubles: Mapping[str, int]
    seconds: float

    @property
    def adds(self) -> list[Operation]:
        """The requests for a number."""
        return [operation for operation in self.operations if operation.op == "add"]

    @property
    def numbers(self) -> list[int]:
        """The numbers handed out, in the order they arrived."""
        return [op.value for op in self.adds if op.outcome == "ok" and op.value is not None]

    @cached_property
    def judged(self) -> Verdict:
        """What the judge says."""
        return self.plan.check(self.operations)

    @cached_property
    def max_in_flight(self) -> int:
        """The most requests that were under way at one moment and got their number."""
        return history.max_in_flight(operation for operation in self.adds if operation.outcome == "ok")

    @property
    def verdict(self) -> str:
        """RACY needs a contradiction; NO_RACE_SEEN needs answers, and proof that the requests overlapped."""
        if self.judged.verdict == "invalid":
            return "RACY"
        return "INCONCLUSIVE" if self.doubt else "NO_RACE_SEEN"

    @cached_property
    def doubt(self) -> str:
        """Why nothing follows from right answers, in words; empty where something does."""
        answered, sent = len(self.numbers), len(self.adds)
        if not answered:
            return "no request was answered with a number"
        if answered < ANSWERED * sent:
            return f"only {answered} of {sent} requests were answered with a number"
        if self.max_in_flight < max(2, OVERLAP * self.plan.clients):
            return f"only {self.max_in_flight} of {self.plan.clients} clients were in flight at one moment"
        return ""

    @property
    def final(self) -> int | None:
        """The last value read, where somebody read."""
        return next((op.value for op in reversed(self.operations) if op.op == "read"), None)

    def keep(self, folder: Path) -> None:
        """Write the history to FOLDER/<host-port-path>.ndjson."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = urlsplit(self.url)
        name = "".join(c if c.isalnum() or c in ".-_" else "-" for c in f"{parts.netloc}{parts.path}").strip("-")
        history.write(folder / f"{name[:120]}.ndjson", self.operations)

    def document(self) -> dict[str, Any]:
        """Return the row as the JSON contract has it. No speed is given for a history that is not valid."""
        valid = self.judged.verdict == "valid"
        outcomes = Counter(operation.outcome for operation in self.adds)
        return {
            "url": self.url,
            "method": self.method,
            "answer": str(self.extractor),
            "workers": None,
            "clients": self.plan.clients,
            "requests": len(self.adds),
            "ok": outcomes["ok"],
            "fail": outcomes["fail"],
            "unknown": outcomes["info"],
            "distinct": len(set(self.numbers)),
            **{anomaly: self.judged.anomalies[anomaly] for anomaly in ANOMALIES},
            "final": self.final,
            "max_in_flight": self.max_in_flight,
            "pids": {},
            "verdict": self.verdict,
            "expected": None,
            "client_bound_per_s": round(outcomes["ok"] / self.seconds, 1) if valid and self.seconds else None,
            "p50_ms": percentile_ms(self.adds, 0.50) if valid else None,
            "p99_ms": percentile_ms(self.adds, 0.99) if valid else None,
            "witness": [history.to_document(operation) for operation in self.judged.witness],
            "reason": self.judged.reason or self.doubt,
            "troubles": dict(self.troubles),
        }


class Race:
    """A race under way: `row()` is what was learnt so far."""

    def __init__(
        self,
        url: str,
        method: str,
        plan: Plan,
        heard: Callable[[Operation], None] = lambda operation: None,
    ) -> None:
        self.url, self.method, self.plan = url, method, plan
        name = urlsplit(url).path or "/"
        self._volley = Volley(name, plan.extractor or FIRST_GUESS, plan.timeout_s, heard)

    def row(self) -> Row:
        """Return what was learnt so far, judged."""
        volley = self._volley
        return Row(
            self.url, self.method, self.plan, volley.extractor, volley.operations, volley.troubles, volley.seconds
        )

    async def run(self, client: Callable[[], Client], reader: Client | None = None) -> Row:
        """Race with clients made by `client` until something is wrong or `repeat` volleys were fired.

        `reader` reads the value, before and after. Raises: ConfigurationError.
        """
        if reader is not None:
            await self._read_first(reader)
        if self.plan.extractor is None:
            await self._look(client())
        crowd = [client() for _ in range(self.plan.clients)]
        for _ in range(self.plan.repeat):
            seen = len(self._volley.operations)
            await fire(self._volley, crowd, self.plan.requests)
            if self.plan.check(self._volley.operations[seen:], from_the_start=seen == 0).verdict == "invalid":
                break
        if reader is not None:
            await self._read_last(reader)
        return self.row()

    async def _look(self, client: Client) -> None:
        """Send one request, agree on where its number is, and keep it: it was counted like any other."""
        try:
            call, answer = await ask(client, self.plan.timeout_s)
        except (NotSent, Lost) as error:
            raise ConfigurationError(f"{self.method} {self.url} got no answer ({error})") from None
        if not 200 <= answer.status < 300:
            raise ConfigurationError(complaint(self.method, self.url, answer))
        self._volley.extractor = agree(answer)
        self._volley.judge(self.plan.clients, call, answer)

    async def _read_first(self, reader: Client) -> None:
        """See what is there before the race, if there is anything yet; what cannot be read is told in time."""
        try:
            call, answer = await ask(reader, self.plan.timeout_s)
        except (NotSent, Lost) as error:
            raise ConfigurationError(f"the read got no answer ({error})") from None
        if answer.status == 404:
            return
        if not 200 <= answer.status < 300:
            raise ConfigurationError(f"the read was answered {answer.title}, with no number")
        self._note_read(call, answer)

    async def _read_last(self, reader: Client) -> None:
        try:
            call, answer = await ask(reader, self.plan.timeout_s)
            self._note_read(call, answer)
        except (NotSent, Lost, ConfigurationError) as error:
            self._volley.troubles[f"the last read: {error}"] += 1

    def _note_read(self, call: int, answer: Answer) -> None:
        told = None if self.plan.extractor is None else self.plan.extractor.number(answer)
        number = agree(answer).number(answer) if told is None else told
        who, ret = self.plan.clients, time.monotonic_ns()
        self._volley.operations.append(
            Operation(who, "read", self._volley.name, 0, None, None, call, ret, "ok", False, number)
        )


def complaint(method: str, url: str, answer: Answer) -> str:
    """Return what an answer without a number means, and what may mend it."""
    said = f"{method} {url} answered {answer.title}"
    if answer.status in REDIRECTS:
        return f"{said}, to {answer.header('location')!a}: race the address that answers with the number itself"
    if answer.status == 405:
        return f"{said} (it allows {answer.header('allow')}): name the method with --method"
    if answer.status in (401, 403):
        return f"{said}: give what it asks for with --header 'Name: value'"
    if answer.status in (400, 411, 415, 422):
        return f"{said}: give what it asks for with --body and --header"
    return said
