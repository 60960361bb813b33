"""How a race is run and judged, and its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from quart_counter.lab import history
from quart_counter.lab.checker import ANOMALIES, Verdict, check
from quart_counter.lab.diagnosis import Diagnosis, diagnose, suspect
from quart_counter.lab.foreign import words
from quart_counter.lab.foreign.answers import Extractor
from quart_counter.lab.foreign.volley import NO_NUMBER
from quart_counter.lab.history import Operation, percentile_ms

EACH: Final = 3  # requests of a client that is to see its own numbers
MISSING: Final = 0.1  # of the answers may hold no number, as a page in place of one
ANSWERED: Final = 0.5  # of the requests must have been answered with a number


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

    @classmethod
    def of(cls, clients: int, requests: int | None, **how: Any) -> Plan:
        """Return a plan for so many requests, or as many as it takes: one a client, three if each is to count apart."""
        total = requests or clients * (EACH if how.get("per_client") else 1)
        return cls(min(clients, total), total, **how)

    @property
    def most(self) -> int:
        """The most requests that are sent, the first look among them."""
        return self.requests * self.repeat + (self.extractor is None)

    def check(self, operations: Sequence[Operation], *, from_the_start: bool = True) -> Verdict:
        """Judge what was recorded, or a later part of it."""
        start = self.start if from_the_start else None
        if not self.per_client:
            judged = check(operations, start, gaps_allowed=self.gaps_allowed)
            down = judged.verdict == "invalid" and not self.gaps_allowed and _falling(operations)
            return _check_down(operations, start, judged) if down else judged
        apart = [operation._replace(name=f"{operation.name}, client {operation.process}") for operation in operations]
        return check(apart, start or 0 if from_the_start else None, gaps_allowed=self.gaps_allowed)


def _check_down(operations: Sequence[Operation], start: int | None, judged: Verdict) -> Verdict:
    """Judge as a counter of what is left, which is right if its mirror image is; else nothing is learnt."""
    mirrored = [op if op.value is None else op._replace(value=-op.value) for op in operations]
    as_mirrored = check(mirrored, None if start is None else -start)
    return as_mirrored if as_mirrored.verdict == "valid" else judged


def _falling(operations: Sequence[Operation]) -> bool:
    """Whether most answers were smaller than the one before."""
    answered = [op for op in operations if op.op == "add" and op.outcome == "ok" and op.ret is not None]
    line = [op.value or 0 for op in sorted(answered, key=lambda op: op.ret or 0)]
    return 2 * sum(after < before for before, after in pairwise(line)) > len(line)


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
    asked_on: int = 0  # requests of the adds that were sent to tell what it looks like

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
        if self.judged.verdict == "invalid" and not self._elsewhere:
            return "RACY"
        return "INCONCLUSIVE" if self.doubt else "NO_RACE_SEEN"

    @cached_property
    def doubt(self) -> str:
        """Why nothing follows from right answers, in words; empty where something does."""
        answered, sent = len(self.numbers), len(self.adds)
        if self._elsewhere:
            return f"{self._numberless} answers hold no integer at {self.extractor}: name the place with --answer"
        if not answered:
            return "no request was answered with a number"
        if answered < ANSWERED * sent:
            return f"only {answered} of {sent} requests were answered with a number"
        if not history.overlapped(self.max_in_flight, self.plan.clients):
            return f"only {self.max_in_flight} of {self.plan.clients} clients were in flight at one moment"
        if self.suspicion is not None:
            return f"{self.suspicion.sentence}: start the server afresh and race it again"
        return ""

    @property
    def _numberless(self) -> int:
        """How many 2xx answers held no number where it is looked for."""
        return sum(often for trouble, often in self.troubles.items() if trouble.startswith(NO_NUMBER))

    @property
    def _elsewhere(self) -> bool:
        """Whether what is looked at may not be the counter: more than a few answers do not have it."""
        return self._numberless > max(1, MISSING * len(self.adds))

    @property
    def final(self) -> int | None:
        """The last value read, where somebody read."""
        return next((op.value for op in reversed(self.operations) if op.op == "read"), None)

    @property
    def anomalies(self) -> Mapping[str, int]:
        """The six counts."""
        return self.judged.anomalies

    def __str__(self) -> str:
        """Return what was seen and what follows, for a person."""
        return words.text(self)

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """What it looks like, with the likely cause and the remedy, where the answers contradict each other."""
        plan = self.plan
        if self.verdict != "RACY":
            return None
        return diagnose(
            self.operations,
            self.judged,
            start=plan.start,
            gaps_allowed=plan.gaps_allowed,
            per_client=plan.per_client,
        )

    @cached_property
    def suspicion(self) -> Diagnosis | None:
        """What right answers may hide, where numbers may be left out."""
        if not self.plan.gaps_allowed or self.plan.per_client or self.judged.verdict != "valid":
            return None
        return suspect(self.operations, self.judged)

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
            "diagnosis": self._diagnosis_document(),
            "troubles": dict(self.troubles),
        }

    def _diagnosis_document(self) -> dict[str, Any] | None:
        if self.diagnosis is None:
            return None
        return self.diagnosis.document()
