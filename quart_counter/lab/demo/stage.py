"""Where the demo's races happen: one at a time, sent by a child process that is kept ready from the start."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from quart_counter.errors import ConfigurationError
from quart_counter.lab.demo.board import Race, Watcher
from quart_counter.lab.demo.ways import IN_REDIS, WAYS, Way
from quart_counter.web.streams import Streams, Take

CLIENTS: Final = 100
RACE_S: Final = 20.0  # with the start of the child, if it has to be started anew
FAREWELL_S: Final = 0.5  # after Ctrl-C all of the service has a second
MOST_STREAMS: Final = 50

Line = Mapping[str, Any]


class Busy(Exception):
    """Somebody else's race is under way."""


class Child:
    """The process that sends the requests."""

    def __init__(self, process: asyncio.subprocess.Process, missing: str) -> None:
        self._process, self.missing = process, missing

    @classmethod
    async def start(cls) -> Child:
        """Start it and wait until it is ready. Raises EOFError when it ends instead."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quart_counter.lab.demo.runner"),
            stdin=asyncio.subprocess.PIPE,  # its end tells the child that we are gone
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C; uvloop knows no process_group
        )
        child = cls(process, "")
        try:
            child.missing = (await child.next())["missing"]
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def alive(self) -> bool:
        """Whether it can be told something."""
        return self._process.returncode is None

    def order(self, line: Line) -> None:
        """Tell it to race."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def next(self) -> Line:
        """Wait for its next line. Raises EOFError when it is gone."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        told: Line = json.loads(line)
        return told

    def leave(self) -> None:
        """Tell it to end, with all that it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def end(self) -> None:
        """Let it end; kill it if that takes long. What it started then ends by itself, as it would without us."""
        self.leave()
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class Stage:
    """The race that is on, or was the last; and who watches."""

    def __init__(self, tell_result: Callable[[Race], Awaitable[str]]) -> None:
        self.streams = Streams(MOST_STREAMS)
        self.race: Race | None = None
        self._tell_result = tell_result
        self._racing: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[Child] | None = None

    async def serving(self) -> AsyncGenerator[None, None]:
        """For `each_start`: get the child ready; in the end let it go."""
        self.streams = Streams(MOST_STREAMS)
        self._starting = asyncio.create_task(Child.start())
        yield
        self.leave()
        if self._racing is not None:
            await asyncio.wait([self._racing])
        await self._end_child()

    def leave(self) -> None:
        """The worker stops: no stream and no race is kept waiting."""
        self.streams.end()
        if self._racing is not None:
            self._racing.cancel()
        child = self._ready()
        if child is not None:
            child.leave()

    def begin(self, way: Way, gap_ms: int, url: str) -> Race:
        """Begin a race of the server at `url`; its events tell what comes. Raises Busy, or ConfigurationError for a way
        that cannot be raced here."""
        if self._racing is not None and not self._racing.done():
            raise Busy("Another race is on, here it is; press again when it is over.")
        if way.mode in IN_REDIS and self.missing:
            raise ConfigurationError(self.missing)
        gap_ms = gap_ms if way.has_gap else 0
        race = self.race = Race(secrets.token_hex(4), way, CLIENTS, gap_ms)
        race.tell("start", {"way": way.key, "title": way.title, "workers": way.workers, "clients": CLIENTS})
        self._racing = asyncio.create_task(self._run(race, url))
        self.streams.ring()
        return race

    async def over(self, race: Race) -> None:
        """Wait for the end of a race, however it ends."""
        if self._racing is not None and race is self.race:
            await asyncio.wait([self._racing])

    @property
    def missing(self) -> str:
        """Why there is no Redis; nothing if there is, or as long as nobody knows."""
        child = self._ready()
        return child.missing if child is not None else ""

    def ways(self) -> list[Way]:
        """The ways that can be raced here."""
        return [way for way in WAYS if not (self.missing and way.mode in IN_REDIS)]

    def watcher(self, seen: str) -> Take:
        """Return what tells a stream what is new to it."""
        watcher = Watcher(seen)
        return lambda: watcher.take(self.race)

    async def _run(self, race: Race, url: str) -> None:
        try:
            async with asyncio.timeout(RACE_S):
                child = await self._child()
                if race.way.mode in IN_REDIS and child.missing:
                    race.failed = child.missing
                else:
                    child.order({"way": race.way.key, "url": url, "clients": race.clients, "gap_ms": race.gap_ms})
                while not race.over:
                    self._heard(race, await child.next())
                    self.streams.ring()
        except TimeoutError:
            race.failed = f"it took more than {RACE_S:g} seconds"
        except (EOFError, OSError):
            race.failed = "the process that sends the requests has ended; press again, it is started anew"
        except asyncio.CancelledError:
            race.failed = "the server stops"
        except Exception as bug:  # whoever pressed the button waits for an answer
            race.failed = f"a bug in the demo ({bug!r})"
        if race.failed:
            await self._end_child()
        race.tell("end", {"html": await self._tell_result(race), "race": race.id})
        self.streams.ring()

    def _heard(self, race: Race, line: Line) -> None:
        match line:
            case {"answer": answer}:
                race.answer(answer)
            case {"go": clients}:
                race.tell("go", {"clients": clients})
            case {"end": result}:
                race.result = result
            case {"failed": why}:
                race.failed = why

    def _ready(self) -> Child | None:
        starting = self._starting
        if starting is None or not starting.done() or starting.cancelled() or starting.exception():
            return None
        return starting.result()

    async def _child(self) -> Child:
        """Return the child that is there, or start another."""
        if self._starting is not None:
            with suppress(EOFError, OSError):
                child = await asyncio.shield(self._starting)
                if child.alive:
                    return child
        self._starting = asyncio.create_task(Child.start())
        return await asyncio.shield(self._starting)

    async def _end_child(self) -> None:
        starting, self._starting = self._starting, None
        if starting is None:
            return
        if not starting.done():
            starting.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await (await starting).end()
