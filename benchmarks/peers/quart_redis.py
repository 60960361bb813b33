"""Quart with INCR in Redis."""

import os

import redis.asyncio as aioredis
from quart import Quart

app = Quart(__name__)
redis = aioredis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/increment")
async def increment() -> dict[str, int]:
    return {"value": await redis.incr("quart")}


@app.get("/total")
async def total() -> dict[str, int]:
    return {"value": int(await redis.get("quart") or 0)}
