"""Wrong although the lock is there and the total is right: the answer is read after the lock was let go.

uvicorn fastapi_late:app
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
        visits += 1
    await asyncio.sleep(0.002)  # an audit line is written
    return {"number": visits}
