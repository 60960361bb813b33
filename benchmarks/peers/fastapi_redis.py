"""FastAPI with INCR in Redis: what people copy."""

import os

import redis.asyncio as aioredis
from fastapi import FastAPI

app = FastAPI()
redis = aioredis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/increment")
async def increment() -> dict[str, int]:
    return {"value": await redis.incr("fastapi")}


@app.get("/total")
async def total() -> dict[str, int]:
    return {"value": int(await redis.get("fastapi") or 0)}
