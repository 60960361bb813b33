"""Wrong: the numbers are right, but the page that shows the total comes out of a cache that lives for a minute.

uvicorn cached_read:app
"""

import time

from fastapi import FastAPI

app = FastAPI()
visits = 0
cached = {"number": 0, "until": 0.0}


@app.post("/visits")
async def count():
    global visits
    visits += 1
    return {"number": visits}


@app.get("/visits")
async def total():
    if time.monotonic() > cached["until"]:
        cached.update(number=visits, until=time.monotonic() + 60)
    return {"number": cached["number"]}
