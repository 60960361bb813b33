"""What people write instead: `await redis.incr()` through redis-py's default client, on a line that loses replies.

The default client is `Redis(host=..., port=...)`, which sends a command up to ten times more; `Redis.from_url(...)` of
redis-py 8.1 comes without those retries.
"""

import asyncio
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from faults.proxy import FaultProxy
from faults.rig import store
from faults.table import Result, Size

CLIENTS = 16


async def naive(size: Size, seed: int) -> Result:
    """Count through the default client; no history, for it answers no versions: the total says enough."""
    result, answered, raised = Result("naive-incr", seed, size), 0, 0
    with store("redis") as (url, _, _):
        share = size.faults / size.ops
        mix = {"pass": 1 - share, "drop": share}
        async with FaultProxy("127.0.0.1", urlsplit(url).port or 0, seed=seed, only=b"INCR", mix=mix) as line:

            async def count(times: int) -> None:
                nonlocal answered, raised
                async with aioredis.Redis(host="127.0.0.1", port=line.port) as client:
                    for _ in range(times):
                        try:
                            await client.incr("tickets")
                            answered += 1
                        except (RedisError, OSError):
                            raised += 1

            await asyncio.gather(*(count(size.ops // CLIENTS) for _ in range(CLIENTS)))
            result.faults = line.fired["drop"]
        async with aioredis.Redis.from_url(url) as client:
            final = int(await client.get("tickets") or 0)
    over = final - answered - raised
    result.changes, result.anomalies = answered, {"overcount": over}
    result.verdict = f"{over:,} counted too often" if over else "valid"
    result.notes.append(f"{answered:,} acknowledged, {raised} raised, the counter says {final:,}: {over:,} too many")
    return result
