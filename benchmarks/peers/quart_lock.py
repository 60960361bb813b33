"""Quart with a global behind an asyncio.Lock: right, for one worker."""

import asyncio

from quart import Quart

app = Quart(__name__)
lock = asyncio.Lock()
value = 0


@app.post("/increment")
async def increment() -> dict[str, int]:
    global value
    async with lock:
        value += 1
        number = value
    return {"value": number}


@app.get("/total")
async def total() -> dict[str, int]:
    return {"value": value}
