"""Wrong on one event loop, without any thread: an await stands between the read and the write, and updates are lost.

uvicorn fastapi_await:app
"""

import asyncio

from fastapi import FastAPI

app = FastAPI()
visits = 0


@app.post("/visits")
async def count():
    global visits
    before = visits
    await asyncio.sleep(0.002)  # a query, a call to another service
    visits = number = before + 1
    return {"number": number}
