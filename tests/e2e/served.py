"""`quart-counter serve` as its users start it: a process of its own, found by the line that says where it listens."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

START_S = 45.0  # on a very busy machine; it usually takes half a second
STOP_S = 20.0


@dataclass
class Served:
    """A running service. `said` grows with every line, of standard output and standard error alike."""

    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    deaf: bool = False  # it has ended and says nothing more
    url: str = ""
    workers: list[int] = field(default_factory=list)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self.news:
                self.said.append(line.decode().rstrip())
                self.news.notify_all()
        async with self.news:
            self.deaf = True
            self.news.notify_all()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until some line matches."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.said)), None)

        with suppress(TimeoutError):
            async with asyncio.timeout(START_S), self.news:
                await self.news.wait_for(lambda: found() or self.deaf)
        match = found()
        assert match is not None, f"it did not say {pattern!r}, but: {self.said}"
        return match

    def signal(self, how: signal.Signals) -> None:
        self.process.send_signal(how)

    async def status(self) -> int:
        """Wait for its end."""
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()


@asynccontextmanager
async def started(*arguments: str, python: str = sys.executable, **environ: str) -> AsyncIterator[Served]:
    """Any command of ours, from its start to the end of the block; it may have ended by then."""
    process = await asyncio.create_subprocess_exec(
        *(python, "-W", "error", "-m", "quart_counter", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**clean_environment(), "PYTHONUNBUFFERED": "1", **environ},
        process_group=0,
    )
    served = Served(process)
    listening = asyncio.ensure_future(served.listen())
    try:
        yield served
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                await served.status()
        if process.returncode is None:
            process.kill()
        await listening
        await process.wait()


@asynccontextmanager
async def serve(*arguments: str, **environ: str) -> AsyncIterator[Served]:
    """`quart-counter serve` on a free port, ready to answer."""
    async with started("serve", "--bind", "127.0.0.1:0", *arguments, **environ) as served:
        found = await served.says(r"listening on\s+(http://\S+)\s+\(workers: ([\d, ]+)\)")
        served.url, served.workers = found[1], [int(pid) for pid in found[2].split(",")]
        yield served


async def outcome(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command to its end; return its status and all it said."""
    async with started(*arguments, **environ) as command:
        status = await command.status()
    return status, "\n".join(command.said)


def clean_environment() -> Mapping[str, str]:
    """What we run in, without the settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUART_COUNTER_")}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
