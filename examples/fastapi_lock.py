"""Right in one process: an asyncio.Lock around the read, the await and the write. Wrong in two, which have two locks.

uvicorn fastapi_lock:app                  right
uvicorn --workers 2 fastapi_lock:app      wrong: each process counts alone
"""

import asyncio

from fastapi import FastAPI

app = FastAPI()
lock = asyncio.Lock()
visits = 0


@app.post("/visits")
async def count():
    global visits
    async with lock:
        before = visits
        await asyncio.sleep(0.002)
        visits = number = before + 1
    return {"number": number}
