"""Wrong: the answer of a request that counts is cached for a twentieth of a second, so others get the same number.

uvicorn cached_answer:app
"""

import time

from fastapi import FastAPI

app = FastAPI()
visits = 0
cached = {"until": 0.0}


@app.get("/visits")
async def count():
    global visits
    if time.monotonic() > cached["until"]:
        visits += 1
        cached["until"] = time.monotonic() + 0.05
    return {"number": visits}
