"""FastAPI with a global behind an asyncio.Lock: right, for one worker."""

import asyncio

from fastapi import FastAPI

app = FastAPI()
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
