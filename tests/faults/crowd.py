"""Clients by hand: asyncio streams, keep-alive, and every attempt recorded as the checker wants it.

    crowd = Crowd(url)
    caller = crowd.caller()
    await caller.settle(Wanted("add", "tickets", by=1, key="k1"))    # sent again, with its key, until it is answered

A client that hides a broken connection behind a retry of its own would hide what we look for; httpx is such a one.
"""

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from quart_counter.lab.history import Operation

PAUSE_S = 0.02  # before the same key is sent again
PATIENCE_S = 60.0  # after that a change stays unknown, and the run says so
BROKEN = (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError)

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n(.*)\r\n\r\n", re.DOTALL)
_OUTCOMES = {200: ("ok", False), 409: ("fail", True), 412: ("fail", True), 503: ("fail", False), 504: ("info", False)}


class Wanted(NamedTuple):
    """What a client wants: the words of the history, before anybody answered."""

    op: str
    name: str
    by: int = 0
    limit: int | None = None
    key: str | None = None
    value: int | None = None  # of a set

    def wire(self) -> bytes:
        """The whole request."""
        method, verb, body = self._words()
        lines = [f"{method} /counters/{self.name}{verb} HTTP/1.1", "Host: localhost"]
        if self.key is not None:
            lines.append(f"Idempotency-Key: {self.key}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", body]).encode()

    def _words(self) -> tuple[str, str, str]:
        match self.op:
            case "read":
                return "GET", "", ""
            case "set":
                return "PUT", "", json.dumps({"value": self.value})
            case "take":
                bound = "limit" if self.by > 0 else "floor"
                return "POST", "/take", json.dumps({"by": self.by, bound: self.limit})
            case _:
                return "POST", "/increment", "" if self.by == 1 else json.dumps({"by": self.by})


class Answer(NamedTuple):
    status: int
    worker: int
    closes: bool
    body: bytes


class Crowd:
    """All clients of a run, and what they saw. `in_flight` and `unanswered` are counted by worker (0: not known)."""

    def __init__(self, url: str, *, timeout_s: float = 15.0, knows_workers: bool = False) -> None:
        self.host, _, port = url.rpartition("//")[2].rpartition(":")
        self.port = int(port)
        self.timeout_s, self.knows_workers = timeout_s, knows_workers
        self.operations: list[Operation] = []
        self.names: set[str] = set()
        self.in_flight: Counter[int] = Counter()
        self.unanswered: Counter[int] = Counter()  # requests whose connection ended or fell silent first
        self.not_ok: defaultdict[int, Counter[int]] = defaultdict(Counter)  # worker -> status -> answers 503 and 504
        self.surprises: list[str] = []  # answers that no row provokes
        self.settled = 0  # changes with a definite answer
        self.given_up = 0
        self.callers: list[Caller] = []
        self.leaving = False

    def caller(self) -> "Caller":
        caller = Caller(self, len(self.callers))
        self.callers.append(caller)
        return caller

    @property
    def waiting(self) -> int:
        """Requests written and not answered yet, now."""
        return self.in_flight.total()

    async def run(self, clients: int, work: Iterator[Wanted], *, connect_anew: int = 0) -> None:
        """Let so many clients work until `work` ends or the crowd is `leaving`; some may connect anew each time."""
        await asyncio.gather(*(self.caller().work(work, anew=i < connect_anew) for i in range(clients)))

    def close(self) -> None:
        for caller in self.callers:
            caller.hang_up()


class Caller:
    """One client with one connection, which it keeps as long as it can."""

    def __init__(self, crowd: Crowd, process: int) -> None:
        self.crowd, self.process = crowd, process
        self.worker = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def work(self, work: Iterator[Wanted], *, anew: bool = False) -> None:
        for wanted in work:
            if self.crowd.leaving:
                break
            await self.settle(wanted)
            if anew:
                self.hang_up()

    async def settle(self, wanted: Wanted) -> Operation | None:
        """Send it until it is answered for good; without a key only as long as it certainly did not happen."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            operation = await self.once(wanted)
            if operation is not None and (operation.outcome == "ok" or operation.refused):
                self.crowd.settled += 1
                return operation
            if operation is not None and operation.outcome == "info" and wanted.key is None and wanted.op != "read":
                return None
            if self.crowd.surprises:
                return None
            await asyncio.sleep(PAUSE_S)
        self.crowd.given_up += 1
        return None

    async def once(self, wanted: Wanted) -> Operation | None:
        """One attempt, recorded; None if there was nobody to send it to."""
        if not await self.connect():
            return None
        worker, crowd = self.worker, self.crowd
        crowd.in_flight[worker] += 1
        call = time.monotonic_ns()
        try:
            answer = await self.ask(wanted.wire())
        except BROKEN:
            self.hang_up()
            crowd.unanswered[worker] += 1
            return self.record(wanted, call, None)
        finally:
            crowd.in_flight[worker] -= 1
        return self.record(wanted, call, answer)

    def record(self, wanted: Wanted, call: int, answer: Answer | None) -> Operation:
        """Keep what became of an attempt; `answer` is None when none came."""
        op, name, by, limit, key, value = wanted
        outcome, refused, version, ret = "info", False, None, None
        if answer is not None:
            ret = time.monotonic_ns()
            if answer.status not in _OUTCOMES:
                self.crowd.surprises.append(f"{wanted} was answered {answer.status} {answer.body!r}")
            outcome, refused = _OUTCOMES.get(answer.status, ("fail", False))
        if answer is not None and outcome == "ok":
            told = json.loads(answer.body)
            value, version = told["value"], told["version"]
        elif answer is not None and not refused:
            self.crowd.not_ok[answer.worker][answer.status] += 1
        operation = Operation(self.process, op, name, by, limit, key, call, ret, outcome, refused, value, version)
        self.crowd.operations.append(operation)
        self.crowd.names.add(name)
        return operation

    async def ask(self, data: bytes) -> Answer:
        """Write a request and read its answer. Raises one of BROKEN."""
        assert self._writer is not None
        async with asyncio.timeout(self.crowd.timeout_s):
            self._writer.write(data)
            answer = await self.reply()
        if answer.closes:
            self.hang_up()
        return answer

    async def reply(self) -> Answer:
        assert self._reader is not None
        head = _HEAD.fullmatch(await self._reader.readuntil(b"\r\n\r\n"))
        if head is None:
            raise EOFError("no HTTP")
        headers = dict(line.lower().split(b": ", 1) for line in head[2].split(b"\r\n"))
        body = await self._reader.readexactly(int(headers.get(b"content-length", 0)))
        return Answer(int(head[1]), int(headers.get(b"x-worker", 0)), headers.get(b"connection") == b"close", body)

    async def connect(self) -> bool:
        """Have a connection; with `knows_workers` also know whose it is, before anything that counts is sent on it."""
        if self._writer is not None and self._reader is not None:
            if not (self._writer.is_closing() or self._reader.at_eof() or self._reader.exception()):
                return True
            self.hang_up()  # it was closed while idle: nothing was under way
        self.worker = 0
        try:
            async with asyncio.timeout(self.crowd.timeout_s):
                self._reader, self._writer = await asyncio.open_connection(self.crowd.host, self.crowd.port)
            if self.crowd.knows_workers:
                answer = await self.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.worker = answer.worker
                return not answer.closes
        except BROKEN:
            self.hang_up()
            return False
        return True

    def hang_up(self, abruptly: bool = False) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.transport.abort() if abruptly else self._writer.close()
        self._reader = self._writer = None
