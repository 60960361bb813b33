"""Writers in processes of their own: `python -m stores.writers URL NAME WRITERS EACH` adds and prints what it was told.

It says "ready" when its store is open and starts at the first line on its standard input, so that all start together.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from quart_counter.counters import Counters
from quart_counter.errors import QuartCounterError
from quart_counter.model import Reading
from quart_counter.stores import Limits, open_store

TESTS = Path(__file__).parent.parent


async def processes_add(url: str, name: str, *, processes: int, writers: int, each: int) -> list[Reading]:
    """All answers of `processes` x `writers` that add 1 `each` times at once; fails if one of them was not answered."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    arguments = ("-m", "stores.writers", url, name, str(writers), str(each))
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    children = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, **pipes, env=environment)
        for _ in range(processes)
    ]
    try:
        for child in children:
            assert await child.stdout.readline() == b"ready\n"
        told = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()
    answers = [json.loads(out) for out, _ in told]
    assert [answer["failed"] for answer in answers] == [[]] * processes
    return [Reading(*reading) for answer in answers for reading in answer["readings"]]


async def _main(url: str, name: str, writers: int, each: int) -> None:
    readings, failed = [], []

    async def writer(counters: Counters) -> None:
        for _ in range(each):
            try:
                readings.append(await counters.add(name))
            except QuartCounterError as error:
                failed.append(f"{type(error).__name__}: {error}")

    async with open_store(url, Limits()) as store:
        counters = Counters(store, deadline_s=5.0, combine=True)
        print("ready", flush=True)  # noqa: T201  # the agreed signal
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await asyncio.gather(*(writer(counters) for _ in range(writers)))
    json.dump({"readings": readings, "failed": failed[:10]}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
