"""Connections that never finish a request, in a process of their own: idle_crowd.py HOST PORT SILENT DRIBBLING.

It says `ready` when all of them have connected. Whoever is closed connects again.
"""

import asyncio
import random
import sys
from contextlib import suppress

SPREAD_S = 4.0  # they come one after the other, as strangers do
HEAD = b"POST /counters/tickets/increment HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


async def idle(where: tuple[str, int], dribbles: bool, connected: asyncio.Semaphore) -> None:
    await asyncio.sleep(random.uniform(0, SPREAD_S))
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*where)
            connected.release()
            dribbling = asyncio.ensure_future(dribble(writer)) if dribbles else None
            with suppress(ConnectionError):
                await reader.read()
            if dribbling:
                dribbling.cancel()
            writer.transport.abort()


async def dribble(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while True:
        await asyncio.sleep(1.0)
        writer.write(b"x")


async def main(host: str, port: str, silent: str, dribbling: str) -> None:
    connected = asyncio.Semaphore(0)
    n = int(silent) + int(dribbling)
    crowd = [asyncio.ensure_future(idle((host, int(port)), i < int(dribbling), connected)) for i in range(n)]
    for _ in range(n):
        await connected.acquire()
    print("ready", flush=True)  # noqa: T201
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started us is gone
    for one in crowd:
        one.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
